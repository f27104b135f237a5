//! Random sequences of edits, against a model that knows nothing of filesystems on disk.

use std::collections::{BTreeMap, HashMap};

use flatbake::ErrorKind;
use flatbake::fs::btrfs::{Btrfs, BtrfsEditor};
use flatbake::fs::{Attributes, FileSystemMut, FileType, FsPath, MetadataChange, Timestamp};
use sha2::{Digest, Sha256};

use crate::btrfs::fixture::{assert_clean, device, image};
use crate::btrfs::kernel;
use crate::btrfs::manifest::{hex, manifest, shown};
use crate::btrfs::read::same_tree;
use crate::btrfs::write::{edit, noise, text};
use crate::common::longer;

const EDITS_PER_COMMIT: usize = 400;

#[derive(Debug, Clone)]
struct Node {
    file_type: FileType,
    mode: u32,
    uid: u32,
    mtime: Timestamp,
    size: usize,
    /// What the manifest shows as content.
    content: String,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Paths without the leading slash; the root is the empty one.
struct Model {
    names: BTreeMap<Vec<u8>, usize>,
    nodes: HashMap<usize, Node>,
    made: usize,
}

fn parent(path: &[u8]) -> Vec<u8> {
    path.iter()
        .rposition(|&byte| byte == b'/')
        .map_or(Vec::new(), |at| path[..at].to_vec())
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        name.to_vec()
    } else {
        [folder, b"/", name].concat()
    }
}

impl Model {
    fn is_dir(&self, path: &[u8]) -> bool {
        self.names
            .get(path)
            .is_some_and(|id| self.nodes[id].file_type == FileType::Directory)
    }

    fn is_below(path: &[u8], folder: &[u8]) -> bool {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    fn has_children(&self, path: &[u8]) -> bool {
        self.names.keys().any(|name| Self::is_below(name, path))
    }

    fn create(&mut self, path: &[u8], mut node: Node) -> bool {
        if self.names.contains_key(path) || !self.is_dir(&parent(path)) {
            return false;
        }
        let inherited = self.nodes[&self.names[&parent(path)]]
            .xattrs
            .get(&b"btrfs.compression"[..])
            .cloned();
        if matches!(node.file_type, FileType::File | FileType::Directory) {
            node.xattrs
                .extend(inherited.map(|value| (b"btrfs.compression".to_vec(), value)));
        }
        self.made += 1;
        self.names.insert(path.to_vec(), self.made);
        self.nodes.insert(self.made, node);
        true
    }

    fn manifest(&self) -> String {
        // Names sorted as a walk meets them: entry by entry, not as whole strings.
        let mut names: Vec<&Vec<u8>> = self.names.keys().collect();
        names.sort_by(|a, b| a.split(|&c| c == b'/').cmp(b.split(|&c| c == b'/')));
        let mut first: HashMap<usize, String> = HashMap::new();
        let mut links: HashMap<usize, usize> = HashMap::new();
        self.names
            .values()
            .for_each(|id| *links.entry(*id).or_default() += 1);
        let mut out = String::new();
        for name in names {
            let id = self.names[name];
            let node = &self.nodes[&id];
            let directory = node.file_type == FileType::Directory;
            let path = shown(&[b"/", &name[..]].concat());
            let number = |value: usize| {
                if directory {
                    "-".to_owned()
                } else {
                    value.to_string()
                }
            };
            let mut fields = vec![
                path.clone(),
                format!("{:o}", node.file_type.mode_bits() | node.mode),
                format!("{}:0", node.uid),
                number(node.size),
                number(links[&id]),
                format!("{}.{:09}", node.mtime.secs, node.mtime.nanos),
                first.entry(id).or_insert(path).clone(),
                node.content.clone(),
            ];
            fields.extend(
                node.xattrs
                    .iter()
                    .map(|(name, value)| format!("{}={}", shown(name), shown(value))),
            );
            out.push_str(&fields.join(" "));
            out.push('\n');
        }
        out
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % end
    }

    /// A path that may or may not exist.
    fn path(&mut self, model: &Model) -> Vec<u8> {
        if self.below(2) == 0 {
            let at = self.below(model.names.len());
            return model.names.keys().nth(at).unwrap().clone();
        }
        let folders: Vec<&Vec<u8>> = model
            .names
            .keys()
            .filter(|name| model.is_dir(name))
            .collect();
        let folder = folders[self.below(folders.len())];
        let name = match self.below(40) {
            0 => vec![b'n'; 255],
            1 => b"\xff\xfe odd \\ name".to_vec(),
            n => format!("entry-{}", n * (1 + self.below(4))).into_bytes(),
        };
        join(folder, &name)
    }

    fn content(&mut self) -> Vec<u8> {
        let len = [0, 1, 100, 2048, 2049, 4096, 5000, 131_072, 131_073, 400_000][self.below(10)];
        if self.below(2) == 0 {
            text(len)
        } else {
            noise(len)
        }
    }
}

/// Makes one random edit in both; `true` where the model allowed it.
fn step(random: &mut Random, model: &mut Model, fs: &mut BtrfsEditor) -> bool {
    let name = random.path(model);
    let path = FsPath::new([b"/", &name[..]].concat()).unwrap();
    let secs = i64::try_from(random.below(1 << 30)).unwrap() * 8 - (1 << 31);
    let mtime = Timestamp {
        secs,
        nanos: u32::try_from(random.below(1_000_000_000)).unwrap(),
    };
    let attributes = Attributes {
        mode: u32::try_from(random.below(0o10000)).unwrap(),
        uid: 7,
        gid: 0,
        mtime,
    };
    let node = |file_type, mode, size, content: String| Node {
        file_type,
        mode,
        uid: 7,
        mtime,
        size,
        content,
        xattrs: BTreeMap::new(),
    };
    let existing = model.names.get(&name).copied();
    let (outcome, allowed) = match random.below(12) {
        0..=3 => {
            let content = random.content();
            let outcome =
                fs.write_file(&path, &attributes, content.len() as u64, &mut &content[..]);
            let fresh = node(
                FileType::File,
                attributes.mode,
                content.len(),
                hex(&Sha256::digest(&content)),
            );
            let allowed = match existing {
                Some(id) if model.nodes[&id].file_type == FileType::File => {
                    let mut xattrs = std::mem::take(&mut model.nodes.get_mut(&id).unwrap().xattrs);
                    xattrs.retain(|name, _| name == b"btrfs.compression");
                    model.nodes.insert(id, Node { xattrs, ..fresh });
                    true
                }
                Some(_) => false,
                None => model.create(&name, fresh),
            };
            (outcome, allowed)
        }
        4 => {
            let fresh = node(FileType::Directory, attributes.mode, 0, "-".to_owned());
            (
                fs.create_dir(&path, &attributes),
                model.create(&name, fresh),
            )
        }
        5 => {
            let target = vec![b't'; 1 + random.below(300)];
            let fresh = node(FileType::Symlink, 0o777, target.len(), shown(&target));
            (
                fs.symlink(&path, &target, &attributes),
                model.create(&name, fresh),
            )
        }
        6 => {
            let fresh = node(FileType::CharDevice, attributes.mode, 0, "5:9".to_owned());
            (
                fs.mknod(&path, FileType::CharDevice, (5, 9), &attributes),
                model.create(&name, fresh),
            )
        }
        7 => {
            let new = random.path(model);
            let outcome = fs.hard_link(&path, &FsPath::new([b"/", &new[..]].concat()).unwrap());
            let allowed = existing.is_some()
                && !model.is_dir(&name)
                && !model.names.contains_key(&new)
                && model.is_dir(&parent(&new));
            if allowed {
                model.names.insert(new, existing.unwrap());
            }
            (outcome, allowed)
        }
        8 => {
            let mode = 0o640;
            let uid = u32::try_from(random.below(70_000)).unwrap();
            let change = MetadataChange {
                mode: Some(mode),
                uid: Some(uid),
                gid: None,
                mtime: Some(mtime),
            };
            let outcome = fs.set_metadata(&path, &change);
            if let Some(id) = existing {
                let node = model.nodes.get_mut(&id).unwrap();
                (node.mode, node.uid, node.mtime) = (mode, uid, mtime);
            }
            (outcome, existing.is_some())
        }
        9 => {
            let key = format!("user.key{}", random.below(4)).into_bytes();
            let value = vec![b'v'; random.below(900)];
            // Linux keeps user attributes off device nodes and symlinks.
            let able = existing.is_some_and(|id| {
                matches!(
                    model.nodes[&id].file_type,
                    FileType::File | FileType::Directory
                )
            });
            if !able {
                return false;
            }
            let xattrs = &mut model.nodes.get_mut(&existing.unwrap()).unwrap().xattrs;
            if random.below(3) == 0 {
                (fs.remove_xattr(&path, &key), xattrs.remove(&key).is_some())
            } else {
                xattrs.insert(key.clone(), value.clone());
                (fs.set_xattr(&path, &key, &value), true)
            }
        }
        10 => {
            let new = random.path(model);
            let outcome = fs.rename(&path, &FsPath::new([b"/", &new[..]].concat()).unwrap());
            (outcome, rename(model, &name, &new))
        }
        _ => {
            let allowed = existing.is_some() && !name.is_empty() && !model.has_children(&name);
            if allowed {
                model.names.remove(&name);
            }
            (fs.remove(&path), allowed)
        }
    };
    assert_eq!(outcome.is_ok(), allowed, "{path}: {outcome:?}");
    if let Err(error) = outcome {
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput),
            "{error:?}"
        );
    }
    allowed
}

fn rename(model: &mut Model, from: &[u8], to: &[u8]) -> bool {
    let source = model.names.get(from).copied();
    let bad = source.is_none()
        || from.is_empty()
        || to.is_empty()
        || !model.is_dir(&parent(to))
        || Model::is_below(to, from);
    if bad {
        return false;
    }
    if let Some(target) = model.names.get(to) {
        if Some(*target) == source {
            return true;
        }
        if model.is_dir(to) {
            return false;
        }
    }
    let moved: Vec<Vec<u8>> = model
        .names
        .keys()
        .filter(|name| &name[..] == from || Model::is_below(name, from))
        .cloned()
        .collect();
    for name in moved {
        let id = model.names.remove(&name).unwrap();
        model.names.insert([to, &name[from.len()..]].concat(), id);
    }
    true
}

/// Starts from an empty tree: the fixture's, with everything removed.
fn emptied(fs: &mut BtrfsEditor, model: &mut Model) {
    let text = manifest(fs);
    for line in text.lines().skip(1).collect::<Vec<_>>().into_iter().rev() {
        let mut bytes = Vec::new();
        let name = line.split(' ').next().unwrap().as_bytes();
        let mut at = 0;
        while at < name.len() {
            if name[at] == b'\\' {
                bytes.push(
                    u8::from_str_radix(std::str::from_utf8(&name[at + 2..at + 4]).unwrap(), 16)
                        .unwrap(),
                );
                at += 4;
            } else {
                bytes.push(name[at]);
                at += 1;
            }
        }
        fs.remove(&FsPath::new(bytes).unwrap()).unwrap();
    }
    let line = manifest(fs);
    let mtime = line.split(' ').nth(5).unwrap().split_once('.').unwrap();
    let mtime = Timestamp {
        secs: mtime.0.parse().unwrap(),
        nanos: mtime.1.parse().unwrap(),
    };
    let compression = line
        .contains("btrfs.compression=zlib")
        .then(|| (b"btrfs.compression".to_vec(), b"zlib".to_vec()));
    let root = Node {
        file_type: FileType::Directory,
        mode: 0o755,
        uid: 0,
        mtime,
        size: 0,
        content: "-".to_owned(),
        xattrs: compression.into_iter().collect(),
    };
    model.names.insert(Vec::new(), 0);
    model.nodes.insert(0, root);
}

#[test]
fn random_edits_agree_with_a_model() {
    let kinds = [
        ("oem-plain", 0x5eed_0001, 2400),
        ("kernel-lzo", 0x5eed_0002, 800),
    ];
    for (run, (name, seed, edits)) in (0..longer(2)).zip(kinds.into_iter().cycle()) {
        let mut random = Random((run / 2) << 32 | seed);
        let mut model = Model {
            names: BTreeMap::new(),
            nodes: HashMap::new(),
            made: 0,
        };
        let mut source = image(name);
        let (mut fs, mut target) = edit(&source);
        emptied(&mut fs, &mut model);
        let mut allowed = 0;
        let mut done = 0;
        while done < edits {
            for _ in 0..EDITS_PER_COMMIT {
                allowed += usize::from(step(&mut random, &mut model, &mut fs));
            }
            done += EDITS_PER_COMMIT;
            let expected = model.manifest();
            same_tree(&manifest(&fs), &expected);
            fs.commit().unwrap();
            assert_clean(target.path(), name);
            same_tree(
                &manifest(&Btrfs::open(device(target.path())).unwrap()),
                &expected,
            );
            source = target;
            (fs, target) = edit(&source);
        }
        assert!(
            allowed > edits / 3,
            "{allowed} edits of {edits} were possible"
        );
        kernel::reads(source.path(), &model.manifest());
    }
}
