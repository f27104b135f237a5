//! The header: 512 bytes at the start of the file.

use crate::bytes::Guid;

/// `szFileInfo`, which people may read.
const FILE_INFO: &[u8] = b"<<< Oracle VM VirtualBox Disk Image >>>\n";

/// `u32Signature`.
const SIGNATURE: u32 = 0xbeda_107f;

/// `u32Version`: 1.1.
const VERSION: u32 = 0x0001_0001;

/// `cbHeader`: the length of the header from this field on, with the geometry at its end.
const HEADER_LENGTH: u32 = 0x190;

/// `u32Type`: blocks are allocated as they are needed.
const TYPE_NORMAL: u32 = 1;

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
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..FILE_INFO.len()].copy_from_slice(FILE_INFO);
        let mut put32 = |offset: usize, value: u32| bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        put32(64, SIGNATURE);
        put32(68, VERSION);
        put32(72, HEADER_LENGTH);
        put32(76, TYPE_NORMAL);
        put32(340, self.blocks_offset);
        put32(344, self.data_offset);
        put32(360, 512); // LegacyGeometry.cbSector; cylinders, heads and sectors are not told
        put32(376, self.block_size);
        put32(384, self.blocks);
        put32(388, self.blocks_allocated);
        put32(468, 512); // LCHSGeometry.cbSector
        bytes[368..376].copy_from_slice(&self.disk_size.to_le_bytes());
        bytes[392..408].copy_from_slice(&self.uuid_create.to_disk());
        bytes[408..424].copy_from_slice(&self.uuid_modify.to_disk());
        bytes
    }
}
