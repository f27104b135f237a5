//! The header: 512 bytes at the start of the file.

use super::on_disk::VdiHeader;
use crate::bytes::Guid;

/// `szFileInfo`, which people may read.
const FILE_INFO: &[u8] = b"<<< Oracle VM VirtualBox Disk Image >>>\n";

/// `u32Signature`.
pub(super) const SIGNATURE: u32 = 0xbeda_107f;

/// `u32Version`: 1.1.
pub(super) const VERSION: u32 = 0x0001_0001;

/// `cbHeader`: the length of the header from this field on, with the geometry at its end.
const HEADER_LENGTH: u32 = 0x190;

/// `u32Type`: blocks are allocated as they are needed.
const TYPE_NORMAL: u32 = 1;

/// Bytes in a sector.
pub(super) const SECTOR: u32 = 512;

/// The length of the header with what comes before it.
pub(super) const HEADER_BYTES: usize = 512;

/// Fields that differ from image to image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// `offBlocks`: where the map is, in bytes.
    pub blocks_offset: u32,
    /// `offData`: where place 0 is, in bytes.
    pub data_offset: u32,
    /// `cbDisk` in bytes.
    pub disk_size: u64,
    /// `cbBlock` in bytes.
    pub block_size: u32,
    /// `cBlocks`
    pub blocks: u32,
    /// `cBlocksAllocated`
    pub blocks_allocated: u32,
    /// `uuidCreate`
    pub uuid_create: Guid,
    /// `uuidModify`
    pub uuid_modify: Guid,
}

impl Header {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut file_info = [0; 64];
        file_info[..FILE_INFO.len()].copy_from_slice(FILE_INFO);
        let mut header = VdiHeader::zeroed();
        header.set_file_info(file_info);
        header.set_signature(SIGNATURE);
        header.set_version(VERSION);
        header.set_cb_header(HEADER_LENGTH);
        header.set_image_type(TYPE_NORMAL);
        header.set_off_blocks(self.blocks_offset);
        header.set_off_data(self.data_offset);
        // Of the geometry, cylinders, heads and sectors are not told.
        header.set_legacy_cb_sector(SECTOR);
        header.set_cb_disk(self.disk_size);
        header.set_cb_block(self.block_size);
        header.set_c_blocks(self.blocks);
        header.set_c_blocks_allocated(self.blocks_allocated);
        header.set_uuid_create(self.uuid_create);
        header.set_uuid_modify(self.uuid_modify);
        header.set_lchs_cb_sector(SECTOR);
        header.into_inner()
    }
}
