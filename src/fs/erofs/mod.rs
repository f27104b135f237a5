//! EROFS, read in-process: every layout and compressor of the kernel's, on one device; and [`write`](fn@write), as it is or
//! with LZ4.
//!
//! ```text
//!  │ 1024 │ superblock 128 │ configurations of compressors │ inodes, each with its attributes and small data │ data, packed data │
//! ```
//!
//! The format is that of the kernel's `fs/erofs/erofs_fs.h`; on-disk fields keep its names. An inode's number says where
//! it lies; its layout says how its bytes are found:
//!
//! ```text
//!   flat          blocks in a row, the end perhaps behind the inode                        content.rs
//!   chunks        a table of blocks behind the inode                                       chunk.rs
//!   compressed    an index behind the inode, of streams that each unpack to an extent      cluster.rs, compressed.rs, decode.rs
//!                 ends of files perhaps behind the index, or together in the packed inode
//! ```
//!
//! Everything read is checked against its range before it is used, and every allocation is bounded by a named constant.
//! Nothing is kept but caches of bounded size, so an open filesystem can be read by many threads.

mod chunk;
mod cluster;
mod compressed;
mod content;
mod decode;
mod dir;
mod features;
mod inode;
mod lz4;
mod superblock;
mod volume;
mod write;
mod xattr;

pub use super::source::AddedFile;
pub use write::{ErofsCompression, ErofsOptions, ErofsReport, write};

use super::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Node, Xattr, check_within,
};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use content::Content;
use decode::Algorithm;
use inode::Inode;
use volume::Volume;

/// The longest extent there can be when unpacked (`Z_EROFS_PCLUSTER_MAX_DSIZE` of the kernel).
const UNPACKED_MAX: u64 = 12 << 20;
/// Longest target of a symlink (`PATH_MAX` of Linux).
const SYMLINK_MAX: u64 = 4096;

/// Whether an EROFS superblock lies 1024 bytes into the device.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut magic = [0; 4];
    if device.size() < superblock::SUPERBLOCK_OFFSET + to_u64(magic.len()) {
        return Ok(false);
    }
    device.read_at(superblock::SUPERBLOCK_OFFSET, &mut magic)?;
    Ok(u32::from_le_bytes(magic) == superblock::MAGIC)
}

/// What a kernel must know to mount an EROFS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// `feature_incompat` of the superblock.
    pub features: u32,
    /// The compressors that the superblock names.
    pub compressors: Vec<&'static str>,
}

/// What the superblock of a device says of that, whether it can be read here or not.
pub(crate) fn requirements(device: &dyn BlockDevice) -> Result<Requirements> {
    let on_disk = superblock::read_raw(device)?;
    let features = on_disk.feature_incompat();
    let bits = if features & features::COMPR_CFGS != 0 {
        on_disk.available_compr_algs()
    } else {
        0
    };
    let named = Algorithm::ALL
        .into_iter()
        .filter(|algorithm| bits & algorithm.bit() != 0);
    Ok(Requirements {
        features,
        compressors: named.map(Algorithm::name).collect(),
    })
}

/// An open EROFS.
#[derive(Debug)]
pub struct Erofs<D> {
    volume: Volume<D>,
}

impl<D: BlockDevice> Erofs<D> {
    /// Opens the EROFS on `device`, which may be longer than the filesystem.
    ///
    /// # Errors
    /// What is no EROFS, is damaged, is cut short, or has features that are not known.
    pub fn open(device: D) -> Result<Self> {
        let volume = Volume::open(device)?;
        let root = Inode::read(&volume, volume.superblock.root_nid).at(|| "root inode")?;
        if root.file_type != FileType::Directory {
            return Err(Error::corrupt("the root of the EROFS is not a directory"));
        }
        Ok(Self { volume })
    }

    fn inode(&self, node: Node) -> Result<Inode> {
        Inode::read(&self.volume, node.get())
    }

    /// The content of a directory.
    fn directory(&self, node: Node) -> Result<Content> {
        let inode = self.inode(node)?;
        if inode.file_type != FileType::Directory {
            return Err(Error::not_found("not a directory").because(Reason::NotADirectory));
        }
        Content::of(&self.volume, &inode)
    }
}

impl<D: BlockDevice> FileSystem for Erofs<D> {
    fn kind(&self) -> FsKind {
        FsKind::Erofs
    }

    fn label(&self) -> Result<Vec<u8>> {
        let name = &self.volume.superblock.volume_name;
        Ok(name
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec())
    }

    fn capacity(&self) -> Result<Capacity> {
        let superblock = &self.volume.superblock;
        Ok(Capacity {
            total_bytes: superblock.blocks.saturating_mul(superblock.block_bytes()),
            free_bytes: 0,
            block_bytes: superblock.block_bytes(),
            inodes: Some((superblock.inodes, 0)),
        })
    }

    fn root(&self) -> Node {
        Node::new(self.volume.superblock.root_nid)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let content = self.directory(directory)?;
        if matches!(name, b"." | b"..") {
            return Ok(None);
        }
        let found = dir::find(&self.volume, &content, name)?;
        Ok(found.map(Node::new))
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        dir::list(&self.volume, &self.directory(directory)?, &mut |record| {
            let node = Node::new(record.nid);
            let file_type = match record.file_type {
                Some(file_type) => file_type,
                None => self.inode(node)?.file_type,
            };
            entries.push(DirEntry {
                name: record.name.to_vec(),
                file_type,
                node,
            });
            Ok(())
        })?;
        Ok(entries)
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        let inode = self.inode(node)?;
        Ok(Metadata {
            file_type: inode.file_type,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            size: inode.size,
            nlink: inode.nlink,
            mtime: inode.mtime,
            device: inode.device(),
            inode: inode.nid,
        })
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        let inode = self.inode(node)?;
        if inode.file_type != FileType::Symlink {
            return Err(Error::invalid("not a symlink"));
        }
        if inode.size > SYMLINK_MAX {
            return Err(Error::corrupt(format!(
                "symlink target of {} bytes",
                inode.size
            )));
        }
        let mut target = vec![0; to_usize(inode.size)?];
        Content::of(&self.volume, &inode)?.read_meta(&self.volume, 0, &mut target)?;
        if target.contains(&0) {
            return Err(Error::corrupt("the symlink's target contains a NUL byte"));
        }
        Ok(target)
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        xattr::read(&self.volume, &self.inode(node)?)
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        let inode = self.inode(node)?;
        if inode.file_type != FileType::File {
            return Err(Error::invalid("not a regular file"));
        }
        let content = Content::of(&self.volume, &inode)?;
        Ok(Box::new(File {
            volume: &self.volume,
            content,
        }))
    }
}

/// An open file.
struct File<'a, D> {
    volume: &'a Volume<D>,
    content: Content,
}

impl<D: BlockDevice> FileRead for File<'_, D> {
    fn size(&self) -> u64 {
        self.content.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.content.size, offset, buf)?;
        self.content.read(self.volume, offset, buf)
    }
}
