//! Blocks of the journal on disk (`include/linux/jbd2.h`).

use crate::bytes::structure;

structure! {
    /// What every block but copies begins with (`journal_header_t`).
    pub(super) struct BlockHeader: "journal block", Big, 12 {
        /// [`JOURNAL_MAGIC`](super::JOURNAL_MAGIC).
        0x0 => h_magic: u32,
        /// What kind of block it is.
        0x4 => h_blocktype: u32,
        /// Number of its transaction.
        0x8 => h_sequence: u32,
    }
}

structure! {
    /// `journal_superblock_t`, its header included.
    pub(super) struct Head: "journal superblock", Big, 1024 {
        /// [`JOURNAL_MAGIC`](super::JOURNAL_MAGIC).
        0x0 => h_magic: u32,
        /// Which version it is.
        0x4 => h_blocktype: u32,
        /// Bytes of a block.
        0xC => s_blocksize: u32,
        /// Blocks of the journal.
        0x10 => s_maxlen: u32,
        /// First block of the log.
        0x14 => s_first: u32,
        /// Number of the first transaction.
        0x18 => s_sequence / set_sequence: u32,
        /// Block where it begins, 0 where the journal is empty.
        0x1C => s_start / set_start: u32,
        /// Error that the kernel left.
        0x20 => s_errno: u32,
        /// What may be passed over, from version 2 on.
        0x24 => s_feature_compat: u32,
        /// What must be known, from version 2 on.
        0x28 => s_feature_incompat: u32,
        /// Identifies the journal, and begins its checksums.
        0x30 => s_uuid: [u8; 16],
        /// CRC32C of this structure.
        0xFC => s_checksum / set_checksum: u32,
    }
}

structure! {
    /// What lies behind the header of a block that ends a transaction (`struct commit_header`).
    pub(super) struct Commit: "journal commit", Big, 60 {
        /// Kind and length of the checksum of version 1.
        0xC => h_chksum_type_and_size: [u8; 2],
        /// The first of the checksums.
        0x10 => h_chksum: u32,
    }
}

structure! {
    /// The header of a block of revoked blocks' numbers (`jbd2_journal_revoke_header_t`).
    pub(super) struct Revoke: "journal revoke block", Big, 16 {
        /// Bytes in use, this header counted.
        0xC => r_count: u32,
    }
}

structure! {
    /// The end of descriptors and revoke blocks with a checksum (`struct jbd2_journal_block_tail`).
    pub(super) struct Tail: "journal tail", Big, 4 {
        /// CRC32C of the block.
        0x0 => t_checksum: u32,
    }
}

structure! {
    /// Where a copy belongs (`journal_block_tag_t`), up to where [`TagHigh`] can follow.
    pub(super) struct ShortTag: "journal tag", Big, 8 {
        /// Block of the filesystem, low half.
        0x0 => t_blocknr: u32,
        /// Low half of the copy's CRC32C, in version 2.
        0x4 => t_checksum: u16,
        /// `JBD2_FLAG_*`
        0x6 => t_flags: u16,
    }
}

structure! {
    /// The rest of [`ShortTag`], with the feature 64bit.
    pub(super) struct TagHigh: "journal tag", Big, 4 {
        /// Block of the filesystem, high half.
        0x0 => t_blocknr_high: u32,
    }
}

structure! {
    /// Where a copy belongs, in version 3 (`journal_block_tag3_t`).
    pub(super) struct Tag3: "journal tag", Big, 16 {
        /// Block of the filesystem, low half.
        0x0 => t_blocknr: u32,
        /// `JBD2_FLAG_*`
        0x4 => t_flags: u32,
        /// Block of the filesystem, high half, with the feature 64bit.
        0x8 => t_blocknr_high: u32,
        /// CRC32C of the copy.
        0xC => t_checksum: u32,
    }
}
