//! Random edits against a model, over several commits.

use std::io::Read;
use std::ops::Range;

use flatbake::ErrorKind;
use flatbake::fs::ext4::Ext4;
use flatbake::fs::{FileSystem, FileSystemMut, FileType, FsPath, MetadataChange, Timestamp};

use crate::common::longer;
use crate::ext4::images::{SETS, Set, mke2fs, tree};
use crate::ext4::model::{Body, Model, attributes};
use crate::ext4::support::{ImageFile, Numbers, assert_clean, edit, file_in, have_judges, journal};

const ROUNDS: usize = 2;
const STEPS: usize = 250;
/// From before 1970 to long after 2106, in seconds.
const TIMES: Range<i64> = -2_000_000_000..13_000_000_000;

/// One edit of filesystem and model.
struct Step<'a> {
    fs: &'a mut Ext4<ImageFile>,
    model: &'a mut Model,
    numbers: &'a mut Numbers,
    set: &'a Set,
    times: Range<i64>,
}

/// Makes [`STEPS`] edits with times of the given range.
pub fn edits(
    fs: &mut Ext4<ImageFile>,
    model: &mut Model,
    numbers: &mut Numbers,
    set: &Set,
    times: Range<i64>,
) {
    let mut step = Step {
        fs,
        model,
        numbers,
        set,
        times,
    };
    (0..STEPS).for_each(|_| step.run());
}

impl Step<'_> {
    fn any(&mut self, wanted: impl Fn(&Body) -> bool) -> Option<FsPath> {
        let paths: Vec<_> = self
            .model
            .paths
            .iter()
            .filter(|(_, n)| wanted(&self.model.nodes[**n].body))
            .collect();
        (!paths.is_empty()).then(|| paths[self.numbers.below(paths.len())].0.clone())
    }

    /// A path that is free.
    fn fresh(&mut self) -> FsPath {
        let parent = self
            .any(|body| *body == Body::Directory)
            .filter(|path| path.as_bytes().len() < 300);
        let parent = parent.unwrap_or_else(FsPath::root);
        loop {
            let name = format!(
                "{}{}",
                "n".repeat(self.numbers.below(80)),
                self.numbers.below(100_000)
            );
            let path = parent.join(name).unwrap();
            if !self.model.paths.contains_key(&path) {
                return path;
            }
        }
    }

    fn secs(&mut self) -> i64 {
        let width = usize::try_from(self.times.end - self.times.start).unwrap();
        self.times.start + i64::try_from(self.numbers.below(width)).unwrap()
    }

    fn attributes(&mut self) -> flatbake::fs::Attributes {
        let secs = self.secs();
        attributes(u32::try_from(self.numbers.below(0o10_000)).unwrap(), secs)
    }

    fn write(&mut self, at: &FsPath) {
        let attributes = self.attributes();
        let most = [1, 60, 5000, 200_000][self.numbers.below(4)];
        let len = self.numbers.below(most);
        let content = self.numbers.bytes(len);
        self.fs
            .write_file(at, &attributes, content.len() as u64, &mut &content[..])
            .unwrap();
        if self.model.paths.contains_key(at) {
            let node = self.model.node(at);
            (node.body, node.attributes) = (Body::File(content), attributes);
            node.xattrs.clear();
        } else {
            self.model.add(at, Body::File(content), &attributes);
        }
    }

    fn make(&mut self, kind: usize) {
        let at = self.fresh();
        let attributes = self.attributes();
        match kind {
            0 => {
                self.fs.create_dir(&at, &attributes).unwrap();
                self.model.add(&at, Body::Directory, &attributes);
            }
            1 => {
                let target = vec![b'a'; 1 + self.numbers.below(120)];
                self.fs.symlink(&at, &target, &attributes).unwrap();
                let attributes = flatbake::fs::Attributes {
                    mode: 0o777,
                    ..attributes
                };
                self.model.add(&at, Body::Symlink(target), &attributes);
            }
            _ => {
                let device = (0, u32::try_from(self.numbers.below(1000)).unwrap());
                self.fs
                    .mknod(&at, FileType::BlockDevice, device, &attributes)
                    .unwrap();
                self.model
                    .add(&at, Body::Node(FileType::BlockDevice, device), &attributes);
            }
        }
    }

    fn rename(&mut self) {
        let Some(from) = self.any(|_| true) else {
            return;
        };
        let mut to = self.fresh();
        let both_files = |body: &Body| *body != Body::Directory;
        if both_files(&self.model.node(&from).body)
            && self.numbers.below(2) == 0
            && let Some(other) = self.any(both_files)
        {
            to = other;
        }
        if from != to && !to.starts_with(&from) {
            self.fs.rename(&from, &to).unwrap();
            self.model.paths.remove(&to);
            self.model.rename(&from, &to);
        }
    }

    fn xattr(&mut self) {
        // Of a symlink that is inline data, e2fsck 1.47 forgets the block of attributes, also when the kernel made it.
        let inline = self.set.features.contains("inline_data");
        let forgotten =
            |body: &Body| inline && matches!(body, Body::Symlink(target) if target.len() >= 60);
        let Some(at) = self.any(|body| !forgotten(body)) else {
            return;
        };
        let name = format!("trusted.{}", ["a", "b", "long-name"][self.numbers.below(3)]);
        if self
            .model
            .node(&at)
            .xattrs
            .remove(name.as_bytes())
            .is_some()
            && self.numbers.below(2) == 0
        {
            self.fs.remove_xattr(&at, name.as_bytes()).unwrap();
        } else {
            let len = [8, 60, 900.min(self.set.block() / 4)][self.numbers.below(3)];
            let value = self.numbers.bytes(len);
            self.fs.set_xattr(&at, name.as_bytes(), &value).unwrap();
            self.model.node(&at).xattrs.insert(name.into_bytes(), value);
        }
    }

    fn change(&mut self) {
        let Some(at) = self.any(|_| true) else { return };
        let secs = self.secs();
        let change = MetadataChange {
            mode: (self.numbers.below(2) == 0).then_some(0o2751),
            uid: Some(u32::try_from(self.numbers.below(4_000_000_000)).unwrap()),
            gid: None,
            mtime: (self.numbers.below(2) == 0).then_some(Timestamp { secs, nanos: 7 }),
        };
        self.fs.set_metadata(&at, &change).unwrap();
        let attributes = &mut self.model.node(&at).attributes;
        attributes.mode = change.mode.unwrap_or(attributes.mode);
        attributes.uid = change.uid.unwrap();
        attributes.mtime = change.mtime.unwrap_or(attributes.mtime);
    }

    fn run(&mut self) {
        match self.numbers.below(14) {
            0..=2 => {
                let at = self.fresh();
                self.write(&at);
            }
            3 => {
                if let Some(at) = self.any(|body| matches!(body, Body::File(_))) {
                    self.write(&at);
                }
            }
            4 => self.make(0),
            5 => self.make(1),
            6 => self.make(2),
            7 => {
                if let Some(old) = self.any(|body| *body != Body::Directory) {
                    let at = self.fresh();
                    self.fs.hard_link(&old, &at).unwrap();
                    self.model.paths.insert(at, self.model.paths[&old]);
                }
            }
            8 => self.rename(),
            9 | 10 => self.xattr(),
            11 => self.change(),
            _ => {
                if let Some(at) = self.any(|_| true).filter(|at| !self.model.has_children(at)) {
                    self.fs.remove(&at).unwrap();
                    self.model.paths.remove(&at);
                }
            }
        }
    }
}

#[test]
fn random_edits_match_a_model() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    tree(&file_in(&folder, "tree"));
    let image = file_in(&folder, "a.img");
    for run in 0..longer(1) {
        for (seed, set) in (1..).zip(SETS) {
            set.make(&image, 64, Some(&file_in(&folder, "tree")));
            let journal_before = journal(&image);
            let mut numbers = Numbers::new(run << 32 | seed);
            let mut fs = edit(&image);
            // So that inodes are written in the middle of edits, too.
            if seed % 2 == 0 {
                fs.keep_inodes(3);
            }
            let mut model = Model::of(&fs);
            for round in 0..ROUNDS {
                edits(&mut fs, &mut model, &mut numbers, set, TIMES);
                fs.commit().unwrap();
                assert_clean(&image);
                model.compare(&fs);
                eprintln!(
                    "run {run}, {set}, round {round}: {} names",
                    model.paths.len()
                );
            }
            model.compare_debugfs(&image, folder.path());
            assert!(journal(&image) == journal_before);
        }
    }
}

/// Writes, overwrites and removes until nothing fits; what does not fit changes nothing.
fn crowd(fs: &mut Ext4<ImageFile>, model: &mut Model, numbers: &mut Numbers) -> usize {
    let mut refused = 0;
    for _ in 0..400 {
        let name = format!("/dir{}/name-{}", numbers.below(3), numbers.below(60));
        let at = FsPath::new(name).unwrap();
        let attributes = attributes(0o600, 9);
        if numbers.below(4) == 0 {
            if model.paths.remove(&at).is_some() {
                fs.remove(&at).unwrap();
            }
            continue;
        }
        let most = [3000, 70_000, 900_000][numbers.below(3)];
        let len = numbers.below(most);
        let mut content = numbers.bytes(len);
        // Holes make trees of many pieces.
        for piece in content
            .chunks_mut(2048)
            .step_by(2)
            .take(numbers.below(2) * 400)
        {
            piece.fill(0);
        }
        match fs.write_file(&at, &attributes, content.len() as u64, &mut &content[..]) {
            Ok(()) => {
                model.paths.remove(&at);
                model.add(&at, Body::File(content), &attributes);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                refused += 1;
            }
        }
    }
    refused
}

#[test]
fn nearly_full_filesystems_stay_right() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    let ext3 = "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize";
    let kinds = [
        ("", "1024", "512"),
        ("^metadata_csum,uninit_bg", "4096", "256"),
        (ext3, "1024", "256"),
    ];
    for (seed, (features, block, group)) in (1..=longer(3)).zip(kinds.into_iter().cycle()) {
        mke2fs(
            &image,
            10,
            features,
            None,
            &["-b", block, "-g", group, "-i", "16384"],
        );
        let mut numbers = Numbers::new(seed);
        let mut fs = edit(&image);
        let mut model = Model::of(&fs);
        for number in 0..3 {
            let at = FsPath::new(format!("/dir{number}")).unwrap();
            fs.create_dir(&at, &attributes(0o755, 1)).unwrap();
            model.add(&at, Body::Directory, &attributes(0o755, 1));
        }
        for round in 0..3 {
            let refused = crowd(&mut fs, &mut model, &mut numbers);
            fs.commit().unwrap();
            assert_clean(&image);
            model.compare(&fs);
            let free = fs.capacity().unwrap().free_bytes;
            eprintln!("{features:?} round {round}: {refused} refused, {free} bytes free");
            assert!(refused > 10 || round == 0);
        }
        // Many files go from groups with very different bitmaps; every other one stays as it was.
        let files: Vec<_> = model
            .paths
            .keys()
            .filter(|at| !model.is_dir(at))
            .step_by(2)
            .cloned()
            .collect();
        for at in files {
            fs.remove(&at).unwrap();
            model.paths.remove(&at);
        }
        fs.commit().unwrap();
        assert_clean(&image);
        model.compare(&fs);
        let left: u64 = fs.capacity().unwrap().free_bytes;
        let at = FsPath::new("/rest").unwrap();
        let size = left - left / 50 - 65_536;
        fs.write_file(
            &at,
            &attributes(0o600, 1),
            size,
            &mut std::io::repeat(8).take(size),
        )
        .unwrap();
        fs.commit().unwrap();
        assert_clean(&image);
        model.add(
            &at,
            Body::File(vec![8; usize::try_from(size).unwrap()]),
            &attributes(0o600, 1),
        );
        model.compare(&fs);
    }
}
