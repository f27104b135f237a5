//! The structures of a CD image as they lie in the file, by the names of ECMA-119, Rock Ridge and El Torito. Numbers are
//! little-endian but where a type says otherwise.

use crate::bytes::{Field, Order, structure};

/// 16 bits in both byte orders, the little end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Both16(pub u16);

/// 32 bits in both byte orders, the little end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Both32(pub u32);

/// 32 bits, the big end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Big32(pub u32);

impl Field for Both16 {
    const WIDTH: usize = 4;

    fn get(bytes: &[u8], _order: Order) -> Self {
        Self(Field::get(&bytes[..2], Order::Little))
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        self.0.put(&mut bytes[..2], Order::Little);
        self.0.put(&mut bytes[2..], Order::Big);
    }
}

impl Field for Both32 {
    const WIDTH: usize = 8;

    fn get(bytes: &[u8], _order: Order) -> Self {
        Self(Field::get(&bytes[..4], Order::Little))
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        self.0.put(&mut bytes[..4], Order::Little);
        self.0.put(&mut bytes[4..], Order::Big);
    }
}

impl Field for Big32 {
    const WIDTH: usize = 4;

    fn get(bytes: &[u8], _order: Order) -> Self {
        Self(Field::get(bytes, Order::Big))
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        self.0.put(bytes, Order::Big);
    }
}

structure! {
    /// ECMA-119, 8.4 and 8.5: the primary and the supplementary volume descriptor.
    pub(super) struct VolumeDescriptor: "volume descriptor", Little, 2048 {
        0 => volume_descriptor_type / set_volume_descriptor_type: u8,
        /// `CD001`.
        1 => standard_identifier / set_standard_identifier: [u8; 5],
        6 => volume_descriptor_version / set_volume_descriptor_version: u8,
        8 => system_identifier / set_system_identifier: [u8; 32],
        40 => volume_identifier / set_volume_identifier: [u8; 32],
        /// Blocks of the whole image.
        80 => volume_space_size / set_volume_space_size: Both32,
        88 => escape_sequences / set_escape_sequences: [u8; 32],
        120 => volume_set_size / set_volume_set_size: Both16,
        124 => volume_sequence_number / set_volume_sequence_number: Both16,
        128 => logical_block_size / set_logical_block_size: Both16,
        132 => path_table_size / set_path_table_size: Both32,
        140 => type_l_path_table / set_type_l_path_table: u32,
        148 => type_m_path_table / set_type_m_path_table: Big32,
        156 => root_directory_record / set_root_directory_record: [u8; 34],
        190 => volume_set_identifier / set_volume_set_identifier: [u8; 128],
        318 => publisher_identifier / set_publisher_identifier: [u8; 128],
        446 => data_preparer_identifier / set_data_preparer_identifier: [u8; 128],
        574 => application_identifier / set_application_identifier: [u8; 128],
        702 => copyright_file_identifier / set_copyright_file_identifier: [u8; 37],
        739 => abstract_file_identifier / set_abstract_file_identifier: [u8; 37],
        776 => bibliographic_file_identifier / set_bibliographic_file_identifier: [u8; 37],
        813 => creation_date / set_creation_date: [u8; 17],
        830 => modification_date / set_modification_date: [u8; 17],
        847 => expiration_date / set_expiration_date: [u8; 17],
        864 => effective_date / set_effective_date: [u8; 17],
        881 => file_structure_version / set_file_structure_version: u8,
    }
}

structure! {
    /// El Torito, figure 7: the boot record, a volume descriptor as well.
    pub(super) struct BootRecord: "boot record", Little, 2048 {
        0 => volume_descriptor_type: u8,
        7 => boot_system_identifier / set_boot_system_identifier: [u8; 32],
        /// The block of the boot catalog.
        71 => boot_catalog / set_boot_catalog: u32,
    }
}

structure! {
    /// ECMA-119, 9.1: a directory record, before its identifier.
    pub(super) struct DirectoryRecord: "directory record", Little, 33 {
        0 => length / set_length: u8,
        2 => location_of_extent / set_location_of_extent: Both32,
        10 => data_length / set_data_length: Both32,
        18 => recording_date / set_recording_date: [u8; 7],
        25 => file_flags / set_file_flags: u8,
        28 => volume_sequence_number / set_volume_sequence_number: Both16,
        32 => length_of_file_identifier / set_length_of_file_identifier: u8,
    }
}

structure! {
    /// ECMA-119, 9.4: a record of a path table of type L, before its identifier.
    pub(super) struct PathRecordL: "path table record", Little, 8 {
        0 => length_of_directory_identifier / set_length_of_directory_identifier: u8,
        2 => location_of_extent / set_location_of_extent: u32,
        6 => parent_directory_number / set_parent_directory_number: u16,
    }
}

structure! {
    /// The same of a path table of type M.
    pub(super) struct PathRecordM: "path table record", Big, 8 {
        0 => length_of_directory_identifier / set_length_of_directory_identifier: u8,
        2 => location_of_extent / set_location_of_extent: u32,
        6 => parent_directory_number / set_parent_directory_number: u16,
    }
}

structure! {
    /// System Use Sharing Protocol: what every field in the system use area begins with.
    pub(super) struct SystemUseField: "system use field", Little, 4 {
        0 => signature / set_signature: [u8; 2],
        2 => length / set_length: u8,
        3 => version / set_version: u8,
    }
}

structure! {
    /// Rock Ridge, 4.1.1 (`PX`): mode and owners.
    pub(super) struct PosixAttributes: "Rock Ridge PX field", Little, 36 {
        4 => file_mode / set_file_mode: Both32,
        12 => links / set_links: Both32,
        20 => user_id: Both32,
        28 => group_id: Both32,
    }
}

structure! {
    /// Rock Ridge, 4.1.6 (`TF`) with the time of the last change alone.
    pub(super) struct TimeStamps: "Rock Ridge TF field", Little, 12 {
        4 => flags / set_flags: u8,
        5 => modify / set_modify: [u8; 7],
    }
}

structure! {
    /// El Torito, figure 2.
    pub(super) struct ValidationEntry: "El Torito validation entry", Little, 32 {
        0 => header_id / set_header_id: u8,
        1 => platform_id / set_platform_id: u8,
        /// Makes the sum of all 16-bit words zero.
        28 => checksum / set_checksum: u16,
        30 => key_bytes / set_key_bytes: [u8; 2],
    }
}

structure! {
    /// El Torito, figure 4.
    pub(super) struct SectionHeader: "El Torito section header", Little, 32 {
        0 => header_indicator / set_header_indicator: u8,
        1 => platform_id / set_platform_id: u8,
        2 => section_entries / set_section_entries: u16,
    }
}

structure! {
    /// El Torito, figures 3 and 5.
    pub(super) struct BootEntry: "El Torito boot entry", Little, 32 {
        0 => boot_indicator / set_boot_indicator: u8,
        /// Sectors of 512 bytes that the firmware loads.
        6 => sector_count / set_sector_count: u16,
        /// The block of what is loaded.
        8 => load_rba / set_load_rba: u32,
    }
}

structure! {
    /// The "boot info table" that isolinux.bin has after its first instructions.
    pub(super) struct BootInfoTable: "boot info table of isolinux.bin", Little, 64 {
        8 => primary_volume_descriptor / set_primary_volume_descriptor: u32,
        12 => file_location / set_file_location: u32,
        16 => file_length / set_file_length: u32,
        /// Of the words behind the table.
        20 => checksum / set_checksum: u32,
        24 => reserved / set_reserved: [u8; 40],
    }
}

structure! {
    /// isohybrid's boot code in an MBR.
    pub(super) struct IsohybridCode: "boot code of isohybrid", Little, 440 {
        0 => code / set_code: [u8; 432],
        /// The sector of isolinux.bin.
        432 => isolinux_sector / set_isolinux_sector: u64,
    }
}
