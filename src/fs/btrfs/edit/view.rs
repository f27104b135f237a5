//! The [`FileSystem`] of an edited filesystem: the edits so far are seen.

use std::sync::{Mutex, PoisonError};

use super::BtrfsEditor;
use super::model::{Content, Node, Span};
use super::store::{Last, Store};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result, ResultExt};
use crate::fs::{Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Xattr};

impl BtrfsEditor {
    /// The inode at `path`, which must be of one type.
    pub(super) fn node_of(&self, path: &FsPath, wanted: FileType, called: &str) -> Result<&Node> {
        let node = self.tree.node(self.tree.find(path)?)?;
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
        Reader { store: &self.store, spans, size: node.inode.size, last: Mutex::new(None) }
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

    fn metadata(&self, path: &FsPath) -> Result<Metadata> {
        let found = self.tree.find(path).and_then(|number| {
            let node = self.tree.node(number)?;
            let mut metadata = node.inode.metadata(number)?;
            metadata.nlink = node.nlink();
            Ok(metadata)
        });
        found.at(|| path.to_string())
    }

    fn read_dir(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        let children = self.tree.find(path).and_then(|number| self.tree.children(number)).at(|| path.to_string())?;
        let entry = |(name, child): (&Vec<u8>, &super::model::Child)| DirEntry {
            name: name.clone(),
            file_type: child.file_type,
            inode: child.inode,
        };
        Ok(children.iter().map(entry).collect())
    }

    fn read_link(&self, path: &FsPath) -> Result<Vec<u8>> {
        let node = self.node_of(path, FileType::Symlink, "symlink").at(|| path.to_string())?;
        // Targets lie in the tree itself; whoever made a longer one did not make a symlink.
        let mut target = vec![0; to_usize(node.inode.size.min(4096))?];
        self.reader(node).read_at(0, &mut target).at(|| path.to_string())?;
        Ok(target)
    }

    fn open(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        let node = self.node_of(path, FileType::File, "regular file").at(|| path.to_string())?;
        Ok(Box::new(self.reader(node)))
    }

    fn xattrs(&self, path: &FsPath) -> Result<Vec<Xattr>> {
        let node = self.tree.find(path).and_then(|number| self.tree.node(number)).at(|| path.to_string())?;
        Ok(node.xattrs.iter().map(|(name, value)| Xattr { name: name.clone(), value: value.clone() }).collect())
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
        let len = to_u64(buf.len());
        let end = offset
            .checked_add(len)
            .filter(|&end| end <= self.size)
            .ok_or_else(|| Error::invalid(format!("{len} bytes at {offset} of a file of {} bytes", self.size)))?;
        buf.fill(0);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.spans.partition_point(|span| span.offset + span.len <= offset);
        for span in self.spans[first..].iter().take_while(|span| span.offset < end) {
            let (from, to) = (span.offset.max(offset), (span.offset + span.len).min(end));
            let out = buf
                .get_mut(to_usize(from - offset)?..to_usize(to - offset)?)
                .ok_or_else(|| Error::internal("a part of the buffer lies inside it"))?;
            self.store.read_span(span, from - span.offset, out, &mut last)?;
        }
        Ok(())
    }
}
