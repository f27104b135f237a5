//! Writing an extent tree: full nodes, from the leaves up, until four entries fit the inode.

use super::checksum;
use super::extent::{ENTRY, Extent, Header, Index, LEN_INIT_MAX, Leaf, MAGIC, Tail};
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
                above.push(index_entry(&chunk[0], self.node(chunk, depth)?)?);
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
            let end = ENTRY + max * ENTRY;
            let crc = checksum::crc32c(self.seed, &bytes[..end]);
            Tail::over(&mut bytes[end..])?.set_checksum(crc);
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
    let mut header = Header::over(&mut bytes[..])?;
    header.set_magic(MAGIC);
    header.set_entries(count(entries.len())?);
    header.set_max(count(max)?);
    header.set_depth(depth);
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
    let mut entry = Leaf::blank();
    entry.set_block(u32::try_from(extent.logical).map_err(|_| small())?);
    entry.set_len(len);
    entry.set_start(extent.physical);
    Ok(entry.into_inner())
}

/// The entry of a node that begins with `first`, an entry of either kind.
fn index_entry(first: &[u8; ENTRY], node: u64) -> Result<[u8; ENTRY]> {
    let mut entry = Index::blank();
    entry.set_block(Index::over(first)?.ei_block());
    entry.set_leaf(node);
    Ok(entry.into_inner())
}
