//! The GPT header (UEFI 2.10, table 5-5): 92 bytes in a sector of their own, guarded by a CRC-32.

use crate::bytes::gpt::GptHeader;
use crate::bytes::{Guid, to_u64, to_usize};
use crate::error::{Error, Reason, Result};

/// What marks a GPT header.
pub(super) const SIGNATURE: [u8; 8] = *b"EFI PART";
/// The LBA of the primary header.
pub(super) const PRIMARY_LBA: u64 = 1;

const REVISION_1_0: u32 = 0x0001_0000;
const MIN_HEADER_SIZE: u32 = 92;
/// Entries are 128 · 2ⁿ bytes; nobody is known to use more than 128, so a sector of the larger kind is generous.
const MIN_ENTRY_SIZE: u32 = 128;
const MAX_ENTRY_SIZE: u32 = 4096;
/// Entry arrays are 16 KiB in practice; this allows 32,768 entries and bounds what a hostile header makes us read.
pub(super) const MAX_ARRAY_BYTES: u64 = 4 << 20;

/// A header with a right CRC. `raw` is its whole sector, so unknown bytes and the reserved field survive.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Header {
    raw: Vec<u8>,
    header_size: usize,
    pub my_lba: u64,
    pub alternate_lba: u64,
    pub first_usable_lba: u64,
    pub last_usable_lba: u64,
    pub disk_guid: Guid,
    pub partition_entry_lba: u64,
    pub number_of_partition_entries: u32,
    pub size_of_partition_entry: u32,
    pub partition_entry_array_crc32: u32,
}

impl Header {
    /// Parses the header in `sector`, read from `lba`, and checks everything that does not depend on the disk's size.
    pub fn parse(sector: &[u8], lba: u64) -> Result<Self> {
        let stored = GptHeader::over(sector)?;
        if stored.signature() != SIGNATURE {
            return Err(Error::corrupt("the signature 'EFI PART' is missing"));
        }
        let revision = stored.revision();
        if revision != REVISION_1_0 {
            return Err(Error::corrupt(format!(
                "revision is {revision:#010x}: must be {REVISION_1_0:#010x}"
            )));
        }
        let header_size = header_size(stored.header_size(), sector.len())?;
        let crc = stored.header_crc32();
        let computed = header_crc(&sector[..header_size])?;
        if crc != computed {
            return Err(Error::corrupt(format!(
                "header CRC is {crc:#010x}, its bytes give {computed:#010x}"
            )));
        }
        let header = Self {
            raw: sector.to_vec(),
            header_size,
            my_lba: stored.my_lba(),
            alternate_lba: stored.alternate_lba(),
            first_usable_lba: stored.first_usable_lba(),
            last_usable_lba: stored.last_usable_lba(),
            disk_guid: stored.disk_guid(),
            partition_entry_lba: stored.partition_entry_lba(),
            number_of_partition_entries: stored.number_of_partition_entries(),
            size_of_partition_entry: stored.size_of_partition_entry(),
            partition_entry_array_crc32: stored.partition_entry_array_crc32(),
        };
        if header.my_lba != lba {
            return Err(Error::corrupt(format!(
                "MyLBA is {}, but the header lies at LBA {lba}",
                header.my_lba
            )));
        }
        header.check_entry_form()?;
        Ok(header)
    }

    /// The primary header of a new disk of `total_sectors` sectors of `sector` bytes, with `entries` entries of the usual
    /// size in both copies of the table.
    pub fn new(disk_guid: Guid, entries: u32, sector: usize, total_sectors: u64) -> Result<Self> {
        let mut stored = GptHeader::over(vec![0; sector])?;
        stored.set_signature(SIGNATURE);
        stored.set_revision(REVISION_1_0);
        stored.set_header_size(MIN_HEADER_SIZE);
        let mut header = Self {
            raw: stored.into_inner(),
            header_size: to_usize(MIN_HEADER_SIZE.into())?,
            my_lba: PRIMARY_LBA,
            alternate_lba: total_sectors.saturating_sub(1),
            first_usable_lba: 0,
            last_usable_lba: 0,
            disk_guid,
            partition_entry_lba: PRIMARY_LBA + 1,
            number_of_partition_entries: entries,
            size_of_partition_entry: MIN_ENTRY_SIZE,
            partition_entry_array_crc32: 0,
        };
        header.first_usable_lba = header.partition_entry_lba + header.array_sectors();
        header.last_usable_lba = header
            .alternate_lba
            .saturating_sub(header.array_sectors() + 1);
        Ok(header)
    }

    fn check_entry_form(&self) -> Result<()> {
        let count = self.number_of_partition_entries;
        let size = self.size_of_partition_entry;
        if !size.is_power_of_two() || !(MIN_ENTRY_SIZE..=MAX_ENTRY_SIZE).contains(&size) {
            return Err(Error::corrupt(format!(
                "SizeOfPartitionEntry is {size}: must be a power of two from {MIN_ENTRY_SIZE} to {MAX_ENTRY_SIZE}"
            )));
        }
        let most = MAX_ARRAY_BYTES / u64::from(size);
        if count == 0 || u64::from(count) > most {
            return Err(Error::corrupt(format!(
                "NumberOfPartitionEntries is {count}: must be 1 to {most}"
            )));
        }
        Ok(())
    }

    /// Checks that the places named by the header fit a disk of `total_sectors` and do not collide.
    pub fn check_places(&self, total_sectors: u64) -> Result<()> {
        let first = self.first_usable_lba;
        let last = self.last_usable_lba;
        if first > last || last >= total_sectors {
            return Err(Error::corrupt(format!(
                "usable sectors are {first} to {last}: must be an ascending range below {total_sectors}, the sectors of the disk"
            ))
            .with_hint("if the image was cut short, get it again and compare its size and checksum"));
        }
        let entries = self.partition_entry_lba;
        let entries_end = entries.saturating_add(self.array_sectors());
        let (lowest, highest, other) = if self.my_lba == PRIMARY_LBA {
            (PRIMARY_LBA + 1, first, self.alternate_lba > last)
        } else {
            (last + 1, self.my_lba, self.alternate_lba == PRIMARY_LBA)
        };
        if entries < lowest || entries_end > highest {
            return Err(Error::corrupt(format!(
                "the entries lie at LBA {entries} to {}: must be inside {lowest} to {}",
                entries_end - 1,
                highest.saturating_sub(1)
            )));
        }
        if !other {
            return Err(Error::corrupt(format!(
                "AlternateLBA is {}: the other header cannot lie there",
                self.alternate_lba
            )));
        }
        Ok(())
    }

    /// Bytes of the entry array, at most [`MAX_ARRAY_BYTES`].
    pub fn array_bytes(&self) -> u64 {
        u64::from(self.number_of_partition_entries) * u64::from(self.size_of_partition_entry)
    }

    /// Sectors that the entry array takes.
    pub fn array_sectors(&self) -> u64 {
        self.array_bytes().div_ceil(to_u64(self.raw.len()))
    }

    /// Makes its sector one of `sector` bytes.
    pub fn resize_to(&mut self, sector: usize) -> Result<()> {
        if self.header_size > sector {
            let size = self.header_size;
            return Err(Error::unsupported(format!(
                "the header has {size} bytes, more than a sector of {sector}"
            ))
            .because(Reason::Limit));
        }
        self.raw.resize(sector, 0);
        Ok(())
    }

    /// The same table described from the other place: a fresh copy for `my_lba` with its entries at `entry_lba`.
    pub fn mirrored(&self, my_lba: u64, entry_lba: u64) -> Self {
        Self {
            my_lba,
            alternate_lba: self.my_lba,
            partition_entry_lba: entry_lba,
            ..self.clone()
        }
    }

    /// Whether `other` describes the same table; names the first field that differs.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let same = [
            ("DiskGUID", self.disk_guid == other.disk_guid),
            (
                "FirstUsableLBA",
                self.first_usable_lba == other.first_usable_lba,
            ),
            (
                "LastUsableLBA",
                self.last_usable_lba == other.last_usable_lba,
            ),
            (
                "NumberOfPartitionEntries",
                self.number_of_partition_entries == other.number_of_partition_entries,
            ),
            (
                "SizeOfPartitionEntry",
                self.size_of_partition_entry == other.size_of_partition_entry,
            ),
            (
                "PartitionEntryArrayCRC32",
                self.partition_entry_array_crc32 == other.partition_entry_array_crc32,
            ),
        ];
        same.into_iter()
            .find(|(_, same)| !same)
            .map(|(name, _)| name)
    }

    /// The header's sector with all fields, the CRC of the entries it goes with, and its own.
    pub fn encode(&self, array_crc: u32) -> Result<Vec<u8>> {
        let mut header = GptHeader::over(self.raw.clone())?;
        header.set_my_lba(self.my_lba);
        header.set_alternate_lba(self.alternate_lba);
        header.set_first_usable_lba(self.first_usable_lba);
        header.set_last_usable_lba(self.last_usable_lba);
        header.set_disk_guid(self.disk_guid);
        header.set_partition_entry_lba(self.partition_entry_lba);
        header.set_number_of_partition_entries(self.number_of_partition_entries);
        header.set_size_of_partition_entry(self.size_of_partition_entry);
        header.set_partition_entry_array_crc32(array_crc);
        header.set_header_crc32(header_crc(&header.bytes()[..self.header_size])?);
        Ok(header.into_inner())
    }
}

fn header_size(stored: u32, sector: usize) -> Result<usize> {
    let size = to_usize(u64::from(stored))?;
    if stored < MIN_HEADER_SIZE || size > sector {
        return Err(Error::corrupt(format!(
            "HeaderSize is {stored}: must be {MIN_HEADER_SIZE} to {sector}"
        )));
    }
    Ok(size)
}

/// The CRC of a header with its own CRC field taken as zero.
pub(super) fn header_crc(header: &[u8]) -> Result<u32> {
    let mut header = GptHeader::over(header.to_vec())?;
    header.set_header_crc32(0);
    Ok(crc32fast::hash(header.bytes()))
}
