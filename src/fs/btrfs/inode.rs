//! Inode items (`struct btrfs_inode_item`) and the references that name their parents.

use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result};
use crate::fs::{FileType, Metadata, Timestamp};

/// Bytes of an inode reference before the name (`struct btrfs_inode_ref`).
const REF_LEN: usize = 10;

/// Flags of an inode (`BTRFS_INODE_*`).
pub(super) mod flag {
    pub const NODATASUM: u64 = 1 << 0;
}

/// An inode; fields have the names of the kernel header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub size: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Device number in the kernel's own form: major in bits 20 and up, minor below.
    pub rdev: u64,
    pub flags: u64,
    pub mtime: Timestamp,
}

impl Inode {
    pub(super) fn parse(item: &[u8]) -> Result<Self> {
        let fields = Fields::new("btrfs inode item", item);
        Ok(Self {
            size: fields.le64(16)?,
            nlink: fields.le32(40)?,
            uid: fields.le32(44)?,
            gid: fields.le32(48)?,
            mode: fields.le32(52)?,
            rdev: fields.le64(56)?,
            flags: fields.le64(64)?,
            mtime: Timestamp { secs: i64::from_le_bytes(fields.array(136)?), nanos: fields.le32(144)? },
        })
    }

    pub(super) fn file_type(&self) -> Result<FileType> {
        FileType::from_mode(self.mode).ok_or_else(|| Error::corrupt(format!("mode {:o} names no file type", self.mode)))
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
    let major = u32::try_from(rdev >> 20).map_err(|_| Error::corrupt(format!("device number {rdev:#x}")))?;
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
