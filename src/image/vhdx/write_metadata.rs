//! The metadata region: a table, and the items it points to.

use super::metadata::REQUIRED;
use super::on_disk::{
    FILE_PARAMETERS, FileParameters, LOGICAL_SECTOR_SIZE, METADATA_SIGNATURE, MetadataTableEntry,
    MetadataTableHeader, PHYSICAL_SECTOR_SIZE, VIRTUAL_DISK_ID, VIRTUAL_DISK_SIZE,
};
use crate::bytes::Guid;
use crate::error::{Error, Result};

/// The part of the region that holds anything: the table has 64 KiB, items begin behind it.
const TABLE_BYTES: usize = 64 << 10;

/// Flag of an item: it describes the disk, not the file.
const IS_VIRTUAL_DISK: u32 = 2;

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
    pub fn to_bytes(self) -> Result<Vec<u8>> {
        // No flags in the file parameters: blocks may be left out, and there is no parent.
        let mut file_parameters = FileParameters::zeroed();
        file_parameters.set_block_size(self.block_size);
        let sector = self.sector_bytes.to_le_bytes();
        let items: [(Guid, &[u8], u32); 5] = [
            (FILE_PARAMETERS, file_parameters.bytes(), REQUIRED),
            (
                VIRTUAL_DISK_SIZE,
                &self.disk_size.to_le_bytes(),
                IS_VIRTUAL_DISK | REQUIRED,
            ),
            (
                VIRTUAL_DISK_ID,
                &self.disk_id.to_disk(),
                IS_VIRTUAL_DISK | REQUIRED,
            ),
            (LOGICAL_SECTOR_SIZE, &sector, IS_VIRTUAL_DISK | REQUIRED),
            (PHYSICAL_SECTOR_SIZE, &sector, IS_VIRTUAL_DISK | REQUIRED),
        ];
        let mut bytes = vec![0; TABLE_BYTES];
        let mut values = Vec::new();
        let entries = bytes[MetadataTableHeader::<&[u8]>::SIZE..]
            .chunks_exact_mut(MetadataTableEntry::<&[u8]>::SIZE);
        for ((id, value, flags), entry) in items.into_iter().zip(entries) {
            let in_bounds = |_| Error::internal("the metadata items are a few bytes");
            let mut entry = MetadataTableEntry::over(entry)?;
            entry.set_item_id(id);
            entry.set_offset(u32::try_from(TABLE_BYTES + values.len()).map_err(in_bounds)?);
            entry.set_length(u32::try_from(value.len()).map_err(in_bounds)?);
            entry.set_flags(flags);
            values.extend_from_slice(value);
        }
        let mut table = MetadataTableHeader::over(bytes)?;
        table.set_signature(*METADATA_SIGNATURE);
        table.set_entry_count(5);
        Ok([table.into_inner(), values].concat())
    }
}
