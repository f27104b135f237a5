//! Inodes (`struct ext4_inode`): 128 bytes, then `i_extra_isize` bytes of newer fields, then extended attributes.
//!
//! ```text
//!   0        0x28               0x64         0x80            0x80 + i_extra_isize        s_inode_size
//!   │ fixed  │ i_block: extent  │ generation │ checksum high, │ xattrs of the inode       │
//!   │ fields │ tree root, fast  │ xattr block│ nanoseconds,   │                           │
//!   │        │ symlink, device  │ …          │ crtime         │                           │
//! ```

use super::checksum;
use super::features;
use super::superblock::{Superblock, ensure};
use super::time::{self, Time};
use crate::bytes::{Fields, to_u64};
use crate::error::{Error, Reason, Result};
use crate::fs::{FileType, Metadata};

/// The root directory.
pub(super) const ROOT_INO: u32 = 2;
/// `EXT4_EXTENTS_FL`: `i_block` holds an extent tree.
pub(super) const FLAG_EXTENTS: u32 = 0x8_0000;
/// `EXT4_INDEX_FL`: a directory with a hash tree.
pub(super) const FLAG_INDEX: u32 = 0x1000;
/// `EXT4_HUGE_FILE_FL`: `i_blocks` counts blocks, not sectors.
pub(super) const FLAG_HUGE_FILE: u32 = 0x4_0000;
/// `EXT4_INLINE_DATA_FL`: the content lies in `i_block` and an extended attribute.
pub(super) const FLAG_INLINE_DATA: u32 = 0x1000_0000;
/// `EXT4_EA_INODE_FL`: holds the value of an extended attribute.
const FLAG_EA_INODE: u32 = 0x20_0000;
/// `EXT4_ENCRYPT_FL | EXT4_CASEFOLD_FL`: need features that are refused.
const FLAGS_REFUSED: u32 = 0x800 | 0x4000_0000;
/// `EXT4_GOOD_OLD_INODE_SIZE`: where the extra fields begin.
pub(super) const OLD_SIZE: usize = 128;
/// Bytes of `i_block`.
pub(super) const I_BLOCK_SIZE: usize = 60;
/// Where `i_block` begins.
const I_BLOCK: usize = 0x28;
/// Offset of `i_flags`.
const I_FLAGS: usize = 0x20;
/// Offset of `i_dtime`, which links inodes of the orphan list.
pub(super) const I_DTIME: usize = 0x14;
/// `i_extra_isize` of Linux since 2010: up to `i_projid`.
const EXTRA_SIZE: usize = 32;
/// Least `i_extra_isize` of new inodes: up to `i_crtime_extra`.
const EXTRA_MIN: usize = 28;
/// `i_checksum_lo` and `i_checksum_hi`.
const I_CHECKSUM: [usize; 2] = [0x7C, 0x82];

/// An inode, its fields checked.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    /// Its number.
    pub ino: u32,
    /// All `s_inode_size` bytes.
    pub raw: Vec<u8>,
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
    pub(super) fn parse(ino: u32, raw: Vec<u8>) -> Result<Self> {
        let inode = Self::parse_any(ino, raw)?;
        ensure(inode.links != 0, || {
            format!("inode {ino} is named by a directory but deleted")
        })?;
        Ok(inode)
    }

    /// Checks the inode `ino` in `raw`, which may be without a name.
    pub(super) fn parse_any(ino: u32, raw: Vec<u8>) -> Result<Self> {
        let f = Fields::new("inode", &raw);
        let mode = f.le16(0x0)?;
        let links = f.le16(0x1A)?;
        let generation = f.le32(0x64)?;
        let file_type = FileType::from_mode(u32::from(mode)).ok_or_else(|| {
            Error::corrupt(format!("the mode {mode:#o} of inode {ino} names no type"))
        })?;
        let extra = extra_size(&raw);
        ensure(
            extra <= raw.len() - OLD_SIZE && extra.is_multiple_of(4),
            || format!("i_extra_isize {extra} of inode {ino} is more than the inode has"),
        )?;
        let flags = f.le32(0x20)?;
        if flags & FLAGS_REFUSED != 0 {
            return Err(Error::unsupported(format!(
                "inode {ino} has flags that cannot be read: {flags:#x}"
            )));
        }
        let has_high_size = matches!(file_type, FileType::File | FileType::Directory);
        let size_high = if has_high_size { f.le32(0x6C)? } else { 0 };
        let size = u64::from(f.le32(0x4)?) | u64::from(size_high) << 32;
        ensure(size >> 48 == 0, || {
            format!("i_size {size} of inode {ino} is more than ext4's largest file")
        })?;
        Ok(Self {
            ino,
            file_type,
            size,
            links,
            generation,
            file_acl: file_acl(&raw),
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
        &self.raw[I_BLOCK..I_BLOCK + I_BLOCK_SIZE]
    }

    /// Where its extended attributes begin in `raw`; `None` where it has no room for any.
    pub(super) fn xattr_start(&self) -> Option<usize> {
        match extra_size(&self.raw) {
            0 => None,
            extra => Some(OLD_SIZE + extra),
        }
    }

    /// The bytes for extended attributes behind the extra fields; empty where there are none.
    pub(super) fn xattr_area(&self) -> &[u8] {
        self.xattr_start().map_or(&[], |start| &self.raw[start..])
    }

    /// The seed of its blocks' checksums.
    pub(super) fn seed(&self, superblock: &Superblock) -> u32 {
        checksum::inode_seed(superblock.checksum_seed, self.ino, self.generation)
    }

    /// What the traits report.
    pub(super) fn metadata(&self) -> Result<Metadata> {
        let f = Fields::new("inode", &self.raw);
        let wide = |low: usize, high: usize| -> Result<u32> {
            Ok(u32::from(f.le16(low)?) | u32::from(f.le16(high)?) << 16)
        };
        Ok(Metadata {
            file_type: self.file_type,
            mode: u32::from(self.mode) & 0o7777,
            uid: wide(0x2, 0x78)?,
            gid: wide(0x18, 0x7A)?,
            size: if matches!(self.file_type, FileType::File | FileType::Symlink) {
                self.size
            } else {
                0
            },
            nlink: u32::from(self.links),
            mtime: time::get(&self.raw, Time::Modification),
            device: self.device()?,
            inode: u64::from(self.ino),
        })
    }

    /// `i_block[0]` in the old encoding or, where that is 0, `i_block[1]` in the new one.
    fn device(&self) -> Result<(u32, u32)> {
        if !matches!(self.file_type, FileType::CharDevice | FileType::BlockDevice) {
            return Ok((0, 0));
        }
        let f = Fields::new("inode", self.block());
        let old = f.le32(0)?;
        let new = f.le32(4)?;
        if old != 0 {
            return Ok((old >> 8 & 0xFF, old & 0xFF));
        }
        Ok((new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xF_FF00))
    }
}

/// `i_extra_isize`, 0 for inodes of 128 bytes.
fn extra_size(raw: &[u8]) -> usize {
    match raw.get(OLD_SIZE..OLD_SIZE + 2) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    }
}

/// Whether the word at `offset` lies in the fixed part or within the extra fields.
fn has_word(raw: &[u8], offset: usize) -> bool {
    offset + 4 <= OLD_SIZE || (offset + 4 <= OLD_SIZE + extra_size(raw) && offset + 4 <= raw.len())
}

pub(super) fn word(raw: &[u8], offset: usize) -> Option<u32> {
    let bytes: [u8; 4] = raw.get(offset..offset + 4)?.try_into().ok()?;
    has_word(raw, offset).then(|| u32::from_le_bytes(bytes))
}

pub(super) fn set_word(raw: &mut [u8], offset: usize, value: u32) {
    if has_word(raw, offset)
        && let Some(bytes) = raw.get_mut(offset..offset + 4)
    {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Stores permission bits, keeping the type.
pub(super) fn set_mode(raw: &mut [u8], mode: u32) {
    let [low, high, ..] = (mode & 0o7777).to_le_bytes();
    raw[0] = low;
    raw[1] = raw[1] & 0xF0 | high;
}

/// Stores the owner.
pub(super) fn set_uid(raw: &mut [u8], uid: u32) {
    set_halves(raw, uid, [0x2, 0x78]);
}

/// Stores the group.
pub(super) fn set_gid(raw: &mut [u8], gid: u32) {
    set_halves(raw, gid, [0x18, 0x7A]);
}

/// Stores a device number, encoded, in `i_block[0..2]`.
pub(super) fn set_device(raw: &mut [u8], words: [u32; 2]) {
    for (index, value) in words.into_iter().enumerate() {
        set_word(raw, I_BLOCK + 4 * index, value);
    }
}

/// Stores `i_links_count`.
pub(super) fn set_links(raw: &mut [u8], links: u16) {
    raw[0x1A..0x1C].copy_from_slice(&links.to_le_bytes());
}

/// Stores `i_size`.
pub(super) fn set_size(raw: &mut [u8], size: u64) {
    let bytes = size.to_le_bytes();
    raw[0x4..0x8].copy_from_slice(&bytes[..4]);
    raw[0x6C..0x70].copy_from_slice(&bytes[4..]);
}

/// Sets the flags of `set` and clears those of `clear` in `i_flags`.
pub(super) fn change_flags(raw: &mut [u8], set: u32, clear: u32) {
    let flags = word(raw, I_FLAGS).unwrap_or(0) & !clear | set;
    set_word(raw, I_FLAGS, flags);
}

/// Stores `i_block`.
pub(super) fn set_block(raw: &mut [u8], block: &[u8; I_BLOCK_SIZE]) {
    raw[I_BLOCK..I_BLOCK + I_BLOCK_SIZE].copy_from_slice(block);
}

/// `i_file_acl`
pub(super) fn file_acl(raw: &[u8]) -> u64 {
    let high = u64::from(raw[0x76]) | u64::from(raw[0x77]) << 8;
    u64::from(word(raw, 0x68).unwrap_or(0)) | high << 32
}

/// Stores `i_file_acl`.
pub(super) fn set_file_acl(raw: &mut [u8], block: u64) {
    let bytes = block.to_le_bytes();
    raw[0x68..0x6C].copy_from_slice(&bytes[..4]);
    raw[0x76..0x78].copy_from_slice(&bytes[4..6]);
}

/// Stores `i_blocks` for so many blocks of the filesystem, in sectors of 512 bytes where those fit.
pub(super) fn set_blocks(superblock: &Superblock, raw: &mut [u8], blocks: u64) -> Result<()> {
    let sectors = blocks * u64::from(superblock.block_size / 512);
    let huge = superblock.has_ro(features::RO_COMPAT_HUGE_FILE);
    let limit = if huge { 1 << 48 } else { 1 << 32 };
    if sectors >= limit && !huge {
        return Err(Error::unsupported(format!(
            "a file of {blocks} blocks needs the feature huge_file"
        ))
        .because(Reason::Feature));
    }
    let (count, set, clear) = if sectors < limit {
        (sectors, 0, FLAG_HUGE_FILE)
    } else {
        (blocks, FLAG_HUGE_FILE, 0)
    };
    change_flags(raw, set, clear);
    let bytes = count.to_le_bytes();
    raw[0x1C..0x20].copy_from_slice(&bytes[..4]);
    raw[0x74..0x76].copy_from_slice(&bytes[4..6]);
    Ok(())
}

/// `i_blocks` in blocks of the filesystem.
pub(super) fn blocks(superblock: &Superblock, raw: &[u8]) -> u64 {
    let high = u64::from(raw[0x74]) | u64::from(raw[0x75]) << 8;
    let count = u64::from(word(raw, 0x1C).unwrap_or(0)) | high << 32;
    if word(raw, I_FLAGS).unwrap_or(0) & FLAG_HUGE_FILE != 0 {
        return count;
    }
    count.div_ceil(u64::from(superblock.block_size / 512))
}

/// A new inode of a type, all else zero.
pub(super) fn new(superblock: &Superblock, file_type: FileType) -> Vec<u8> {
    let mut raw = vec![0; usize::from(superblock.inode_size)];
    let [_, high, ..] = file_type.mode_bits().to_le_bytes();
    raw[1] = high;
    let room = usize::from(superblock.inode_size) - OLD_SIZE;
    let wanted = usize::from(superblock.want_extra_isize);
    let extra = if wanted >= EXTRA_MIN && wanted <= room && wanted.is_multiple_of(4) {
        wanted
    } else {
        EXTRA_SIZE
    };
    if room >= EXTRA_SIZE {
        raw[OLD_SIZE..OLD_SIZE + 2]
            .copy_from_slice(&u16::try_from(extra).unwrap_or(0).to_le_bytes());
    }
    set_links(&mut raw, 1);
    raw
}

fn set_halves(raw: &mut [u8], value: u32, [low, high]: [usize; 2]) {
    let [a, b, c, d] = value.to_le_bytes();
    raw[low..low + 2].copy_from_slice(&[a, b]);
    raw[high..high + 2].copy_from_slice(&[c, d]);
}

/// Whether the inode has room for the high half of its checksum.
fn has_high_checksum(raw: &[u8]) -> bool {
    extra_size(raw) >= 4 && raw.len() >= OLD_SIZE + 4
}

fn checksum_stored(raw: &[u8]) -> u32 {
    let half = |at: usize| u32::from(raw[at]) | u32::from(raw[at + 1]) << 8;
    let high = if has_high_checksum(raw) {
        half(I_CHECKSUM[1]) << 16
    } else {
        0
    };
    half(I_CHECKSUM[0]) | high
}

/// The checksum over a raw inode with its checksum fields zero, 16 bits where only those fit.
fn checksum_of(seed: u32, ino: u32, raw: &[u8]) -> u32 {
    let generation = word(raw, 0x64).unwrap_or(0);
    let mut copy = raw.to_vec();
    copy[I_CHECKSUM[0]..I_CHECKSUM[0] + 2].fill(0);
    let wide = has_high_checksum(raw);
    if wide {
        copy[I_CHECKSUM[1]..I_CHECKSUM[1] + 2].fill(0);
    }
    let crc = checksum::crc32c(checksum::inode_seed(seed, ino, generation), &copy);
    if wide { crc } else { crc & 0xFFFF }
}

/// Checks the checksum of a raw inode as the device holds it.
pub(super) fn check(superblock: &Superblock, ino: u32, raw: &[u8]) -> Result<()> {
    let right = !superblock.has_checksums()
        || checksum_stored(raw) == checksum_of(superblock.checksum_seed, ino, raw);
    ensure(right, || {
        format!("the checksum of inode {ino} does not match")
    })
}

/// Writes the checksum of a raw inode into it, where the filesystem has checksums.
pub(super) fn seal(superblock: &Superblock, ino: u32, raw: &mut [u8]) {
    if !superblock.has_checksums() {
        return;
    }
    let [a, b, c, d] = checksum_of(superblock.checksum_seed, ino, raw).to_le_bytes();
    raw[I_CHECKSUM[0]..I_CHECKSUM[0] + 2].copy_from_slice(&[a, b]);
    if has_high_checksum(raw) {
        raw[I_CHECKSUM[1]..I_CHECKSUM[1] + 2].copy_from_slice(&[c, d]);
    }
}
