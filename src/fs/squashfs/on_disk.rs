//! The structures of squashfs 4.0 as they lie on disk, with the names of the kernel's `squashfs_fs.h`, and what numbers in
//! them stand for.

use crate::bytes::structure;

/// "hsqs" as a little-endian number.
pub(super) const MAGIC: u32 = 0x7371_7368;
/// An absent fragment or xattr index.
pub(super) const NONE: u32 = u32::MAX;
/// A table that is not there.
pub(super) const NO_TABLE: u64 = u64::MAX;
/// Bytes of an unpacked metadata block (`SQUASHFS_METADATA_SIZE`).
pub(super) const METADATA_BYTES: usize = 8192;
/// Set in the length of a metadata block that is stored as it is.
pub(super) const METADATA_STORED: u16 = 0x8000;
/// Set in the length of a data block that is stored as it is (`SQUASHFS_COMPRESSED_BIT_BLOCK`).
pub(super) const DATA_STORED: u32 = 1 << 24;
/// Types of inodes from here on are the extended forms of the first seven.
pub(super) const EXTENDED: u16 = 7;

structure! {
    /// `struct squashfs_super_block`
    pub(super) struct SuperBlock: "squashfs superblock", Little, 96 {
        /// [`MAGIC`].
        0 => s_magic / set_s_magic: u32,
        /// Number of inodes.
        4 => inodes / set_inodes: u32,
        /// Seconds since 1970.
        8 => mkfs_time / set_mkfs_time: u32,
        /// Unpacked bytes of a data block.
        12 => block_size / set_block_size: u32,
        /// Number of fragments.
        16 => fragments / set_fragments: u32,
        /// The compressor, 1 to 6.
        20 => compression / set_compression: u16,
        /// Base-2 logarithm of the block size.
        22 => block_log / set_block_log: u16,
        /// `SQUASHFS_*` flags.
        24 => flags / set_flags: u16,
        /// Number of owners and groups.
        26 => no_ids / set_no_ids: u16,
        /// 4.
        28 => s_major / set_s_major: u16,
        /// 0.
        30 => s_minor / set_s_minor: u16,
        /// Where the root directory's inode lies in the inode table.
        32 => root_inode / set_root_inode: u64,
        /// Bytes of the filesystem without the padding behind it.
        40 => bytes_used / set_bytes_used: u64,
        /// Where the places of the id table's blocks lie.
        48 => id_table_start / set_id_table_start: u64,
        /// Where the [`XattrIdTable`] lies.
        56 => xattr_id_table_start / set_xattr_id_table_start: u64,
        /// Where the inodes begin.
        64 => inode_table_start / set_inode_table_start: u64,
        /// Where the listings of directories begin.
        72 => directory_table_start / set_directory_table_start: u64,
        /// Where the places of the fragment table's blocks lie.
        80 => fragment_table_start / set_fragment_table_start: u64,
        /// Where the places of the export table's blocks lie.
        88 => lookup_table_start / set_lookup_table_start: u64,
    }
}

structure! {
    /// What every inode begins with (`struct squashfs_base_inode`). What follows depends on the type.
    pub(super) struct BaseInode: "squashfs inode", Little, 16 {
        /// 1 to 14.
        0 => inode_type / set_inode_type: u16,
        /// Permissions.
        2 => mode / set_mode: u16,
        /// Index of the owner in the id table.
        4 => uid / set_uid: u16,
        /// Index of the group in the id table.
        6 => guid / set_guid: u16,
        /// Seconds since 1970.
        8 => mtime / set_mtime: u32,
        /// From 1 on.
        12 => inode_number / set_inode_number: u32,
    }
}

structure! {
    /// A directory (`struct squashfs_dir_inode` behind the base).
    pub(super) struct DirInode: "squashfs directory inode", Little, 16 {
        /// The listing's block in the directory table.
        0 => start_block / set_start_block: u32,
        /// Number of links.
        4 => nlink / set_nlink: u32,
        /// Bytes of the listing, and 3.
        8 => file_size / set_file_size: u16,
        /// Where in the unpacked block the listing begins.
        10 => offset / set_offset: u16,
        /// Number of the parent's inode.
        12 => parent_inode / set_parent_inode: u32,
    }
}

structure! {
    /// A large directory, or one with xattrs (`struct squashfs_ldir_inode` behind the base).
    pub(super) struct LongDirInode: "squashfs extended directory inode", Little, 24 {
        /// Number of links.
        0 => nlink / set_nlink: u32,
        /// Bytes of the listing, and 3.
        4 => file_size / set_file_size: u32,
        /// The listing's block in the directory table.
        8 => start_block / set_start_block: u32,
        /// Number of the parent's inode.
        12 => parent_inode / set_parent_inode: u32,
        /// Entries of the index that follows.
        16 => i_count: u16,
        /// Where in the unpacked block the listing begins.
        18 => offset / set_offset: u16,
        /// Index of the xattrs, or [`NONE`].
        20 => xattr / set_xattr: u32,
    }
}

structure! {
    /// A regular file (`struct squashfs_reg_inode` behind the base). The sizes of its blocks follow.
    pub(super) struct FileInode: "squashfs file inode", Little, 16 {
        /// Where the first block begins.
        0 => start_block / set_start_block: u32,
        /// Index of the fragment, or [`NONE`].
        4 => fragment / set_fragment: u32,
        /// Where in the unpacked fragment the file's end begins.
        8 => offset / set_offset: u32,
        /// Bytes of the content.
        12 => file_size / set_file_size: u32,
    }
}

structure! {
    /// A large or sparse file, or one with several names or xattrs (`struct squashfs_lreg_inode` behind the base). The
    /// sizes of its blocks follow.
    pub(super) struct LongFileInode: "squashfs extended file inode", Little, 40 {
        /// Where the first block begins.
        0 => start_block / set_start_block: u64,
        /// Bytes of the content.
        8 => file_size / set_file_size: u64,
        /// Bytes of it in holes.
        16 => sparse / set_sparse: u64,
        /// Number of names.
        24 => nlink / set_nlink: u32,
        /// Index of the fragment, or [`NONE`].
        28 => fragment / set_fragment: u32,
        /// Where in the unpacked fragment the file's end begins.
        32 => offset / set_offset: u32,
        /// Index of the xattrs, or [`NONE`].
        36 => xattr / set_xattr: u32,
    }
}

structure! {
    /// A symlink (`struct squashfs_symlink_inode` behind the base). The target follows.
    pub(super) struct SymlinkInode: "squashfs symlink inode", Little, 8 {
        /// Number of names.
        0 => nlink / set_nlink: u32,
        /// Bytes of the target.
        4 => symlink_size / set_symlink_size: u32,
    }
}

structure! {
    /// A device (`struct squashfs_dev_inode` behind the base).
    pub(super) struct DeviceInode: "squashfs device inode", Little, 8 {
        /// Number of names.
        0 => nlink / set_nlink: u32,
        /// Device number as Linux encodes it in 32 bits.
        4 => rdev / set_rdev: u32,
    }
}

structure! {
    /// A pipe or socket (`struct squashfs_ipc_inode` behind the base).
    pub(super) struct IpcInode: "squashfs pipe or socket inode", Little, 4 {
        /// Number of names.
        0 => nlink / set_nlink: u32,
    }
}

structure! {
    /// What the extended forms of symlinks (behind the target), devices, pipes and sockets have at their end.
    pub(super) struct XattrIndex: "squashfs xattr index", Little, 4 {
        /// Index of the xattrs, or [`NONE`].
        0 => xattr / set_xattr: u32,
    }
}

structure! {
    /// Before a run of directory entries (`struct squashfs_dir_header`).
    pub(super) struct DirHeader: "squashfs directory header", Little, 12 {
        /// Number of entries that follow, less one.
        0 => count / set_count: u32,
        /// The block of all their inodes in the inode table.
        4 => start_block / set_start_block: u32,
        /// What the numbers of their inodes are counted from.
        8 => inode_number / set_inode_number: u32,
    }
}

structure! {
    /// A directory entry (`struct squashfs_dir_entry`). The name follows.
    pub(super) struct DirEntryHead: "squashfs directory entry", Little, 8 {
        /// Where in its unpacked block the inode begins.
        0 => offset / set_offset: u16,
        /// The inode's number, less the header's.
        2 => inode_number / set_inode_number: i16,
        /// `type`: the inode's type in its basic form.
        4 => entry_type / set_entry_type: u16,
        /// Bytes of the name, less one.
        6 => size / set_size: u16,
    }
}

structure! {
    /// A fragment (`struct squashfs_fragment_entry`).
    pub(super) struct FragmentEntry: "squashfs fragment entry", Little, 16 {
        /// Where it begins.
        0 => start_block / set_start_block: u64,
        /// Its packed bytes, or [`DATA_STORED`] and its bytes.
        8 => size / set_size: u32,
    }
}

structure! {
    /// Where the xattrs of all inodes lie (`struct squashfs_xattr_id_table`). The places of the blocks of [`XattrId`]s follow.
    pub(super) struct XattrIdTable: "squashfs xattr table", Little, 16 {
        /// Where keys and values begin.
        0 => xattr_table_start / set_xattr_table_start: u64,
        /// Number of sets.
        8 => xattr_ids / set_xattr_ids: u32,
    }
}

structure! {
    /// A set of xattrs (`struct squashfs_xattr_id`).
    pub(super) struct XattrId: "squashfs xattr id", Little, 16 {
        /// Where the first key lies.
        0 => xattr / set_xattr: u64,
        /// Number of xattrs.
        8 => count / set_count: u32,
        /// Bytes of keys and values.
        12 => size / set_size: u32,
    }
}

structure! {
    /// The key of an xattr (`struct squashfs_xattr_entry`). The name follows, then the value.
    pub(super) struct XattrEntry: "squashfs xattr entry", Little, 4 {
        /// `type`: number of the namespace, and whether the value lies elsewhere.
        0 => entry_type / set_entry_type: u16,
        /// Bytes of the name behind its namespace.
        2 => size / set_size: u16,
    }
}

structure! {
    /// The value of an xattr (`struct squashfs_xattr_val`). Its bytes follow.
    pub(super) struct XattrValue: "squashfs xattr value", Little, 4 {
        /// Bytes of the value.
        0 => vsize / set_vsize: u32,
    }
}

structure! {
    /// The value of an xattr that lies elsewhere (`struct squashfs_xattr_val` with a reference for its bytes).
    pub(super) struct XattrReference: "squashfs xattr reference", Little, 12 {
        /// Bytes of the reference: 8.
        0 => vsize: u32,
        /// Where the [`XattrValue`] lies.
        4 => reference: u64,
    }
}
