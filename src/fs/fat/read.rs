//! Reading: from a node, which is where an entry lies, to its metadata, its entries and its content.

use std::sync::Arc;

use super::Fat;
use super::SLOT_LEN;
use super::device::{damaged, read_vec};
use super::directory::Directory;
use super::entry::{Entry, Slot};
use super::geometry::{Geometry, Root};
use super::names;
use super::table::Extent;
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Node, Xattr, check_within,
};

/// The root directory, which has no entry. All other nodes are byte offsets of entries, multiples of 32.
const ROOT: Node = Node::new(1);

impl<D: BlockDevice> Fat<D> {
    /// The entry that lies at this byte of the device.
    pub(super) fn entry(&self, offset: u64) -> Result<Entry> {
        match Slot::parse(&read_vec(&self.device, offset, SLOT_LEN)?)? {
            Slot::Entry(entry) => Ok(entry),
            _ => Err(Error::invalid(format!(
                "no entry lies at byte {offset} any more"
            ))),
        }
    }

    /// The first cluster of the root directory, 0 where it is the fixed one.
    pub(super) fn root_start(&self) -> u32 {
        match self.geometry.root {
            Root::Chain(first) => first,
            Root::Fixed { .. } => 0,
        }
    }

    /// The first cluster of a directory, 0 for the fixed root directory.
    pub(super) fn directory_start(&self, node: Node) -> Result<u32> {
        if node == ROOT {
            return Ok(self.root_start());
        }
        let entry = self.entry(node.get())?;
        match entry.is_directory() {
            true => Ok(entry.first_cluster(self.geometry.kind)),
            false => Err(Error::not_found("not a directory").because(Reason::NotADirectory)),
        }
    }

    /// The directory that begins at this cluster.
    pub(super) fn directory(&self, start: u32) -> Result<Arc<Directory>> {
        if let Some(directory) = self.known().get(start) {
            return Ok(directory);
        }
        let directory = Arc::new(Directory::read(
            &self.device,
            &self.geometry,
            &self.table,
            start,
        )?);
        self.known().keep(directory.clone());
        Ok(directory)
    }

    /// All extents of the chain that begins at `first`, 0 for none.
    pub(super) fn chain(&self, first: u32) -> Result<Vec<Extent>> {
        match first {
            0 => Ok(Vec::new()),
            _ => Ok(self
                .table
                .extents(&self.device, first, u64::from(self.geometry.clusters()))?
                .0),
        }
    }

    fn free_clusters(&self) -> Result<u32> {
        match &self.editor {
            Some(editor) => Ok(editor.free_clusters()),
            None => self.table.cursor(&self.device, 0).count_free(),
        }
    }
}

impl<D: BlockDevice> FileSystem for Fat<D> {
    fn kind(&self) -> FsKind {
        FsKind::Fat
    }

    fn label(&self) -> Result<Vec<u8>> {
        let root = self.directory(self.root_start())?;
        Ok(root
            .label()
            .map(|label| names::label(&label).into_bytes())
            .unwrap_or_default())
    }

    fn capacity(&self) -> Result<Capacity> {
        let cluster = u64::from(self.geometry.cluster_bytes);
        Ok(Capacity {
            total_bytes: u64::from(self.geometry.clusters()) * cluster,
            free_bytes: u64::from(self.free_clusters()?) * cluster,
            block_bytes: cluster,
            inodes: None,
        })
    }

    fn root(&self) -> Node {
        ROOT
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let directory = self.directory(self.directory_start(directory)?)?;
        let item = std::str::from_utf8(name)
            .ok()
            .and_then(|name| directory.find(name));
        item.map(|item| directory.offset(item.slot).map(Node::new))
            .transpose()
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        let directory = self.directory(self.directory_start(directory)?)?;
        let mut entries = Vec::new();
        for item in directory.items() {
            entries.push(DirEntry {
                name: item.name.clone().into_bytes(),
                file_type: file_type(item.is_directory),
                node: Node::new(directory.offset(item.slot)?),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        let entry = if node == ROOT {
            None
        } else {
            Some(self.entry(node.get())?)
        };
        let is_directory = entry.is_none_or(|entry| entry.is_directory());
        let size = entry
            .filter(|_| !is_directory)
            .map_or(0, |entry| u64::from(entry.file_size()));
        Ok(Metadata {
            file_type: file_type(is_directory),
            mode: if is_directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            size,
            nlink: 1,
            mtime: entry
                .map(|entry| entry.written().timestamp())
                .unwrap_or_default(),
            device: (0, 0),
            inode: node.get(),
        })
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        self.metadata(node)?;
        Err(Error::invalid("not a symlink; FAT has none"))
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        self.metadata(node)?;
        Ok(Vec::new())
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        let entry = if node == ROOT {
            None
        } else {
            Some(self.entry(node.get())?)
        };
        let Some(entry) = entry.filter(|entry| !entry.is_directory()) else {
            return Err(Error::invalid("is a directory, not a file").because(Reason::IsADirectory));
        };
        let size = u64::from(entry.file_size());
        let clusters = entry.clusters(&self.geometry);
        if clusters > u64::from(self.geometry.clusters()) {
            return Err(damaged(format!(
                "a file of {size} bytes is larger than the volume"
            )));
        }
        let first = entry.first_cluster(self.geometry.kind);
        let extents = match clusters {
            0 => Vec::new(),
            _ => self.table.first_extents(&self.device, first, clusters)?,
        };
        Ok(Box::new(OpenFile::new(
            &self.device,
            &self.geometry,
            extents,
            size,
        )?))
    }
}

fn file_type(is_directory: bool) -> FileType {
    if is_directory {
        FileType::Directory
    } else {
        FileType::File
    }
}

/// An open file.
struct OpenFile<'a> {
    device: &'a dyn BlockDevice,
    /// Where each extent begins: in the file, and on the device.
    places: Vec<(u64, u64)>,
    size: u64,
}

impl<'a> OpenFile<'a> {
    fn new(
        device: &'a dyn BlockDevice,
        geometry: &Geometry,
        extents: Vec<Extent>,
        size: u64,
    ) -> Result<Self> {
        let mut places = Vec::with_capacity(extents.len());
        let mut end = 0;
        for extent in extents {
            places.push((end, geometry.cluster_start(extent.first)));
            end += u64::from(extent.count) * u64::from(geometry.cluster_bytes);
        }
        if end < size {
            return Err(damaged(format!(
                "the file has room for {end} bytes, its size is {size}"
            )));
        }
        Ok(Self {
            device,
            places,
            size,
        })
    }
}

impl FileRead for OpenFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let behind = self.places.partition_point(|(start, _)| *start <= at);
            let (start, place) = self.places[behind - 1];
            let end = self
                .places
                .get(behind)
                .map_or(self.size, |(start, _)| *start);
            let len = to_usize((end - at).min(to_u64(rest.len())))?;
            let (now, later) = rest.split_at_mut(len);
            self.device.read_at(place + (at - start), now)?;
            at += to_u64(len);
            rest = later;
        }
        Ok(())
    }
}
