//! The same partitions on a disk whose sectors have another size: every place is said in the new sectors.

use super::PartitionTable;
use super::header::PRIMARY_LBA;
use super::mbr::MbrKind;
use super::{SECTOR_SIZES, table::Found};
use crate::block::BlockDeviceMut;
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};

/// The first sector of the primary copy's entries, as every tool writes it.
const ENTRIES_LBA: u64 = 2;

impl PartitionTable {
    /// Replaces the table on `device` by one with sectors of `sector_bytes` (512 or 4096). No partition moves.
    ///
    /// What the partitions hold is not looked at: a filesystem may not be readable in other sectors.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for other sizes; [`crate::ErrorKind::Unsupported`] for a table with a
    /// [`defect`](Self::defect), for one beside an MBR with partitions of its own, and where the disk or a partition is
    /// not made of whole new sectors, or the table finds no room; those of writing.
    pub fn rewrite_in_sectors_of(
        &self,
        sector_bytes: u32,
        device: &dyn BlockDeviceMut,
    ) -> Result<Self> {
        let table = self
            .in_sectors_of(sector_bytes)
            .at(|| format!("changing the sector size to {sector_bytes}"))?;
        if sector_bytes != self.sector_size {
            self.remove(device)
                .at(|| "removing the partition table in the old sectors")?;
        }
        table.write(device)?;
        Ok(table)
    }

    fn in_sectors_of(&self, sector_bytes: u32) -> Result<Self> {
        if !SECTOR_SIZES.contains(&sector_bytes) {
            return Err(Error::invalid(format!(
                "sectors of {sector_bytes} bytes: 512 and 4096 are known"
            )));
        }
        self.check_editable()?;
        if !matches!(self.mbr.kind()?, MbrKind::Protective | MbrKind::Absent) {
            return Err(Error::unsupported(
                "the MBR has partitions of its own, which are recorded in old sectors",
            )
            .with_hint("releases since 4459 have a protective MBR only"));
        }
        let sector = u64::from(sector_bytes);
        let scaled = |what: &str, lba: u64| {
            let bytes = lba.saturating_mul(self.sector_size.into());
            if bytes.is_multiple_of(sector) {
                return Ok(bytes / sector);
            }
            Err(Error::unsupported(format!(
                "{what} at byte {bytes}, which is no multiple of {sector}"
            )))
        };
        let total = scaled("the disk ends", self.size / u64::from(self.sector_size))?;
        let mut table = self.clone();
        table.sector_size = sector_bytes;
        table.entries = self.entries.in_sectors_of(sector_bytes);
        let mut first = u64::MAX;
        let mut end = 0;
        for partition in self.partitions() {
            let start = scaled(&format!("{partition} begins"), partition.starting_lba)?;
            let behind = scaled(
                &format!("{partition} ends"),
                partition.ending_lba.saturating_add(1),
            )?;
            table
                .entries
                .set_lbas(partition.number, start, behind.saturating_sub(1));
            (first, end) = (first.min(start), end.max(behind));
        }
        let array = self.primary.array_bytes().div_ceil(sector);
        let backup_entries = total
            .checked_sub(1 + array)
            .filter(|&entries| entries >= end);
        let first_usable = ENTRIES_LBA + array;
        let Some(backup_entries) = backup_entries.filter(|_| first_usable <= first) else {
            return Err(Error::unsupported(
                "the table takes more room in larger sectors than the partitions leave",
            )
            .with_hint("make the disk larger first"));
        };
        for header in [&mut table.primary, &mut table.backup] {
            header.resize_to(to_usize(sector)?)?;
            (header.first_usable_lba, header.last_usable_lba) = (first_usable, backup_entries - 1);
        }
        (table.primary.my_lba, table.primary.alternate_lba) = (PRIMARY_LBA, total - 1);
        (table.backup.my_lba, table.backup.alternate_lba) = (total - 1, PRIMARY_LBA);
        table.primary.partition_entry_lba = ENTRIES_LBA;
        table.backup.partition_entry_lba = backup_entries;
        table.mbr.stretch(total)?;
        Ok(table)
    }

    /// Overwrites both copies with zeroes; the MBR stays.
    fn remove(&self, device: &dyn BlockDeviceMut) -> Result<()> {
        let sector = u64::from(self.sector_size);
        device.write_zeroes(PRIMARY_LBA * sector, sector)?;
        device.write_zeroes(
            self.primary.partition_entry_lba * sector,
            self.primary.array_sectors() * sector,
        )?;
        for Found { offset, bytes } in &self.found_backup {
            device.write_zeroes(*offset, crate::bytes::to_u64(bytes.len()))?;
        }
        Ok(())
    }
}
