//! Tree blocks: leaves hold items, nodes point to blocks one level below (`struct btrfs_header`, `btrfs_item`,
//! `btrfs_key_ptr`).
//!
//! ```text
//!   leaf:  header │ item 0 │ item 1 │ … free … │ data 1 │ data 0 │
//!   node:  header │ key, block, generation │ key, block, generation │ … free …
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::checksum::CSUM_ROOM;
use super::key::{KEY_LEN, Key};
use super::superblock::Superblock;
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result};

/// Bytes of the header of every tree block.
pub(super) const HEADER_LEN: usize = 101;
/// Bytes of an item's entry in a leaf: key, offset and size of its data.
pub(super) const ITEM_LEN: usize = KEY_LEN + 8;
/// Bytes of a pointer in a node: key, logical address, generation.
pub(super) const POINTER_LEN: usize = KEY_LEN + 16;
/// Levels of a tree, leaves being level 0 (`BTRFS_MAX_LEVEL`).
pub(super) const LEVELS: u8 = 8;

/// A tree block whose structure has been checked: whatever it holds can be taken out without failing.
#[derive(Debug)]
pub(super) struct Node {
    pub bytenr: u64,
    pub generation: u64,
    /// The tree it was written for.
    pub owner: u64,
    /// 0 for a leaf.
    pub level: u8,
    pub chunk_tree_uuid: [u8; 16],
    keys: Vec<Key>,
    /// Of each item: where its data lies in `bytes`.
    data: Vec<Range<usize>>,
    /// Of each pointer.
    pointers: Vec<Pointer>,
    bytes: Vec<u8>,
}

/// What a node says of a block below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    pub bytenr: u64,
    pub generation: u64,
}

impl Node {
    /// Parses the block that was read at the logical address `bytenr`; its checksum is already known to match.
    pub(super) fn parse(bytes: Vec<u8>, bytenr: u64, superblock: &Superblock) -> Result<Arc<Self>> {
        let fields = Fields::new("tree block", &bytes);
        if fields.slice(CSUM_ROOM, 16)? != superblock.block_uuid() {
            return Err(Error::corrupt(
                "belongs to another filesystem (fsid differs)",
            ));
        }
        if fields.le64(48)? != bytenr {
            return Err(Error::corrupt(format!(
                "says that it is block {}",
                fields.le64(48)?
            )));
        }
        let generation = fields.le64(80)?;
        let level = fields.u8(100)?;
        if generation > superblock.generation {
            return Err(Error::corrupt(format!(
                "generation {generation} is newer than the superblock's {}",
                superblock.generation
            )));
        }
        if level >= LEVELS {
            return Err(Error::corrupt(format!(
                "level {level}: must be below {LEVELS}"
            )));
        }
        let count = to_usize(fields.le32(96)?.into())?;
        let entry_len = if level == 0 { ITEM_LEN } else { POINTER_LEN };
        let room = (bytes.len() - HEADER_LEN) / entry_len;
        if count > room || (count == 0 && level > 0) {
            return Err(Error::corrupt(format!(
                "{count} entries at level {level}, at most {room} fit"
            )));
        }
        let mut node = Self {
            bytenr,
            generation,
            owner: fields.le64(88)?,
            level,
            chunk_tree_uuid: fields.array(64)?,
            keys: Vec::with_capacity(count),
            data: Vec::new(),
            pointers: Vec::new(),
            bytes: Vec::new(),
        };
        let entries = (0..count).map(|slot| HEADER_LEN + slot * entry_len);
        for at in entries.clone() {
            node.push_key(Key::parse(&fields, at)?)?;
        }
        if level == 0 {
            node.data = items(&fields, entries, bytes.len())?;
        } else {
            for at in entries {
                let pointer = Pointer {
                    bytenr: fields.le64(at + KEY_LEN)?,
                    generation: fields.le64(at + KEY_LEN + 8)?,
                };
                if !pointer.bytenr.is_multiple_of(superblock.sectorsize.into()) {
                    return Err(Error::corrupt(format!(
                        "points to block {}, which is not aligned",
                        pointer.bytenr
                    )));
                }
                node.pointers.push(pointer);
            }
        }
        node.bytes = bytes;
        Ok(Arc::new(node))
    }

    fn push_key(&mut self, key: Key) -> Result<()> {
        match self.keys.last() {
            Some(last) if *last >= key => Err(Error::corrupt(format!(
                "keys out of order: {last} before {key}"
            ))),
            _ => {
                self.keys.push(key);
                Ok(())
            }
        }
    }

    /// The keys of its items or pointers, ascending.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key and data of the item in `slot` of a leaf.
    pub(super) fn item(&self, slot: usize) -> Option<(Key, &[u8])> {
        Some((
            *self.keys.get(slot)?,
            self.bytes.get(self.data.get(slot)?.clone())?,
        ))
    }

    /// The pointer in `slot` of a node.
    pub(super) fn pointer(&self, slot: usize) -> Option<Pointer> {
        self.pointers.get(slot).copied()
    }
}

/// Where the data of each item lies in the block. Data fills the block from its end without gaps, as Linux demands.
fn items(
    fields: &Fields<'_>,
    entries: impl Iterator<Item = usize>,
    block_len: usize,
) -> Result<Vec<Range<usize>>> {
    let mut start = block_len;
    let mut table_end = HEADER_LEN;
    let mut data = Vec::new();
    for at in entries {
        let offset = HEADER_LEN + to_usize(fields.le32(at + KEY_LEN)?.into())?;
        let len = to_usize(fields.le32(at + KEY_LEN + 4)?.into())?;
        if offset.checked_add(len) != Some(start) {
            return Err(Error::corrupt(format!(
                "{len} bytes of item data at {offset} do not end at {start}"
            )));
        }
        data.push(offset..start);
        (start, table_end) = (offset, at + ITEM_LEN);
    }
    if start < table_end {
        return Err(Error::corrupt("item data overlaps the table of items"));
    }
    Ok(data)
}
