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
use super::key::Key;
use super::superblock::Superblock;
use crate::bytes::{structure, to_usize};
use crate::error::{Error, Result};

structure! {
    /// What every tree block begins with (`struct btrfs_header`).
    pub(super) struct BlockHeader: "tree block", Little, 101 {
        /// Over all that follows it.
        0 => csum / set_csum: [u8; CSUM_ROOM],
        /// The filesystem's UUID.
        32 => fsid / set_fsid: [u8; 16],
        /// The logical address of this block.
        48 => bytenr / set_bytenr: u64,
        /// `BTRFS_HEADER_FLAG_*`, and the revision of back references in the highest byte.
        56 => flags / set_flags: u64,
        /// The UUID of the chunk tree.
        64 => chunk_tree_uuid / set_chunk_tree_uuid: [u8; 16],
        /// The transaction that wrote it.
        80 => generation / set_generation: u64,
        /// The tree it was written for.
        88 => owner / set_owner: u64,
        /// Number of items or pointers.
        96 => nritems / set_nritems: u32,
        /// 0 for a leaf.
        100 => level / set_level: u8,
    }
}

structure! {
    /// An item's entry in a leaf (`struct btrfs_item`).
    pub(super) struct ItemEntry: "btrfs item", Little, 25 {
        /// What the leaf is sorted by.
        0 => key / set_key: Key,
        /// Where its data begins, counted from the end of the block's header.
        17 => offset / set_offset: u32,
        /// Bytes of its data.
        21 => size / set_size: u32,
    }
}

structure! {
    /// A pointer in a node (`struct btrfs_key_ptr`).
    pub(super) struct KeyPointer: "btrfs key pointer", Little, 33 {
        /// The first key of the block below.
        0 => key / set_key: Key,
        /// The logical address of the block below.
        17 => blockptr / set_blockptr: u64,
        /// The transaction that wrote the block below.
        25 => generation / set_generation: u64,
    }
}

/// Bytes of the header of every tree block.
pub(super) const HEADER_LEN: usize = BlockHeader::<&[u8]>::SIZE;
/// Bytes of an item's entry in a leaf.
pub(super) const ITEM_LEN: usize = ItemEntry::<&[u8]>::SIZE;
/// Bytes of a pointer in a node.
pub(super) const POINTER_LEN: usize = KeyPointer::<&[u8]>::SIZE;
/// Levels of a tree, leaves being level 0 (`BTRFS_MAX_LEVEL`).
pub(super) const LEVELS: u8 = 8;

/// A tree block whose structure has been checked: whatever it holds can be taken out without failing.
#[derive(Debug)]
pub(super) struct Node {
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
        let header = BlockHeader::over(&bytes[..])?;
        if header.fsid() != superblock.block_uuid() {
            return Err(Error::corrupt(
                "belongs to another filesystem (fsid differs)",
            ));
        }
        if header.bytenr() != bytenr {
            return Err(Error::corrupt(format!(
                "says that it is block {}",
                header.bytenr()
            )));
        }
        let generation = header.generation();
        let level = header.level();
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
        let count = to_usize(header.nritems().into())?;
        let entry_len = if level == 0 { ITEM_LEN } else { POINTER_LEN };
        let room = (bytes.len() - HEADER_LEN) / entry_len;
        if count > room || (count == 0 && level > 0) {
            return Err(Error::corrupt(format!(
                "{count} entries at level {level}, at most {room} fit"
            )));
        }
        let mut node = Self {
            generation,
            owner: header.owner(),
            level,
            chunk_tree_uuid: header.chunk_tree_uuid(),
            keys: Vec::with_capacity(count),
            data: Vec::new(),
            pointers: Vec::new(),
            bytes: Vec::new(),
        };
        let entries = &bytes[HEADER_LEN..HEADER_LEN + count * entry_len];
        if level == 0 {
            node.take_items(entries, bytes.len())?;
        } else {
            node.take_pointers(entries, superblock.sectorsize)?;
        }
        node.bytes = bytes;
        Ok(Arc::new(node))
    }

    /// Takes over the keys of a leaf, and where the data of each item lies in the block. Data fills the block from its end
    /// without gaps, as Linux demands.
    fn take_items(&mut self, entries: &[u8], block_len: usize) -> Result<()> {
        let table_end = HEADER_LEN + entries.len();
        let mut start = block_len;
        for entry in entries.chunks_exact(ITEM_LEN) {
            let entry = ItemEntry::over(entry)?;
            self.push_key(entry.key())?;
            let offset = HEADER_LEN + to_usize(entry.offset().into())?;
            let len = to_usize(entry.size().into())?;
            if offset.checked_add(len) != Some(start) {
                return Err(Error::corrupt(format!(
                    "{len} bytes of item data at {offset} do not end at {start}"
                )));
            }
            self.data.push(offset..start);
            start = offset;
        }
        if start < table_end {
            return Err(Error::corrupt("item data overlaps the table of items"));
        }
        Ok(())
    }

    /// Takes over the keys of a node, and what it points to.
    fn take_pointers(&mut self, entries: &[u8], sectorsize: u32) -> Result<()> {
        for entry in entries.chunks_exact(POINTER_LEN) {
            let entry = KeyPointer::over(entry)?;
            self.push_key(entry.key())?;
            let pointer = Pointer {
                bytenr: entry.blockptr(),
                generation: entry.generation(),
            };
            if !pointer.bytenr.is_multiple_of(sectorsize.into()) {
                return Err(Error::corrupt(format!(
                    "points to block {}, which is not aligned",
                    pointer.bytenr
                )));
            }
            self.pointers.push(pointer);
        }
        Ok(())
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
