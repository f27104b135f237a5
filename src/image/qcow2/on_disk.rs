//! The header of a qcow2 as it lies in the file, by the names of the specification. Numbers are big-endian.

use crate::bytes::structure;

structure! {
    /// What all versions have.
    pub(super) struct QcowHeader: "qcow2 header", Big, 72 {
        /// "QFI" and 0xfb.
        0 => magic / set_magic: u32,
        4 => version / set_version: u32,
        /// Where the name of the backing file lies, in bytes; zero where there is none.
        8 => backing_file_offset: u64,
        16 => backing_file_size: u32,
        20 => cluster_bits / set_cluster_bits: u32,
        /// Bytes of the disk.
        24 => size / set_size: u64,
        32 => crypt_method: u32,
        /// Entries of the L1 table.
        36 => l1_size / set_l1_size: u32,
        40 => l1_table_offset / set_l1_table_offset: u64,
        48 => refcount_table_offset / set_refcount_table_offset: u64,
        56 => refcount_table_clusters / set_refcount_table_clusters: u32,
        60 => nb_snapshots: u32,
        64 => snapshots_offset: u64,
    }
}

structure! {
    /// What version 3 has behind that.
    pub(super) struct QcowHeaderV3: "qcow2 header of version 3", Big, 112 {
        72 => incompatible_features / set_incompatible_features: u64,
        80 => compatible_features: u64,
        88 => autoclear_features: u64,
        /// Refcounts have 2 to the power of this bits.
        96 => refcount_order / set_refcount_order: u32,
        /// Where the extensions begin. Below 105, there is no compression type.
        100 => header_length / set_header_length: u32,
        104 => compression_type / set_compression_type: u8,
    }
}

structure! {
    /// What each header extension begins with; its data follow, padded to eight bytes.
    pub(super) struct HeaderExtension: "qcow2 header extension", Big, 8 {
        0 => kind / set_kind: u32,
        4 => length / set_length: u32,
    }
}

structure! {
    /// An entry of the feature name table.
    pub(super) struct FeatureName: "qcow2 feature name", Big, 48 {
        /// 0 is incompatible, 1 compatible, 2 autoclear.
        0 => feature_type / set_feature_type: u8,
        1 => bit / set_bit: u8,
        /// Padded with zeroes.
        2 => name / set_name: [u8; 46],
    }
}
