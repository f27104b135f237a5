//! Block group descriptors (`struct ext4_group_desc`): where each group keeps its bitmaps and inodes, and what is free.

use super::checksum;
use super::features;
use super::halves::{high16, high32, join16, join32, low16, low32};
use super::layout;
use super::superblock::{Superblock, ensure};
use crate::block::BlockDevice;
use crate::bytes::{Place, structure};
use crate::error::{Error, Reason, Result};

/// `EXT4_BG_INODE_UNINIT`: the inode bitmap and table were never written; all inodes are free.
pub(super) const INODE_UNINIT: u16 = 1;
/// `EXT4_BG_BLOCK_UNINIT`: the block bitmap was never written; all but metadata is free.
pub(super) const BLOCK_UNINIT: u16 = 2;

structure! {
    /// `struct ext4_group_desc`. Without the feature 64bit it ends behind the first 32 bytes, where the high halves begin.
    struct Descriptor: "group descriptor", Little, 64 {
        /// Block of the block bitmap.
        0x0 => bg_block_bitmap_lo / set_block_bitmap_lo: u32,
        /// Block of the inode bitmap.
        0x4 => bg_inode_bitmap_lo / set_inode_bitmap_lo: u32,
        /// First block of the inode table.
        0x8 => bg_inode_table_lo / set_inode_table_lo: u32,
        /// Free blocks.
        0xC => bg_free_blocks_count_lo / set_free_blocks_count_lo: u16,
        /// Free inodes.
        0xE => bg_free_inodes_count_lo / set_free_inodes_count_lo: u16,
        /// Directories.
        0x10 => bg_used_dirs_count_lo / set_used_dirs_count_lo: u16,
        /// [`INODE_UNINIT`] and [`BLOCK_UNINIT`].
        0x12 => bg_flags / set_flags: u16,
        /// CRC32C of the block bitmap.
        0x18 => bg_block_bitmap_csum_lo / set_block_bitmap_csum_lo: u16,
        /// CRC32C of the inode bitmap.
        0x1A => bg_inode_bitmap_csum_lo / set_inode_bitmap_csum_lo: u16,
        /// Inodes at the end of the table that were never used.
        0x1C => bg_itable_unused_lo / set_itable_unused_lo: u16,
        /// Of the descriptor.
        0x1E => bg_checksum / set_checksum: u16,
        /// High half.
        0x20 => bg_block_bitmap_hi / set_block_bitmap_hi: u32,
        /// High half.
        0x24 => bg_inode_bitmap_hi / set_inode_bitmap_hi: u32,
        /// High half.
        0x28 => bg_inode_table_hi / set_inode_table_hi: u32,
        /// High half.
        0x2C => bg_free_blocks_count_hi / set_free_blocks_count_hi: u16,
        /// High half.
        0x2E => bg_free_inodes_count_hi / set_free_inodes_count_hi: u16,
        /// High half.
        0x30 => bg_used_dirs_count_hi / set_used_dirs_count_hi: u16,
        /// High half.
        0x32 => bg_itable_unused_hi / set_itable_unused_hi: u16,
        /// High half.
        0x38 => bg_block_bitmap_csum_hi / set_block_bitmap_csum_hi: u16,
        /// High half.
        0x3A => bg_inode_bitmap_csum_hi / set_inode_bitmap_csum_hi: u16,
    }
}

impl Descriptor<[u8; 64]> {
    /// One of 32 or 64 bytes; the high halves of a short one are zero.
    fn padded(raw: &[u8]) -> Self {
        let mut descriptor = Self::blank();
        descriptor.bytes_mut()[..raw.len()].copy_from_slice(raw);
        descriptor
    }
}

/// One descriptor, its places checked to lie in the filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Group {
    /// `bg_block_bitmap`
    pub block_bitmap: u64,
    /// `bg_inode_bitmap`
    pub inode_bitmap: u64,
    /// `bg_inode_table`: its first block.
    pub inode_table: u64,
    /// `bg_free_blocks_count`
    pub free_blocks: u32,
    /// `bg_free_inodes_count`
    pub free_inodes: u32,
    /// `bg_used_dirs_count`
    pub used_dirs: u32,
    /// `bg_flags`, 0 where the filesystem has no descriptor checksums.
    pub flags: u16,
    /// `bg_itable_unused`: inodes at the end of the table that were never used.
    pub itable_unused: u32,
    /// `bg_block_bitmap_csum`
    pub block_bitmap_csum: u32,
    /// `bg_inode_bitmap_csum`
    pub inode_bitmap_csum: u32,
}

/// Whether descriptors carry checksums, and with them flags and `bg_itable_unused`.
pub(super) fn has_checksum(superblock: &Superblock) -> bool {
    superblock.has_ro(features::RO_COMPAT_METADATA_CSUM | features::RO_COMPAT_GDT_CSUM)
}

/// Reads and checks all descriptors.
pub(super) fn read_all(device: &dyn BlockDevice, superblock: &Superblock) -> Result<Vec<Group>> {
    let mut block = vec![0; superblock.block_bytes()];
    // Bounded by the superblock's check that the table fits the filesystem and that a group has 256 blocks or more.
    let mut groups = Vec::with_capacity(superblock.group_count as usize);
    for index in 0..layout::descriptor_blocks(superblock) {
        let number = layout::descriptor_block(superblock, index, false);
        ensure(superblock.contains(number, 1), || {
            format!("descriptor block {index} lies outside, at {number}")
        })?;
        device.read_at(number * u64::from(superblock.block_size), &mut block)?;
        for raw in block.chunks_exact(usize::from(superblock.desc_size)) {
            let group = u32::try_from(groups.len())
                .map_err(|_| Error::internal("groups are counted in 32 bits"))?;
            if group < superblock.group_count {
                groups.push(Group::parse(superblock, group, raw)?);
            }
        }
    }
    Ok(groups)
}

impl Group {
    fn parse(superblock: &Superblock, group: u32, raw: &[u8]) -> Result<Self> {
        let on_disk = Descriptor::padded(raw);
        let checked = has_checksum(superblock);
        if checked && on_disk.bg_checksum() != descriptor_checksum(superblock, group, raw) {
            return Err(Error::corrupt(format!(
                "the checksum of group descriptor {group} does not match"
            ))
            .because(Reason::Checksum));
        }
        let mut parsed = Self {
            block_bitmap: join32(on_disk.bg_block_bitmap_lo(), on_disk.bg_block_bitmap_hi()),
            inode_bitmap: join32(on_disk.bg_inode_bitmap_lo(), on_disk.bg_inode_bitmap_hi()),
            inode_table: join32(on_disk.bg_inode_table_lo(), on_disk.bg_inode_table_hi()),
            free_blocks: join16(
                on_disk.bg_free_blocks_count_lo(),
                on_disk.bg_free_blocks_count_hi(),
            ),
            free_inodes: join16(
                on_disk.bg_free_inodes_count_lo(),
                on_disk.bg_free_inodes_count_hi(),
            ),
            used_dirs: join16(
                on_disk.bg_used_dirs_count_lo(),
                on_disk.bg_used_dirs_count_hi(),
            ),
            flags: 0,
            itable_unused: 0,
            block_bitmap_csum: join16(
                on_disk.bg_block_bitmap_csum_lo(),
                on_disk.bg_block_bitmap_csum_hi(),
            ),
            inode_bitmap_csum: join16(
                on_disk.bg_inode_bitmap_csum_lo(),
                on_disk.bg_inode_bitmap_csum_hi(),
            ),
        };
        if checked {
            parsed.flags = on_disk.bg_flags();
            parsed.itable_unused =
                join16(on_disk.bg_itable_unused_lo(), on_disk.bg_itable_unused_hi());
        }
        parsed.check(superblock, group)?;
        Ok(parsed)
    }

    fn check(&self, superblock: &Superblock, group: u32) -> Result<()> {
        let places = [
            ("bg_block_bitmap", self.block_bitmap, 1),
            ("bg_inode_bitmap", self.inode_bitmap, 1),
            (
                "bg_inode_table",
                self.inode_table,
                superblock.inode_table_blocks(),
            ),
        ];
        for (name, first, len) in places {
            ensure(superblock.contains(first, len), || {
                format!(
                    "{name} {first} of group {group} lies outside the filesystem of {} blocks",
                    superblock.blocks_count
                )
            })?;
        }
        let counts = [
            (
                "bg_free_blocks_count",
                self.free_blocks,
                superblock.blocks_per_group,
            ),
            (
                "bg_free_inodes_count",
                self.free_inodes,
                superblock.inodes_per_group,
            ),
            (
                "bg_used_dirs_count",
                self.used_dirs,
                superblock.inodes_per_group,
            ),
            (
                "bg_itable_unused",
                self.itable_unused,
                superblock.inodes_per_group,
            ),
        ];
        for (name, value, max) in counts {
            ensure(value <= max, || {
                format!("{name} {value} of group {group} is more than {max}")
            })?;
        }
        Ok(())
    }

    /// Writes the fields into a raw descriptor, other bytes kept, and seals it.
    pub(super) fn store(&self, superblock: &Superblock, group: u32, raw: &mut [u8]) {
        let mut on_disk = Descriptor::padded(raw);
        on_disk.set_block_bitmap_lo(low32(self.block_bitmap));
        on_disk.set_block_bitmap_hi(high32(self.block_bitmap));
        on_disk.set_inode_bitmap_lo(low32(self.inode_bitmap));
        on_disk.set_inode_bitmap_hi(high32(self.inode_bitmap));
        on_disk.set_inode_table_lo(low32(self.inode_table));
        on_disk.set_inode_table_hi(high32(self.inode_table));
        on_disk.set_free_blocks_count_lo(low16(self.free_blocks));
        on_disk.set_free_blocks_count_hi(high16(self.free_blocks));
        on_disk.set_free_inodes_count_lo(low16(self.free_inodes));
        on_disk.set_free_inodes_count_hi(high16(self.free_inodes));
        on_disk.set_used_dirs_count_lo(low16(self.used_dirs));
        on_disk.set_used_dirs_count_hi(high16(self.used_dirs));
        if superblock.has_checksums() {
            on_disk.set_block_bitmap_csum_lo(low16(self.block_bitmap_csum));
            on_disk.set_block_bitmap_csum_hi(high16(self.block_bitmap_csum));
            on_disk.set_inode_bitmap_csum_lo(low16(self.inode_bitmap_csum));
            on_disk.set_inode_bitmap_csum_hi(high16(self.inode_bitmap_csum));
        }
        if has_checksum(superblock) {
            on_disk.set_flags(self.flags);
            on_disk.set_itable_unused_lo(low16(self.itable_unused));
            on_disk.set_itable_unused_hi(high16(self.itable_unused));
            let used = &on_disk.bytes()[..raw.len()];
            on_disk.set_checksum(descriptor_checksum(superblock, group, used));
        }
        raw.copy_from_slice(&on_disk.bytes()[..raw.len()]);
    }
}

/// `bg_checksum`: low half of crc32c over group number and descriptor, or crc16 over UUID, number and descriptor; the
/// field itself counts as zero in the first and is left out of the second.
fn descriptor_checksum(superblock: &Superblock, group: u32, raw: &[u8]) -> u16 {
    let field = Descriptor::<Place>::bg_checksum();
    if superblock.has_checksums() {
        let crc = checksum::crc32c(superblock.checksum_seed, &group.to_le_bytes());
        return low16(checksum::crc32c_without(crc, raw, field));
    }
    let crc = checksum::crc16(u16::MAX, &superblock.uuid);
    let crc = checksum::crc16(crc, &group.to_le_bytes());
    let crc = checksum::crc16(crc, &raw[..field.start]);
    checksum::crc16(crc, &raw[field.end..])
}
