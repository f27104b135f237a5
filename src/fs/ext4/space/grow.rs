//! What growing does to the allocation state: groups become longer, others are added.

use super::{Run, Space, parts};
use crate::block::BlockDevice;
use crate::error::Result;
use crate::fs::ext4::bitmap::Bitmap;
use crate::fs::ext4::group::{BLOCK_UNINIT, Group, has_checksum};
use crate::fs::ext4::layout;
use crate::fs::ext4::superblock::{Superblock, ensure};

impl Space {
    /// Makes the last group longer: `len` blocks before and after. One that is empty and no longer the last needs no
    /// bitmap.
    pub(in super::super) fn extend_group(
        &mut self,
        device: &dyn BlockDevice,
        old: &Superblock,
        group: u32,
        len: (u32, u32),
        stays_last: bool,
    ) -> Result<()> {
        let more = len.1 - len.0;
        let map = self.block_map(device, old, group)?;
        if more > 0 {
            map.put(len.0, more, false);
        }
        if map.all(0, len.1, false) && !stays_last && has_checksum(old) {
            self.groups[group as usize].flags |= BLOCK_UNINIT;
        }
        self.count_free(group, more);
        Ok(())
    }

    /// Adds a group without any blocks yet.
    pub(in super::super) fn push_group(&mut self, group: Group) {
        self.add_free_inodes(group.free_inodes);
        self.groups.push(group);
        self.block_maps.push(None);
        self.inode_maps.push(None);
        self.longest.push(u32::MAX);
    }

    /// Marks the first blocks of a new group as used, all others as free.
    pub(in super::super) fn start_group(
        &mut self,
        superblock: &Superblock,
        group: u32,
    ) -> Result<()> {
        let len = layout::group_len(superblock, group);
        let head = u32::try_from(layout::head_blocks(superblock, group)).unwrap_or(u32::MAX);
        ensure(head <= len, || {
            format!("group {group} has no room for {head} blocks of descriptors")
        })?;
        let mut map = Bitmap::clear_with_padding(superblock.block_bytes(), len);
        map.put(0, head, true);
        self.block_maps[group as usize] = Some(map);
        self.count_free(group, len - head);
        if head > 0 {
            self.groups[group as usize].flags &= !BLOCK_UNINIT;
        }
        Ok(())
    }

    /// Settles a new group: the last has a bitmap in any case, and so have groups with tables of others or a backup;
    /// without checksums all have both bitmaps.
    pub(in super::super) fn finish_group(&mut self, superblock: &Superblock, group: u32) {
        let at = group as usize;
        let apart = !layout::is_flexible(superblock);
        if apart && has_checksum(superblock) && layout::head_blocks(superblock, group) == 0 {
            self.groups[at].flags |= BLOCK_UNINIT;
        }
        if group + 1 == superblock.group_count {
            self.groups[at].flags &= !BLOCK_UNINIT;
        }
        if self.groups[at].flags & BLOCK_UNINIT != 0 {
            // It can be made again when it is needed.
            self.block_maps[at] = None;
        }
        if self.groups[at].flags == 0 {
            let map =
                Bitmap::clear_with_padding(superblock.block_bytes(), superblock.inodes_per_group);
            self.inode_maps[at] = Some(map);
        }
        self.dirty.insert(group);
    }

    /// The first block of `from..until` that is used or free as `wanted`, or `until`.
    pub(in super::super) fn next_block(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        from: u64,
        until: u64,
        wanted: bool,
    ) -> Result<u64> {
        let mut at = from;
        while at < until {
            let Some((group, bit)) =
                layout::group_of(superblock, at).filter(|_| at < superblock.blocks_count)
            else {
                // Nothing is free beyond the end.
                return Ok(if wanted { at } else { until });
            };
            let len = layout::group_len(superblock, group);
            let found = self
                .block_map(device, superblock, group)?
                .next(bit, len, wanted);
            at += u64::from(found - bit);
            if found < len {
                break;
            }
        }
        Ok(at.min(until))
    }

    /// Takes these blocks, which are free.
    pub(in super::super) fn take_exactly(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        start: u64,
        len: u64,
    ) -> Result<()> {
        for (group, bit, len) in parts(superblock, Run { start, len }) {
            self.block_map(device, superblock, group)?;
            self.take_bits(superblock, group, bit, len);
        }
        Ok(())
    }
}
