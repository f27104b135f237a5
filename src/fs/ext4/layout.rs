//! Where the fixed metadata lies: superblocks, descriptors, bitmaps, inode tables.
//!
//! ```text
//!   group with a backup:  │ superblock │ descriptors │ reserved descriptors │ bitmaps, inode table │ data │
//!   group without:        │ bitmaps, inode table │ data │
//!   meta_bg:              │ superblock │ one descriptor block in groups 0, 1 and last of each meta group │ …
//! ```
//!
//! With flex_bg the bitmaps and tables of several groups lie together, anywhere.

use super::features;
use super::group::Group;
use super::superblock::{Superblock, ensure};
use crate::error::Result;

/// Blocks of the descriptor table, without those reserved for growing.
pub(super) fn descriptor_blocks(superblock: &Superblock) -> u32 {
    superblock
        .group_count
        .div_ceil(descriptors_per_block(superblock))
}

/// Descriptors in one block.
pub(super) fn descriptors_per_block(superblock: &Superblock) -> u32 {
    superblock.block_size / u32::from(superblock.desc_size)
}

/// The first block of a group.
pub(super) fn group_start(superblock: &Superblock, group: u32) -> u64 {
    u64::from(superblock.first_data_block)
        + u64::from(group) * u64::from(superblock.blocks_per_group)
}

/// Blocks of a group; the last may be short.
pub(super) fn group_len(superblock: &Superblock, group: u32) -> u32 {
    let left = superblock
        .blocks_count
        .saturating_sub(group_start(superblock, group));
    u32::try_from(left)
        .unwrap_or(u32::MAX)
        .min(superblock.blocks_per_group)
}

/// The group of a block and the block's number within it.
pub(super) fn group_of(superblock: &Superblock, block: u64) -> Option<(u32, u32)> {
    let at = block.checked_sub(u64::from(superblock.first_data_block))?;
    let per_group = u64::from(superblock.blocks_per_group);
    let group = u32::try_from(at / per_group)
        .ok()
        .filter(|group| *group < superblock.group_count)?;
    Some((group, u32::try_from(at % per_group).ok()?))
}

/// Whether a group begins with a superblock.
pub(super) fn has_superblock(superblock: &Superblock, group: u32) -> bool {
    let power_of = |base: u32| {
        let mut power = base;
        while power < group {
            power = power.saturating_mul(base);
        }
        power == group
    };
    if superblock.has_compat(features::COMPAT_SPARSE_SUPER2) {
        return group == 0 || superblock.backup_bgs.contains(&group);
    }
    group <= 1
        || !superblock.has_ro(features::RO_COMPAT_SPARSE_SUPER)
        || [3, 5, 7].into_iter().any(power_of)
}

/// The first descriptor block that lies in its own meta group; all, where there is no meta_bg.
fn first_meta(superblock: &Superblock) -> u32 {
    if superblock.has_incompat(features::INCOMPAT_META_BG) {
        superblock.first_meta_bg
    } else {
        u32::MAX
    }
}

/// Where descriptor block `index` lies: behind the superblock, or in the first group of its meta group.
/// With `backup`, the copy in group 1 or in the second group of its meta group.
pub(super) fn descriptor_block(superblock: &Superblock, index: u32, backup: bool) -> u64 {
    let (group, at) = if index < first_meta(superblock) {
        (u32::from(backup), index)
    } else {
        (
            index * descriptors_per_block(superblock) + u32::from(backup),
            0,
        )
    };
    // Block 0 of 1 KiB is for a boot loader, also where the first group begins with it (bigalloc).
    let start = group_start(superblock, group).max(u64::from(superblock.block_size == 1024));
    start + u64::from(at) + u64::from(has_superblock(superblock, group))
}

/// Descriptor blocks that lie in a row behind superblocks.
pub(super) fn descriptors_in_row(superblock: &Superblock) -> u32 {
    descriptor_blocks(superblock).min(first_meta(superblock))
}

/// Whether a group with a superblock has the descriptors that lie in a row behind it, too: no group does that keeps
/// descriptors of its own meta group.
pub(super) fn has_table(superblock: &Superblock, group: u32) -> bool {
    has_superblock(superblock, group)
        && group / descriptors_per_block(superblock) < first_meta(superblock)
}

/// Descriptor blocks, used and reserved, at the start of a group, behind its superblock.
pub(super) fn descriptor_blocks_in(superblock: &Superblock, group: u32) -> u64 {
    let per_block = descriptors_per_block(superblock);
    if group / per_block >= first_meta(superblock) {
        return u64::from([0, 1, per_block - 1].contains(&(group % per_block)));
    }
    match (
        has_superblock(superblock, group),
        superblock.has_incompat(features::INCOMPAT_META_BG),
    ) {
        (false, _) => 0,
        (true, true) => u64::from(superblock.first_meta_bg),
        (true, false) => {
            u64::from(descriptor_blocks(superblock)) + u64::from(superblock.reserved_gdt_blocks)
        }
    }
}

/// Blocks of superblock and descriptors at the start of a group.
pub(super) fn head_blocks(superblock: &Superblock, group: u32) -> u64 {
    u64::from(has_superblock(superblock, group)) + descriptor_blocks_in(superblock, group)
}

/// Whether tables of several groups lie together.
pub(super) fn is_flexible(superblock: &Superblock) -> bool {
    superblock.has_incompat(features::INCOMPAT_FLEX_BG)
        && (1..32).contains(&superblock.log_groups_per_flex)
}

/// The group behind those that lie together with `group`.
pub(super) fn flex_end(superblock: &Superblock, group: u32) -> u32 {
    let size = if is_flexible(superblock) {
        1 << superblock.log_groups_per_flex
    } else {
        1
    };
    (group / size * size)
        .saturating_add(size)
        .min(superblock.group_count)
}

/// Runs of blocks (first, length), in order.
pub(super) type Runs = Vec<(u64, u64)>;

/// All fixed metadata as runs of blocks, in order; two that overlap are an error.
pub(super) fn zones(superblock: &Superblock, groups: &[Group]) -> Result<Runs> {
    let mut runs = Runs::new();
    for (number, group) in (0..).zip(groups) {
        let start = group_start(superblock, number);
        let before = u64::from(superblock.block_size == 1024).saturating_sub(start);
        let head = before + head_blocks(superblock, number);
        if head > 0 {
            runs.push((start, head.min(superblock.blocks_count - start)));
        }
        runs.push((group.block_bitmap, 1));
        runs.push((group.inode_bitmap, 1));
        runs.push((group.inode_table, superblock.inode_table_blocks()));
    }
    runs.sort_unstable();
    let mut merged: Runs = Vec::with_capacity(runs.len() / 2);
    for (first, len) in runs {
        match merged.last_mut() {
            Some(last) if last.0 + last.1 == first => last.1 += len,
            Some(last) => {
                ensure(last.0 + last.1 < first, || {
                    format!("block {first} is claimed by two groups' metadata")
                })?;
                merged.push((first, len));
            }
            None => merged.push((first, len)),
        }
    }
    Ok(merged)
}

/// The parts of `zones` that lie in `len` blocks from `first`, as offsets from there.
pub(super) fn clip(
    zones: &[(u64, u64)],
    first: u64,
    len: u64,
) -> impl Iterator<Item = (u64, u64)> + '_ {
    let from = zones.partition_point(|zone| zone.0 + zone.1 <= first);
    let inside = zones[from..]
        .iter()
        .take_while(move |zone| zone.0 < first + len);
    inside.map(move |zone| {
        let start = zone.0.max(first);
        (start - first, (zone.0 + zone.1).min(first + len) - start)
    })
}
