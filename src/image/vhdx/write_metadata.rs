//! The metadata region: a table, and the items it points to.

use crate::bytes::Guid;

/// The part of the region that holds anything: the table has 64 KiB, items begin behind it.
const TABLE_BYTES: usize = 64 << 10;

const FILE_PARAMETERS: Guid = Guid::from_fields(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
const VIRTUAL_DISK_SIZE: Guid = Guid::from_fields(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const VIRTUAL_DISK_ID: Guid = Guid::from_fields(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);
const LOGICAL_SECTOR_SIZE: Guid = Guid::from_fields(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR_SIZE: Guid = Guid::from_fields(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);

/// Flag of an item: it describes the disk, not the file.
const IS_VIRTUAL_DISK: u32 = 2;

/// Flag of an item: who does not know it must not open the image.
const IS_REQUIRED: u32 = 4;

/// What the metadata tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metadata {
    /// Bytes in a payload block.
    pub block_size: u32,
    /// Bytes of the disk.
    pub disk_size: u64,
    pub disk_id: Guid,
    /// Bytes in a sector of the disk, logical and physical.
    pub sector_bytes: u32,
}

impl Metadata {
    /// The start of the region, as far as it holds anything.
    pub fn to_bytes(self) -> Vec<u8> {
        // No flags in the file parameters: blocks may be left out, and there is no parent.
        let file_parameters = [self.block_size.to_le_bytes(), [0; 4]].concat();
        let sector = self.sector_bytes.to_le_bytes();
        let items: [(Guid, &[u8], u32); 5] = [
            (FILE_PARAMETERS, &file_parameters, IS_REQUIRED),
            (VIRTUAL_DISK_SIZE, &self.disk_size.to_le_bytes(), IS_VIRTUAL_DISK | IS_REQUIRED),
            (VIRTUAL_DISK_ID, &self.disk_id.to_disk(), IS_VIRTUAL_DISK | IS_REQUIRED),
            (LOGICAL_SECTOR_SIZE, &sector, IS_VIRTUAL_DISK | IS_REQUIRED),
            (PHYSICAL_SECTOR_SIZE, &sector, IS_VIRTUAL_DISK | IS_REQUIRED),
        ];
        let mut table = Vec::from(b"metadata");
        table.extend_from_slice(&[0, 0, 5, 0]); // Reserved, EntryCount
        table.resize(32, 0);
        let (mut values, mut offset) = (Vec::new(), 64u32 << 10);
        for (guid, value, flags) in items {
            let length = u32::try_from(value.len()).unwrap_or_default(); // at most 16
            table.extend_from_slice(&guid.to_disk());
            for number in [offset, length, flags, 0] {
                table.extend_from_slice(&number.to_le_bytes());
            }
            values.extend_from_slice(value);
            offset += length;
        }
        table.resize(TABLE_BYTES, 0);
        [table, values].concat()
    }
}
