//! Writing an extent tree: full nodes, from the leaves up, until four entries fit the inode.

use super::checksum;
use super::extent::{ENTRY, Extent, LEN_INIT_MAX, MAGIC};
use super::raw_inode::I_BLOCK_SIZE;
use super::space::{Goal, Space};
use super::superblock::Superblock;
use crate::block::BlockDeviceMut;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};

/// Entries in the inode.
const ROOT_ENTRIES: usize = 4;

/// Entries of a tree block.
fn per_block(superblock: &Superblock) -> usize {
    (superblock.block_bytes() - ENTRY) / ENTRY
}

/// Tree blocks for so many extents.
pub(super) fn nodes_needed(superblock: &Superblock, extents: u64) -> u64 {
    let per_block = to_u64(per_block(superblock));
    let mut entries = extents;
    let mut nodes = 0;
    while entries > to_u64(ROOT_ENTRIES) {
        entries = entries.div_ceil(per_block);
        nodes += entries;
    }
    nodes
}

/// Writes a tree, its blocks to freshly taken ones.
pub(super) struct TreeWriter<'a> {
    pub device: &'a dyn BlockDeviceMut,
    pub superblock: &'a Superblock,
    pub space: &'a mut Space,
    /// Seed of the inode's checksums.
    pub seed: u32,
    pub goal: u64,
    pub nodes: Vec<u64>,
}

impl TreeWriter<'_> {
    /// `i_block` of a tree for `extents`, which are in order.
    pub(super) fn write(&mut self, extents: &[Extent]) -> Result<[u8; I_BLOCK_SIZE]> {
        let mut entries = extents.iter().map(leaf_entry).collect::<Result<Vec<_>>>()?;
        let mut depth = 0;
        while entries.len() > ROOT_ENTRIES {
            let mut above = Vec::with_capacity(entries.len() / per_block(self.superblock) + 1);
            for chunk in entries.chunks(per_block(self.superblock)) {
                above.push(index_entry(&chunk[0], self.node(chunk, depth)?));
            }
            entries = above;
            depth += 1;
        }
        let mut block = [0; I_BLOCK_SIZE];
        fill(&mut block, &entries, ROOT_ENTRIES, depth)?;
        Ok(block)
    }

    fn node(&mut self, entries: &[[u8; ENTRY]], depth: u16) -> Result<u64> {
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
        let max = per_block(self.superblock);
        let mut bytes = vec![0; self.superblock.block_bytes()];
        fill(&mut bytes, entries, max, depth)?;
        if self.superblock.has_checksums() {
            let tail = ENTRY + max * ENTRY;
            let crc = checksum::crc32c(self.seed, &bytes[..tail]);
            bytes[tail..tail + 4].copy_from_slice(&crc.to_le_bytes());
        }
        self.device
            .write_at(run.start * to_u64(bytes.len()), &bytes)?;
        Ok(run.start)
    }
}

/// Writes header and entries.
fn fill(bytes: &mut [u8], entries: &[[u8; ENTRY]], max: usize, depth: u16) -> Result<()> {
    let count = |value: usize| {
        u16::try_from(value).map_err(|_| Error::internal("a node has fewer than 2^16 entries"))
    };
    for (at, value) in [
        (0, MAGIC),
        (2, count(entries.len())?),
        (4, count(max)?),
        (6, depth),
    ] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    for (slot, entry) in bytes[ENTRY..].chunks_exact_mut(ENTRY).zip(entries) {
        slot.copy_from_slice(entry);
    }
    Ok(())
}

fn leaf_entry(extent: &Extent) -> Result<[u8; ENTRY]> {
    let small = || {
        Error::unsupported(format!(
            "block {} of a file is beyond the largest",
            extent.logical
        ))
        .because(Reason::Limit)
    };
    let len = u16::try_from(extent.len).map_err(|_| small())?
        + if extent.written { 0 } else { LEN_INIT_MAX };
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(
        &u32::try_from(extent.logical)
            .map_err(|_| small())?
            .to_le_bytes(),
    );
    entry[4..6].copy_from_slice(&len.to_le_bytes());
    let physical = extent.physical.to_le_bytes();
    entry[6..8].copy_from_slice(&physical[4..6]);
    entry[8..].copy_from_slice(&physical[..4]);
    Ok(entry)
}

fn index_entry(first: &[u8; ENTRY], child: u64) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&first[..4]);
    let child = child.to_le_bytes();
    entry[4..8].copy_from_slice(&child[..4]);
    entry[8..10].copy_from_slice(&child[4..6]);
    entry
}
