//! The structures of a partition table as they lie on the disk, by the names of UEFI 2.10, chapter 5. Numbers are
//! little-endian. Disks have them, and CD images that start from a USB stick.

use super::{Guid, structure};

structure! {
    /// Table 5-5: the GPT header, at the start of a sector of its own.
    pub(crate) struct GptHeader: "GPT header", Little, 92 {
        /// `EFI PART`.
        0 => signature / set_signature: [u8; 8],
        8 => revision / set_revision: u32,
        12 => header_size / set_header_size: u32,
        /// CRC-32 of the header, with this field as zero.
        16 => header_crc32 / set_header_crc32: u32,
        24 => my_lba / set_my_lba: u64,
        32 => alternate_lba / set_alternate_lba: u64,
        40 => first_usable_lba / set_first_usable_lba: u64,
        48 => last_usable_lba / set_last_usable_lba: u64,
        56 => disk_guid / set_disk_guid: Guid,
        72 => partition_entry_lba / set_partition_entry_lba: u64,
        80 => number_of_partition_entries / set_number_of_partition_entries: u32,
        84 => size_of_partition_entry / set_size_of_partition_entry: u32,
        88 => partition_entry_array_crc32 / set_partition_entry_array_crc32: u32,
    }
}

structure! {
    /// Table 5-6: an entry of the GPT.
    pub(crate) struct GptEntry: "GPT entry", Little, 128 {
        /// Zero for an unused entry.
        0 => partition_type_guid / set_partition_type_guid: Guid,
        16 => unique_partition_guid / set_unique_partition_guid: Guid,
        32 => starting_lba / set_starting_lba: u64,
        40 => ending_lba / set_ending_lba: u64,
        48 => attributes / set_attributes: u64,
        /// 36 units of UTF-16.
        56 => partition_name / set_partition_name: [u8; 72],
    }
}

structure! {
    /// Table 5-1: the legacy master boot record.
    pub(crate) struct MasterBootRecord: "MBR", Little, 512 {
        0 => boot_code / set_boot_code: [u8; 440],
        440 => unique_mbr_disk_signature: u32,
        446 => partition_record / set_partition_record: [u8; 64],
        /// 0x55, 0xaa.
        510 => signature / set_signature: [u8; 2],
    }
}

structure! {
    /// Table 5-2: one of its four partition records.
    pub(crate) struct PartitionRecord: "MBR record", Little, 16 {
        0 => boot_indicator / set_boot_indicator: u8,
        1 => starting_chs / set_starting_chs: [u8; 3],
        4 => os_type / set_os_type: u8,
        5 => ending_chs / set_ending_chs: [u8; 3],
        8 => starting_lba / set_starting_lba: u32,
        12 => size_in_lba / set_size_in_lba: u32,
    }
}
