//! A whole table: what it says, and the edits of its fields. Nothing reaches a disk before
//! [`write`](PartitionTable::write).

use std::fmt;

use super::entry::EntryArray;
use super::header::Header;
use super::{Mbr, Partition, PartitionAttributes, PartitionName};
use crate::bytes::{ByteSize, Guid};
use crate::error::{Error, Result};
use crate::finding::Finding;

/// The partition table of a disk, as read and with the edits so far.
#[derive(Clone, PartialEq, Eq)]
pub struct PartitionTable {
    pub(super) size: u64,
    pub(super) sector_size: u32,
    pub(super) mbr: Mbr,
    pub(super) primary: Header,
    pub(super) backup: Header,
    pub(super) entries: EntryArray,
    /// The pieces of the backup copy that were whole on disk.
    pub(super) found_backup: Vec<Found>,
    pub(super) findings: Vec<Finding>,
    pub(super) defect: Option<String>,
}

/// A piece of a table as found on disk.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it lies, in bytes.
    pub offset: u64,
    /// What lay there.
    pub bytes: Vec<u8>,
}

impl PartitionTable {
    /// What was odd when the table was read; [`write`](Self::write) repairs damaged and disagreeing copies.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Why the table can be read but not edited (overlapping partitions, for instance); also among the findings.
    pub fn defect(&self) -> Option<&str> {
        self.defect.as_deref()
    }

    /// Size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes per logical sector: 512 or 4096.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// The MBR in sector 0.
    pub fn mbr(&self) -> &Mbr {
        &self.mbr
    }

    /// The disk's identity; `00000000-0000-0000-0000-000000000001` on a Flatcar disk that never booted.
    pub fn disk_guid(&self) -> Guid {
        self.primary.disk_guid
    }

    /// The first and the last sector that partitions may use.
    pub fn usable_sectors(&self) -> (u64, u64) {
        (self.primary.first_usable_lba, self.primary.last_usable_lba)
    }

    /// How many entries the table has room for.
    pub fn entry_count(&self) -> u64 {
        self.entries.count()
    }

    /// The partitions in the order of their numbers.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.entries.used()
    }

    /// The partition with this number, or [`crate::ErrorKind::NotFound`].
    pub fn partition(&self, number: u32) -> Result<Partition> {
        self.entries.get(number).ok_or_else(|| {
            let numbers: Vec<String> = self
                .partitions()
                .take(20)
                .map(|other| other.number.to_string())
                .collect();
            Error::not_found(format!("there is no partition {number}")).with_hint(format!(
                "the image has the partitions {}",
                numbers.join(", ")
            ))
        })
    }

    /// The size in bytes up to which a partition can be [resized](Self::resize): to its next neighbour or the end of
    /// the usable sectors.
    pub fn max_size(&self, number: u32) -> Result<u64> {
        let partition = self.partition(number)?;
        let limit = self.limit(&partition);
        Ok((limit + 1)
            .saturating_sub(partition.starting_lba)
            .saturating_mul(self.sector_size.into()))
    }

    /// Sets the disk's identity.
    pub fn set_disk_guid(&mut self, guid: Guid) -> Result<()> {
        self.check_editable()?;
        self.primary.disk_guid = guid;
        self.backup.disk_guid = guid;
        Ok(())
    }

    /// Sets all 64 attribute bits of a partition.
    pub fn set_attributes(&mut self, number: u32, attributes: PartitionAttributes) -> Result<()> {
        self.editable(number)?;
        self.entries.set_attributes(number, attributes);
        Ok(())
    }

    /// Sets what a partition is for. The zero GUID would delete it and is refused.
    pub fn set_type_guid(&mut self, number: u32, guid: Guid) -> Result<()> {
        let partition = self.editable(number)?;
        if guid == Guid::ZERO {
            return Err(Error::invalid(format!(
                "the type GUID of {partition} cannot be zero: it marks unused entries"
            )));
        }
        self.entries.set_type_guid(number, guid);
        Ok(())
    }

    /// Sets a partition's own identity, which no other partition of the disk may have.
    pub fn set_unique_guid(&mut self, number: u32, guid: Guid) -> Result<()> {
        let partition = self.editable(number)?;
        if let Some(other) = self
            .partitions()
            .find(|other| other.unique_guid == guid && other.number != number)
        {
            return Err(Error::invalid(format!(
                "{partition} cannot have the unique GUID {guid}: {other} has it"
            )));
        }
        self.entries.set_unique_guid(number, guid);
        Ok(())
    }

    /// Sets a partition's name.
    pub fn set_name(&mut self, number: u32, name: PartitionName) -> Result<()> {
        self.editable(number)?;
        self.entries.set_name(number, name);
        Ok(())
    }

    /// Moves the end of a partition so that it has `size` bytes, a multiple of the sector size.
    ///
    /// Only the table changes: a filesystem must be shrunk before and grown after. Beyond
    /// [`max_size`](Self::max_size) it is [`crate::ErrorKind::NoSpace`].
    pub fn resize(&mut self, number: u32, size: u64) -> Result<()> {
        let partition = self.editable(number)?;
        let sector = u64::from(self.sector_size);
        if size == 0 || !size.is_multiple_of(sector) {
            return Err(Error::invalid(format!(
                "{partition} cannot have {size} bytes: must be a multiple of {sector}, at least one sector"
            )));
        }
        let max = self.max_size(number)?;
        if size > max {
            return Err(Error::no_space(format!(
                "{partition} cannot have {} ({size} bytes): at most {} ({max} bytes) are free there",
                ByteSize(size),
                ByteSize(max)
            ))
            .with_hint("a larger disk gives its last partition more room"));
        }
        if size != partition.size() && self.mirrored_in_mbr(&partition)? {
            return Err(Error::unsupported(format!(
                "{partition} cannot be resized: the hybrid MBR also records its size"
            )));
        }
        self.entries
            .set_ending_lba(number, partition.starting_lba + size / sector - 1);
        Ok(())
    }

    /// Makes the table one of a disk of `new_size` bytes, not below its size now: the backup copy goes to the new end,
    /// all sectors between become usable, and a protective MBR covers the disk. A hybrid MBR stays as it is.
    ///
    /// With the size of now, on a disk that was enlarged, this moves the backup copy to the end.
    pub fn grow(&mut self, new_size: u64) -> Result<()> {
        self.check_editable()?;
        let sector = u64::from(self.sector_size);
        if new_size < self.size || !new_size.is_multiple_of(sector) {
            return Err(Error::invalid(format!(
                "a disk of {} bytes cannot grow to {new_size} bytes: must be a multiple of {sector} and not smaller",
                self.size
            )));
        }
        let total = new_size / sector;
        let backup_lba = total - 1;
        let entry_lba = backup_lba - self.backup.array_sectors();
        self.primary.alternate_lba = backup_lba;
        self.backup.my_lba = backup_lba;
        self.backup.partition_entry_lba = entry_lba;
        for header in [&mut self.primary, &mut self.backup] {
            header.last_usable_lba = entry_lba - 1;
        }
        self.mbr.stretch(total)?;
        self.size = new_size;
        Ok(())
    }

    /// An error where the table has a [`defect`](Self::defect).
    pub(super) fn check_editable(&self) -> Result<()> {
        match &self.defect {
            None => Ok(()),
            Some(defect) => Err(Error::unsupported(format!(
                "the partition table cannot be edited: {defect}"
            ))
            .with_hint("repair it with a partitioning tool first")),
        }
    }

    fn editable(&self, number: u32) -> Result<Partition> {
        self.check_editable()?;
        self.partition(number)
    }

    /// The last sector that a partition can reach.
    fn limit(&self, partition: &Partition) -> u64 {
        let starts = self.partitions().map(|other| other.starting_lba);
        let next = starts.filter(|&start| start > partition.starting_lba).min();
        next.map_or(self.primary.last_usable_lba, |start| start - 1)
    }

    fn mirrored_in_mbr(&self, partition: &Partition) -> Result<bool> {
        let records = self.mbr.records()?;
        Ok(records.iter().any(|record| {
            !matches!(record.os_type, 0 | 0xee)
                && u64::from(record.starting_lba) == partition.starting_lba
        }))
    }
}

/// What the table says, without its bytes.
impl fmt::Debug for PartitionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionTable")
            .field("size", &self.size)
            .field("sector_size", &self.sector_size)
            .field("mbr", &self.mbr)
            .field("disk_guid", &self.disk_guid())
            .field("usable_sectors", &self.usable_sectors())
            .field("partitions", &self.partitions().collect::<Vec<_>>())
            .field("findings", &self.findings)
            .field("defect", &self.defect)
            .finish_non_exhaustive()
    }
}
