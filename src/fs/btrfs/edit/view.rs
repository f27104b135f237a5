//! The [`FileSystem`] of an edited filesystem: the edits so far are seen.

use std::sync::Mutex;

use super::super::key::object;
use super::BtrfsEditor;
use super::model::{Child, Content, Node, Span};
use super::store::{Last, Store};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::{
    self, Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Xattr, check_within,
};
use crate::lock::lock;

impl BtrfsEditor {
    /// The inode of `node`, which must be of one type.
    fn node_of(&self, node: fs::Node, wanted: FileType, called: &str) -> Result<&Node> {
        let node = self.tree.node(node.get())?;
        if node.inode.file_type()? != wanted {
            return Err(Error::invalid(format!("not a {called}")));
        }
        Ok(node)
    }

    fn reader<'a>(&'a self, node: &'a Node) -> Reader<'a> {
        let spans = match &node.content {
            Content::Extents(spans) => &spans[..],
            _ => &[],
        };
        Reader {
            store: &self.store,
            spans,
            size: node.inode.size,
            last: Mutex::new(None),
        }
    }
}

impl FileSystem for BtrfsEditor {
    fn kind(&self) -> FsKind {
        FsKind::Btrfs
    }

    fn label(&self) -> Result<Vec<u8>> {
        Ok(self.store.volume.superblock.label.clone())
    }

    /// Free is what new uncompressed content may take, the space for trees and for the kernel's own needs set aside.
    fn capacity(&self) -> Result<Capacity> {
        let superblock = &self.store.volume.superblock;
        let free_bytes = match self.layout() {
            Ok(layout) => layout.free_bytes(),
            Err(error) if error.kind() == crate::ErrorKind::NoSpace => 0,
            Err(error) => return Err(error),
        };
        Ok(Capacity {
            total_bytes: superblock.total_bytes,
            free_bytes,
            block_bytes: superblock.sectorsize.into(),
            inodes: None,
        })
    }

    fn root(&self) -> fs::Node {
        fs::Node::new(object::FIRST_FREE)
    }

    fn lookup(&self, directory: fs::Node, name: &[u8]) -> Result<Option<fs::Node>> {
        let Content::Directory(directory) = &self.tree.node(directory.get())?.content else {
            return Err(Error::not_found("not a directory").because(Reason::NotADirectory));
        };
        Ok(directory
            .children
            .get(name)
            .map(|child| fs::Node::new(child.inode)))
    }

    fn entries(&self, directory: fs::Node) -> Result<Vec<DirEntry>> {
        let entry = |(name, child): (&Vec<u8>, &Child)| DirEntry {
            name: name.clone(),
            file_type: child.file_type,
            node: fs::Node::new(child.inode),
        };
        Ok(self
            .tree
            .children(directory.get())?
            .iter()
            .map(entry)
            .collect())
    }

    fn metadata(&self, node: fs::Node) -> Result<Metadata> {
        let number = node.get();
        let node = self.tree.node(number)?;
        let mut metadata = node.inode.metadata(number)?;
        metadata.nlink = node.nlink();
        Ok(metadata)
    }

    fn read_link(&self, node: fs::Node) -> Result<Vec<u8>> {
        let node = self.node_of(node, FileType::Symlink, "symlink")?;
        // Targets lie in the tree itself; whoever made a longer one did not make a symlink.
        let mut target = vec![0; to_usize(node.inode.size.min(4096))?];
        self.reader(node).read_at(0, &mut target)?;
        Ok(target)
    }

    fn xattrs(&self, node: fs::Node) -> Result<Vec<Xattr>> {
        let node = self.tree.node(node.get())?;
        Ok(node
            .xattrs
            .iter()
            .map(|(name, value)| Xattr {
                name: name.clone(),
                value: value.clone(),
            })
            .collect())
    }

    fn open(&self, node: fs::Node) -> Result<Box<dyn FileRead + '_>> {
        Ok(Box::new(self.reader(self.node_of(
            node,
            FileType::File,
            "regular file",
        )?)))
    }
}

/// An open file.
struct Reader<'a> {
    store: &'a Store,
    spans: &'a [Span],
    size: u64,
    last: Mutex<Last>,
}

impl FileRead for Reader<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        let end = offset + to_u64(buf.len());
        buf.fill(0);
        let mut last = lock(&self.last);
        let first = self
            .spans
            .partition_point(|span| span.offset + span.len <= offset);
        for span in self.spans[first..]
            .iter()
            .take_while(|span| span.offset < end)
        {
            let from = span.offset.max(offset);
            let to = (span.offset + span.len).min(end);
            let out = buf
                .get_mut(to_usize(from - offset)?..to_usize(to - offset)?)
                .ok_or_else(|| Error::internal("a part of the buffer lies inside it"))?;
            self.store
                .read_span(span, from - span.offset, out, &mut last)?;
        }
        Ok(())
    }
}
