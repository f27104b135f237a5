//! The headers and the region tables.

use super::on_disk::{
    BAT_REGION, FILE_SIGNATURE, HEADER_SIGNATURE, METADATA_REGION, MIB, REGION_SIGNATURE,
    RegionTableEntry, RegionTableHeader, VhdxHeader,
};
use crate::block::BlockDevice;
use crate::bytes::{Guid, to_usize};
use crate::error::{Error, Reason, Result};

const HEADER_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
const HEADER_BYTES: usize = 4096;
pub(super) const VERSION: u16 = 1;
const REGION_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
const REGION_TABLE_BYTES: usize = 64 << 10;
/// `Entry Count` of a region table.
const MAX_REGIONS: u32 = 2047;

/// `Required` of a region table entry.
pub(super) const REQUIRED: u32 = 1;

/// The header in force.
#[derive(Debug)]
pub(super) struct Header {
    pub log_guid: Guid,
    pub log_offset: u64,
    pub log_length: u64,
}

impl Header {
    /// The valid header with the higher sequence number.
    pub fn read(file: &dyn BlockDevice) -> Result<Self> {
        let mut magic = [0; 8];
        file.read_at(0, &mut magic)?;
        if magic != *FILE_SIGNATURE {
            return Err(Error::corrupt(
                "this is no VHDX image: it does not begin with 'vhdxfile'",
            ));
        }
        let mut best: Option<VhdxHeader<Vec<u8>>> = None;
        for offset in HEADER_OFFSETS {
            let Some(bytes) = checked(file, offset, HEADER_BYTES, HEADER_SIGNATURE) else {
                continue;
            };
            let header = VhdxHeader::over(bytes)?;
            if best
                .as_ref()
                .is_none_or(|other| header.sequence_number() > other.sequence_number())
            {
                best = Some(header);
            }
        }
        let found = best.ok_or_else(|| {
            Error::corrupt("neither VHDX header matches its checksum")
                .because(Reason::Checksum)
                .with_hint("the file is damaged or cut short: compare its size and checksum with the original's")
        })?;
        let header = Self {
            log_guid: found.log_guid(),
            log_length: found.log_length().into(),
            log_offset: found.log_offset(),
        };
        let log_version = found.log_version();
        let version = found.version();
        if version != VERSION || (header.has_log() && log_version != 0) {
            return Err(Error::unsupported(format!(
                "VHDX version {version} with log version {log_version}: {VERSION} with 0 can be read"
            ))
            .because(Reason::Version));
        }
        Ok(header)
    }

    /// Whether there may be changes in the log.
    pub fn has_log(&self) -> bool {
        self.log_guid != Guid::ZERO
    }
}

/// A structure with a signature and, behind it, the CRC-32C of all of it; `None` where it is not valid.
fn checked(
    file: &dyn BlockDevice,
    offset: u64,
    len: usize,
    signature: &[u8; 4],
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_at(offset, &mut bytes).ok()?;
    (bytes.starts_with(signature) && checksum_fits(&mut bytes)).then_some(bytes)
}

/// Whether bytes 4 to 8 are the CRC-32C of all bytes, counted as zeroes themselves (and left so).
pub(super) fn checksum_fits(bytes: &mut [u8]) -> bool {
    let Some(field) = bytes.get_mut(4..8) else {
        return false;
    };
    let mut stored = [0; 4];
    stored.copy_from_slice(field);
    field.fill(0);
    crc32c::crc32c(bytes) == u32::from_le_bytes(stored)
}

/// A part of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    pub offset: u64,
    pub length: u64,
}

/// The regions that every image has.
#[derive(Debug)]
pub(super) struct Regions {
    pub bat: Region,
    pub metadata: Region,
}

impl Regions {
    pub fn read(file: &dyn BlockDevice) -> Result<Self> {
        let mut tables = REGION_OFFSETS
            .iter()
            .filter_map(|&at| checked(file, at, REGION_TABLE_BYTES, REGION_SIGNATURE));
        let bytes = tables.next().ok_or_else(|| {
            Error::corrupt("neither VHDX region table matches its checksum")
                .because(Reason::Checksum)
        })?;
        let count = RegionTableHeader::over(&bytes)?.entry_count();
        if count > MAX_REGIONS {
            return Err(Error::corrupt(format!(
                "a VHDX region table of {count} entries: at most {MAX_REGIONS}"
            )));
        }
        let mut bat = None;
        let mut metadata = None;
        for index in 0..to_usize(count.into())? {
            let at = RegionTableHeader::<&[u8]>::SIZE + index * RegionTableEntry::<&[u8]>::SIZE;
            let entry = RegionTableEntry::at(&bytes, at)?;
            let guid = entry.guid();
            let region = Region {
                offset: entry.file_offset(),
                length: entry.length().into(),
            };
            let target = match guid {
                BAT_REGION => &mut bat,
                METADATA_REGION => &mut metadata,
                _ if entry.required() & REQUIRED == 0 => continue,
                _ => {
                    return Err(Error::unsupported(format!(
                        "the VHDX image needs a region {guid}, which is not known"
                    )));
                }
            };
            check_region(region, file.size())?;
            if target.replace(region).is_some() {
                return Err(Error::corrupt(format!(
                    "the VHDX region {guid} is there twice"
                )));
            }
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Self { bat, metadata }),
            _ => Err(Error::corrupt(
                "the VHDX image has no block table or no metadata",
            )),
        }
    }
}

fn check_region(region: Region, size: u64) -> Result<()> {
    let Region { offset, length } = region;
    let placed = offset >= MIB && offset.is_multiple_of(MIB) && length > 0;
    if !placed || offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(Error::corrupt(format!(
            "a VHDX region of {length} bytes at {offset}: must begin at a multiple of 1 MiB and end within {size} bytes"
        )));
    }
    Ok(())
}

/// Where a log may lie, checked before it is read.
pub(super) fn check_log(header: &Header, size: u64, max: u64) -> Result<usize> {
    check_region(
        Region {
            offset: header.log_offset,
            length: header.log_length,
        },
        size,
    )?;
    if !header.log_length.is_multiple_of(MIB) || header.log_length > max {
        return Err(Error::unsupported(format!(
            "{} bytes of log: must be a multiple of 1 MiB up to {max}",
            header.log_length
        )));
    }
    to_usize(header.log_length)
}
