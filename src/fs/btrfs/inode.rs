//! Inode items (`struct btrfs_inode_item`) and the references that name their parents.

use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result};
use crate::fs::{FileType, Metadata, Timestamp};

/// Bytes of an inode item.
pub(super) const INODE_LEN: usize = 160;
/// Bytes of an inode reference before the name (`struct btrfs_inode_ref`).
pub(super) const REF_LEN: usize = 10;
/// Bytes of an extended reference before the name (`struct btrfs_inode_extref`).
pub(super) const EXTREF_LEN: usize = 18;

/// Flags of an inode (`BTRFS_INODE_*`).
pub(super) mod flag {
    pub const NODATASUM: u64 = 1 << 0;
    pub const NODATACOW: u64 = 1 << 1;
    pub const NOCOMPRESS: u64 = 1 << 3;
    pub const PREALLOC: u64 = 1 << 4;
    pub const COMPRESS: u64 = 1 << 11;
    /// fs-verity and whatever later kernels put into the upper half.
    pub const READ_ONLY_FEATURES: u64 = 0xffff_ffff_0000_0000;
}

/// An inode; fields have the names of the kernel header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    /// The transaction that made it.
    pub generation: u64,
    /// The transaction that changed it last.
    pub transid: u64,
    pub size: u64,
    /// Bytes its extents cover, holes not counted.
    pub nbytes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Device number in the kernel's own form: major in bits 20 and up, minor below.
    pub rdev: u64,
    pub flags: u64,
    pub sequence: u64,
    pub atime: Timestamp,
    pub ctime: Timestamp,
    pub mtime: Timestamp,
    pub otime: Timestamp,
}

impl Inode {
    pub(super) fn parse(item: &[u8]) -> Result<Self> {
        let fields = Fields::new("btrfs inode item", item);
        let time = |at| -> Result<Timestamp> {
            Ok(Timestamp {
                secs: i64::from_le_bytes(fields.array(at)?),
                nanos: fields.le32(at + 8)?,
            })
        };
        Ok(Self {
            generation: fields.le64(0)?,
            transid: fields.le64(8)?,
            size: fields.le64(16)?,
            nbytes: fields.le64(24)?,
            nlink: fields.le32(40)?,
            uid: fields.le32(44)?,
            gid: fields.le32(48)?,
            mode: fields.le32(52)?,
            rdev: fields.le64(56)?,
            flags: fields.le64(64)?,
            sequence: fields.le64(72)?,
            atime: time(112)?,
            ctime: time(124)?,
            mtime: time(136)?,
            otime: time(148)?,
        })
    }

    /// Its form on disk.
    pub(super) fn to_disk(&self) -> Vec<u8> {
        let mut item = Vec::with_capacity(INODE_LEN);
        for value in [self.generation, self.transid, self.size, self.nbytes, 0] {
            item.extend(value.to_le_bytes());
        }
        for value in [self.nlink, self.uid, self.gid, self.mode] {
            item.extend(value.to_le_bytes());
        }
        for value in [self.rdev, self.flags, self.sequence, 0, 0, 0, 0] {
            item.extend(value.to_le_bytes());
        }
        for time in [self.atime, self.ctime, self.mtime, self.otime] {
            item.extend(time.secs.to_le_bytes());
            item.extend(time.nanos.to_le_bytes());
        }
        item
    }

    pub(super) fn file_type(&self) -> Result<FileType> {
        FileType::from_mode(self.mode)
            .ok_or_else(|| Error::corrupt(format!("mode {:o} names no file type", self.mode)))
    }

    /// What the filesystem traits tell of an entry.
    pub(super) fn metadata(&self, number: u64) -> Result<Metadata> {
        let file_type = self.file_type()?;
        let device = match file_type {
            FileType::CharDevice | FileType::BlockDevice => device_numbers(self.rdev)?,
            _ => (0, 0),
        };
        Ok(Metadata {
            file_type,
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            nlink: self.nlink,
            mtime: self.mtime,
            device,
            inode: number,
        })
    }
}

fn device_numbers(rdev: u64) -> Result<(u32, u32)> {
    let major = u32::try_from(rdev >> 20)
        .map_err(|_| Error::corrupt(format!("device number {rdev:#x}")))?;
    let minor = u32::try_from(rdev & 0xf_ffff).map_err(|_| Error::internal("20 bits"))?;
    Ok((major, minor))
}

/// The single name in an `INODE_REF` item of a directory.
pub(super) fn only_reference(item: &[u8]) -> Result<&[u8]> {
    let fields = Fields::new("btrfs inode reference", item);
    let len = to_usize(fields.le16(8)?.into())?;
    let name = fields.slice(REF_LEN, len)?;
    if item.len() != REF_LEN + len {
        return Err(Error::corrupt("a directory with several names"));
    }
    Ok(name)
}
