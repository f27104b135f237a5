//! What is free and what is in use: bitmaps of blocks and inodes, loaded when needed, kept until commit.
//!
//! ```text
//!   goal block free? ── yes ──▶ go on there (files grow in one piece)
//!        │ no
//!        ▼
//!   groups from the goal on, wrapping: a free run as long as wanted ─▶ … half a group ─▶ … any run
//! ```
//!
//! Low groups fill first, so that groups never written stay so.

mod grow;
mod maps;

use super::bitmap::Bitmap;
use super::group::{BLOCK_UNINIT, Group, INODE_UNINIT};
use super::layout;
use super::superblock::{Superblock, ensure};
use crate::block::BlockDevice;
use crate::error::{Error, Result};

/// Runs of free blocks shorter than what is wanted are taken in these steps, the longest first.
const RUN_STEPS: [u32; 3] = [2048, 128, 16];

/// A run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// First block.
    pub start: u64,
    /// Blocks.
    pub len: u64,
}

/// Where blocks are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// The block to go on at, or any block of the group to begin in.
    pub block: u64,
    /// Blocks that will be asked for one after another.
    pub total: u64,
}

/// The allocation state of a filesystem.
#[derive(Debug)]
pub(super) struct Space {
    /// All group descriptors.
    pub groups: Vec<Group>,
    /// Fixed metadata (see [`layout::zones`]); empty where opened for reading.
    zones: layout::Runs,
    /// Bitmaps that were asked for.
    pub block_maps: Vec<Option<Bitmap>>,
    pub inode_maps: Vec<Option<Bitmap>>,
    /// No free run of the group is longer than this.
    pub longest: Vec<u32>,
    /// Groups whose descriptor changed.
    pub dirty: std::collections::BTreeSet<u32>,
    free_blocks: u64,
    free_inodes: u32,
}

impl Space {
    /// Of descriptors just read.
    pub(super) fn new(groups: Vec<Group>) -> Self {
        let count = groups.len();
        Self {
            free_blocks: groups
                .iter()
                .map(|group| u64::from(group.free_blocks))
                .sum(),
            // Bounded by the inode count, itself 32 bits.
            free_inodes: groups
                .iter()
                .fold(0, |sum, group| sum.saturating_add(group.free_inodes)),
            zones: layout::Runs::new(),
            block_maps: (0..count).map(|_| None).collect(),
            inode_maps: (0..count).map(|_| None).collect(),
            longest: vec![u32::MAX; count],
            dirty: std::collections::BTreeSet::new(),
            groups,
        }
    }

    /// Makes ready for editing.
    pub(super) fn protect(&mut self, superblock: &Superblock) -> Result<()> {
        self.zones = layout::zones(superblock, &self.groups)?;
        Ok(())
    }

    /// Counts blocks of a group as free.
    pub(super) fn count_free(&mut self, group: u32, blocks: u32) {
        let at = group as usize;
        self.groups[at].free_blocks += blocks;
        self.longest[at] = u32::MAX;
        self.free_blocks += u64::from(blocks);
        self.dirty.insert(group);
    }

    /// Counts inodes of a new group as free.
    pub(super) fn add_free_inodes(&mut self, inodes: u32) {
        self.free_inodes = self.free_inodes.saturating_add(inodes);
    }

    /// Free blocks, reserved ones too.
    pub(super) fn free_blocks(&self) -> u64 {
        self.free_blocks
    }

    /// Free inodes.
    pub(super) fn free_inodes(&self) -> u32 {
        self.free_inodes
    }

    /// Takes up to `most` blocks in one run, at `goal` where that is free. No space at all is an error.
    pub(super) fn take(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        goal: Goal,
        most: u64,
    ) -> Result<Run> {
        let most = u32::try_from(most)
            .unwrap_or(u32::MAX)
            .min(superblock.blocks_per_group);
        let (first, bit) = layout::group_of(superblock, goal.block).unwrap_or((0, 0));
        let map = self.block_map(device, superblock, first)?;
        let end = map.next(
            bit,
            layout::group_len(superblock, first).min(bit.saturating_add(most)),
            true,
        );
        if end > bit {
            return Ok(self.take_bits(superblock, first, bit, end - bit));
        }
        let whole = u32::try_from(goal.total)
            .unwrap_or(u32::MAX)
            .clamp(1, superblock.blocks_per_group / 2);
        let steps = std::iter::once(whole)
            .chain(RUN_STEPS.into_iter().filter(|step| *step < whole))
            .chain([1]);
        for wanted in steps {
            for group in (first..superblock.group_count).chain(0..first) {
                let at = group as usize;
                if self.groups[at].free_blocks < wanted || self.longest[at] < wanted {
                    continue;
                }
                if let Some((bit, len)) = self.find_run(device, superblock, group, wanted)? {
                    return Ok(self.take_bits(superblock, group, bit, len.min(most)));
                }
            }
        }
        Err(Error::no_space("no block is free")
            .with_hint("use a larger partition, or bake less into it"))
    }

    /// The first run of `wanted` free blocks in a group.
    fn find_run(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        group: u32,
        wanted: u32,
    ) -> Result<Option<(u32, u32)>> {
        let len = layout::group_len(superblock, group);
        let map = self.block_map(device, superblock, group)?;
        let mut bit = map.next(0, len, false);
        let mut longest = 0;
        while bit < len {
            let end = map.next(bit, len, true);
            if end - bit >= wanted {
                return Ok(Some((bit, end - bit)));
            }
            longest = longest.max(end - bit);
            bit = map.next(end, len, false);
        }
        self.longest[group as usize] = longest;
        Ok(None)
    }

    /// Marks free bits as used. The bitmap is loaded.
    pub(super) fn take_bits(
        &mut self,
        superblock: &Superblock,
        group: u32,
        bit: u32,
        len: u32,
    ) -> Run {
        let at = group as usize;
        if let Some(map) = &mut self.block_maps[at] {
            map.put(bit, len, true);
        }
        // The bitmap's count was checked against the descriptor's when it was loaded.
        self.groups[at].free_blocks = self.groups[at].free_blocks.saturating_sub(len);
        self.groups[at].flags &= !BLOCK_UNINIT;
        self.free_blocks = self.free_blocks.saturating_sub(u64::from(len));
        self.dirty.insert(group);
        Run {
            start: layout::group_start(superblock, group) + u64::from(bit),
            len: u64::from(len),
        }
    }

    /// Checks that blocks that an inode claims are in use and not fixed metadata, before they are written or freed.
    pub(super) fn check_held(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        run: Run,
    ) -> Result<()> {
        let wrong = || {
            format!(
                "blocks {}+{} are claimed by an inode but free or metadata",
                run.start, run.len
            )
        };
        ensure(superblock.contains(run.start, run.len), wrong)?;
        ensure(
            layout::clip(&self.zones, run.start, run.len)
                .next()
                .is_none(),
            wrong,
        )?;
        self.for_each_part(device, superblock, run, |map, bit, len| {
            ensure(map.all(bit, len, true), wrong)
        })
    }

    /// Frees blocks, which must be in use and not fixed metadata.
    pub(super) fn release(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        run: Run,
    ) -> Result<()> {
        self.check_held(device, superblock, run)?;
        self.for_each_part(device, superblock, run, |map, bit, len| {
            map.put(bit, len, false);
            Ok(())
        })?;
        for (group, _, len) in parts(superblock, run) {
            self.count_free(group, len);
        }
        Ok(())
    }

    /// Calls `act` with the bitmap, the first bit and the length of each group's part of a run.
    fn for_each_part(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        run: Run,
        mut act: impl FnMut(&mut Bitmap, u32, u32) -> Result<()>,
    ) -> Result<()> {
        for (group, bit, len) in parts(superblock, run) {
            act(self.block_map(device, superblock, group)?, bit, len)?;
        }
        Ok(())
    }

    /// Free runs of blocks, counted until there are more than `enough`.
    pub(super) fn count_runs(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        enough: u64,
    ) -> Result<u64> {
        let mut runs = 0;
        for group in 0..superblock.group_count {
            if self.groups[group as usize].free_blocks == 0 || runs > enough {
                continue;
            }
            let len = layout::group_len(superblock, group);
            let map = self.block_map(device, superblock, group)?;
            let mut bit = map.next(0, len, false);
            while bit < len {
                runs += 1;
                bit = map.next(map.next(bit, len, true), len, false);
            }
        }
        Ok(runs)
    }

    /// Takes a free inode, in `goal` or the next group that has one.
    pub(super) fn take_inode(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        goal: u32,
        is_dir: bool,
    ) -> Result<u32> {
        for group in (goal..superblock.group_count).chain(0..goal) {
            let at = group as usize;
            if self.groups[at].free_inodes == 0 {
                continue;
            }
            // As Linux does: a group with inodes has a block bitmap.
            self.block_map(device, superblock, group)?;
            let per_group = superblock.inodes_per_group;
            let first = (superblock.first_ino - 1)
                .saturating_sub(group * per_group)
                .min(per_group);
            let map = self.inode_map(device, superblock, group)?;
            let bit = map.next(first, per_group, false);
            if bit == per_group {
                continue;
            }
            map.put(bit, 1, true);
            let descriptor = &mut self.groups[at];
            descriptor.free_inodes -= 1;
            descriptor.used_dirs += u32::from(is_dir);
            descriptor.flags &= !(INODE_UNINIT | BLOCK_UNINIT);
            descriptor.itable_unused = descriptor.itable_unused.min(per_group - bit - 1);
            self.free_inodes -= 1;
            self.dirty.insert(group);
            return Ok(group * per_group + bit + 1);
        }
        Err(Error::no_space("no inode is free")
            .with_hint("make the filesystem with more inodes (mke2fs -N)"))
    }

    /// Frees an inode, which must be in use.
    pub(super) fn release_inode(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        ino: u32,
        is_dir: bool,
    ) -> Result<()> {
        self.check_inode_used(device, superblock, ino)?;
        let group = (ino - 1) / superblock.inodes_per_group;
        let bit = (ino - 1) % superblock.inodes_per_group;
        self.inode_map(device, superblock, group)?
            .put(bit, 1, false);
        let descriptor = &mut self.groups[group as usize];
        descriptor.free_inodes += 1;
        let dirs = descriptor.used_dirs.checked_sub(u32::from(is_dir));
        descriptor.used_dirs = dirs.ok_or_else(|| {
            Error::corrupt(format!("bg_used_dirs_count of group {group} is too small"))
        })?;
        self.free_inodes += 1;
        self.dirty.insert(group);
        Ok(())
    }

    /// Checks that an inode that something names is marked as used.
    pub(super) fn check_inode_used(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        ino: u32,
    ) -> Result<()> {
        let group = (ino - 1) / superblock.inodes_per_group;
        let bit = (ino - 1) % superblock.inodes_per_group;
        let used = self.inode_map(device, superblock, group)?.all(bit, 1, true);
        ensure(used, || {
            format!("inode {ino} is named by a directory but marked free")
        })
    }
}

/// A run, which lies in the filesystem, as (group, first bit, length) of each group it touches.
pub(super) fn parts(
    superblock: &Superblock,
    run: Run,
) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
    let mut at = run.start;
    std::iter::from_fn(move || {
        let left = (run.start + run.len)
            .checked_sub(at)
            .filter(|left| *left > 0)?;
        let (group, bit) = layout::group_of(superblock, at)?;
        let room = layout::group_len(superblock, group) - bit;
        let len = u32::try_from(left).unwrap_or(u32::MAX).min(room);
        at += u64::from(len);
        Some((group, bit, len))
    })
}
