//! The inner blocks of a directory's hash tree on disk: what the reader follows and the writer makes.
//!
//! ```text
//!   root:   . │ .. │ root info │ limit, count, block │ hash, block │ hash, block │ … │ tail     (struct dx_root)
//!   node:   empty record       │ limit, count, block │ hash, block │ hash, block │ … │ tail     (struct dx_node)
//! ```

use super::checksum;
use crate::bytes::{Place, structure};

structure! {
    /// What the root of a hash tree says of it (`struct dx_root`, behind `.` and `..`).
    pub(super) struct RootInfo: "hash tree root", Little, 32 {
        /// Zero.
        0x18 => reserved_zero: u32,
        /// How names are hashed (`DX_HASH_*`).
        0x1C => hash_version / set_hash_version: u8,
        /// Length of these fields: [`INFO_LENGTH`].
        0x1D => info_length / set_info_length: u8,
        /// Levels of index blocks below the root.
        0x1E => indirect_levels / set_indirect_levels: u8,
    }
}

structure! {
    /// The first entry of an index block, which has counts in place of a hash (`struct dx_countlimit`).
    pub(super) struct CountLimit: "hash tree counts", Little, 8 {
        /// Entries there is room for, this one counted.
        0 => limit / set_limit: u16,
        /// Entries in use, this one counted.
        2 => count / set_count: u16,
        /// Block of the names below the second entry's hash.
        4 => block / set_block: u32,
    }
}

structure! {
    /// An entry of an index block (`struct dx_entry`).
    pub(super) struct IndexEntry: "hash tree entry", Little, 8 {
        /// The lowest hash in the block; its lowest bit says that the block before ends with the same one.
        0 => hash / set_hash: u32,
        /// Number of the block in the directory.
        4 => block / set_block: u32,
    }
}

structure! {
    /// What lies behind the entries that an index block has room for (`struct dx_tail`).
    pub(super) struct IndexTail: "hash tree tail", Little, 8 {
        /// Zero.
        0 => dt_reserved: u32,
        /// CRC32C of the block up to the last entry in use, and of the tail.
        4 => dt_checksum / set_checksum: u32,
    }
}

/// `info_length` of [`RootInfo`].
pub(super) const INFO_LENGTH: u8 = 8;
/// Offset of the entries in the root, and in other index blocks.
pub(super) const ROOT_ENTRIES: usize = RootInfo::<&[u8]>::SIZE;
pub(super) const NODE_ENTRIES: usize = 8;
/// Bytes of an entry.
pub(super) const ENTRY: usize = IndexEntry::<&[u8]>::SIZE;

/// What `dt_checksum` should be, where the entries begin at `at`, of which `count` are in use.
pub(super) fn tail_checksum(
    seed: u32,
    block: &[u8],
    at: usize,
    count: usize,
    tail: &IndexTail<&[u8]>,
) -> u32 {
    let crc = checksum::crc32c(seed, &block[..at + count * ENTRY]);
    let tail = &tail.bytes()[..IndexTail::<&[u8]>::SIZE];
    checksum::crc32c_without(crc, tail, IndexTail::<Place>::dt_checksum())
}
