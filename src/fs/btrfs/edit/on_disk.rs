//! Items of the trees that tell what space is given out. Only the editor has to do with them.

use crate::bytes::structure;

structure! {
    /// An extent of data or a tree block before the references to it (`struct btrfs_extent_item`).
    pub(super) struct ExtentItem: "btrfs extent item", Little, 24 {
        /// Number of references.
        0 => refs / set_refs: u64,
        /// The transaction that gave it out.
        8 => generation / set_generation: u64,
        /// `BTRFS_EXTENT_FLAG_*`.
        16 => flags / set_flags: u64,
    }
}

structure! {
    /// A reference in an extent item that is a number alone (`struct btrfs_extent_inline_ref`).
    pub(super) struct InlineRef: "btrfs inline reference", Little, 9 {
        /// `type`: the type that an item of its own would have.
        0 => ref_type / set_ref_type: u8,
        /// The tree that a block belongs to.
        1 => offset / set_offset: u64,
    }
}

structure! {
    /// A reference to data in an extent item (`struct btrfs_extent_inline_ref` with a `btrfs_extent_data_ref` in place of
    /// `offset`).
    pub(super) struct InlineDataRef: "btrfs inline reference to data", Little, 29 {
        /// `type`: the type that an item of its own would have.
        0 => ref_type / set_ref_type: u8,
        /// See [`ExtentDataRef`].
        1 => data_ref / set_data_ref: [u8; ExtentDataRef::<&[u8]>::SIZE],
    }
}

structure! {
    /// Which file uses an extent (`struct btrfs_extent_data_ref`).
    pub(super) struct ExtentDataRef: "btrfs reference to data", Little, 28 {
        /// The tree of the file.
        0 => root / set_root: u64,
        /// The file's inode.
        8 => objectid / set_objectid: u64,
        /// Where in the file the extent would begin.
        16 => offset / set_offset: u64,
        /// Number of the file's references.
        24 => count / set_count: u32,
    }
}

structure! {
    /// How much of a block group is given out (`struct btrfs_block_group_item`).
    pub(super) struct BlockGroupItem: "btrfs block group item", Little, 24 {
        /// Bytes given out.
        0 => used / set_used: u64,
        /// The object that the chunk's key has.
        8 => chunk_objectid / set_chunk_objectid: u64,
        /// The chunk's types and profile.
        16 => flags / set_flags: u64,
    }
}

structure! {
    /// What the free space tree has of a block group (`struct btrfs_free_space_info`).
    pub(super) struct FreeSpaceInfo: "btrfs free space info", Little, 8 {
        /// Number of free stretches.
        0 => extent_count / set_extent_count: u32,
        /// `BTRFS_FREE_SPACE_USING_BITMAPS` or 0.
        4 => flags: u32,
    }
}

structure! {
    /// How far the replacement of a device has come (`struct btrfs_dev_replace_item`).
    pub(super) struct DevReplaceItem: "btrfs device replacement", Little, 72 {
        /// The device that is replaced.
        0 => src_devid: u64,
        /// Where on the device copying begins next.
        8 => cursor_left: u64,
        /// Where it ends.
        16 => cursor_right: u64,
        /// Whether the old device is still read.
        24 => cont_reading_from_srcdev_mode: u64,
        /// `BTRFS_IOCTL_DEV_REPLACE_STATE_*`.
        32 => replace_state / set_replace_state: u64,
        /// Seconds since 1970.
        40 => time_started: u64,
        /// Seconds since 1970.
        48 => time_stopped: u64,
        /// Errors so far.
        56 => num_write_errors: u64,
        /// Errors so far.
        64 => num_uncorrectable_read_errors: u64,
    }
}

structure! {
    /// A stretch of the device that a chunk takes (`struct btrfs_dev_extent`).
    pub(super) struct DevExtent: "btrfs device extent", Little, 48 {
        /// The tree of the chunk.
        0 => chunk_tree / set_chunk_tree: u64,
        /// The object that the chunk's key has.
        8 => chunk_objectid / set_chunk_objectid: u64,
        /// The chunk's logical address.
        16 => chunk_offset / set_chunk_offset: u64,
        /// Bytes of the stretch.
        24 => length / set_length: u64,
        /// The UUID of the chunk tree.
        32 => chunk_tree_uuid / set_chunk_tree_uuid: [u8; 16],
    }
}
