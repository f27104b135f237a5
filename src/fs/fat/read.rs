//! Reading: from a node, which is where an entry lies, to its metadata, its entries and its content.

use std::sync::Arc;

use super::Fat;
use super::device::read_vec;
use super::directory::Directory;
use super::entry::{Entry, SLOT_LEN, Slot};
use super::geometry::{Geometry, Root};
use super::names;
use super::table::{Extent, damaged};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result, ResultExt};
use crate::fs::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Timestamp, Xattr, check_within,
};

/// The root directory, which has no entry. All other nodes are byte offsets of entries, multiples of 32.
const ROOT: u64 = 1;

impl<D: BlockDevice> Fat<D> {
    /// The root directory's node.
    pub(super) fn root(&self) -> u64 {
        ROOT
    }

    /// The entry of a node that is not the root.
    pub(super) fn entry(&self, node: u64) -> Result<Entry> {
        match Slot::parse(&read_vec(&self.device, node, SLOT_LEN)?)? {
            Slot::Entry(entry) => Ok(entry),
            _ => Err(Error::invalid(format!("no entry lies at byte {node} any more"))),
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
    pub(super) fn directory_start(&self, node: u64) -> Result<u32> {
        if node == ROOT {
            return Ok(self.root_start());
        }
        let entry = self.entry(node)?;
        match entry.is_directory() {
            true => Ok(entry.first_cluster(self.geometry.kind)),
            false => Err(Error::not_found("a part of the path is not a directory")),
        }
    }

    /// The directory that begins at this cluster.
    pub(super) fn directory(&self, start: u32) -> Result<Arc<Directory>> {
        if let Some(directory) = self.known().get(start) {
            return Ok(directory);
        }
        let directory = Arc::new(Directory::read(&self.device, &self.geometry, &self.table, start)?);
        self.known().keep(directory.clone());
        Ok(directory)
    }

    /// The node of an entry of a directory.
    pub(super) fn lookup(&self, directory: u64, name: &[u8]) -> Result<Option<u64>> {
        let directory = self.directory(self.directory_start(directory)?)?;
        let item = std::str::from_utf8(name).ok().and_then(|name| directory.find(name));
        item.map(|item| directory.offset(item.slot)).transpose()
    }

    /// The node at `path`.
    pub(super) fn find(&self, path: &FsPath) -> Result<u64> {
        let mut node = self.root();
        for name in path.components() {
            let next = self.lookup(node, name).at(|| path.to_string())?;
            node = next.ok_or_else(|| Error::not_found("no such file or directory").at(path.to_string()))?;
        }
        Ok(node)
    }

    fn entries_of(&self, node: u64) -> Result<Vec<DirEntry>> {
        let directory = self.directory(self.directory_start(node)?)?;
        let mut entries = Vec::new();
        for item in directory.items() {
            entries.push(DirEntry {
                name: item.name.clone().into_bytes(),
                file_type: if item.is_directory { FileType::Directory } else { FileType::File },
                inode: directory.offset(item.slot)?,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn metadata_of(&self, node: u64) -> Result<Metadata> {
        let (is_directory, size, mtime) = match node {
            ROOT => (true, 0, Timestamp::default()),
            _ => {
                let entry = self.entry(node)?;
                let size = if entry.is_directory() { 0 } else { u64::from(entry.file_size()) };
                (entry.is_directory(), size, entry.written().timestamp())
            }
        };
        Ok(Metadata {
            file_type: if is_directory { FileType::Directory } else { FileType::File },
            mode: if is_directory { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            size,
            nlink: 1,
            mtime,
            device: (0, 0),
            inode: node,
        })
    }

    fn open_node(&self, node: u64) -> Result<OpenFile<'_>> {
        let entry = if node == ROOT { None } else { Some(self.entry(node)?) };
        let Some(entry) = entry.filter(|entry| !entry.is_directory()) else {
            return Err(Error::invalid("is a directory, not a file"));
        };
        let size = u64::from(entry.file_size());
        let clusters = entry.clusters(&self.geometry);
        if clusters > u64::from(self.geometry.clusters()) {
            return Err(damaged(format!("a file of {size} bytes is larger than the volume")));
        }
        let first = entry.first_cluster(self.geometry.kind);
        let extents = match clusters {
            0 => Vec::new(),
            _ => self.table.extents(&self.device, first, clusters)?.0,
        };
        OpenFile::new(&self.device, &self.geometry, extents, size)
    }

    /// All extents of the chain that begins at `first`, 0 for none.
    pub(super) fn chain(&self, first: u32) -> Result<Vec<Extent>> {
        match first {
            0 => Ok(Vec::new()),
            _ => Ok(self.table.extents(&self.device, first, u64::from(self.geometry.clusters()))?.0),
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
        Ok(root.label().map(|label| names::label(&label).into_bytes()).unwrap_or_default())
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

    fn metadata(&self, path: &FsPath) -> Result<Metadata> {
        self.metadata_of(self.find(path)?).at(|| path.to_string())
    }

    fn read_dir(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        self.entries_of(self.find(path)?).at(|| path.to_string())
    }

    fn read_link(&self, path: &FsPath) -> Result<Vec<u8>> {
        self.find(path)?;
        Err(Error::invalid("not a symlink; FAT has none").at(path.to_string()))
    }

    fn open(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        Ok(Box::new(self.open_node(self.find(path)?).at(|| path.to_string())?))
    }

    fn xattrs(&self, path: &FsPath) -> Result<Vec<Xattr>> {
        self.find(path)?;
        Ok(Vec::new())
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
    fn new(device: &'a dyn BlockDevice, geometry: &Geometry, extents: Vec<Extent>, size: u64) -> Result<Self> {
        let mut places = Vec::with_capacity(extents.len());
        let mut end = 0;
        for extent in extents {
            places.push((end, geometry.cluster_start(extent.first)));
            end += u64::from(extent.count) * u64::from(geometry.cluster_bytes);
        }
        if end < size {
            return Err(damaged(format!("the file has room for {end} bytes, its size is {size}")));
        }
        Ok(Self { device, places, size })
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
            let end = self.places.get(behind).map_or(self.size, |(start, _)| *start);
            let len = to_usize((end - at).min(to_u64(rest.len())))?;
            let (now, later) = rest.split_at_mut(len);
            self.device.read_at(place + (at - start), now)?;
            at += to_u64(len);
            rest = later;
        }
        Ok(())
    }
}
