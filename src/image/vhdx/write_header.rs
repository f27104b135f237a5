//! The header section: file type identifier, two headers, two region tables.

use crate::bytes::Guid;

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

const BAT_REGION: Guid = Guid::from_fields(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
const METADATA_REGION: Guid = Guid::from_fields(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);

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
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; SECTION_BYTES];
        bytes[..8].copy_from_slice(b"vhdxfile");
        for (unit, field) in "flatbake".encode_utf16().zip(bytes[8..].chunks_exact_mut(2)) {
            field.copy_from_slice(&unit.to_le_bytes());
        }
        // The header with the higher sequence number is the current one.
        for (slot, sequence_number) in [(1, 1), (2, 2)] {
            let header = self.header(sequence_number);
            bytes[slot * SLOT..][..header.len()].copy_from_slice(&header);
        }
        let regions = self.region_table();
        for slot in [3, 4] {
            bytes[slot * SLOT..][..SLOT].copy_from_slice(&regions);
        }
        bytes
    }

    fn header(self, sequence_number: u64) -> [u8; 4096] {
        let mut bytes = [0; 4096];
        bytes[..4].copy_from_slice(b"head");
        bytes[8..16].copy_from_slice(&sequence_number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.file_write_guid.to_disk());
        bytes[32..48].copy_from_slice(&self.data_write_guid.to_disk());
        // LogGuid stays zero: nothing is to be replayed. LogVersion is 0.
        bytes[66..68].copy_from_slice(&1u16.to_le_bytes()); // Version
        bytes[68..72].copy_from_slice(&LOG_LENGTH.to_le_bytes());
        bytes[72..80].copy_from_slice(&LOG_OFFSET.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    fn region_table(self) -> Vec<u8> {
        let mut bytes = vec![0; SLOT];
        bytes[..4].copy_from_slice(b"regi");
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes()); // EntryCount
        let regions = [(BAT_REGION, BAT_OFFSET, self.bat_length), (METADATA_REGION, METADATA_OFFSET, METADATA_LENGTH)];
        for ((guid, offset, length), entry) in regions.into_iter().zip(bytes[16..].chunks_exact_mut(32)) {
            entry[..16].copy_from_slice(&guid.to_disk());
            entry[16..24].copy_from_slice(&offset.to_le_bytes());
            entry[24..28].copy_from_slice(&length.to_le_bytes());
            entry[28] = 1; // Required
        }
        seal(&mut bytes);
        bytes
    }
}

/// Fills in the `Checksum` of a structure, behind its signature.
fn seal(bytes: &mut [u8]) {
    let sum = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}
