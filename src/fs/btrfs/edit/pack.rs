//! Building a tree in bulk: sorted items into full leaves, leaves under nodes, up to one root.

use std::ops::Range;

use super::super::checksum::{CSUM_ROOM, ChecksumType};
use super::super::node::{
    BlockHeader, HEADER_LEN, ITEM_LEN, ItemEntry, KeyPointer, LEVELS, POINTER_LEN,
};
use super::source::Item;
use crate::error::{Error, Reason, Result};

/// Header flags of every block: written, and of the revision with data back references.
const HEADER_FLAGS: u64 = 1 | 1 << 56;

/// How the items of a tree are spread over blocks: of each level, the items or lower blocks in each block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape(Vec<Vec<Range<usize>>>);

impl Shape {
    /// One empty leaf: what a tree has at least.
    pub(super) fn empty() -> Self {
        Self(vec![vec![0..0]])
    }

    /// The shape of a tree with these items in blocks of `nodesize` bytes.
    pub(super) fn new(items: &[Item], nodesize: usize) -> Result<Self> {
        let room = nodesize - HEADER_LEN;
        let mut leaves = Vec::new();
        let mut start = 0;
        let mut used = 0;
        for (at, item) in items.iter().enumerate() {
            let len = ITEM_LEN + item.data.len();
            if len > room {
                return Err(Error::unsupported(format!(
                    "item {} of {len} bytes does not fit a tree block",
                    item.key
                ))
                .with_hint(
                    "too many names with one hash, or too many hard links in one directory",
                ));
            }
            if used + len > room {
                leaves.push(start..at);
                start = at;
                used = 0;
            }
            used += len;
        }
        leaves.push(start..items.len());
        let fanout = room / POINTER_LEN;
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let count = last.len();
            levels.push(
                (0..count)
                    .step_by(fanout)
                    .map(|from| from..(from + fanout).min(count))
                    .collect(),
            );
        }
        if levels.len() > usize::from(LEVELS) {
            return Err(
                Error::unsupported("a btrfs tree of more than 8 levels").because(Reason::Limit)
            );
        }
        Ok(Self(levels))
    }

    /// How many blocks it takes.
    pub(super) fn blocks(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// The level of each block, leaves first.
    pub(super) fn levels(&self) -> impl Iterator<Item = u8> {
        (0..)
            .zip(&self.0)
            .flat_map(|(level, blocks)| blocks.iter().map(move |_| level))
    }

    /// The level of the root.
    pub(super) fn root_level(&self) -> u8 {
        self.levels().last().unwrap_or(0)
    }
}

/// What the headers of a tree's blocks have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub fsid: [u8; 16],
    pub chunk_tree_uuid: [u8; 16],
    pub generation: u64,
    pub owner: u64,
    pub nodesize: usize,
    pub csum_type: ChecksumType,
}

/// Hands every block of a tree to `write`, with its address. `addresses` are those of the blocks in the order of
/// [`Shape::levels`].
pub(super) fn write(
    header: &Header,
    shape: &Shape,
    items: &[Item],
    addresses: &[u64],
    mut write: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let missing = || Error::internal("a tree with fewer addresses than blocks");
    // Of the level below: where its addresses begin, and the first item under each of its blocks.
    let mut below: (usize, Vec<usize>) = (0, Vec::new());
    let mut done = 0;
    for (level, blocks) in (0..).zip(&shape.0) {
        let mut firsts = Vec::with_capacity(blocks.len());
        for (nth, range) in blocks.iter().enumerate() {
            let bytenr = *addresses.get(done + nth).ok_or_else(missing)?;
            let mut block = header.block(bytenr, level, range.len())?;
            if level == 0 {
                header.fill_leaf(&mut block, items.get(range.clone()).unwrap_or_default())?;
                firsts.push(range.start);
            } else {
                firsts.push(*below.1.get(range.start).ok_or_else(missing)?);
                let pointers = block[HEADER_LEN..].chunks_exact_mut(POINTER_LEN);
                for (child, pointer) in range.clone().zip(pointers) {
                    let item = below
                        .1
                        .get(child)
                        .and_then(|&first| items.get(first))
                        .ok_or_else(missing)?;
                    let mut pointer = KeyPointer::over(pointer)?;
                    pointer.set_key(item.key);
                    pointer.set_blockptr(*addresses.get(below.0 + child).ok_or_else(missing)?);
                    pointer.set_generation(header.generation);
                }
            }
            header.seal(&mut block)?;
            write(bytenr, &block)?;
        }
        below = (done, firsts);
        done += blocks.len();
    }
    Ok(())
}

impl Header {
    fn block(&self, bytenr: u64, level: u8, count: usize) -> Result<Vec<u8>> {
        let mut block = BlockHeader::over(vec![0; self.nodesize])?;
        block.set_fsid(self.fsid);
        block.set_bytenr(bytenr);
        block.set_flags(HEADER_FLAGS);
        block.set_chunk_tree_uuid(self.chunk_tree_uuid);
        block.set_generation(self.generation);
        block.set_owner(self.owner);
        block.set_nritems(within_block(count)?);
        block.set_level(level);
        Ok(block.into_inner())
    }

    fn fill_leaf(&self, block: &mut [u8], items: &[Item]) -> Result<()> {
        let mut at = HEADER_LEN;
        let mut end = self.nodesize;
        for item in items {
            let start = end - item.data.len();
            block[start..end].copy_from_slice(&item.data);
            let mut entry = ItemEntry::over(&mut block[at..at + ITEM_LEN])?;
            entry.set_key(item.key);
            entry.set_offset(within_block(start - HEADER_LEN)?);
            entry.set_size(within_block(item.data.len())?);
            at += ITEM_LEN;
            end = start;
        }
        Ok(())
    }

    fn seal(&self, block: &mut [u8]) -> Result<()> {
        let csum = self.csum_type.compute(&block[CSUM_ROOM..]);
        BlockHeader::over(block)?.set_csum(csum);
        Ok(())
    }
}

/// A count or offset within a block, which has at most 64 KiB.
fn within_block(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::internal("a tree block has at most 64 KiB"))
}

#[cfg(test)]
mod tests {
    use super::super::super::key::Key;
    use super::*;

    fn items(lens: impl Iterator<Item = usize>) -> Vec<Item> {
        (0..)
            .zip(lens)
            .map(|(at, len)| Item {
                key: Key::new(at, 1, 0),
                data: vec![7; len],
            })
            .collect()
    }

    #[test]
    fn every_item_is_in_one_leaf_and_every_block_under_one_node() {
        let items = items((0..30_000).map(|i| i * 37 % 900));
        let Shape(levels) = Shape::new(&items, 4096).unwrap();
        assert!(levels.len() > 2 && levels.last().unwrap().len() == 1);
        let mut below = items.len();
        for blocks in levels {
            assert_eq!((blocks[0].start, blocks.last().unwrap().end), (0, below));
            assert!(
                blocks
                    .windows(2)
                    .all(|pair| pair[0].end == pair[1].start && !pair[0].is_empty())
            );
            below = blocks.len();
        }
    }

    #[test]
    fn a_leaf_is_filled_to_the_last_byte() {
        let room = 4096 - HEADER_LEN;
        assert_eq!(
            Shape::new(&items([room - 2 * ITEM_LEN, 0].into_iter()), 4096)
                .unwrap()
                .blocks(),
            1
        );
        assert_eq!(
            Shape::new(&items([room - 2 * ITEM_LEN, 1].into_iter()), 4096)
                .unwrap()
                .blocks(),
            3
        );
        assert!(Shape::new(&items([room - ITEM_LEN + 1].into_iter()), 4096).is_err());
        assert_eq!(Shape::new(&[], 4096).unwrap(), Shape::empty());
    }
}
