//! Block group descriptors (`struct ext4_group_desc`): where each group keeps its bitmaps and inodes.

use super::checksum;
use super::superblock::{Superblock, ensure};
use crate::block::BlockDevice;
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result};

/// The first block of every group's inode table (`bg_inode_table`), checked to lie in the filesystem.
pub(super) type InodeTables = Vec<u64>;

/// Reads and checks all descriptors.
pub(super) fn read_inode_tables(device: &dyn BlockDevice, superblock: &Superblock) -> Result<InodeTables> {
    let size = usize::from(superblock.desc_size);
    // Bounded by the superblock's check that the table fits the filesystem and that a group has 256 blocks or more.
    let mut table = vec![0; to_usize(u64::from(superblock.group_count) * u64::from(superblock.desc_size))?];
    device.read_at((u64::from(superblock.first_data_block) + 1) * u64::from(superblock.block_size), &mut table)?;
    let groups = (0..superblock.group_count).zip(table.chunks_exact(size));
    groups.map(|(group, raw)| parse(superblock, group, raw)).collect()
}

fn parse(superblock: &Superblock, group: u32, raw: &[u8]) -> Result<u64> {
    let f = Fields::new("group descriptor", raw);
    if superblock.has_checksums() && f.le16(0x1E)? != descriptor_checksum(superblock.checksum_seed, group, raw) {
        return Err(Error::corrupt(format!("the checksum of group descriptor {group} does not match")));
    }
    let block = |low: usize, high: usize| -> Result<u64> {
        let high = if superblock.desc_size == 64 { f.le32(high)? } else { 0 };
        Ok(u64::from(f.le32(low)?) | u64::from(high) << 32)
    };
    let count = |low: usize, high: usize| -> Result<u32> {
        let high = if superblock.desc_size == 64 { f.le16(high)? } else { 0 };
        Ok(u32::from(f.le16(low)?) | u32::from(high) << 16)
    };
    let table = block(0x8, 0x28)?;
    let places = [
        ("bg_block_bitmap", block(0x0, 0x20)?, 1),
        ("bg_inode_bitmap", block(0x4, 0x24)?, 1),
        ("bg_inode_table", table, superblock.inode_table_blocks()),
    ];
    for (name, first, len) in places {
        let end = first.checked_add(len);
        let inside =
            first > u64::from(superblock.first_data_block) && end.is_some_and(|e| e <= superblock.blocks_count);
        ensure(inside, || {
            format!("{name} {first} of group {group} lies outside the filesystem of {} blocks", superblock.blocks_count)
        })?;
    }
    let counts = [
        ("bg_free_blocks_count", count(0xC, 0x2C)?, superblock.blocks_per_group),
        ("bg_free_inodes_count", count(0xE, 0x2E)?, superblock.inodes_per_group),
        ("bg_used_dirs_count", count(0x10, 0x30)?, superblock.inodes_per_group),
        ("bg_itable_unused", count(0x1C, 0x32)?, superblock.inodes_per_group),
    ];
    for (name, value, max) in counts {
        ensure(value <= max, || format!("{name} {value} of group {group} is more than {max}"))?;
    }
    Ok(table)
}

/// Low 16 bits of crc32c over the group number and the descriptor with `bg_checksum` zero.
fn descriptor_checksum(seed: u32, group: u32, raw: &[u8]) -> u16 {
    let crc = checksum::crc32c(seed, &group.to_le_bytes());
    let crc = checksum::crc32c(crc, &raw[..0x1E]);
    let [low, high, ..] = checksum::crc32c(checksum::crc32c(crc, &[0, 0]), &raw[0x20..]).to_le_bytes();
    u16::from_le_bytes([low, high])
}
