//! The block map of ext2 and ext3: pointers of 32 bits, a zero for a hole.
//!
//! ```text
//!   i_block  0 … 11   blocks 0 to 11
//!            12       block of pointers               ── p blocks           (p = block size / 4)
//!            13       block of blocks of pointers     ── p² blocks
//!            14       one level more                  ── p³ blocks
//! ```

use super::extent::{self, EXTENTS_MAX, Extent};
use super::inode::Inode;
use super::raw_inode::I_BLOCK_SIZE;
use super::space::{Goal, Space};
use super::superblock::{Superblock, ensure};
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::{Field, Order, in_a_row, put_in_a_row, to_u64};
use crate::error::{Error, Reason, Result};

/// Pointers in the inode itself (`EXT4_NDIR_BLOCKS`).
const DIRECT: u64 = 12;
/// Bytes of a pointer.
pub(super) const POINTER: usize = u32::WIDTH;

/// Reads a whole map.
pub(super) struct MapReader<'a> {
    device: &'a dyn BlockDevice,
    superblock: &'a Superblock,
    ino: u32,
    extents: Vec<Extent>,
    nodes: Vec<u64>,
    /// Blocks met so far, at most those of the filesystem: else some are claimed twice.
    met: u64,
}

impl<'a> MapReader<'a> {
    /// The extents of `inode`, in the file's order, and the blocks of pointers.
    pub(super) fn read(
        device: &'a dyn BlockDevice,
        superblock: &'a Superblock,
        inode: &Inode,
    ) -> Result<(Vec<Extent>, Vec<u64>)> {
        let mut reader = Self {
            device,
            superblock,
            ino: inode.ino,
            extents: Vec::new(),
            nodes: Vec::new(),
            met: 0,
        };
        let mut logical = 0;
        for (pointer, slot) in pointers(inode.block()).zip(0u32..) {
            let level = level_of(slot);
            reader.pointer(pointer, level, logical)?;
            logical += span(superblock, level);
        }
        Ok((reader.extents, reader.nodes))
    }

    fn pointer(&mut self, pointer: u32, level: u32, logical: u64) -> Result<()> {
        if pointer == 0 {
            return Ok(());
        }
        let block = u64::from(pointer);
        let ino = self.ino;
        ensure(self.superblock.contains(block, 1), || {
            format!("block {block} of inode {ino} lies outside")
        })?;
        ensure(logical < 1 << 32, || {
            format!("inode {ino} maps blocks beyond the largest file")
        })?;
        self.met += 1;
        ensure(self.met <= self.superblock.blocks_count, || {
            format!("inode {ino} claims more blocks than the filesystem has")
        })?;
        if level == 0 {
            extent::push(
                &mut self.extents,
                Extent {
                    logical,
                    len: 1,
                    physical: block,
                    written: true,
                },
            );
            if self.extents.len() > EXTENTS_MAX {
                return Err(Error::unsupported(format!(
                    "inode {ino} has more than {EXTENTS_MAX} pieces"
                ))
                .because(Reason::Limit));
            }
            return Ok(());
        }
        self.nodes.push(block);
        let mut bytes = vec![0; self.superblock.block_bytes()];
        self.device
            .read_at(block * u64::from(self.superblock.block_size), &mut bytes)?;
        let below = span(self.superblock, level - 1);
        for (pointer, index) in pointers(&bytes).zip(0..) {
            self.pointer(pointer, level - 1, logical + index * below)?;
        }
        Ok(())
    }
}

/// The pointers of `i_block` or of a block.
pub(super) fn pointers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    in_a_row(bytes, Order::Little)
}

/// Stores pointers from the start of `i_block` or of a block.
pub(super) fn put_pointers(bytes: &mut [u8], pointers: &[u32]) {
    put_in_a_row(bytes, pointers.iter().copied(), Order::Little);
}

/// Levels of blocks of pointers below a slot of `i_block`.
fn level_of(slot: u32) -> u32 {
    slot.saturating_sub(11)
}

/// Blocks that one pointer of a level covers.
fn span(superblock: &Superblock, level: u32) -> u64 {
    u64::from(superblock.block_size / 4).pow(level)
}

/// Blocks of pointers that a file of `blocks` blocks needs at most.
pub(super) fn nodes_needed(superblock: &Superblock, blocks: u64) -> u64 {
    if blocks <= DIRECT {
        return 0;
    }
    let per_block = span(superblock, 1);
    let first = (blocks - DIRECT).div_ceil(per_block);
    let second = (first - 1).div_ceil(per_block);
    first + second + u64::from(second > 1)
}

/// Writes a map for `extents`, blocks of pointers to freshly taken blocks.
pub(super) struct MapWriter<'a> {
    pub device: &'a dyn BlockDeviceMut,
    pub superblock: &'a Superblock,
    pub space: &'a mut Space,
    pub goal: u64,
    pub nodes: Vec<u64>,
}

impl MapWriter<'_> {
    /// `i_block` of the map.
    pub(super) fn write(&mut self, extents: &[Extent]) -> Result<[u8; I_BLOCK_SIZE]> {
        let mut block = [0; I_BLOCK_SIZE];
        let mut logical = 0;
        for (bytes, slot) in block.chunks_exact_mut(POINTER).zip(0..) {
            let level = level_of(slot);
            let end = logical + span(self.superblock, level);
            let pointer = self.pointer(within(extents, logical, end), level, logical)?;
            pointer.put(bytes, Order::Little);
            logical = end;
        }
        match extents.last() {
            Some(last) if last.logical + last.len > logical => Err(Error::unsupported(
                "the file is larger than a block map can be",
            )),
            _ => Ok(block),
        }
    }

    fn pointer(&mut self, extents: &[Extent], level: u32, logical: u64) -> Result<u32> {
        let Some(first) = extents.first() else {
            return Ok(0);
        };
        let number = |block: u64| {
            u32::try_from(block).map_err(|_| {
                Error::unsupported("a block map cannot point beyond 2^32 blocks")
                    .because(Reason::Limit)
            })
        };
        if level == 0 {
            return number(first.physical + (logical - first.logical));
        }
        let run = self.space.take(
            self.device,
            self.superblock,
            Goal {
                block: self.goal,
                total: 1,
            },
            1,
        )?;
        self.goal = run.start;
        self.nodes.push(run.start);
        let below = span(self.superblock, level - 1);
        let mut bytes = vec![0; self.superblock.block_bytes()];
        for (bytes, index) in bytes.chunks_exact_mut(POINTER).zip(0..) {
            let from = logical + index * below;
            let pointer = self.pointer(within(extents, from, from + below), level - 1, from)?;
            pointer.put(bytes, Order::Little);
        }
        self.device
            .write_at(run.start * to_u64(bytes.len()), &bytes)?;
        number(run.start)
    }
}

/// The extents that reach into `from..end`.
fn within(extents: &[Extent], from: u64, end: u64) -> &[Extent] {
    let first = extents.partition_point(|extent| extent.logical + extent.len <= from);
    let last = extents.partition_point(|extent| extent.logical < end);
    &extents[first..last.max(first)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_that_reach_into_a_range() {
        let extent = |logical, len| Extent {
            logical,
            len,
            physical: 100 + logical,
            written: true,
        };
        let extents = [extent(0, 4), extent(6, 2), extent(20, 1)];
        assert_eq!(within(&extents, 3, 7), &extents[..2]);
        assert_eq!(within(&extents, 4, 6), &[]);
        assert_eq!(within(&extents, 8, 30), &extents[2..]);
        assert_eq!(within(&extents, 21, 30), &[]);
    }
}
