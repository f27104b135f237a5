//! The tree that a new filesystem is made of, read from its source before anything is written: names, attributes, links; no
//! content.
//!
//! Nodes are numbered as they are met, directories before the directories in them.

mod same;

use std::collections::{BTreeMap, HashMap};

use super::{
    Attributes, Entry, FileRead, FileSystem, FileType, FsPath, Node as SourceNode, Timestamp,
    Xattr, walk,
};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::finding::{Code, Finding};
use crate::progress::Progress;
pub(in crate::fs) use same::same_files;

/// Memory for names, paths, targets and attributes: about two million entries of a usual tree.
const TREE_BYTES_MAX: usize = 512 << 20;
/// What a node takes besides its path.
const NODE_BYTES: usize = 256;
/// Longest target of a symlink (`PATH_MAX` of Linux).
const TARGET_MAX: u64 = 4096;

/// A file to add to the tree, or to put in the place of one that is there (whose extended attributes it keeps).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// Where; the folder must be in the tree.
    pub path: FsPath,
    /// Mode, owner and time.
    pub attributes: Attributes,
    /// Its content.
    pub content: Vec<u8>,
}

/// What a new filesystem can hold.
#[derive(Debug)]
pub(in crate::fs) struct Rules {
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
    /// Most bytes of all files together, and of one.
    pub content_max: u64,
    pub file_max: u64,
    /// Whether an attribute of this name can be stored, and an error for one that has too much of something.
    pub is_storable: fn(&[u8]) -> bool,
    pub check_xattr: fn(&Xattr) -> Result<()>,
    /// What is said where an attribute is left out, with its `name` and a `path`.
    pub left_out: &'static Code,
}

/// All different sets of attributes, with their numbers.
#[derive(Debug, Default)]
pub(in crate::fs) struct XattrSets {
    pub numbers: BTreeMap<Vec<Xattr>, u32>,
}

impl XattrSets {
    /// The number of a set of storable attributes; `None` for the empty one.
    fn number(&mut self, mut set: Vec<Xattr>) -> Result<Option<u32>> {
        if set.is_empty() {
            return Ok(None);
        }
        set.sort();
        let next = u32::try_from(self.numbers.len()).map_err(|_| {
            Error::unsupported("more than 2^32 different sets of extended attributes")
                .because(Reason::Limit)
        })?;
        Ok(Some(*self.numbers.entry(set).or_insert(next)))
    }

    /// The sets in the order of their numbers.
    pub fn in_order(&self) -> Vec<&Vec<Xattr>> {
        let mut sets: Vec<(&u32, &Vec<Xattr>)> = self
            .numbers
            .iter()
            .map(|(set, number)| (number, set))
            .collect();
        sets.sort();
        sets.into_iter().map(|(_, set)| set).collect()
    }
}

/// Where a file's content is.
#[derive(Debug)]
pub(in crate::fs) enum Content {
    /// In the source: this node, first met under this path.
    Source(FsPath, SourceNode),
    Memory(Vec<u8>),
}

#[derive(Debug)]
pub(in crate::fs) enum Part {
    /// Entries by name.
    Directory(BTreeMap<Vec<u8>, usize>),
    File(Content, u64),
    Symlink(Vec<u8>),
    /// The encoded device number.
    Device(u32),
    Ipc,
}

/// An inode to be.
#[derive(Debug)]
pub(in crate::fs) struct Node {
    pub file_type: FileType,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    pub nlink: u32,
    pub xattrs: Option<u32>,
    /// The directory it was first met in; the root's is itself.
    pub parent: usize,
    pub part: Part,
}

#[derive(Debug)]
pub(in crate::fs) struct Tree {
    pub nodes: Vec<Node>,
    pub xattrs: XattrSets,
    /// Bytes of all files.
    pub content_bytes: u64,
}

/// Reads the tree below the root of `source` and puts `added` into it.
pub(in crate::fs) fn read(
    source: &dyn FileSystem,
    added: &[AddedFile],
    rules: &Rules,
    progress: &dyn Progress,
) -> Result<Tree> {
    let mut reader = Reader {
        source,
        rules,
        tree: Tree {
            nodes: Vec::new(),
            xattrs: XattrSets::default(),
            content_bytes: 0,
        },
        linked: HashMap::new(),
        above: Vec::new(),
        memory: 0,
        left_out: None,
    };
    walk(source, &FsPath::root(), &mut |entry| {
        reader.visit(&entry).at(|| entry.path.to_string())
    })?;
    for file in added {
        reader.add(file).at(|| file.path.to_string())?;
    }
    if let Some((name, path)) = reader.left_out {
        progress.found(
            &Finding::new(rules.left_out)
                .with("name", name)
                .with("path", path),
        );
    }
    reader.tree.count_content(rules.content_max)?;
    Ok(reader.tree)
}

struct Reader<'a> {
    source: &'a dyn FileSystem,
    rules: &'a Rules,
    tree: Tree,
    /// Nodes of files with several names, by the source's inode number.
    linked: HashMap<u64, usize>,
    /// The directories on the way to the entry that is visited.
    above: Vec<usize>,
    memory: usize,
    /// An attribute that could not be stored, and where.
    left_out: Option<(String, String)>,
}

impl Reader<'_> {
    fn visit(&mut self, entry: &Entry) -> Result<()> {
        let Entry { path, metadata, .. } = entry;
        self.take_memory(NODE_BYTES + path.as_bytes().len())?;
        let depth = path.components().count();
        self.above.truncate(depth);
        let parent = self.above.last().copied().unwrap_or(0);
        let is_dir = metadata.file_type == FileType::Directory;
        let known = self
            .linked
            .get(&metadata.inode)
            .copied()
            .filter(|_| !is_dir && metadata.nlink > 1);
        let id = match known {
            Some(id) => id,
            None => {
                let node = self.node(entry, parent)?;
                self.tree.nodes.push(node);
                self.tree.nodes.len() - 1
            }
        };
        if is_dir {
            self.above.push(id);
        } else if metadata.nlink > 1 {
            self.linked.insert(metadata.inode, id);
        }
        match path.name() {
            Some(name) => self.enter(parent, name, id),
            None => Ok(()),
        }
    }

    /// Makes `id` the entry `name` of a directory and counts links.
    fn enter(&mut self, parent: usize, name: &[u8], id: usize) -> Result<()> {
        let is_dir = self.tree.nodes[id].file_type == FileType::Directory;
        let node = &mut self.tree.nodes[parent];
        let Part::Directory(entries) = &mut node.part else {
            return Err(Error::invalid("lies in something that is not a directory")
                .because(Reason::NotADirectory));
        };
        if entries.insert(name.to_vec(), id).is_some() {
            return Err(Error::corrupt("two entries of this name in one directory"));
        }
        if is_dir {
            node.nlink += 1;
        } else {
            self.tree.nodes[id].nlink += 1;
        }
        Ok(())
    }

    fn node(&mut self, entry: &Entry, parent: usize) -> Result<Node> {
        let Entry {
            path,
            node,
            metadata,
        } = entry;
        let part = match metadata.file_type {
            FileType::Directory => Part::Directory(BTreeMap::new()),
            FileType::File => Part::File(
                Content::Source(path.clone(), *node),
                self.check_size(metadata.size)?,
            ),
            FileType::Symlink => Part::Symlink(self.target(*node, metadata.size)?),
            FileType::CharDevice | FileType::BlockDevice => {
                Part::Device(device_number(metadata.device)?)
            }
            FileType::Fifo | FileType::Socket => Part::Ipc,
        };
        Ok(Node {
            file_type: metadata.file_type,
            mode: u16::try_from(metadata.mode & 0o7777).map_err(|_| Error::internal("masked"))?,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: self.time(metadata.mtime),
            nlink: if metadata.file_type == FileType::Directory {
                2
            } else {
                0
            },
            xattrs: self.xattrs(entry)?,
            parent,
            part,
        })
    }

    fn add(&mut self, file: &AddedFile) -> Result<()> {
        let name = file
            .path
            .name()
            .ok_or_else(|| Error::invalid("the root cannot be replaced with a file"))?;
        let mut parent = 0;
        for step in file.path.parent().iter().flat_map(|path| path.components()) {
            parent = self.entry(parent, step).ok_or_else(|| {
                Error::not_found(format!(
                    "the folder '{}' on the way to it does not exist",
                    step.escape_ascii()
                ))
            })?;
        }
        let xattrs = match self.entry(parent, name) {
            Some(old) if self.tree.nodes[old].file_type == FileType::Directory => {
                return Err(Error::invalid("a directory cannot be replaced with a file"));
            }
            Some(old) => {
                self.tree.nodes[old].nlink -= 1;
                if let Part::Directory(entries) = &mut self.tree.nodes[parent].part {
                    entries.remove(name);
                }
                self.tree.nodes[old].xattrs
            }
            None => None,
        };
        let mtime = self.time(file.attributes.mtime);
        let size = self.check_size(to_u64(file.content.len()))?;
        self.tree.nodes.push(Node {
            file_type: FileType::File,
            mode: u16::try_from(file.attributes.mode & 0o7777)
                .map_err(|_| Error::internal("masked"))?,
            uid: file.attributes.uid,
            gid: file.attributes.gid,
            mtime,
            nlink: 0,
            xattrs,
            parent,
            part: Part::File(Content::Memory(file.content.clone()), size),
        });
        self.enter(parent, name, self.tree.nodes.len() - 1)
    }

    fn entry(&self, directory: usize, name: &[u8]) -> Option<usize> {
        match &self.tree.nodes[directory].part {
            Part::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn check_size(&self, size: u64) -> Result<u64> {
        let max = self.rules.file_max;
        if size > max {
            return Err(Error::unsupported(format!(
                "a file of {size} bytes: at most {max} are possible"
            ))
            .because(Reason::Limit));
        }
        Ok(size)
    }

    fn target(&mut self, node: SourceNode, len: u64) -> Result<Vec<u8>> {
        let range = 1..=TARGET_MAX;
        let fault = |len| {
            Error::unsupported(format!(
                "a symlink of {len} bytes: 1 to {TARGET_MAX} are possible"
            ))
        };
        if !range.contains(&len) {
            return Err(fault(len));
        }
        let target = self.source.read_link(node)?;
        if !range.contains(&to_u64(target.len())) {
            return Err(fault(to_u64(target.len())));
        }
        self.take_memory(target.len())?;
        Ok(target)
    }

    fn xattrs(&mut self, entry: &Entry) -> Result<Option<u32>> {
        let (stored, other): (Vec<Xattr>, Vec<Xattr>) = self
            .source
            .xattrs(entry.node)?
            .into_iter()
            .partition(|xattr| (self.rules.is_storable)(&xattr.name));
        // btrfs has its properties as attributes; they mean nothing elsewhere.
        let lost = other
            .into_iter()
            .find(|xattr| !xattr.name.starts_with(b"btrfs."));
        if let (Some(xattr), None) = (lost, &self.left_out) {
            self.left_out = Some((
                xattr.name.escape_ascii().to_string(),
                entry.path.to_string(),
            ));
        }
        self.take_memory(
            stored
                .iter()
                .map(|xattr| xattr.name.len() + xattr.value.len())
                .sum(),
        )?;
        stored.iter().try_for_each(self.rules.check_xattr)?;
        self.tree.xattrs.number(stored)
    }

    /// A time, or the latest there may be.
    fn time(&self, time: Timestamp) -> Timestamp {
        match self.rules.latest_time {
            Some(latest) if time.secs >= latest => Timestamp {
                secs: latest,
                nanos: 0,
            },
            _ => time,
        }
    }

    fn take_memory(&mut self, bytes: usize) -> Result<()> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > TREE_BYTES_MAX {
            return Err(Error::unsupported(format!(
                "the names and attributes of the tree take more than {} MiB of memory",
                TREE_BYTES_MAX >> 20
            ))
            .because(Reason::Limit));
        }
        Ok(())
    }
}

impl Tree {
    fn count_content(&mut self, max: u64) -> Result<()> {
        for node in &self.nodes {
            if let Node {
                part: Part::File(_, size),
                nlink: 1..,
                ..
            } = node
            {
                self.content_bytes = self.content_bytes.saturating_add(*size);
            }
        }
        if self.content_bytes > max {
            return Err(Error::unsupported(format!(
                "files of {} bytes in all: at most {max} are packed",
                self.content_bytes
            ))
            .because(Reason::Limit));
        }
        Ok(())
    }
}

/// A file that is read piece by piece.
pub(in crate::fs) struct Open<'a> {
    /// Its node, by number.
    pub node: usize,
    pub content: Reading<'a>,
    /// What was read so far.
    pub offset: u64,
    pub size: u64,
}

impl<'a> Open<'a> {
    /// The file `nodes[node]`, of which nothing was read.
    pub fn new(source: &'a dyn FileSystem, nodes: &'a [Node], node: usize) -> Result<Self> {
        let content = Reading::open(source, &nodes[node])?;
        let Part::File(_, size) = nodes[node].part else {
            return Err(Error::internal("not a file"));
        };
        Ok(Self {
            node,
            content,
            offset: 0,
            size,
        })
    }

    /// Fills `buffer` with the next bytes and returns how many it has of them: fewer where the file ends.
    pub fn next_piece(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let len = to_u64(buffer.len()).min(self.size - self.offset);
        let piece = &mut buffer[..to_usize(len)?];
        self.content.read(self.offset, piece)?;
        self.offset += len;
        Ok(piece.len())
    }

    /// Whether all was read.
    pub fn is_over(&self) -> bool {
        self.offset == self.size
    }
}

/// A file whose content is read.
pub(in crate::fs) enum Reading<'a> {
    Source(Box<dyn FileRead + 'a>),
    Memory(&'a [u8]),
}

impl<'a> Reading<'a> {
    /// Opens the file `node`.
    pub fn open(source: &'a dyn FileSystem, node: &'a Node) -> Result<Self> {
        let Part::File(content, size) = &node.part else {
            return Err(Error::internal("not a file"));
        };
        match content {
            Content::Memory(bytes) => Ok(Self::Memory(bytes)),
            Content::Source(_, inner) => {
                let file = source.open(*inner)?;
                if file.size() != *size {
                    return Err(Error::corrupt(format!(
                        "{} bytes to read of a file of {size} bytes",
                        file.size()
                    )));
                }
                Ok(Self::Source(file))
            }
        }
    }

    /// Reads within the file.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self {
            Self::Source(file) => file.read_at(offset, buf),
            Self::Memory(bytes) => {
                let start = to_usize(offset)?;
                buf.copy_from_slice(&bytes[start..start + buf.len()]);
                Ok(())
            }
        }
    }
}

impl Node {
    /// Bytes of a file; 0 for anything else.
    pub fn size(&self) -> u64 {
        match self.part {
            Part::File(_, size) => size,
            _ => 0,
        }
    }

    /// What errors call it.
    pub fn name(&self) -> String {
        match &self.part {
            Part::File(Content::Source(path, _), _) => path.to_string(),
            _ => "an added file".to_owned(),
        }
    }
}

/// A device number as Linux's `new_encode_dev` has it: 12 bits of major, 20 of minor.
fn device_number((major, minor): (u32, u32)) -> Result<u32> {
    if major > 0xfff || minor > 0xf_ffff {
        return Err(Error::unsupported(format!(
            "device {major}:{minor}: at most 4095:1048575 is possible"
        ))
        .because(Reason::Limit));
    }
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
