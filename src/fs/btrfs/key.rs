//! Keys: every item of every tree has one, and a tree is sorted by them (`btrfs_key` of Linux `btrfs_tree.h`).

use std::fmt;

use crate::bytes::{Field, Order, structure};

structure! {
    /// A key on disk (`struct btrfs_disk_key`).
    struct DiskKey: "btrfs key", Little, 17 {
        /// See [`object`].
        0 => objectid / set_objectid: u64,
        /// See [`kind`].
        8 => kind / set_kind: u8,
        /// Depends on the type.
        9 => offset / set_offset: u64,
    }
}

/// Length of a key on disk.
pub(super) const KEY_LEN: usize = DiskKey::<&[u8]>::SIZE;

/// Item types (`BTRFS_*_KEY`).
pub(super) mod kind {
    pub const INODE_ITEM: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const INODE_EXTREF: u8 = 13;
    pub const XATTR_ITEM: u8 = 24;
    pub const DIR_ITEM: u8 = 84;
    pub const DIR_INDEX: u8 = 96;
    pub const EXTENT_DATA: u8 = 108;
    pub const EXTENT_CSUM: u8 = 128;
    pub const ROOT_ITEM: u8 = 132;
    pub const EXTENT_ITEM: u8 = 168;
    pub const METADATA_ITEM: u8 = 169;
    pub const TREE_BLOCK_REF: u8 = 176;
    pub const EXTENT_DATA_REF: u8 = 178;
    pub const BLOCK_GROUP_ITEM: u8 = 192;
    pub const FREE_SPACE_INFO: u8 = 198;
    pub const FREE_SPACE_EXTENT: u8 = 199;
    pub const DEV_EXTENT: u8 = 204;
    pub const DEV_ITEM: u8 = 216;
    pub const CHUNK_ITEM: u8 = 228;
    pub const TEMPORARY_ITEM: u8 = 248;
    pub const PERSISTENT_ITEM: u8 = 249;
    pub const DEV_REPLACE: u8 = 250;
}

/// Object ids with a meaning of their own (`BTRFS_*_OBJECTID`).
pub(super) mod object {
    pub const ROOT_TREE: u64 = 1;
    pub const DEV_ITEMS: u64 = 1;
    pub const EXTENT_TREE: u64 = 2;
    pub const CHUNK_TREE: u64 = 3;
    pub const DEV_TREE: u64 = 4;
    pub const FS_TREE: u64 = 5;
    pub const ROOT_TREE_DIR: u64 = 6;
    pub const CSUM_TREE: u64 = 7;
    pub const QUOTA_TREE: u64 = 8;
    pub const UUID_TREE: u64 = 9;
    pub const FREE_SPACE_TREE: u64 = 10;
    pub const BLOCK_GROUP_TREE: u64 = 11;
    pub const ORPHAN: u64 = 5u64.wrapping_neg();
    pub const DATA_RELOC_TREE: u64 = 9u64.wrapping_neg();
    pub const EXTENT_CSUM: u64 = 10u64.wrapping_neg();
    /// The old cache of inode numbers.
    pub const FREE_INO: u64 = 12u64.wrapping_neg();
    /// The first inode and subvolume number; also the root directory's inode in every subvolume.
    pub const FIRST_FREE: u64 = 256;
    /// The last number an inode or subvolume can have.
    pub const LAST_FREE: u64 = 256u64.wrapping_neg();
    pub const FIRST_CHUNK_TREE: u64 = 256;
}

/// A key; compares as trees sort: object id, then type, then offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// What the item belongs to: an inode, a tree, a byte address.
    pub objectid: u64,
    /// What the item is, see [`kind`].
    pub kind: u8,
    /// Depends on the type: a file offset, a hash of a name, a length.
    pub offset: u64,
}

impl Key {
    pub(super) const fn new(objectid: u64, kind: u8, offset: u64) -> Self {
        Self {
            objectid,
            kind,
            offset,
        }
    }

    /// Its form on disk.
    pub(super) fn to_disk(self) -> [u8; KEY_LEN] {
        let mut bytes = [0; KEY_LEN];
        self.put(&mut bytes, Order::Little);
        bytes
    }

    /// Whether it is of this object and type.
    pub(super) fn is(&self, objectid: u64, kind: u8) -> bool {
        self.objectid == objectid && self.kind == kind
    }
}

/// As the kernel stores it, in structures of whatever order.
impl Field for Key {
    const WIDTH: usize = KEY_LEN;

    fn get(bytes: &[u8], _order: Order) -> Self {
        let disk = DiskKey(bytes);
        Self {
            objectid: disk.objectid(),
            kind: disk.kind(),
            offset: disk.offset(),
        }
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        let mut disk = DiskKey(bytes);
        disk.set_objectid(self.objectid);
        disk.set_kind(self.kind);
        disk.set_offset(self.offset);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.objectid, self.kind, self.offset)
    }
}
