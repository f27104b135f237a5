//! Trees that are put together before they are written: from folders of the host, archives, layers of containers, other
//! filesystems and single edits.
//!
//! ```text
//!   host folder ── add_folder ──┐
//!   archives, layers ─ inject ──┼─▶ StagedTree ──▶ any writer: squashfs, EROFS, copied into ext4, btrfs, FAT
//!   filesystem ──── copy_tree ──┘   names and attributes in memory; content in one file without a name,
//!                                   or where it is on the host
//! ```
//!
//! It is a [`FileSystem`](super::FileSystem) and can be edited like one, so that all that unpacks into an image unpacks
//! into it too.

mod content;
mod edit;
mod folder;
mod view;

use std::collections::BTreeMap;
use std::path::Path;

use self::content::{Content, Spool};
pub use self::folder::FolderOptions;
use super::{Attributes, FileType, FsPath, Timestamp};
use crate::error::{Error, Reason, Result};

/// Memory for names, targets, attributes and lists of stretches: some two million entries of a usual tree.
const MEMORY_MAX: usize = 512 << 20;
/// What an entry takes besides its name.
const ENTRY_BYTES: usize = 256;

/// A tree whose entries are known, and whose content can be read, until it is written somewhere.
#[derive(Debug)]
pub struct StagedTree {
    /// By number; what was removed leaves a gap.
    inodes: Vec<Option<Inode>>,
    spool: Spool,
    /// An estimate of the memory that is taken.
    memory: usize,
}

#[derive(Debug)]
struct Inode {
    attributes: Attributes,
    /// Names that it has; the root and other directories have one.
    names: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    part: Part,
}

#[derive(Debug)]
enum Part {
    /// Entries by name.
    Directory(BTreeMap<Vec<u8>, usize>),
    File(Content),
    Symlink(Vec<u8>),
    /// A device, fifo or socket.
    Special(FileType, (u32, u32)),
}

impl Part {
    fn file_type(&self) -> FileType {
        match self {
            Self::Directory(_) => FileType::Directory,
            Self::File(_) => FileType::File,
            Self::Symlink(_) => FileType::Symlink,
            Self::Special(file_type, _) => *file_type,
        }
    }
}

/// The number of the root directory.
const ROOT: usize = 0;

impl StagedTree {
    /// An empty tree; its root has mode 0755, belongs to root and has the time `mtime`. `temp_dir` takes the file
    /// without a name that holds what is written into the tree.
    pub fn new(temp_dir: &Path, mtime: Timestamp) -> Self {
        let root = Inode {
            attributes: Attributes {
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime,
            },
            names: 1,
            xattrs: BTreeMap::new(),
            part: Part::Directory(BTreeMap::new()),
        };
        Self {
            inodes: vec![Some(root)],
            spool: Spool::new(temp_dir),
            memory: 0,
        }
    }

    fn inode(&self, number: usize) -> Result<&Inode> {
        let inode = self.inodes.get(number).and_then(Option::as_ref);
        inode.ok_or_else(|| Error::not_found("no such entry"))
    }

    fn inode_mut(&mut self, number: usize) -> Result<&mut Inode> {
        let inode = self.inodes.get_mut(number).and_then(Option::as_mut);
        inode.ok_or_else(|| Error::not_found("no such entry"))
    }

    fn children(&self, number: usize) -> Result<&BTreeMap<Vec<u8>, usize>> {
        match &self.inode(number)?.part {
            Part::Directory(children) => Ok(children),
            _ => Err(not_a_directory()),
        }
    }

    fn children_mut(&mut self, number: usize) -> Result<&mut BTreeMap<Vec<u8>, usize>> {
        match &mut self.inode_mut(number)?.part {
            Part::Directory(children) => Ok(children),
            _ => Err(not_a_directory()),
        }
    }

    /// The entry at `path`.
    fn number(&self, path: &FsPath) -> Result<usize> {
        let mut number = ROOT;
        for name in path.components() {
            let next = self.children(number)?.get(name);
            number = *next.ok_or_else(|| Error::not_found("no such file or directory"))?;
        }
        Ok(number)
    }

    /// The directory that holds `path`, and the last name of it.
    fn place<'a>(&self, path: &'a FsPath) -> Result<(usize, &'a [u8])> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(Error::internal("the root directory is in no directory"));
        };
        let number = self.number(&parent)?;
        match self.inode(number)?.part {
            Part::Directory(_) => Ok((number, name)),
            _ => {
                Err(Error::invalid("the parent is not a directory").because(Reason::NotADirectory))
            }
        }
    }

    /// Counts memory, before it is taken.
    fn take(&mut self, bytes: usize) -> Result<()> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > MEMORY_MAX {
            return Err(Error::unsupported(format!(
                "names and attributes of the tree take more than {MEMORY_MAX} bytes"
            ))
            .because(Reason::Limit)
            .with_hint("leave out folders with very many files"));
        }
        Ok(())
    }

    /// Adds an entry under a name that is free.
    fn add(&mut self, parent: usize, name: &[u8], inode: Inode) -> Result<usize> {
        if self.children(parent)?.contains_key(name) {
            return Err(exists());
        }
        let attributes: usize = inode
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.take(ENTRY_BYTES + name.len() + attributes)?;
        let number = self.inodes.len();
        self.inodes.push(Some(inode));
        self.children_mut(parent)?.insert(name.to_vec(), number);
        Ok(number)
    }

    /// Takes a name away, and what it was the last name of.
    fn unlink(&mut self, parent: usize, name: &[u8]) -> Result<()> {
        let removed = self.children_mut(parent)?.remove(name);
        let number = removed.ok_or_else(|| Error::not_found("no such file or directory"))?;
        let inode = self.inode_mut(number)?;
        inode.names = inode.names.saturating_sub(1);
        if inode.names == 0
            && let Some(gone) = self.inodes.get_mut(number)
        {
            *gone = None;
        }
        Ok(())
    }
}

fn not_a_directory() -> Error {
    Error::not_found("not a directory").because(Reason::NotADirectory)
}

fn exists() -> Error {
    Error::invalid("exists already").because(Reason::Exists)
}
