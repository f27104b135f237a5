//! The header of a VDI as it lies in the file, by VirtualBox's names (`VDIPREHEADER` and `VDIHEADER1PLUS`). Numbers are
//! little-endian.

use crate::bytes::{Guid, structure};

structure! {
    /// What is at the start of the file: the preheader, and the header of version 1.1 at byte 72.
    pub(super) struct VdiHeader: "VDI header", Little, 512 {
        /// Text that people may read.
        0 => file_info / set_file_info: [u8; 64],
        64 => signature / set_signature: u32,
        68 => version / set_version: u32,
        /// Bytes of the header from here on.
        72 => cb_header / set_cb_header: u32,
        76 => image_type / set_image_type: u32,
        /// Where the block map lies, in bytes.
        340 => off_blocks / set_off_blocks: u32,
        /// Where blocks begin, in bytes.
        344 => off_data / set_off_data: u32,
        /// Of `LegacyGeometry`: bytes in a sector.
        360 => legacy_cb_sector / set_legacy_cb_sector: u32,
        /// Bytes of the disk.
        368 => cb_disk / set_cb_disk: u64,
        /// Bytes of a block.
        376 => cb_block / set_cb_block: u32,
        /// Bytes before each block that are not of the disk.
        380 => cb_block_extra: u32,
        384 => c_blocks / set_c_blocks: u32,
        388 => c_blocks_allocated / set_c_blocks_allocated: u32,
        392 => uuid_create / set_uuid_create: Guid,
        408 => uuid_modify / set_uuid_modify: Guid,
        /// Of the disk below, zero where there is none.
        424 => uuid_linkage: Guid,
        440 => uuid_parent_modify: Guid,
        /// Of `LCHSGeometry`: bytes in a sector.
        468 => lchs_cb_sector / set_lchs_cb_sector: u32,
    }
}
