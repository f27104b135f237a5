//! Growing a filesystem within its device, with the geometry that `resize2fs` gives it.
//!
//! ```text
//!   before  │ group 0 … n, the last perhaps short │
//!   after   │ group 0 … n, whole                  │ group n+1 … m │
//!           └ descriptors go on in the blocks reserved for them; where those end, in the groups themselves (meta_bg)
//! ```
//!
//! New groups are left uninitialised where descriptors have checksums: their inode tables are not written.

mod backup;
mod check;
mod resize_inode;
mod tables;

use super::group::{BLOCK_UNINIT, Group, INODE_UNINIT};
use super::space::Run;
use super::superblock::{BLOCKS_COUNT_MAX, Superblock, ensure};
use super::{Ext4, features, group, layout};
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, Reason, Result};

/// Blocks beyond its metadata that a last group must have to be made (`resize2fs`).
const LAST_GROUP_MIN: u64 = 50;

impl<D: BlockDeviceMut> Ext4<D> {
    /// Grows the filesystem to `new_size_bytes` of its device, rounded down to blocks and to a last group that is
    /// worth making. What is gathered so far is committed first; the result is written at once.
    ///
    /// A smaller size is [`InvalidInput`](crate::ErrorKind::InvalidInput): filesystems are not shrunk.
    pub fn grow(&mut self, new_size_bytes: u64) -> Result<()> {
        use crate::fs::FileSystemMut;
        let bytes = u64::from(self.superblock.block_size);
        let blocks = new_size_bytes / bytes;
        if new_size_bytes > self.store.size() || blocks < self.superblock.blocks_count {
            return Err(Error::invalid(format!(
                "the filesystem of {} bytes cannot get {new_size_bytes} bytes on a device of {}",
                self.superblock.blocks_count * bytes,
                self.store.size()
            ))
            .with_hint("filesystems can only grow, up to the size of their partition"));
        }
        self.commit()?;
        // As committed: laying out directories can have changed it.
        let old = self.superblock.clone();
        let new = planned(&old, blocks)?;
        if new.blocks_count == old.blocks_count {
            return Ok(());
        }
        // From here on, a failure leaves something half-written.
        self.set_failed(true)?;
        self.extend_last_group(&old, &new)?;
        self.add_groups(&old, &new)?;
        self.superblock = new;
        self.space.protect(&self.superblock)?;
        self.free_old_backup(&old)?;
        if self.superblock.has_compat(features::COMPAT_RESIZE_INODE) {
            self.rebuild_resize_inode()?;
        } else if old.has_compat(features::COMPAT_RESIZE_INODE) {
            self.drop_resize_inode()?;
        }
        self.clear_new_descriptors(&old)?;
        self.space.store(&self.store, &self.superblock)?;
        self.write_superblock()?;
        self.write_backups()?;
        self.check_growth(&old)?;
        self.set_failed(false)
    }

    /// Frees what was a backup and is none any more.
    fn free_old_backup(&mut self, old: &Superblock) -> Result<()> {
        for group in old.backup_bgs {
            let is_gone = old.has_compat(features::COMPAT_SPARSE_SUPER2)
                && (1..old.group_count).contains(&group)
                && !layout::has_superblock(&self.superblock, group);
            if is_gone {
                let start = layout::group_start(old, group);
                let kept = layout::head_blocks(&self.superblock, group);
                let run = Run {
                    start: start + kept,
                    len: layout::head_blocks(old, group) - kept,
                };
                self.space.release(&self.store, &self.superblock, run)?;
            }
        }
        Ok(())
    }

    /// Makes the last group whole, or as long as it gets.
    fn extend_last_group(&mut self, old: &Superblock, new: &Superblock) -> Result<()> {
        let last = old.group_count - 1;
        let len = (layout::group_len(old, last), layout::group_len(new, last));
        self.space.extend_group(
            &self.store,
            old,
            last,
            len,
            new.group_count == old.group_count,
        )
    }

    /// Adds the descriptors of new groups and finds places for their tables, for those that lie together at a time:
    /// most of their bitmaps need not be kept.
    fn add_groups(&mut self, old: &Superblock, new: &Superblock) -> Result<()> {
        let checked = group::has_checksum(new);
        for _ in old.group_count..new.group_count {
            self.space.push_group(Group {
                free_inodes: new.inodes_per_group,
                flags: if checked {
                    INODE_UNINIT | BLOCK_UNINIT
                } else {
                    0
                },
                itable_unused: if checked { new.inodes_per_group } else { 0 },
                ..Group::default()
            });
        }
        let mut from = old.group_count;
        let mut started = old.group_count;
        while from < new.group_count {
            let until = layout::flex_end(new, from);
            // The next one too, for tables may reach into it.
            let ahead = (until + 1).min(new.group_count);
            for number in started..ahead {
                self.space.start_group(new, number)?;
            }
            started = ahead;
            for number in from..until {
                tables::place(&mut self.space, &self.store, new, number)?;
            }
            for number in from..until {
                self.space.finish_group(new, number);
                if !checked {
                    self.clear_group(new, number)?;
                }
            }
            from = until;
        }
        Ok(())
    }

    /// Zeroes the inode table of a group in a filesystem that cannot say that it was never used.
    fn clear_group(&self, new: &Superblock, number: u32) -> Result<()> {
        let table = self.space.groups[number as usize].inode_table;
        let size = u64::from(new.block_size);
        self.store
            .write_zeroes(table * size, new.inode_table_blocks() * size)
    }

    /// Zeroes descriptor blocks that held something else so far.
    fn clear_new_descriptors(&self, old: &Superblock) -> Result<()> {
        let size = u64::from(self.superblock.block_size);
        for index in layout::descriptor_blocks(old)..layout::descriptor_blocks(&self.superblock) {
            let block = layout::descriptor_block(&self.superblock, index, false);
            self.store.write_zeroes(block * size, size)?;
        }
        Ok(())
    }
}

/// The superblock of the grown filesystem.
fn planned(old: &Superblock, blocks: u64) -> Result<Superblock> {
    let limit = if old.has_incompat(features::INCOMPAT_64BIT) {
        BLOCKS_COUNT_MAX
    } else {
        (1 << 32) - 1
    };
    if blocks > limit {
        return Err(Error::unsupported(format!(
            "a filesystem of {blocks} blocks: this one can have {limit}"
        )));
    }
    let mut new = old.clone();
    new.blocks_count = blocks;
    count_groups(old, &mut new)?;
    let per_group = u64::from(old.blocks_per_group);
    let rest = (new.blocks_count - u64::from(new.first_data_block)) % per_group;
    let last = new.group_count - 1;
    let overhead = 2 + new.inode_table_blocks() + layout::head_blocks(&new, last);
    if new.group_count > old.group_count && rest > 0 && rest < overhead + LAST_GROUP_MIN {
        new.blocks_count -= rest;
        count_groups(old, &mut new)?;
    }
    if new.blocks_count <= old.blocks_count {
        return Ok(old.clone());
    }
    let inodes = u64::from(new.inodes_per_group) * u64::from(new.group_count);
    new.inodes_count = u32::try_from(inodes).map_err(|_| {
        Error::unsupported(format!(
            "the grown filesystem would have {inodes} inodes, more than 2^32 - 1"
        ))
        .because(Reason::Limit)
    })?;
    // The same share as before.
    let reserved = u128::from(old.free.reserved_blocks) * u128::from(new.blocks_count)
        / u128::from(old.blocks_count);
    new.free.reserved_blocks =
        u64::try_from(reserved).map_err(|_| Error::internal("a share is less than the whole"))?;
    new.on_disk.set_overhead_clusters(0);
    Ok(new)
}

/// Sets the number of groups and where the descriptors of those that are new go.
fn count_groups(old: &Superblock, new: &mut Superblock) -> Result<()> {
    let groups = (new.blocks_count - u64::from(new.first_data_block))
        .div_ceil(u64::from(new.blocks_per_group));
    new.group_count =
        u32::try_from(groups).map_err(|_| Error::unsupported("too many block groups"))?;
    new.backup_bgs = backup_groups(old, new.group_count);
    new.feature_incompat = old.feature_incompat;
    new.feature_compat = old.feature_compat;
    new.reserved_gdt_blocks = old.reserved_gdt_blocks;
    new.first_meta_bg = old.first_meta_bg;
    let before = layout::descriptor_blocks(old);
    let after = layout::descriptor_blocks(new);
    if before == after || old.has_incompat(features::INCOMPAT_META_BG) {
        return Ok(());
    }
    let more = after - before;
    if more <= u32::from(old.reserved_gdt_blocks) {
        let left = u32::from(old.reserved_gdt_blocks) - more;
        new.reserved_gdt_blocks =
            u16::try_from(left).map_err(|_| Error::internal("less than it was"))?;
        return Ok(());
    }
    new.first_meta_bg = before + u32::from(old.reserved_gdt_blocks);
    new.reserved_gdt_blocks = 0;
    new.feature_incompat |= features::INCOMPAT_META_BG;
    new.feature_compat &= !features::COMPAT_RESIZE_INODE;
    ensure(new.first_meta_bg > 0, || {
        "there is no descriptor block".to_owned()
    })
}

/// The groups with backups where sparse_super2 names them: the second one is always the last.
fn backup_groups(old: &Superblock, groups: u32) -> [u32; 2] {
    let last = groups - 1;
    match old.backup_bgs {
        _ if !old.has_compat(features::COMPAT_SPARSE_SUPER2) || groups == old.group_count => {
            old.backup_bgs
        }
        [first, second] if second != 0 => [first, last],
        [0, 0] if old.group_count == 1 => [1, if last > 1 { last } else { 0 }],
        [1, 0] if old.group_count == 2 => [1, last],
        as_before => as_before,
    }
}
