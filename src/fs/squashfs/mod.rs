//! squashfs 4.0, read in-process: every compressor, extended attributes, sparse files, fragments; and [`write`](fn@write),
//! with gzip or zstd.
//!
//! ```text
//!  │superblock│options│ data blocks, fragments │ inode table │ directory table │ fragment │ export │ id │ xattr table│
//!       96                                          metadata blocks of 8 KiB, each packed by itself
//! ```
//!
//! The format is that of the kernel's `fs/squashfs/squashfs_fs.h`; on-disk fields keep its names. There are no
//! checksums, so everything read is checked against its range before it is used, and every allocation is bounded by a
//! named constant.

mod decode;
mod dir;
mod file;
mod inode;
mod on_disk;
mod stream;
mod superblock;
mod volume;
mod write;
mod xattr;
mod xz;

pub use super::source::AddedFile;
pub use write::{SquashfsCompression, SquashfsOptions, SquashfsReport, write};

use std::sync::Arc;

use super::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Node, Timestamp, Xattr,
};
use crate::block::BlockDevice;
use crate::bytes::to_usize;
use crate::error::{Error, Reason, Result};
use dir::{Listing, Record};
use file::File;
use inode::{Inode, InodeRef, Part};
use volume::Volume;

/// Whether a squashfs begins at the start of the device.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut magic = [0; 4];
    if device.size() < 4 {
        return Ok(false);
    }
    device.read_at(0, &mut magic)?;
    Ok(u32::from_le_bytes(magic) == on_disk::MAGIC)
}

/// An open squashfs.
#[derive(Debug)]
pub struct Squashfs<D> {
    volume: Volume<D>,
    root: InodeRef,
}

impl<D: BlockDevice> Squashfs<D> {
    /// Opens the squashfs on `device`, which may be longer than the filesystem.
    pub fn open(device: D) -> Result<Self> {
        let volume = Volume::open(device)?;
        let root = InodeRef(volume.superblock.root_inode);
        let opened = Self { volume, root };
        if opened.inode(root)?.file_type != FileType::Directory {
            return Err(Error::corrupt(
                "the root of the squashfs is not a directory",
            ));
        }
        Ok(opened)
    }

    fn inode(&self, at: InodeRef) -> Result<Inode> {
        Inode::read(&self.volume, at)
    }

    /// The listing of the directory at `at`.
    fn listing(&self, at: InodeRef) -> Result<Arc<Listing>> {
        if let Some(listing) = self.volume.listings.get(at.0) {
            return Ok(listing);
        }
        let Part::Directory(part) = self.inode(at)?.part else {
            return Err(Error::not_found("not a directory").because(Reason::NotADirectory));
        };
        let listing = Arc::new(Listing::read(&self.volume, &part)?);
        self.volume
            .listings
            .insert(at.0, listing.clone(), listing.cost());
        Ok(listing)
    }

    fn describe(&self, at: InodeRef, inode: &Inode) -> Result<Metadata> {
        let (size, device) = match inode.part {
            Part::Directory(part) => (u64::from(part.listing_bytes) + 3, (0, 0)),
            Part::File(part) => (part.file_size, (0, 0)),
            Part::Symlink(_, len) => (len.into(), (0, 0)),
            Part::Device(number) => (
                0,
                (
                    (number >> 8) & 0xfff,
                    (number & 0xff) | ((number >> 12) & 0xf_ff00),
                ),
            ),
            Part::Ipc => (0, (0, 0)),
        };
        Ok(Metadata {
            file_type: inode.file_type,
            mode: inode.mode.into(),
            uid: self.volume.id(inode.uid)?,
            gid: self.volume.id(inode.gid)?,
            size,
            nlink: inode.nlink,
            mtime: Timestamp {
                secs: inode.mtime.into(),
                nanos: 0,
            },
            device,
            inode: at.0,
        })
    }
}

impl<D: BlockDevice> FileSystem for Squashfs<D> {
    fn kind(&self) -> FsKind {
        FsKind::Squashfs
    }

    /// squashfs has no label.
    fn label(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn capacity(&self) -> Result<Capacity> {
        let superblock = &self.volume.superblock;
        Ok(Capacity {
            total_bytes: superblock.bytes_used,
            free_bytes: 0,
            block_bytes: superblock.block_size.into(),
            inodes: Some((superblock.inodes.into(), 0)),
        })
    }

    fn root(&self) -> Node {
        Node::new(self.root.0)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let listing = self.listing(InodeRef(directory.get()))?;
        let Some(record) = listing.find(name) else {
            return Ok(None);
        };
        let inode = self.inode(record.inode)?;
        if inode.file_type != record.file_type {
            return Err(Error::corrupt(format!(
                "the directory says {:?}, the {} says {:?}",
                record.file_type, record.inode, inode.file_type
            )));
        }
        Ok(Some(Node::new(record.inode.0)))
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        let listing = self.listing(InodeRef(directory.get()))?;
        let entry = |record: &Record| DirEntry {
            name: listing.name(record).to_vec(),
            file_type: record.file_type,
            node: Node::new(record.inode.0),
        };
        Ok(listing.records().iter().map(entry).collect())
    }

    /// The inode number is the place of the inode: the stored number is not needed to be unique.
    fn metadata(&self, node: Node) -> Result<Metadata> {
        let at = InodeRef(node.get());
        self.describe(at, &self.inode(at)?)
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        let Part::Symlink(place, len) = self.inode(InodeRef(node.get()))?.part else {
            return Err(Error::invalid("not a symlink"));
        };
        let end = self.volume.superblock.directory_table_start;
        let target = self.volume.meta(place, end).bytes(to_usize(len.into())?)?;
        if target.contains(&0) {
            return Err(Error::corrupt("the symlink's target contains a NUL byte"));
        }
        Ok(target)
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        let inode = self.inode(InodeRef(node.get()))?;
        inode
            .xattr
            .map_or(Ok(Vec::new()), |index| xattr::read(&self.volume, index))
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        match self.inode(InodeRef(node.get()))?.part {
            Part::File(part) => Ok(Box::new(File::open(&self.volume, &part)?)),
            _ => Err(Error::invalid("not a regular file")),
        }
    }
}
