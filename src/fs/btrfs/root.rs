//! Root items: where each tree begins (`struct btrfs_root_item`).

use super::key::Key;
use crate::bytes::structure;
use crate::error::Result;

structure! {
    /// A root item with all its fields. Old kernels wrote them without those from `generation_v2` on.
    pub(super) struct RootItem: "btrfs root item", Little, 439 {
        /// An inode item for the tree itself, of little meaning.
        0 => inode / set_inode: [u8; 160],
        /// The transaction that wrote the root.
        160 => generation / set_generation: u64,
        /// The root directory of a subvolume.
        168 => root_dirid / set_root_dirid: u64,
        /// Logical address of the root.
        176 => bytenr / set_bytenr: u64,
        /// Not used.
        184 => byte_limit: u64,
        /// Bytes of the tree's blocks.
        192 => bytes_used / set_bytes_used: u64,
        /// The transaction of the last snapshot.
        200 => last_snapshot: u64,
        /// `BTRFS_ROOT_SUBVOL_*`.
        208 => flags: u64,
        /// 0 for a subvolume that is being deleted.
        216 => refs / set_refs: u32,
        /// How far the deletion has come.
        220 => drop_progress: Key,
        /// The level at which the deletion is.
        237 => drop_level: u8,
        /// Level of the root.
        238 => level / set_level: u8,
        /// The same as `generation` where the fields from here on are valid.
        239 => generation_v2 / set_generation_v2: u64,
        /// The subvolume's UUID.
        247 => uuid: [u8; 16],
        /// The UUID of what it is a snapshot of.
        263 => parent_uuid: [u8; 16],
        /// The UUID of the subvolume that was sent.
        279 => received_uuid: [u8; 16],
        /// The transaction that changed the tree last.
        295 => ctransid / set_ctransid: u64,
        /// The transaction that made the subvolume.
        303 => otransid: u64,
        /// The transaction that sent it.
        311 => stransid: u64,
        /// The transaction that received it.
        319 => rtransid: u64,
    }
}

/// What an item has at least: all up to `level`.
const OLD_LEN: usize = 239;

impl RootItem<Vec<u8>> {
    /// An item as it was read, padded to full length.
    pub(super) fn padded(mut item: Vec<u8>) -> Result<Self> {
        if item.len() >= OLD_LEN {
            item.resize(Self::SIZE, 0);
        }
        Self::over(item)
    }
}
