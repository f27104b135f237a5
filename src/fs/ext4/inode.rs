//! Inodes, their fields checked.

use super::checksum;
use super::halves::join32;
use super::raw_inode::{
    FLAG_EA_INODE, FLAG_EXTENTS, FLAG_INDEX, FLAG_INLINE_DATA, I_BLOCK_SIZE, OLD_SIZE, RawInode,
};
use super::superblock::{Superblock, ensure};
use super::time::{self, Time};
use crate::bytes::to_u64;
use crate::error::{Error, Result};
use crate::fs::{FileType, Metadata};

/// The root directory.
pub(super) const ROOT_INO: u32 = 2;
/// `EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL`: need features that are refused.
const FLAGS_REFUSED: u32 = 0x800 | 0x4000_0000;
/// An inode, its fields checked.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    /// Its number.
    pub ino: u32,
    /// All `s_inode_size` bytes.
    pub raw: RawInode<Vec<u8>>,
    /// Type of the entry, from `i_mode`.
    pub file_type: FileType,
    /// `i_size`
    pub size: u64,
    /// `i_links_count`
    pub links: u16,
    /// `i_generation`
    pub generation: u32,
    /// `i_file_acl`: block of extended attributes, 0 for none.
    pub file_acl: u64,
    flags: u32,
    mode: u16,
}

impl Inode {
    /// Checks the inode `ino` in `raw`, which something names.
    pub(super) fn parse(ino: u32, raw: RawInode<Vec<u8>>) -> Result<Self> {
        let inode = Self::parse_any(ino, raw)?;
        ensure(inode.links != 0, || {
            format!("inode {ino} is named by a directory but deleted")
        })?;
        Ok(inode)
    }

    /// Checks the inode `ino` in `raw`, which may be without a name.
    pub(super) fn parse_any(ino: u32, raw: RawInode<Vec<u8>>) -> Result<Self> {
        let mode = raw.i_mode();
        let file_type = FileType::from_mode(u32::from(mode)).ok_or_else(|| {
            Error::corrupt(format!("the mode {mode:#o} of inode {ino} names no type"))
        })?;
        let extra = raw.extra_size();
        ensure(
            extra <= raw.bytes().len() - OLD_SIZE && extra.is_multiple_of(4),
            || format!("i_extra_isize {extra} of inode {ino} is more than the inode has"),
        )?;
        let flags = raw.i_flags();
        if flags & FLAGS_REFUSED != 0 {
            return Err(Error::unsupported(format!(
                "inode {ino} has flags that cannot be read: {flags:#x}"
            )));
        }
        let has_high_size = matches!(file_type, FileType::File | FileType::Directory);
        let size_high = if has_high_size { raw.i_size_high() } else { 0 };
        let size = join32(raw.i_size_lo(), size_high);
        ensure(size >> 48 == 0, || {
            format!("i_size {size} of inode {ino} is more than ext4's largest file")
        })?;
        Ok(Self {
            ino,
            file_type,
            size,
            links: raw.i_links_count(),
            generation: raw.i_generation(),
            file_acl: raw.file_acl(),
            flags,
            mode,
            raw,
        })
    }

    /// Whether `i_block` holds an extent tree.
    pub(super) fn has_extents(&self) -> bool {
        self.flags & FLAG_EXTENTS != 0
    }

    /// Whether it is a directory with a hash tree.
    pub(super) fn is_indexed(&self) -> bool {
        self.flags & FLAG_INDEX != 0
    }

    /// Whether the content lies in the inode itself.
    pub(super) fn is_inline(&self) -> bool {
        self.flags & FLAG_INLINE_DATA != 0
    }

    /// Whether it holds the value of an extended attribute.
    pub(super) fn is_xattr_value(&self) -> bool {
        self.flags & FLAG_EA_INODE != 0
    }

    /// Whether blocks hold its content: not a device, a short symlink or inline data.
    pub(super) fn has_blocks(&self) -> bool {
        let kept = match self.file_type {
            FileType::File | FileType::Directory => true,
            FileType::Symlink => self.has_extents() || self.size >= to_u64(I_BLOCK_SIZE),
            _ => false,
        };
        kept && !self.is_inline()
    }

    /// `i_block`
    pub(super) fn block(&self) -> &[u8] {
        self.raw.block()
    }

    /// Where its extended attributes begin in `raw`; `None` where it has no room for any.
    pub(super) fn xattr_start(&self) -> Option<usize> {
        match self.raw.extra_size() {
            0 => None,
            extra => Some(OLD_SIZE + extra),
        }
    }

    /// The bytes for extended attributes behind the extra fields; empty where there are none.
    pub(super) fn xattr_area(&self) -> &[u8] {
        self.xattr_start()
            .map_or(&[], |start| &self.raw.bytes()[start..])
    }

    /// The seed of its blocks' checksums.
    pub(super) fn seed(&self, superblock: &Superblock) -> u32 {
        checksum::inode_seed(superblock.checksum_seed, self.ino, self.generation)
    }

    /// What the traits report.
    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            file_type: self.file_type,
            mode: u32::from(self.mode) & 0o7777,
            uid: self.raw.uid(),
            gid: self.raw.gid(),
            size: if matches!(self.file_type, FileType::File | FileType::Symlink) {
                self.size
            } else {
                0
            },
            nlink: u32::from(self.links),
            mtime: time::get(&self.raw, Time::Modification),
            device: self.device(),
            inode: u64::from(self.ino),
        }
    }

    /// `i_block[0]` in the old encoding or, where that is 0, `i_block[1]` in the new one.
    fn device(&self) -> (u32, u32) {
        if !matches!(self.file_type, FileType::CharDevice | FileType::BlockDevice) {
            return (0, 0);
        }
        let [old, new] = self.raw.device_words();
        if old != 0 {
            return (old >> 8 & 0xFF, old & 0xFF);
        }
        (new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xF_FF00)
    }
}
