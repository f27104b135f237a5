//! The binary structures of a VMDK as they lie in the file, by VMware's names. Numbers are little-endian, places are
//! counted in sectors of 512 bytes.

use crate::bytes::structure;

/// `magicNumber` of the extents of hosted products.
pub(super) const HOSTED: &[u8; 4] = b"KDMV";
/// `magicNumber` of the extents of ESX.
pub(super) const ESX: &[u8; 4] = b"COWD";

structure! {
    /// `SparseExtentHeader`: the first sector, and the footer of a stream.
    pub(super) struct SparseExtentHeader: "VMDK header", Little, 512 {
        0 => magic_number / set_magic_number: [u8; 4],
        4 => version / set_version: u32,
        8 => flags / set_flags: u32,
        /// Sectors of the disk.
        12 => capacity / set_capacity: u64,
        20 => grain_size / set_grain_size: u64,
        28 => descriptor_offset / set_descriptor_offset: u64,
        36 => descriptor_size / set_descriptor_size: u64,
        /// `numGTEsPerGT`: entries of a grain table.
        44 => num_gtes_per_gt / set_num_gtes_per_gt: u32,
        /// `rgdOffset`: the redundant grain directory.
        48 => rgd_offset / set_rgd_offset: u64,
        /// `gdOffset`: the grain directory.
        56 => gd_offset / set_gd_offset: u64,
        /// Where grains may begin.
        64 => over_head / set_over_head: u64,
        72 => unclean_shutdown: u8,
        /// `singleEndLineChar`, `nonEndLineChar` and the two `doubleEndLineChar`.
        73 => end_line_chars / set_end_line_chars: [u8; 4],
        77 => compress_algorithm / set_compress_algorithm: u16,
    }
}

structure! {
    /// `COWDisk_Header` of ESX.
    pub(super) struct CowDiskHeader: "ESX sparse header", Little, 512 {
        0 => magic_number: [u8; 4],
        4 => version: u32,
        8 => flags: u32,
        12 => num_sectors: u32,
        16 => grain_size: u32,
        20 => gd_offset: u32,
        24 => num_gd_entries: u32,
    }
}

structure! {
    /// `Marker` before a compressed grain, which follows at once.
    pub(super) struct GrainMarker: "VMDK grain marker", Little, 12 {
        /// The grain's place on the disk.
        0 => lba / set_lba: u64,
        /// Bytes of the compressed grain.
        8 => size / set_size: u32,
    }
}

structure! {
    /// `Marker` before anything else: a sector of its own.
    pub(super) struct MetadataMarker: "VMDK marker", Little, 512 {
        /// Sectors that follow.
        0 => num_sectors / set_num_sectors: u64,
        /// Zero, which tells it from a grain.
        8 => size: u32,
        12 => kind / set_kind: u32,
    }
}
