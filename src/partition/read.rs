//! Finds the table of a disk: the primary copy, else the backup, for either sector size.
//!
//! A copy counts when its header and its entries have right CRCs and every place it names fits the disk. A copy that
//! does not count is a finding as long as the other one does; writing the table then repairs it. What both copies
//! agree on but no tool should build upon (overlapping partitions) leaves the table readable and refuses edits.

use std::collections::HashSet;

use super::entry::EntryArray;
use super::header::{Header, PRIMARY_LBA, SIGNATURE};
use super::mbr::{MBR_LEN, Mbr, MbrKind};
use super::table::{Found, PartitionTable};
use super::{Partition, SECTOR_SIZES};
use crate::block::{BlockDevice, check_image_range};
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::finding::{Finding, code};

const HINT: &str = "flatbake expects a Flatcar disk image with a GPT, such as flatcar_production_image.bin; is this a partition or another file?";

/// A whole, checked copy of the table.
struct Copy {
    header: Header,
    entries: EntryArray,
}

impl PartitionTable {
    /// Reads the partition table of a whole disk.
    ///
    /// Problems that leave a usable table are told by [`findings`](Self::findings) and [`defect`](Self::defect).
    /// A disk without any trace of a GPT is [`ErrorKind::InvalidInput`]; one whose two copies are both damaged is
    /// [`ErrorKind::Corrupt`].
    pub fn read(device: &dyn BlockDevice) -> Result<Self> {
        let disk = Disk { device };
        for sector_size in SECTOR_SIZES {
            if let Ok(copy) = disk.copy(sector_size, PRIMARY_LBA)? {
                return disk
                    .with_primary(copy, sector_size)
                    .at(|| "reading the partition table");
            }
        }
        for sector_size in SECTOR_SIZES {
            for lba in disk.backup_places(sector_size)? {
                if let Ok(copy) = disk.copy(sector_size, lba)? {
                    return disk
                        .with_backup(copy, sector_size)
                        .at(|| "reading the partition table");
                }
            }
        }
        Err(disk.no_table()?)
    }
}

struct Disk<'a> {
    device: &'a dyn BlockDevice,
}

impl Disk<'_> {
    /// The copy whose header is at `lba`. A damaged one is the inner error, a failure to read the outer.
    fn copy(&self, sector_size: u32, lba: u64) -> Result<Result<Copy>> {
        match self.checked_copy(sector_size, lba) {
            Err(error) if error.kind() != ErrorKind::Corrupt => {
                Err(error.at("reading the partition table"))
            }
            result => Ok(result),
        }
    }

    fn checked_copy(&self, sector_size: u32, lba: u64) -> Result<Copy> {
        let total = self.total_sectors(sector_size);
        let header = Header::parse(&self.bytes(sector_size, lba, sector_size.into())?, lba)?;
        header.check_places(total)?;
        let raw = self.bytes(
            sector_size,
            header.partition_entry_lba,
            header.array_bytes(),
        )?;
        let entries = EntryArray::new(raw, header.size_of_partition_entry, sector_size)?;
        let stored = header.partition_entry_array_crc32;
        let computed = entries.crc();
        if stored != computed {
            return Err(Error::corrupt(format!(
                "the entries' CRC is {stored:#010x}, their bytes give {computed:#010x}"
            )));
        }
        for partition in entries.used() {
            let start = partition.starting_lba;
            let end = partition.ending_lba;
            if start > end || end >= total {
                return Err(Error::corrupt(format!(
                    "{partition} is at sectors {start} to {end}: must be an ascending range below {total}"
                )));
            }
        }
        Ok(Copy { header, entries })
    }

    /// Where a backup header may lie: at the disk's end or, on an enlarged disk, where a damaged primary says.
    fn backup_places(&self, sector_size: u32) -> Result<Vec<u64>> {
        let total = self.total_sectors(sector_size);
        let mut places = vec![total.saturating_sub(1)];
        if self.signed(sector_size, PRIMARY_LBA)? {
            let sector = self.bytes(sector_size, PRIMARY_LBA, sector_size.into())?;
            places.push(Fields::new("GPT header", &sector).le64(32)?);
        }
        places.retain(|&lba| lba > PRIMARY_LBA && lba < total);
        Ok(places)
    }

    fn with_primary(&self, copy: Copy, sector_size: u32) -> Result<PartitionTable> {
        let expected = copy.header.alternate_lba;
        let mut table = self.table(copy, sector_size)?;
        let last = self.total_sectors(sector_size) - 1;
        if expected != last {
            let code = if expected < last {
                code::DISK_ENLARGED
            } else {
                code::DISK_CUT_SHORT
            };
            table.findings.push(
                Finding::new(code)
                    .with("last", last)
                    .with("backup", expected),
            );
        }
        match self.copy(sector_size, expected.min(last))? {
            Ok(backup) => {
                table.found_backup = found(&backup, sector_size)?;
                let entries = (backup.entries != table.entries).then_some("entries");
                match table.primary.difference(&backup.header).or(entries) {
                    None => table.backup = backup.header,
                    Some(field) => {
                        table
                            .findings
                            .push(Finding::new(code::TABLE_COPIES_DIFFER).with("field", field));
                    }
                }
            }
            Err(error) => table
                .findings
                .push(Finding::new(code::TABLE_BACKUP_DAMAGED).with("why", error)),
        }
        Ok(table)
    }

    fn with_backup(&self, copy: Copy, sector_size: u32) -> Result<PartitionTable> {
        let found_backup = found(&copy, sector_size)?;
        let mut table = self.table(copy, sector_size)?;
        if let Err(error) = self.copy(sector_size, PRIMARY_LBA)? {
            table
                .findings
                .push(Finding::new(code::TABLE_PRIMARY_DAMAGED).with("why", error));
        }
        let last = self.total_sectors(sector_size) - 1;
        if table.backup.my_lba != last {
            let found = Finding::new(code::DISK_ENLARGED)
                .with("last", last)
                .with("backup", table.backup.my_lba);
            table.findings.push(found);
        }
        table.found_backup = found_backup;
        Ok(table)
    }

    /// A table from one copy, the other copy mirrored from it.
    fn table(&self, copy: Copy, sector_size: u32) -> Result<PartitionTable> {
        let last = self.total_sectors(sector_size) - 1;
        let Copy {
            mut header,
            entries,
        } = copy;
        let array = header.array_sectors();
        let (primary, backup) = if header.my_lba == PRIMARY_LBA {
            let lba = header.alternate_lba.min(last);
            let backup = header.mirrored(lba, lba.saturating_sub(array));
            header.alternate_lba = lba;
            (header, backup)
        } else {
            (header.mirrored(PRIMARY_LBA, PRIMARY_LBA + 1), header)
        };
        let mbr = Mbr::new(
            Fields::new("MBR", &self.bytes(sector_size, 0, sector_size.into())?)
                .array::<MBR_LEN>(0)?,
        );
        let mut table = PartitionTable {
            size: self.device.size(),
            sector_size,
            mbr,
            primary,
            backup,
            entries,
            found_backup: Vec::new(),
            findings: Vec::new(),
            defect: None,
        };
        table.defect = defect(&table);
        if let Some(why) = &table.defect {
            table
                .findings
                .push(Finding::new(code::TABLE_NOT_EDITABLE).with("why", why));
        }
        self.note(&mut table)?;
        Ok(table)
    }

    /// Oddities that harm no edit.
    fn note(&self, table: &mut PartitionTable) -> Result<()> {
        if matches!(table.mbr.kind()?, MbrKind::Dos | MbrKind::Absent) {
            table.findings.push(Finding::new(code::MBR_UNPROTECTED));
        }
        let rest = self.device.size() % u64::from(table.sector_size);
        if rest != 0 {
            table
                .findings
                .push(Finding::new(code::DISK_ODD_SIZE).with("bytes", rest));
        }
        let mut seen = HashSet::new();
        let doubled = table
            .entries
            .used()
            .find(|partition| !seen.insert(partition.unique_guid));
        if let Some(partition) = doubled {
            let found = Finding::new(code::PARTITION_GUID_TAKEN);
            table.findings.push(
                found
                    .with("partition", partition)
                    .with("guid", partition.unique_guid),
            );
        }
        Ok(())
    }

    fn no_table(&self) -> Result<Error> {
        for sector_size in SECTOR_SIZES {
            let last = self.total_sectors(sector_size).saturating_sub(1);
            if !(self.signed(sector_size, PRIMARY_LBA)? || self.signed(sector_size, last)?) {
                continue;
            }
            let said = |lba| {
                Ok(self
                    .copy(sector_size, lba)?
                    .err()
                    .map_or_else(String::new, |error| error.to_string()))
            };
            return Ok(Error::corrupt(format!(
                "both copies of the partition table are damaged: primary (LBA {PRIMARY_LBA}): {}; backup (LBA {last}): {}",
                said(PRIMARY_LBA)?,
                said(last)?
            ))
            .with_hint("get the image again and compare its size and checksum with the published ones"));
        }
        let dos = match self.bytes(512, 0, 512) {
            Ok(bytes) => {
                Mbr::new(Fields::new("MBR", &bytes).array::<MBR_LEN>(0)?).kind()? == MbrKind::Dos
            }
            Err(_) => false,
        };
        let found = if dos {
            "it may have a DOS partition table, but it has no GPT"
        } else {
            "it has no GPT"
        };
        Ok(Error::invalid(format!("not a partitioned disk image: {found}")).with_hint(HINT))
    }

    fn signed(&self, sector_size: u32, lba: u64) -> Result<bool> {
        if lba >= self.total_sectors(sector_size) {
            return Ok(false);
        }
        Ok(self.bytes(sector_size, lba, 8)? == SIGNATURE)
    }

    fn total_sectors(&self, sector_size: u32) -> u64 {
        self.device.size() / u64::from(sector_size)
    }

    /// `len` bytes from sector `lba`; beyond the end is [`ErrorKind::Corrupt`]. Callers bound `len`.
    fn bytes(&self, sector_size: u32, lba: u64, len: u64) -> Result<Vec<u8>> {
        let offset = lba.saturating_mul(sector_size.into());
        check_image_range(offset, len, self.device.size())?;
        let mut bytes = vec![0; to_usize(len)?];
        self.device.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// The bytes of a whole copy and where they lie, so that they can be cleared when the copy moves.
fn found(copy: &Copy, sector_size: u32) -> Result<Vec<Found>> {
    let sector = u64::from(sector_size);
    Ok(vec![
        Found {
            offset: copy.header.my_lba * sector,
            bytes: copy.header.encode(copy.entries.crc())?,
        },
        Found {
            offset: copy.header.partition_entry_lba * sector,
            bytes: copy.entries.as_bytes().to_vec(),
        },
    ])
}

/// What makes it unsafe to edit the table, if anything.
fn defect(table: &PartitionTable) -> Option<String> {
    let primary = &table.primary;
    let backup = &table.backup;
    let array = primary.array_sectors();
    if primary.partition_entry_lba + array > primary.first_usable_lba {
        return Some("there is no room for the primary entries before the usable sectors".into());
    }
    if backup.partition_entry_lba <= backup.last_usable_lba
        || backup.partition_entry_lba + array > backup.my_lba
    {
        return Some("there is no room for the backup entries behind the usable sectors".into());
    }
    let mut partitions: Vec<Partition> = table.entries.used().collect();
    partitions.sort_by_key(|partition| partition.starting_lba);
    let first = primary.first_usable_lba;
    let last = primary.last_usable_lba;
    let mut widest: Option<&Partition> = None;
    for partition in &partitions {
        let start = partition.starting_lba;
        let end = partition.ending_lba;
        if start < first || end > last {
            return Some(format!(
                "{partition} at sectors {start} to {end} is outside the usable sectors {first} to {last}"
            ));
        }
        if let Some(before) = widest.filter(|before| before.ending_lba >= start) {
            return Some(format!(
                "{before} and {partition} overlap at sector {start}"
            ));
        }
        widest = Some(partition);
    }
    None
}
