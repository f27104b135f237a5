//! Partition entries (UEFI 2.10, table 5-6): 128 bytes or more each, number = index + 1, unused ones all-zero in type.
//!
//! ```text
//!   0 PartitionTypeGUID   16 UniquePartitionGUID   32 StartingLBA   40 EndingLBA   48 Attributes   56 PartitionName
//! ```

use std::fmt;
use std::str::FromStr;

use super::PartitionAttributes;
use crate::bytes::gpt::GptEntry;
use crate::bytes::{Guid, Order, in_a_row, put_in_a_row, to_u64, to_usize};
use crate::error::{Error, Result};

/// Longest name in UTF-16 units.
pub const MAX_NAME_UNITS: usize = 36;

/// One used entry of the table. Sectors are logical ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number, counted from 1; holes in the table keep the numbers behind them.
    pub number: u32,
    /// What the partition is for.
    pub type_guid: Guid,
    /// The partition's own identity (Linux: PARTUUID).
    pub unique_guid: Guid,
    /// The first sector.
    pub starting_lba: u64,
    /// The last sector, not below the first.
    pub ending_lba: u64,
    /// The attribute bits.
    pub attributes: PartitionAttributes,
    /// The name, which Flatcar calls the label (`EFI-SYSTEM`, `OEM`, `ROOT`).
    pub name: PartitionName,
    /// Bytes per sector.
    pub(super) sector_size: u32,
}

impl Partition {
    /// Where it begins, in bytes from the start of the disk.
    pub fn offset(&self) -> u64 {
        self.starting_lba.saturating_mul(self.sector_size.into())
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.sectors().saturating_mul(self.sector_size.into())
    }

    /// Its size in sectors.
    pub fn sectors(&self) -> u64 {
        self.ending_lba
            .saturating_sub(self.starting_lba)
            .saturating_add(1)
    }
}

/// `partition 6 'OEM'`, for messages.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} '{}'", self.number, self.name)
    }
}

/// A partition's name: 36 UTF-16 units as on disk, invalid surrogates included.
///
/// `Display` ends at the first zero unit and shows `U+FFFD` for what is no character or a control character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionName([u16; MAX_NAME_UNITS]);

impl PartitionName {
    /// The units as on disk.
    pub fn units(&self) -> &[u16; MAX_NAME_UNITS] {
        &self.0
    }

    fn from_disk(bytes: &[u8; 2 * MAX_NAME_UNITS]) -> Self {
        let mut units = [0; MAX_NAME_UNITS];
        for (unit, stored) in units.iter_mut().zip(in_a_row(bytes, Order::Little)) {
            *unit = stored;
        }
        Self(units)
    }

    fn to_disk(self) -> [u8; 2 * MAX_NAME_UNITS] {
        let mut bytes = [0; 2 * MAX_NAME_UNITS];
        put_in_a_row(&mut bytes, self.0, Order::Little);
        bytes
    }
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.iter().copied().take_while(|&unit| unit != 0);
        let shown = |c: char| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        };
        let text: String = char::decode_utf16(units)
            .map(|c| c.map_or(char::REPLACEMENT_CHARACTER, shown))
            .collect();
        f.pad(&text)
    }
}

impl FromStr for PartitionName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut name = Self([0; MAX_NAME_UNITS]);
        let units = text.encode_utf16().count();
        if units > MAX_NAME_UNITS || text.contains('\0') {
            return Err(Error::invalid(format!(
                "partition name '{}' has {units} UTF-16 units: at most {MAX_NAME_UNITS} fit, without zero ones",
                text.escape_debug()
            )));
        }
        name.0
            .iter_mut()
            .zip(text.encode_utf16())
            .for_each(|(place, unit)| *place = unit);
        Ok(name)
    }
}

/// All entries with the bytes as on disk; bytes of an entry beyond the 128 known ones are kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct EntryArray {
    raw: Vec<u8>,
    entry_size: usize,
    sector_size: u32,
}

impl EntryArray {
    /// `raw` holds whole entries of `entry_size` (at least 128) bytes each.
    pub fn new(raw: Vec<u8>, entry_size: u32, sector_size: u32) -> Result<Self> {
        Ok(Self {
            raw,
            entry_size: to_usize(entry_size.into())?,
            sector_size,
        })
    }

    /// Room for `count` entries of the usual size, all unused.
    pub fn unused(count: u32, sector_size: u32) -> Result<Self> {
        let entry_size = GptEntry::<&[u8]>::SIZE;
        let raw = vec![0; to_usize(count.into())? * entry_size];
        Ok(Self {
            raw,
            entry_size,
            sector_size,
        })
    }

    /// The bytes as on disk.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The array's CRC as the headers keep it.
    pub fn crc(&self) -> u32 {
        crc32fast::hash(&self.raw)
    }

    /// The used entries in the order of their numbers.
    pub fn used(&self) -> impl Iterator<Item = Partition> + '_ {
        (1u32..)
            .zip(self.raw.chunks_exact(self.entry_size))
            .filter_map(|(number, raw)| self.parse(number, raw).ok()?)
    }

    /// The entry with this number; `None` where it is unused or there is none.
    pub fn get(&self, number: u32) -> Option<Partition> {
        let start = self.start(number)?;
        self.parse(number, &self.raw[start..start + self.entry_size])
            .ok()?
    }

    pub fn set_type_guid(&mut self, number: u32, guid: Guid) {
        self.change(number, |entry| entry.set_partition_type_guid(guid));
    }

    pub fn set_unique_guid(&mut self, number: u32, guid: Guid) {
        self.change(number, |entry| entry.set_unique_partition_guid(guid));
    }

    pub fn set_ending_lba(&mut self, number: u32, lba: u64) {
        self.change(number, |entry| entry.set_ending_lba(lba));
    }

    pub fn set_lbas(&mut self, number: u32, starting_lba: u64, ending_lba: u64) {
        self.change(number, |entry| {
            entry.set_starting_lba(starting_lba);
            entry.set_ending_lba(ending_lba);
        });
    }

    /// The same entries, whose places are to be said in sectors of another size.
    pub fn in_sectors_of(&self, sector_size: u32) -> Self {
        Self {
            sector_size,
            ..self.clone()
        }
    }

    pub fn set_attributes(&mut self, number: u32, attributes: PartitionAttributes) {
        self.change(number, |entry| entry.set_attributes(attributes.0));
    }

    pub fn set_name(&mut self, number: u32, name: PartitionName) {
        self.change(number, |entry| entry.set_partition_name(name.to_disk()));
    }

    /// Where the entry begins, where there is one with this number.
    fn start(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        index
            .checked_mul(self.entry_size)
            .filter(|&start| start < self.raw.len())
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut GptEntry<&mut [u8]>)) {
        let Some(start) = self.start(number) else {
            return;
        };
        if let Ok(mut entry) = GptEntry::over(&mut self.raw[start..start + self.entry_size]) {
            change(&mut entry);
        }
    }

    /// `None` for an unused entry.
    fn parse(&self, number: u32, raw: &[u8]) -> Result<Option<Partition>> {
        let entry = GptEntry::over(raw)?;
        let type_guid = entry.partition_type_guid();
        if type_guid == Guid::ZERO {
            return Ok(None);
        }
        Ok(Some(Partition {
            number,
            type_guid,
            unique_guid: entry.unique_partition_guid(),
            starting_lba: entry.starting_lba(),
            ending_lba: entry.ending_lba(),
            attributes: PartitionAttributes(entry.attributes()),
            name: PartitionName::from_disk(&entry.partition_name()),
            sector_size: self.sector_size,
        }))
    }

    /// How many entries there are, used or not.
    pub fn count(&self) -> u64 {
        to_u64(self.raw.len() / self.entry_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_what_is_no_character() {
        let mut bytes = [0; 72];
        bytes[..10].copy_from_slice(&[b'A', 0, 0x00, 0xd8, b'\n', 0, 0, 0, b'z', 0]);
        let name = PartitionName::from_disk(&bytes);
        assert_eq!(
            name.to_disk(),
            bytes,
            "a lone surrogate and units behind the end are kept"
        );
        assert_eq!(name.to_string(), "A\u{fffd}\u{fffd}");
        assert_eq!("OEM".parse::<PartitionName>().unwrap().to_string(), "OEM");
        assert!("x".repeat(36).parse::<PartitionName>().is_ok());
        for bad in ["x".repeat(37), "🐧".repeat(19), "a\0b".into()] {
            assert!(bad.parse::<PartitionName>().is_err(), "{bad:?}");
        }
    }
}
