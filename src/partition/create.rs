//! A table for a new disk.

use super::entry::EntryArray;
use super::header::Header;
use super::{Mbr, PartitionAttributes, PartitionName, PartitionTable};
use crate::bytes::{Guid, to_usize};
use crate::error::{Error, Reason, Result};

/// Bytes per sector.
const SECTOR: u32 = 512;
/// Entries of the table, as every tool makes them.
const ENTRIES: u32 = 128;
/// Partitions begin and end at multiples of this many bytes, and the disk ends at one.
const ALIGNMENT: u64 = 4096;
/// What the table takes before the partitions, and again behind them: MBR, header and entries, up to the next multiple.
const MARGIN: u64 = 5 * ALIGNMENT;

/// A partition that is to be.
#[derive(Debug, Clone)]
pub struct NewPartition {
    /// What it is for.
    pub type_guid: Guid,
    /// Its own identity.
    pub unique_guid: Guid,
    /// Its name.
    pub name: PartitionName,
    /// Its attribute bits.
    pub attributes: PartitionAttributes,
    /// Its size in bytes, which is rounded up to a multiple of 4096.
    pub size: u64,
}

impl PartitionTable {
    /// Where the first partition begins on a new disk, in bytes.
    pub(crate) const FIRST_PARTITION: u64 = MARGIN;

    /// The table of a new disk with sectors of 512 bytes that is just large enough for `partitions`, which lie on it one
    /// after another, with a protective MBR.
    ///
    /// # Errors
    /// More partitions than there are entries, one without a size, two with the same identity, or more than 64 bits can
    /// count.
    pub fn create(disk_guid: Guid, partitions: &[NewPartition]) -> Result<Self> {
        let sector = u64::from(SECTOR);
        let mut entries = EntryArray::unused(ENTRIES, SECTOR)?;
        if partitions.len() > to_usize(ENTRIES.into())? {
            return Err(Error::invalid(format!(
                "{} partitions: a partition table has room for {ENTRIES}",
                partitions.len()
            )));
        }
        let mut end = MARGIN;
        let mut places = Vec::new();
        for (number, partition) in (1u32..).zip(partitions) {
            let start = end;
            end = partition
                .size
                .checked_next_multiple_of(ALIGNMENT)
                .and_then(|size| start.checked_add(size))
                .filter(|&end| end > start && end <= u64::MAX - MARGIN)
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "partition {number} cannot have {} bytes",
                        partition.size
                    ))
                    .because(Reason::Limit)
                })?;
            places.push((number, partition, start / sector, end / sector - 1));
        }
        let total = (end + MARGIN) / sector;
        for (number, partition, first, last) in places {
            entries.set_type_guid(number, partition.type_guid);
            entries.set_lbas(number, first, last);
            entries.set_attributes(number, partition.attributes);
        }
        let primary = Header::new(disk_guid, ENTRIES, to_usize(sector)?, total)?;
        let backup_entries = primary.last_usable_lba + 1;
        let mut table = Self {
            size: end + MARGIN,
            sector_size: SECTOR,
            mbr: Mbr::protective(total)?,
            backup: primary.mirrored(total - 1, backup_entries),
            primary,
            entries,
            found_backup: Vec::new(),
            findings: Vec::new(),
            defect: None,
        };
        for (number, partition) in (1u32..).zip(partitions) {
            table.set_unique_guid(number, partition.unique_guid)?;
            table.set_name(number, partition.name)?;
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{BlockDevice, MemoryDevice};

    fn partition(number: u8, size: u64) -> NewPartition {
        NewPartition {
            type_guid: Guid::from_fields(0x4f68_bce3, 0xe8cd, 0x4db1, 0x96e7_fbca_f984_b709),
            unique_guid: Guid::from_disk([number; 16]),
            name: format!("part {number}").parse().unwrap(),
            attributes: PartitionAttributes::READ_ONLY,
            size,
        }
    }

    #[test]
    fn a_new_table_is_read_as_it_was_made() {
        let guid = Guid::from_disk([9; 16]);
        let table = PartitionTable::create(
            guid,
            &[partition(1, 1), partition(2, 8192), partition(3, 5000)],
        )
        .unwrap();
        assert_eq!(table.size(), 20_480 + 4096 + 8192 + 8192 + 20_480);
        let disk = MemoryDevice::new(vec![0; to_usize(table.size()).unwrap()]);
        table.write(&disk).unwrap();
        let read = PartitionTable::read(&disk).unwrap();
        assert!(read.findings().is_empty() && read.defect().is_none());
        assert_eq!(read.disk_guid(), guid);
        assert_eq!(read.entry_count(), 128);
        assert_eq!(read.usable_sectors(), (34, disk.size() / 512 - 34));
        let found: Vec<_> = read.partitions().collect();
        assert_eq!(found, table.partitions().collect::<Vec<_>>());
        let places: Vec<_> = found.iter().map(|one| (one.offset(), one.size())).collect();
        assert_eq!(places, [(20_480, 4096), (24_576, 8192), (32_768, 8192)]);
        assert_eq!(found[1].name.to_string(), "part 2");
        assert_eq!(found[2].attributes, PartitionAttributes::READ_ONLY);
    }

    #[test]
    fn partitions_that_cannot_be_are_refused() {
        let create = |partitions: &[NewPartition]| PartitionTable::create(Guid::ZERO, partitions);
        assert!(create(&[partition(1, 0)]).is_err());
        assert!(create(&[partition(1, u64::MAX)]).is_err());
        assert!(create(&[partition(1, 1 << 63), partition(2, 1 << 63)]).is_err());
        assert!(create(&[partition(1, 1), partition(1, 1)]).is_err());
        let many: Vec<_> = (1..130).map(|number| partition(number, 1)).collect();
        assert!(create(&many).is_err());
        assert!(create(&many[..128]).is_ok());
    }
}
