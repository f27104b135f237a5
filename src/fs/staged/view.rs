//! The [`FileSystem`] of a staged tree.

use super::content::{Content, OpenHostFile, SpooledFile};
use super::{Inode, Part, ROOT, StagedTree};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::fs::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Node, Xattr,
};

impl StagedTree {
    fn at(&self, node: Node) -> Result<&Inode> {
        self.inode(to_usize(node.get())?)
    }
}

impl FileSystem for StagedTree {
    fn kind(&self) -> FsKind {
        FsKind::Tree
    }

    fn label(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// What is in the tree; nothing bounds it but the room for temporary files.
    fn capacity(&self) -> Result<Capacity> {
        let bytes = self.spool.len();
        Ok(Capacity {
            total_bytes: u64::MAX,
            free_bytes: u64::MAX - bytes,
            block_bytes: 1,
            inodes: None,
        })
    }

    fn root(&self) -> Node {
        Node::new(to_u64(ROOT))
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let number = self.children(to_usize(directory.get())?)?.get(name);
        Ok(number.map(|&number| Node::new(to_u64(number))))
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        let children = self.children(to_usize(directory.get())?)?;
        let entry = |(name, &number): (&Vec<u8>, &usize)| {
            Ok(DirEntry {
                name: name.clone(),
                file_type: self.inode(number)?.part.file_type(),
                node: Node::new(to_u64(number)),
            })
        };
        children.iter().map(entry).collect()
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        let inode = self.at(node)?;
        let size = match &inode.part {
            Part::File(content) => content.size(),
            Part::Symlink(target) => to_u64(target.len()),
            Part::Directory(_) | Part::Special(..) => 0,
        };
        let nlink = match &inode.part {
            Part::Directory(children) => 2 + self.directories_in(children),
            _ => inode.names,
        };
        let device = match inode.part {
            Part::Special(_, device) => device,
            _ => (0, 0),
        };
        Ok(Metadata {
            file_type: inode.part.file_type(),
            mode: inode.attributes.mode,
            uid: inode.attributes.uid,
            gid: inode.attributes.gid,
            size,
            nlink,
            mtime: inode.attributes.mtime,
            device,
            inode: node.get(),
        })
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        match &self.at(node)?.part {
            Part::Symlink(target) => Ok(target.clone()),
            _ => Err(Error::invalid("not a symlink")),
        }
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        let xattr = |(name, value): (&Vec<u8>, &Vec<u8>)| Xattr {
            name: name.clone(),
            value: value.clone(),
        };
        Ok(self.at(node)?.xattrs.iter().map(xattr).collect())
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        match &self.at(node)?.part {
            Part::File(Content::Spooled { size, stored }) => Ok(Box::new(SpooledFile {
                spool: &self.spool,
                size: *size,
                stored,
            })),
            Part::File(Content::Host { file, role, inputs }) => {
                Ok(Box::new(OpenHostFile::new(file, role, inputs)?))
            }
            _ => Err(Error::invalid("not a regular file")),
        }
    }
}

impl StagedTree {
    fn directories_in(&self, children: &std::collections::BTreeMap<Vec<u8>, usize>) -> u32 {
        let directories = children.values().filter(|&&number| {
            self.inode(number)
                .is_ok_and(|inode| inode.part.file_type() == FileType::Directory)
        });
        u32::try_from(directories.count()).unwrap_or(u32::MAX - 2)
    }
}
