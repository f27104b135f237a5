//! Inodes on disk (`struct ext4_inode`): 128 bytes, then `i_extra_isize` bytes of newer fields, then extended attributes.
//!
//! ```text
//!   0        0x28               0x64         0x80            0x80 + i_extra_isize        s_inode_size
//!   │ fixed  │ i_block: extent  │ generation │ checksum high, │ xattrs of the inode       │
//!   │ fields │ tree root, fast  │ xattr block│ nanoseconds,   │                           │
//!   │        │ symlink, device  │ …          │ crtime         │                           │
//! ```

use super::checksum;
use super::features;
use super::halves::{high16, high32, join16, join32, low16, low32};
use super::superblock::{Superblock, ensure};
use crate::bytes::{Field, Order, Place, structure};
use crate::error::{Error, Reason, Result};
use crate::fs::FileType;

/// `EXT4_EXTENTS_FL`: `i_block` holds an extent tree.
pub(super) const FLAG_EXTENTS: u32 = 0x8_0000;
/// `EXT4_INDEX_FL`: a directory with a hash tree.
pub(super) const FLAG_INDEX: u32 = 0x1000;
/// `EXT4_HUGE_FILE_FL`: `i_blocks` counts blocks, not sectors.
const FLAG_HUGE_FILE: u32 = 0x4_0000;
/// `EXT4_INLINE_DATA_FL`: the content lies in `i_block` and an extended attribute.
pub(super) const FLAG_INLINE_DATA: u32 = 0x1000_0000;
/// `EXT4_EA_INODE_FL`: holds the value of an extended attribute.
pub(super) const FLAG_EA_INODE: u32 = 0x20_0000;
/// `EXT4_GOOD_OLD_INODE_SIZE`: where the extra fields begin.
pub(super) const OLD_SIZE: usize = RawInode::<&[u8]>::SIZE;
/// Bytes of `i_block`.
pub(super) const I_BLOCK_SIZE: usize = 60;
/// `i_extra_isize` of Linux since 2010: up to `i_projid`.
const EXTRA_SIZE: usize = Extra::<&[u8]>::SIZE;
/// Least `i_extra_isize` of new inodes: up to `i_crtime_extra`.
const EXTRA_MIN: usize = 28;
/// Permissions of `i_mode`; the type lies above.
const PERMISSIONS: u16 = 0o7777;

structure! {
    /// The fields that every inode has; what lies behind them belongs to it.
    pub(super) struct RawInode: "inode", Little, 128 {
        /// Type and permissions.
        0x0 => i_mode / set_mode: u16,
        /// Owner, low half.
        0x2 => i_uid / set_uid_lo: u16,
        /// Bytes of content, low half.
        0x4 => i_size_lo / set_size_lo: u32,
        /// When it was last read, in seconds.
        0x8 => i_atime / set_atime: i32,
        /// When it was last changed, in seconds.
        0xC => i_ctime / set_ctime: i32,
        /// When its content was last changed, in seconds.
        0x10 => i_mtime / set_mtime: i32,
        /// When it was deleted; in the list of orphans, the next one's number.
        0x14 => i_dtime / set_dtime: u32,
        /// Group, low half.
        0x18 => i_gid / set_gid_lo: u16,
        /// Names.
        0x1A => i_links_count / set_links_count: u16,
        /// Blocks that it takes, low half.
        0x1C => i_blocks_lo / set_blocks_lo: u32,
        /// `FLAG_*`.
        0x20 => i_flags / set_flags: u32,
        /// Where the content lies, or the content.
        0x28 => i_block / set_block: [u8; 60],
        /// Differs between files that had the same number.
        0x64 => i_generation / set_generation: u32,
        /// Block of extended attributes, low half.
        0x68 => i_file_acl_lo / set_file_acl_lo: u32,
        /// Bytes of content, high half, of files and directories.
        0x6C => i_size_high / set_size_high: u32,
        /// Blocks that it takes, high part.
        0x74 => l_i_blocks_high / set_blocks_high: u16,
        /// Block of extended attributes, high part.
        0x76 => l_i_file_acl_high / set_file_acl_high: u16,
        /// Owner, high half.
        0x78 => l_i_uid_high / set_uid_high: u16,
        /// Group, high half.
        0x7A => l_i_gid_high / set_gid_high: u16,
        /// CRC32C of the inode, low half.
        0x7C => l_i_checksum_lo / set_checksum_lo: u16,
    }
}

structure! {
    /// The fields behind [`RawInode`], of which an inode has as many as `i_extra_isize` says.
    pub(super) struct Extra: "extra fields of an inode", Little, 32 {
        /// Bytes of these fields.
        0x0 => i_extra_isize / set_extra_isize: u16,
        /// CRC32C of the inode, high half.
        0x2 => i_checksum_hi / set_checksum_hi: u16,
        /// Nanoseconds, and the time's high bits.
        0x4 => i_ctime_extra / set_ctime_extra: u32,
        /// Nanoseconds, and the time's high bits.
        0x8 => i_mtime_extra / set_mtime_extra: u32,
        /// Nanoseconds, and the time's high bits.
        0xC => i_atime_extra / set_atime_extra: u32,
        /// When it was made, in seconds.
        0x10 => i_crtime / set_crtime: i32,
        /// Nanoseconds, and the time's high bits.
        0x14 => i_crtime_extra / set_crtime_extra: u32,
    }
}

impl RawInode<Vec<u8>> {
    /// A new inode of a type, all else zero.
    pub(super) fn new(superblock: &Superblock, file_type: FileType) -> Result<Self> {
        let size = usize::from(superblock.inode_size);
        let mut raw = Self::over(vec![0; size])?;
        raw.set_mode(low16(file_type.mode_bits()));
        raw.set_links_count(1);
        let room = size - OLD_SIZE;
        if room >= EXTRA_SIZE {
            let wanted = usize::from(superblock.want_extra_isize);
            let usual = wanted >= EXTRA_MIN && wanted <= room && wanted.is_multiple_of(4);
            let extra = if usual { wanted } else { EXTRA_SIZE };
            Extra::over(&mut raw.bytes_mut()[OLD_SIZE..])?
                .set_extra_isize(u16::try_from(extra).unwrap_or(0));
        }
        Ok(raw)
    }

    /// `i_extra_isize`, 0 for inodes of 128 bytes.
    pub(super) fn extra_size(&self) -> usize {
        let behind = &self.bytes()[OLD_SIZE..];
        if behind.is_empty() {
            return 0;
        }
        Extra::over(behind).map_or(0, |extra| usize::from(extra.i_extra_isize()))
    }

    /// Where the extra fields that it has lie.
    fn extra_range(&self) -> std::ops::Range<usize> {
        let room = self.bytes().len() - OLD_SIZE;
        OLD_SIZE..OLD_SIZE + self.extra_size().min(EXTRA_SIZE).min(room)
    }

    /// The extra fields; those that it does not have are zero.
    pub(super) fn extra(&self) -> Extra<[u8; EXTRA_SIZE]> {
        let range = self.extra_range();
        let mut extra = Extra::blank();
        extra.bytes_mut()[..range.len()].copy_from_slice(&self.bytes()[range]);
        extra
    }

    /// Stores those of the extra fields that it has.
    pub(super) fn set_extra(&mut self, extra: &Extra<[u8; EXTRA_SIZE]>) {
        let range = self.extra_range();
        let len = range.len();
        self.bytes_mut()[range].copy_from_slice(&extra.bytes()[..len]);
    }

    /// Stores permission bits, keeping the type.
    pub(super) fn set_permissions(&mut self, mode: u32) {
        let file_type = self.i_mode() & !PERMISSIONS;
        self.set_mode(file_type | low16(mode) & PERMISSIONS);
    }

    /// The owner.
    pub(super) fn uid(&self) -> u32 {
        join16(self.i_uid(), self.l_i_uid_high())
    }

    /// Stores the owner.
    pub(super) fn set_uid(&mut self, uid: u32) {
        self.set_uid_lo(low16(uid));
        self.set_uid_high(high16(uid));
    }

    /// The group.
    pub(super) fn gid(&self) -> u32 {
        join16(self.i_gid(), self.l_i_gid_high())
    }

    /// Stores the group.
    pub(super) fn set_gid(&mut self, gid: u32) {
        self.set_gid_lo(low16(gid));
        self.set_gid_high(high16(gid));
    }

    /// `i_block` where it lies.
    pub(super) fn block(&self) -> &[u8] {
        &self.bytes()[RawInode::<Place>::i_block()]
    }

    /// The first two numbers in `i_block`, which hold a device number.
    pub(super) fn device_words(&self) -> [u32; 2] {
        Field::get(&self.block()[..8], Order::Little)
    }

    /// Stores a device number, encoded.
    pub(super) fn set_device_words(&mut self, words: [u32; 2]) {
        let block = &mut self.bytes_mut()[RawInode::<Place>::i_block()];
        words.put(&mut block[..8], Order::Little);
    }

    /// Stores `i_size`.
    pub(super) fn set_size(&mut self, size: u64) {
        self.set_size_lo(low32(size));
        self.set_size_high(high32(size));
    }

    /// Sets the flags of `set` and clears those of `clear`.
    pub(super) fn change_flags(&mut self, set: u32, clear: u32) {
        self.set_flags(self.i_flags() & !clear | set);
    }

    /// `i_file_acl`: block of extended attributes, 0 for none.
    pub(super) fn file_acl(&self) -> u64 {
        join32(self.i_file_acl_lo(), self.l_i_file_acl_high().into())
    }

    /// Stores `i_file_acl`.
    pub(super) fn set_file_acl(&mut self, block: u64) {
        self.set_file_acl_lo(low32(block));
        self.set_file_acl_high(low16(high32(block)));
    }

    /// `i_blocks` in blocks of the filesystem.
    pub(super) fn blocks(&self, superblock: &Superblock) -> u64 {
        let count = join32(self.i_blocks_lo(), self.l_i_blocks_high().into());
        if self.i_flags() & FLAG_HUGE_FILE != 0 {
            return count;
        }
        count.div_ceil(u64::from(superblock.block_size / 512))
    }

    /// Stores `i_blocks` for so many blocks of the filesystem, in sectors of 512 bytes where those fit.
    pub(super) fn set_blocks(&mut self, superblock: &Superblock, blocks: u64) -> Result<()> {
        let sectors = blocks * u64::from(superblock.block_size / 512);
        let huge = superblock.has_ro(features::RO_COMPAT_HUGE_FILE);
        let limit = if huge { 1 << 48 } else { 1 << 32 };
        if sectors >= limit && !huge {
            return Err(Error::unsupported(format!(
                "a file of {blocks} blocks needs the feature huge_file"
            ))
            .because(Reason::Feature));
        }
        let count = if sectors < limit {
            self.change_flags(0, FLAG_HUGE_FILE);
            sectors
        } else {
            self.change_flags(FLAG_HUGE_FILE, 0);
            blocks
        };
        self.set_blocks_lo(low32(count));
        self.set_blocks_high(low16(high32(count)));
        Ok(())
    }

    /// Whether it has room for the high half of its checksum.
    fn has_high_checksum(&self) -> bool {
        self.extra_range().len() >= Extra::<Place>::i_checksum_hi().end
    }

    fn stored_checksum(&self) -> u32 {
        join16(self.l_i_checksum_lo(), self.extra().i_checksum_hi())
    }

    /// The checksum with its fields counted as zeroes, 16 bits where only those fit.
    fn computed_checksum(&self, seed: u32, ino: u32) -> u32 {
        let (old, behind) = self.bytes().split_at(OLD_SIZE);
        let crc = checksum::inode_seed(seed, ino, self.i_generation());
        let crc = checksum::crc32c_without(crc, old, RawInode::<Place>::l_i_checksum_lo());
        if self.has_high_checksum() {
            return checksum::crc32c_without(crc, behind, Extra::<Place>::i_checksum_hi());
        }
        checksum::crc32c(crc, behind) & 0xFFFF
    }

    /// Checks the checksum of inode `ino` as the device holds it.
    pub(super) fn check(&self, superblock: &Superblock, ino: u32) -> Result<()> {
        let right = !superblock.has_checksums()
            || self.stored_checksum() == self.computed_checksum(superblock.checksum_seed, ino);
        ensure(right, || {
            format!("the checksum of inode {ino} does not match")
        })
    }

    /// Stores the checksum of inode `ino`, where the filesystem has checksums.
    pub(super) fn seal(&mut self, superblock: &Superblock, ino: u32) {
        if !superblock.has_checksums() {
            return;
        }
        let checksum = self.computed_checksum(superblock.checksum_seed, ino);
        let mut extra = self.extra();
        extra.set_checksum_hi(high16(checksum));
        self.set_checksum_lo(low16(checksum));
        self.set_extra(&extra);
    }

    /// Whether every byte is zero: how an inode looks that was never used.
    pub(super) fn is_unused(&self) -> bool {
        crate::bytes::is_zero(self.bytes())
    }
}
