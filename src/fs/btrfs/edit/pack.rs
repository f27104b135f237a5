//! Building a tree in bulk: sorted items into full leaves, leaves under nodes, up to one root.

use std::ops::Range;

use super::super::checksum::{CSUM_ROOM, ChecksumType};
use super::super::node::{HEADER_LEN, ITEM_LEN, LEVELS, POINTER_LEN};
use super::source::Item;
use crate::bytes::to_u64;
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
                (start, used) = (at, 0);
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
                header.fill_leaf(&mut block, items.get(range.clone()).unwrap_or_default());
                firsts.push(range.start);
            } else {
                firsts.push(*below.1.get(range.start).ok_or_else(missing)?);
                let mut at = HEADER_LEN;
                for child in range.clone() {
                    let item = below
                        .1
                        .get(child)
                        .and_then(|&first| items.get(first))
                        .ok_or_else(missing)?;
                    let address = addresses.get(below.0 + child).ok_or_else(missing)?;
                    block[at..at + 17].copy_from_slice(&item.key.to_disk());
                    block[at + 17..at + 25].copy_from_slice(&address.to_le_bytes());
                    block[at + 25..at + 33].copy_from_slice(&header.generation.to_le_bytes());
                    at += POINTER_LEN;
                }
            }
            header.seal(&mut block);
            write(bytenr, &block)?;
        }
        below = (done, firsts);
        done += blocks.len();
    }
    Ok(())
}

impl Header {
    fn block(&self, bytenr: u64, level: u8, count: usize) -> Result<Vec<u8>> {
        let count = u32::try_from(count).map_err(|_| Error::internal("a block has few items"))?;
        let mut block = vec![0; self.nodesize];
        block[32..48].copy_from_slice(&self.fsid);
        block[48..56].copy_from_slice(&bytenr.to_le_bytes());
        block[56..64].copy_from_slice(&HEADER_FLAGS.to_le_bytes());
        block[64..80].copy_from_slice(&self.chunk_tree_uuid);
        block[80..88].copy_from_slice(&self.generation.to_le_bytes());
        block[88..96].copy_from_slice(&self.owner.to_le_bytes());
        block[96..100].copy_from_slice(&count.to_le_bytes());
        block[100] = level;
        Ok(block)
    }

    fn fill_leaf(&self, block: &mut [u8], items: &[Item]) {
        let mut at = HEADER_LEN;
        let mut end = self.nodesize;
        for item in items {
            let start = end - item.data.len();
            block[start..end].copy_from_slice(&item.data);
            block[at..at + 17].copy_from_slice(&item.key.to_disk());
            // Offsets and lengths in a block of at most 64 KiB fit 32 bits.
            block[at + 17..at + 21].copy_from_slice(&to_u64(start - HEADER_LEN).to_le_bytes()[..4]);
            block[at + 21..at + 25].copy_from_slice(&to_u64(item.data.len()).to_le_bytes()[..4]);
            (at, end) = (at + ITEM_LEN, start);
        }
    }

    fn seal(&self, block: &mut [u8]) {
        let csum = self.csum_type.compute(&block[CSUM_ROOM..]);
        block[..CSUM_ROOM].copy_from_slice(&csum);
    }
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
