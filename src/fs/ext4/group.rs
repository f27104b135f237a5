//! Block group descriptors (`struct ext4_group_desc`): where each group keeps its bitmaps and inodes, and what is free.

use super::checksum;
use super::features;
use super::layout;
use super::superblock::{Superblock, ensure};
use crate::block::BlockDevice;
use crate::bytes::Fields;
use crate::error::{Error, Reason, Result};

/// `EXT4_BG_INODE_UNINIT`: the inode bitmap and table were never written; all inodes are free.
pub(super) const INODE_UNINIT: u16 = 1;
/// `EXT4_BG_BLOCK_UNINIT`: the block bitmap was never written; all but metadata is free.
pub(super) const BLOCK_UNINIT: u16 = 2;

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

/// Offsets of the low and high halves of each field.
const BLOCKS: [(usize, usize); 3] = [(0x0, 0x20), (0x4, 0x24), (0x8, 0x28)];
const COUNTS: [(usize, usize); 6] = [
    (0xC, 0x2C),
    (0xE, 0x2E),
    (0x10, 0x30),
    (0x1C, 0x32),
    (0x18, 0x38),
    (0x1A, 0x3A),
];
const BG_FLAGS: usize = 0x12;
const BG_CHECKSUM: usize = 0x1E;

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
        let f = Fields::new("group descriptor", raw);
        let checked = has_checksum(superblock);
        if checked && f.le16(BG_CHECKSUM)? != descriptor_checksum(superblock, group, raw) {
            return Err(Error::corrupt(format!(
                "the checksum of group descriptor {group} does not match"
            ))
            .because(Reason::Checksum));
        }
        let wide = superblock.desc_size == 64;
        let block = |(low, high): (usize, usize)| -> Result<u64> {
            Ok(u64::from(f.le32(low)?)
                | if wide {
                    u64::from(f.le32(high)?) << 32
                } else {
                    0
                })
        };
        let count = |(low, high): (usize, usize)| -> Result<u32> {
            Ok(u32::from(f.le16(low)?)
                | if wide {
                    u32::from(f.le16(high)?) << 16
                } else {
                    0
                })
        };
        let parsed = Self {
            block_bitmap: block(BLOCKS[0])?,
            inode_bitmap: block(BLOCKS[1])?,
            inode_table: block(BLOCKS[2])?,
            free_blocks: count(COUNTS[0])?,
            free_inodes: count(COUNTS[1])?,
            used_dirs: count(COUNTS[2])?,
            itable_unused: if checked { count(COUNTS[3])? } else { 0 },
            block_bitmap_csum: count(COUNTS[4])?,
            inode_bitmap_csum: count(COUNTS[5])?,
            flags: if checked { f.le16(BG_FLAGS)? } else { 0 },
        };
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
        let wide = superblock.desc_size == 64;
        for (value, (low, high)) in [self.block_bitmap, self.inode_bitmap, self.inode_table]
            .into_iter()
            .zip(BLOCKS)
        {
            let bytes = value.to_le_bytes();
            raw[low..low + 4].copy_from_slice(&bytes[..4]);
            if wide {
                raw[high..high + 4].copy_from_slice(&bytes[4..]);
            }
        }
        let checked = has_checksum(superblock);
        let counts = [
            (self.free_blocks, true),
            (self.free_inodes, true),
            (self.used_dirs, true),
            (self.itable_unused, checked),
            (self.block_bitmap_csum, superblock.has_checksums()),
            (self.inode_bitmap_csum, superblock.has_checksums()),
        ];
        for ((value, _), (low, high)) in counts
            .into_iter()
            .zip(COUNTS)
            .filter(|((_, stored), _)| *stored)
        {
            let bytes = value.to_le_bytes();
            raw[low..low + 2].copy_from_slice(&bytes[..2]);
            if wide {
                raw[high..high + 2].copy_from_slice(&bytes[2..]);
            }
        }
        if checked {
            raw[BG_FLAGS..BG_FLAGS + 2].copy_from_slice(&self.flags.to_le_bytes());
            let sum = descriptor_checksum(superblock, group, raw);
            raw[BG_CHECKSUM..BG_CHECKSUM + 2].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// `bg_checksum`: low half of crc32c over group number and descriptor, or crc16 over UUID, number and descriptor; the
/// field itself counts as zero in the first and is left out of the second.
fn descriptor_checksum(superblock: &Superblock, group: u32, raw: &[u8]) -> u16 {
    let before = &raw[..BG_CHECKSUM];
    let after = &raw[BG_CHECKSUM + 2..];
    if superblock.has_checksums() {
        let crc = checksum::crc32c(superblock.checksum_seed, &group.to_le_bytes());
        let crc = checksum::crc32c(checksum::crc32c(crc, before), &[0, 0]);
        let [low, high, ..] = checksum::crc32c(crc, after).to_le_bytes();
        return u16::from_le_bytes([low, high]);
    }
    let crc = checksum::crc16(u16::MAX, &superblock.uuid);
    let crc = checksum::crc16(checksum::crc16(crc, &group.to_le_bytes()), before);
    checksum::crc16(crc, after)
}
