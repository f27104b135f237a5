//! Keys: every item of every tree has one, and a tree is sorted by them (`btrfs_key` of Linux `btrfs_tree.h`).

use std::fmt;

use crate::bytes::Fields;
use crate::error::Result;

/// Length of a key on disk (`struct btrfs_disk_key`).
pub(super) const KEY_LEN: usize = 17;

/// Item types (`BTRFS_*_KEY`).
pub(super) mod kind {
    pub const INODE_ITEM: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const XATTR_ITEM: u8 = 24;
    pub const DIR_ITEM: u8 = 84;
    pub const EXTENT_DATA: u8 = 108;
    pub const EXTENT_CSUM: u8 = 128;
    pub const ROOT_ITEM: u8 = 132;
    pub const CHUNK_ITEM: u8 = 228;
}

/// Object ids with a meaning of their own (`BTRFS_*_OBJECTID`).
pub(super) mod object {
    pub const ROOT_TREE: u64 = 1;
    pub const CHUNK_TREE: u64 = 3;
    pub const FS_TREE: u64 = 5;
    pub const ROOT_TREE_DIR: u64 = 6;
    pub const CSUM_TREE: u64 = 7;
    pub const EXTENT_CSUM: u64 = 10u64.wrapping_neg();
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
        Self { objectid, kind, offset }
    }

    /// The key at byte `at` of a structure.
    pub(super) fn parse(fields: &Fields<'_>, at: usize) -> Result<Self> {
        Ok(Self { objectid: fields.le64(at)?, kind: fields.u8(at + 8)?, offset: fields.le64(at + 9)? })
    }

    /// Whether it is of this object and type.
    pub(super) fn is(&self, objectid: u64, kind: u8) -> bool {
        self.objectid == objectid && self.kind == kind
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.objectid, self.kind, self.offset)
    }
}
