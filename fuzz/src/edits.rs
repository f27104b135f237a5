//! Sequences of edits, each done to a volume and to a model of it: what the model forbids must fail, what it allows may
//! fail only for want of room, and after the commit the volume opens again and holds what the model says.
//!
//! ```text
//!   │operation│which folder│which name│value│…      four bytes for each edit
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use flatbake::fs::{
    Attributes, FileSystem, FileSystemMut, FileType, FsKind, FsPath, MetadataChange, Timestamp,
};
use flatbake::fs::{open, walk};
use flatbake::{ErrorKind, Result};

use crate::device::{Base, Layer};
use crate::volumes::editor;

/// Most edits of an input.
const EDITS_MAX: usize = 64;

/// Names that differ in any case, short ones and long ones.
const NAMES: [&str; 10] = [
    "a",
    "b.txt",
    "file",
    "A name of some length.conf",
    "größe €",
    "dots.in.a.name",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "x1",
    "x2",
    "x3",
];

/// Lengths of files: none, within a block, blocks, and more than a direct block map or an inline extent holds.
const SIZES: [usize; 8] = [0, 1, 59, 512, 4096, 4097, 20_000, 150_000];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Special(FileType, (u32, u32)),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    body: Body,
    /// Mode, owner, group and time; of directories and symlinks, and on FAT, none of them.
    attributes: Option<Attributes>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a volume holds.
#[derive(Debug, Clone)]
struct Model {
    kind: FsKind,
    paths: BTreeMap<FsPath, usize>,
    nodes: Vec<Node>,
}

impl Model {
    fn of(fs: &dyn FileSystem) -> Result<Self> {
        let mut model = Self {
            kind: fs.kind(),
            paths: BTreeMap::new(),
            nodes: Vec::new(),
        };
        let mut inodes = BTreeMap::new();
        walk(fs, &FsPath::root(), &mut |entry| {
            let metadata = &entry.metadata;
            // FAT numbers empty files alike, and has no hard links.
            let shared = inodes
                .get(&metadata.inode)
                .copied()
                .filter(|_| metadata.nlink > 1 && metadata.file_type != FileType::Directory);
            if let Some(number) = shared {
                model.paths.insert(entry.path.clone(), number);
                return Ok(());
            }
            let body = match metadata.file_type {
                FileType::Directory => Body::Directory,
                FileType::Symlink => Body::Symlink(fs.read_link(entry.node)?),
                FileType::File => {
                    let file = fs.open(entry.node)?;
                    let mut bytes = vec![0; usize::try_from(file.size()).expect("small volumes")];
                    file.read_at(0, &mut bytes)?;
                    Body::File(bytes)
                }
                other => Body::Special(other, metadata.device),
            };
            let attributes = Attributes {
                mode: metadata.mode,
                uid: metadata.uid,
                gid: metadata.gid,
                mtime: metadata.mtime,
            };
            let xattrs = match metadata.file_type {
                FileType::Symlink => BTreeMap::new(),
                _ => fs
                    .xattrs(entry.node)?
                    .into_iter()
                    .map(|xattr| (xattr.name, xattr.value))
                    .collect(),
            };
            inodes.insert(metadata.inode, model.nodes.len());
            model.add(&entry.path, body, &attributes);
            model.nodes.last_mut().expect("just added").xattrs = xattrs;
            Ok(())
        })?;
        Ok(model)
    }

    fn add(&mut self, path: &FsPath, body: Body, attributes: &Attributes) {
        let keeps = self.kind != FsKind::Fat && matches!(body, Body::File(_) | Body::Special(..));
        let attributes = keeps.then(|| attributes.clone());
        self.paths.insert(path.clone(), self.nodes.len());
        self.nodes.push(Node {
            body,
            attributes,
            xattrs: BTreeMap::new(),
        });
    }

    fn get(&self, path: &FsPath) -> Option<&Node> {
        self.paths.get(path).map(|&number| &self.nodes[number])
    }

    fn node(&mut self, path: &FsPath) -> &mut Node {
        &mut self.nodes[self.paths[path]]
    }

    fn is_directory(&self, path: &FsPath) -> bool {
        self.get(path)
            .is_some_and(|node| node.body == Body::Directory)
    }

    fn is_file(&self, path: &FsPath) -> bool {
        self.get(path)
            .is_some_and(|node| matches!(node.body, Body::File(_)))
    }

    fn has_entries(&self, path: &FsPath) -> bool {
        self.paths
            .keys()
            .any(|other| other != path && other.starts_with(path))
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) {
        let moved: Vec<FsPath> = self
            .paths
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for old in moved {
            let number = self.paths.remove(&old).expect("a key");
            let rest = &old.as_bytes()[from.as_bytes().len()..];
            self.paths.insert(
                FsPath::new([to.as_bytes(), rest].concat()).expect("a path"),
                number,
            );
        }
    }

    fn compare(&self, found: &Self) {
        let names = |model: &Self| model.paths.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(found));
        let mut numbers = BTreeMap::new();
        for (path, &number) in &self.paths {
            let other = found.paths[path];
            assert_eq!(
                *numbers.entry(number).or_insert(other),
                other,
                "{path}: its other names"
            );
            assert!(
                self.nodes[number] == found.nodes[other],
                "{path}: {:?} became {:?}",
                brief(&self.nodes[number]),
                brief(&found.nodes[other])
            );
        }
    }
}

fn brief(
    node: &Node,
) -> (
    Option<usize>,
    &Option<Attributes>,
    &BTreeMap<Vec<u8>, Vec<u8>>,
) {
    let len = if let Body::File(bytes) = &node.body {
        Some(bytes.len())
    } else {
        None
    };
    (len, &node.attributes, &node.xattrs)
}

/// A volume to edit, and what it holds.
pub struct Subject {
    base: Arc<Base>,
    model: Model,
}

impl Subject {
    pub fn new(base: Arc<Base>) -> Self {
        let model = open(Layer::new(&base))
            .and_then(|fs| Model::of(&*fs))
            .expect("a sound volume");
        Self { base, model }
    }

    /// Does the edits of `input` and checks what comes of them.
    pub fn run(&self, input: &[u8]) {
        let target = Layer::new(&self.base);
        let mut fs = editor(&self.base, &target).expect("a sound volume");
        let mut model = self.model.clone();
        for edit in input.chunks_exact(4).take(EDITS_MAX) {
            let edit = Edit::new(&model, edit);
            match edit.apply(&mut *fs, &mut model) {
                Step::Done => {}
                Step::Failed => return,
            }
        }
        match fs.commit() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NoSpace => return,
            Err(error) => panic!("commit: {error:?}"),
        }
        drop(fs);
        let read = open(target.clone())
            .and_then(|fs| Model::of(&*fs))
            .expect("what was committed can be read");
        model.compare(&read);
        // Editors look closer than readers do.
        let base = Arc::new(target.into_base());
        let again = Layer::new(&base);
        let opened = editor(&base, &again).map(drop);
        opened.expect("what was committed can be edited");
    }
}

enum Step {
    Done,
    /// The editor is of no use any more.
    Failed,
}

struct Edit {
    operation: u8,
    /// The entry that is worked on.
    at: FsPath,
    /// An entry that is there.
    other: FsPath,
    value: u8,
}

impl Edit {
    fn new(model: &Model, bytes: &[u8]) -> Self {
        let (operation, folder, name, value) = (bytes[0], bytes[1], bytes[2], bytes[3]);
        let folders: Vec<&FsPath> = model
            .paths
            .keys()
            .filter(|path| model.is_directory(path))
            .collect();
        let folder = folders[usize::from(folder) % folders.len()];
        let at = folder
            .join(NAMES[usize::from(name) % NAMES.len()])
            .expect("a name");
        let other = model
            .paths
            .keys()
            .nth(usize::from(value) % model.paths.len())
            .expect("the root")
            .clone();
        Self {
            operation,
            at,
            other,
            value,
        }
    }

    fn attributes(&self) -> Attributes {
        let value = u32::from(self.value);
        // A time that FAT, too, can hold.
        let mtime = Timestamp {
            secs: 1_600_000_000 + 2 * i64::from(value),
            nanos: 0,
        };
        Attributes {
            mode: value * 16 & 0o777,
            uid: value,
            gid: value * 1000,
            mtime,
        }
    }

    fn content(&self) -> Vec<u8> {
        let len = SIZES[usize::from(self.value) % SIZES.len()];
        let step = usize::from(self.value) / SIZES.len();
        // Some are all zeroes, which may become holes.
        (0..len).map(|at| (at * step / 7 % 251) as u8).collect()
    }

    fn apply(&self, fs: &mut dyn FileSystemMut, model: &mut Model) -> Step {
        let (at, other, attributes) = (&self.at, &self.other, self.attributes());
        let is_fat = model.kind == FsKind::Fat;
        let is_new = model.get(at).is_none();
        let (result, allowed): (Result<()>, bool) = match self.operation % 10 {
            0 => {
                let result = fs.create_dir(at, &attributes);
                if is_new && result.is_ok() {
                    model.add(at, Body::Directory, &attributes);
                }
                (result, is_new)
            }
            1 | 2 => {
                let content = self.content();
                let result =
                    fs.write_file(at, &attributes, content.len() as u64, &mut &content[..]);
                let allowed = is_new || model.is_file(at);
                if allowed && result.is_ok() {
                    self.replace(model, content);
                }
                (result, allowed)
            }
            3 => {
                let target = [b't'].repeat(usize::from(self.value) + 1);
                let result = fs.symlink(at, &target, &attributes);
                if result.is_ok() {
                    model.add(at, Body::Symlink(target), &attributes);
                }
                (result, is_new && !is_fat)
            }
            4 => {
                let result = fs.hard_link(other, at);
                let allowed = is_new && !is_fat && !model.is_directory(other);
                if allowed && result.is_ok() {
                    model.paths.insert(at.clone(), model.paths[other]);
                }
                (result, allowed)
            }
            5 => {
                let (kind, device) = [(FileType::Fifo, (0, 0)), (FileType::CharDevice, (5, 1))]
                    [usize::from(self.value % 2)];
                let result = fs.mknod(at, kind, device, &attributes);
                if result.is_ok() {
                    model.add(at, Body::Special(kind, device), &attributes);
                }
                (result, is_new && !is_fat)
            }
            6 if !is_fat && (model.is_file(other) || model.is_directory(other)) => {
                let name = format!("user.{}", self.operation / 10).into_bytes();
                let value = vec![self.value; usize::from(self.value) * 2];
                let result = fs.set_xattr(other, &name, &value);
                match &result {
                    Ok(()) => drop(model.node(other).xattrs.insert(name, value)),
                    // More than an inode has room for.
                    Err(error) => {
                        assert!(
                            matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Unsupported),
                            "{error:?}"
                        );
                        return Step::Failed;
                    }
                }
                (result, true)
            }
            7 => {
                let allowed = model.get(at).is_some() && !model.has_entries(at);
                let result = fs.remove(at);
                if allowed && result.is_ok() {
                    model.paths.remove(at);
                }
                (result, allowed)
            }
            8 => return self.rename(fs, model),
            _ => {
                let change = MetadataChange {
                    mode: Some(attributes.mode),
                    uid: None,
                    gid: None,
                    mtime: Some(attributes.mtime),
                };
                let exists = !is_new;
                let result = if is_fat {
                    Ok(())
                } else {
                    fs.set_metadata(at, &change)
                };
                if let (Ok(()), false, true) = (&result, is_fat, exists) {
                    if let Some(kept) = &mut model.node(at).attributes {
                        (kept.mode, kept.mtime) = (attributes.mode, attributes.mtime);
                    }
                }
                (result, exists || is_fat)
            }
        };
        self.judge(result, allowed)
    }

    fn replace(&self, model: &mut Model, content: Vec<u8>) {
        let attributes = self.attributes();
        if !model.is_file(&self.at) {
            return model.add(&self.at, Body::File(content), &attributes);
        }
        let keeps = model.kind != FsKind::Fat;
        let node = model.node(&self.at);
        node.body = Body::File(content);
        node.attributes = keeps.then_some(attributes);
        node.xattrs.clear();
    }

    fn rename(&self, fs: &mut dyn FileSystemMut, model: &mut Model) -> Step {
        let (from, to) = (&self.other, &self.at);
        let both = model.paths.get(from) == model.paths.get(to);
        // To itself, and a directory over something else: whether that is done is for the editor to say.
        if from.is_root() || both || (model.get(to).is_some() && model.is_directory(from)) {
            return Step::Done;
        }
        let allowed = !to.starts_with(from) && !model.is_directory(to);
        let result = fs.rename(from, to);
        if allowed && result.is_ok() {
            model.paths.remove(to);
            model.rename(from, to);
        }
        self.judge(result, allowed)
    }

    fn judge(&self, result: Result<()>, allowed: bool) -> Step {
        let what = format!(
            "operation {} of {}, {}, {}",
            self.operation % 10,
            self.at,
            self.other,
            self.value
        );
        match result {
            Ok(()) => {
                assert!(allowed, "{what} should have failed");
                Step::Done
            }
            Err(error) => {
                assert!(
                    !allowed || error.kind() == ErrorKind::NoSpace,
                    "{what} should have worked: {error:?}"
                );
                assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {error:?}");
                Step::Failed
            }
        }
    }
}
