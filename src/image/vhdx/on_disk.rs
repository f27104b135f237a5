//! The structures of a VHDX as they lie in the file, by the names of MS-VHDX. Numbers are little-endian.

use crate::bytes::{Guid, structure};

/// The unit in which everything is placed.
pub(super) const MIB: u64 = 1 << 20;

/// The region of the block allocation table.
pub(super) const BAT_REGION: Guid =
    Guid::from_fields(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
/// The region of the metadata.
pub(super) const METADATA_REGION: Guid =
    Guid::from_fields(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);

/// The metadata items.
pub(super) const FILE_PARAMETERS: Guid =
    Guid::from_fields(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
pub(super) const VIRTUAL_DISK_SIZE: Guid =
    Guid::from_fields(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
pub(super) const VIRTUAL_DISK_ID: Guid =
    Guid::from_fields(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);
pub(super) const LOGICAL_SECTOR_SIZE: Guid =
    Guid::from_fields(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
pub(super) const PHYSICAL_SECTOR_SIZE: Guid =
    Guid::from_fields(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);
pub(super) const PARENT_LOCATOR: Guid =
    Guid::from_fields(0xa8d3_5f2d, 0xb30b, 0x454d, 0xabf7_d3d8_4834_ab0c);

/// What each structure begins with.
pub(super) const FILE_SIGNATURE: &[u8; 8] = b"vhdxfile";
pub(super) const HEADER_SIGNATURE: &[u8; 4] = b"head";
pub(super) const REGION_SIGNATURE: &[u8; 4] = b"regi";
pub(super) const LOG_ENTRY_SIGNATURE: &[u8; 4] = b"loge";
pub(super) const ZERO_SIGNATURE: &[u8; 4] = b"zero";
pub(super) const DATA_DESCRIPTOR_SIGNATURE: &[u8; 4] = b"desc";
pub(super) const DATA_SECTOR_SIGNATURE: &[u8; 4] = b"data";
pub(super) const METADATA_SIGNATURE: &[u8; 8] = b"metadata";

structure! {
    /// Section 2.2.1: what is at the start of the file.
    pub(super) struct FileTypeIdentifier: "VHDX file type identifier", Little, 520 {
        0 => signature / set_signature: [u8; 8],
        /// Who made the file, in UTF-16.
        8 => creator / set_creator: [u8; 512],
    }
}

structure! {
    /// Section 2.2.2: of the two, the one with the higher sequence number is in force.
    pub(super) struct VhdxHeader: "VHDX header", Little, 4096 {
        0 => signature / set_signature: [u8; 4],
        4 => checksum / set_checksum: u32,
        8 => sequence_number / set_sequence_number: u64,
        16 => file_write_guid / set_file_write_guid: Guid,
        32 => data_write_guid / set_data_write_guid: Guid,
        /// Zero where nothing is to be replayed.
        48 => log_guid: Guid,
        64 => log_version: u16,
        66 => version / set_version: u16,
        68 => log_length / set_log_length: u32,
        72 => log_offset / set_log_offset: u64,
    }
}

structure! {
    /// Section 2.2.3.1: what the entries of a region table follow.
    pub(super) struct RegionTableHeader: "VHDX region table", Little, 16 {
        0 => signature / set_signature: [u8; 4],
        4 => checksum / set_checksum: u32,
        8 => entry_count / set_entry_count: u32,
    }
}

structure! {
    /// Section 2.2.3.2.
    pub(super) struct RegionTableEntry: "VHDX region table entry", Little, 32 {
        0 => guid / set_guid: Guid,
        16 => file_offset / set_file_offset: u64,
        24 => length / set_length: u32,
        /// Bit 0: who does not know the region must not open the file.
        28 => required / set_required: u32,
    }
}

structure! {
    /// Section 2.3.1.1.
    pub(super) struct LogEntryHeader: "VHDX log entry", Little, 64 {
        0 => signature: [u8; 4],
        4 => checksum: u32,
        8 => entry_length: u32,
        /// Where in the log the first entry lies that is to be applied with this one.
        12 => tail: u32,
        16 => sequence_number: u64,
        24 => descriptor_count: u32,
        32 => log_guid: Guid,
        48 => flushed_file_offset: u64,
        56 => last_file_offset: u64,
    }
}

structure! {
    /// Sections 2.3.1.2 and 2.3.1.3: zeroes, or a sector of data.
    pub(super) struct LogDescriptor: "VHDX log descriptor", Little, 32 {
        0 => signature: [u8; 4],
        /// Of data: the last bytes of the sector.
        4 => trailing_bytes: [u8; 4],
        /// Of data: the first bytes of the sector.
        8 => leading_bytes: [u8; 8],
        /// Of zeroes: how many.
        8 => zero_length: u64,
        16 => file_offset: u64,
        24 => sequence_number: u64,
    }
}

structure! {
    /// Section 2.3.1.4: the middle of a sector, with the sequence number around it.
    pub(super) struct DataSector: "VHDX log data sector", Little, 4096 {
        0 => signature: [u8; 4],
        4 => sequence_high: u32,
        8 => data: [u8; 4084],
        4092 => sequence_low: u32,
    }
}

structure! {
    /// Section 2.6.1.1: what the entries of the metadata table follow.
    pub(super) struct MetadataTableHeader: "VHDX metadata table", Little, 32 {
        0 => signature / set_signature: [u8; 8],
        10 => entry_count / set_entry_count: u16,
    }
}

structure! {
    /// Section 2.6.1.2.
    pub(super) struct MetadataTableEntry: "VHDX metadata table entry", Little, 32 {
        0 => item_id / set_item_id: Guid,
        /// From the start of the metadata region, in bytes.
        16 => offset / set_offset: u32,
        20 => length / set_length: u32,
        24 => flags / set_flags: u32,
    }
}

structure! {
    /// Section 2.6.2.1.
    pub(super) struct FileParameters: "VHDX file parameters", Little, 8 {
        0 => block_size / set_block_size: u32,
        4 => flags: u32,
    }
}
