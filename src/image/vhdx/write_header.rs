//! The header section: file type identifier, two headers, two region tables.

use super::header::{REQUIRED, VERSION};
use super::on_disk::{
    BAT_REGION, FILE_SIGNATURE, FileTypeIdentifier, HEADER_SIGNATURE, METADATA_REGION,
    REGION_SIGNATURE, RegionTableEntry, RegionTableHeader, VhdxHeader,
};
use crate::bytes::{Guid, Order, put_in_a_row};
use crate::error::Result;

/// The unit of everything in the header section.
const SLOT: usize = 64 << 10;

/// The length of the header section, and where the log begins.
pub(super) const SECTION_BYTES: usize = 1 << 20;

/// `LogOffset` and `LogLength`: the log has a place even if it is empty.
const LOG_OFFSET: u64 = 1 << 20;
const LOG_LENGTH: u32 = 1 << 20;

/// Where the metadata region is, and its length.
pub(super) const METADATA_OFFSET: u64 = 2 << 20;
pub(super) const METADATA_LENGTH: u32 = 1 << 20;

/// Where the block allocation table is.
pub(super) const BAT_OFFSET: u64 = 3 << 20;

/// What the header section tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub file_write_guid: Guid,
    pub data_write_guid: Guid,
    /// The length of the block allocation table's region, a multiple of 1 MiB.
    pub bat_length: u32,
}

impl Section {
    /// All of it: from the start of the file to the log.
    pub fn to_bytes(self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; SECTION_BYTES];
        let mut place = |offset: usize, structure: &[u8]| {
            bytes[offset..offset + structure.len()].copy_from_slice(structure);
        };
        place(0, &file_type_identifier());
        // The header with the higher sequence number is the current one.
        place(SLOT, &self.header(1));
        place(2 * SLOT, &self.header(2));
        let regions = self.region_table()?;
        place(3 * SLOT, &regions);
        place(4 * SLOT, &regions);
        Ok(bytes)
    }

    fn header(self, sequence_number: u64) -> Vec<u8> {
        // LogGuid stays zero: nothing is to be replayed. LogVersion is 0.
        let mut header = VhdxHeader::zeroed();
        header.set_signature(*HEADER_SIGNATURE);
        header.set_sequence_number(sequence_number);
        header.set_file_write_guid(self.file_write_guid);
        header.set_data_write_guid(self.data_write_guid);
        header.set_version(VERSION);
        header.set_log_length(LOG_LENGTH);
        header.set_log_offset(LOG_OFFSET);
        header.set_checksum(crc32c::crc32c(header.bytes()));
        header.into_inner()
    }

    fn region_table(self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; SLOT];
        let regions = [
            (BAT_REGION, BAT_OFFSET, self.bat_length),
            (METADATA_REGION, METADATA_OFFSET, METADATA_LENGTH),
        ];
        let entries = bytes[RegionTableHeader::<&[u8]>::SIZE..]
            .chunks_exact_mut(RegionTableEntry::<&[u8]>::SIZE);
        for ((guid, offset, length), entry) in regions.into_iter().zip(entries) {
            let mut entry = RegionTableEntry::over(entry)?;
            entry.set_guid(guid);
            entry.set_file_offset(offset);
            entry.set_length(length);
            entry.set_required(REQUIRED);
        }
        let mut table = RegionTableHeader::over(bytes)?;
        table.set_signature(*REGION_SIGNATURE);
        table.set_entry_count(2);
        table.set_checksum(crc32c::crc32c(table.bytes()));
        Ok(table.into_inner())
    }
}

fn file_type_identifier() -> Vec<u8> {
    let mut creator = [0; 512];
    put_in_a_row(&mut creator, "flatbake".encode_utf16(), Order::Little);
    let mut identifier = FileTypeIdentifier::zeroed();
    identifier.set_signature(*FILE_SIGNATURE);
    identifier.set_creator(creator);
    identifier.into_inner()
}
