//! The structures of a VHD as they lie in the file, by the names of the specification. Numbers are big-endian.

use crate::bytes::{Guid, structure};

structure! {
    /// "Hard Disk Footer Format": the last sector, and the first one of a dynamic disk.
    pub(super) struct HardDiskFooter: "VHD footer", Big, 512 {
        /// `conectix`.
        0 => cookie / set_cookie: [u8; 8],
        8 => features / set_features: u32,
        12 => file_format_version / set_file_format_version: u32,
        /// Where the dynamic disk header lies, in bytes.
        16 => data_offset / set_data_offset: u64,
        /// Seconds since 2000.
        24 => time_stamp / set_time_stamp: u32,
        28 => creator_application / set_creator_application: [u8; 4],
        32 => creator_version / set_creator_version: u32,
        36 => creator_host_os / set_creator_host_os: [u8; 4],
        40 => original_size / set_original_size: u64,
        /// Bytes of the disk.
        48 => current_size / set_current_size: u64,
        56 => disk_geometry / set_disk_geometry: [u8; 4],
        60 => disk_type / set_disk_type: u32,
        64 => checksum / set_checksum: u32,
        68 => unique_id / set_unique_id: Guid,
    }
}

structure! {
    /// "Dynamic Disk Header Format".
    pub(super) struct DynamicDiskHeader: "VHD dynamic disk header", Big, 1024 {
        /// `cxsparse`.
        0 => cookie / set_cookie: [u8; 8],
        8 => data_offset / set_data_offset: u64,
        /// Where the block allocation table lies, in bytes.
        16 => table_offset / set_table_offset: u64,
        24 => header_version / set_header_version: u32,
        28 => max_table_entries / set_max_table_entries: u32,
        /// Bytes of a block, without its bitmap.
        32 => block_size / set_block_size: u32,
        36 => checksum / set_checksum: u32,
    }
}

impl<B: AsRef<[u8]>> HardDiskFooter<B> {
    /// The checksum that its bytes give.
    pub(super) fn computed_checksum(&self) -> u32 {
        checksum(self.bytes(), self.checksum())
    }
}

impl<B: AsRef<[u8]>> DynamicDiskHeader<B> {
    /// The checksum that its bytes give.
    pub(super) fn computed_checksum(&self) -> u32 {
        checksum(self.bytes(), self.checksum())
    }
}

/// The complement of the sum of all bytes but those of the checksum itself, which is `stored` among them.
pub(in crate::image) fn checksum(bytes: &[u8], stored: u32) -> u32 {
    !(sum(bytes) - sum(&stored.to_be_bytes()))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&byte| u32::from(byte)).sum()
}
