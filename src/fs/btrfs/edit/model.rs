//! The whole tree of a filesystem in memory: inodes, names, attributes; of contents only where they are.

use std::collections::BTreeMap;

use super::super::extent::Compression;
use super::super::inode::Inode;
use super::super::key::object;
use crate::error::{Error, Reason, Result};
use crate::fs::{FileType, FsPath};

/// Inodes of one tree held in memory, about 500 bytes each; an OEM partition has a few hundred.
pub(super) const INODES_MAX: usize = 1 << 20;
/// Hard links of one file (`BTRFS_LINK_MAX`).
const LINKS_MAX: usize = 65535;
/// Where the index of directory entries begins: 0 and 1 stand for `.` and `..`.
pub(super) const FIRST_INDEX: u64 = 2;

/// All inodes by number.
#[derive(Debug)]
pub(super) struct Tree {
    inodes: BTreeMap<u64, Node>,
}

/// One inode with all that belongs to it.
#[derive(Debug)]
pub(super) struct Node {
    /// Its `nlink`, `nbytes` and a directory's `size` are worked out when it is written.
    pub inode: Inode,
    /// Its names by parent and index; the root has none.
    pub names: BTreeMap<(u64, u64), Vec<u8>>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Directory(Directory),
    /// Of a file or symlink: ascending, without overlaps; what lies between is a hole.
    Extents(Vec<Span>),
    /// Device nodes, fifos, sockets.
    None,
}

/// The entries of a directory by name.
#[derive(Debug)]
pub(super) struct Directory {
    pub children: BTreeMap<Vec<u8>, Child>,
    /// The index of the next entry made.
    pub next_index: u64,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child {
    pub inode: u64,
    pub file_type: FileType,
    /// Its place in the order of creation.
    pub index: u64,
    pub transid: u64,
}

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// Where in the file it begins.
    pub offset: u64,
    pub len: u64,
    pub body: SpanBody,
}

#[derive(Debug, Clone)]
pub(super) enum SpanBody {
    /// Kept in the tree itself; `len` bytes once decompressed.
    Inline {
        generation: u64,
        compression: Compression,
        data: Vec<u8>,
    },
    /// In the extent with this number, from this byte of what it holds.
    Extent { number: usize, skip: u64 },
}

impl Tree {
    pub(super) fn new(inodes: BTreeMap<u64, Node>) -> Self {
        Self { inodes }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.inodes.iter().map(|(&number, node)| (number, node))
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node> {
        self.inodes
            .get(&number)
            .ok_or_else(|| Error::internal(format!("inode {number} is gone")))
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node> {
        self.inodes
            .get_mut(&number)
            .ok_or_else(|| Error::internal(format!("inode {number} is gone")))
    }

    /// The entries of the directory `number`.
    pub(super) fn children(&self, number: u64) -> Result<&BTreeMap<Vec<u8>, Child>> {
        match &self.node(number)?.content {
            Content::Directory(directory) => Ok(&directory.children),
            _ => Err(Error::invalid("not a directory").because(Reason::NotADirectory)),
        }
    }

    fn directory_mut(&mut self, number: u64) -> Result<&mut Directory> {
        match &mut self.node_mut(number)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Error::invalid("not a directory").because(Reason::NotADirectory)),
        }
    }

    /// The inode at `path`; [`crate::ErrorKind::NotFound`] where there is none.
    pub(super) fn find(&self, path: &FsPath) -> Result<u64> {
        let mut number = object::FIRST_FREE;
        for name in path.components() {
            let child = match &self.node(number)?.content {
                Content::Directory(directory) => directory.children.get(name),
                _ => None,
            };
            number = child
                .ok_or_else(|| Error::not_found("no such file or directory"))?
                .inode;
        }
        Ok(number)
    }

    /// The directory that `path` lies in, and its name there.
    pub(super) fn parent<'p>(&self, path: &'p FsPath) -> Result<(u64, &'p [u8])> {
        let (parent, name) = path
            .parent()
            .zip(path.name())
            .ok_or_else(|| Error::invalid("the root directory cannot be replaced or removed"))?;
        let number = self.find(&parent)?;
        self.children(number)?;
        Ok((number, name))
    }

    /// Adds an inode and returns its number.
    pub(super) fn insert(&mut self, node: Node) -> Result<u64> {
        if self.inodes.len() >= INODES_MAX {
            return Err(Error::unsupported(format!(
                "more than {INODES_MAX} files and directories in a btrfs filesystem"
            ))
            .because(Reason::Limit));
        }
        let last = self
            .inodes
            .last_key_value()
            .map_or(object::FIRST_FREE, |(&last, _)| last);
        if last >= object::LAST_FREE {
            return Err(Error::no_space(
                "the btrfs filesystem has no inode number left",
            ));
        }
        self.inodes.insert(last + 1, node);
        Ok(last + 1)
    }

    /// Gives inode `number` the name `name` in the directory `parent`, where no entry is called so.
    pub(super) fn link(
        &mut self,
        parent: u64,
        name: &[u8],
        number: u64,
        transid: u64,
    ) -> Result<()> {
        let file_type = self.node(number)?.inode.file_type()?;
        if self.node(number)?.names.len() == LINKS_MAX {
            return Err(Error::invalid(format!(
                "the file already has {LINKS_MAX} names, btrfs allows no more"
            )));
        }
        let directory = self.directory_mut(parent)?;
        let index = directory.next_index;
        directory.next_index = index
            .checked_add(1)
            .ok_or_else(|| Error::no_space("a directory has no entry number left"))?;
        directory.children.insert(
            name.to_vec(),
            Child {
                inode: number,
                file_type,
                index,
                transid,
            },
        );
        self.node_mut(number)?
            .names
            .insert((parent, index), name.to_vec());
        Ok(())
    }

    /// Takes a name away; an inode that has no other is dropped. Returns what the name meant.
    pub(super) fn unlink(&mut self, parent: u64, name: &[u8]) -> Result<u64> {
        let child = self.detach(parent, name)?;
        if self.node(child)?.names.is_empty() {
            self.inodes.remove(&child);
        }
        Ok(child)
    }

    /// Takes a name away from an inode, which stays.
    pub(super) fn detach(&mut self, parent: u64, name: &[u8]) -> Result<u64> {
        let child = self
            .directory_mut(parent)?
            .children
            .remove(name)
            .ok_or_else(|| Error::not_found("no such file or directory"))?;
        self.node_mut(child.inode)?
            .names
            .remove(&(parent, child.index));
        Ok(child.inode)
    }
}
