//! Whole disks: the partition table, each partition, what lies outside of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::bytes::{ByteDifference, compare};
use super::tree::{Side, TreeDifference, compare_trees};
use super::{Change, DiffOptions, Field, Fields, meaning, table};
use crate::block::{BlockDevice, Window};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::flatcar::Disk;
use crate::fs::{self, FileSystem};
use crate::partition::{Partition, PartitionTable};

/// Where the MBR's records begin and end.
const MBR_RECORDS: (u64, u64) = (446, 510);

/// How two disks differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskDifference {
    /// What the partition tables say of the disks as a whole.
    pub fields: Vec<Field>,
    /// What the disks are to a person: release, vendor, sysexts.
    pub meaning: Vec<Field>,
    /// The partitions that differ, in the order of their numbers.
    pub partitions: Vec<PartitionDifference>,
    /// Bytes outside of partitions: boot code, what lies between partitions, and the partition table itself where what it
    /// says is the same.
    pub outside: Option<ByteDifference>,
}

impl DiskDifference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.partitions.is_empty() && self.outside.is_none()
    }
}

/// How a partition differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionDifference {
    /// Its number.
    pub number: u32,
    /// Its label, that of the first side where both have it.
    pub label: String,
    /// What became of it.
    pub change: Change,
    /// What the partition tables, and the filesystems as a whole, say of it.
    pub fields: Vec<Field>,
    /// Its files, where both sides have a filesystem that is known.
    pub files: Option<TreeDifference>,
    /// Its bytes, where they differ and no file does. Where something of files is passed over, so is what it changes here.
    pub bytes: Option<ByteDifference>,
    /// Why its files could not be compared.
    pub problem: Option<String>,
}

/// Compares two disks.
///
/// # Errors
/// Those of reading them. A filesystem that cannot be read is told and compared by its bytes.
pub fn compare_disks(a: &Disk, b: &Disk, options: &DiffOptions<'_>) -> Result<DiskDifference> {
    let size = a.device().size().max(b.device().size());
    options.progress.start("comparing", size);
    let compared = compare_started(a, b, options);
    options.progress.finish();
    compared
}

fn compare_started(a: &Disk, b: &Disk, options: &DiffOptions<'_>) -> Result<DiskDifference> {
    let fields = table::of_disk(a.table(), b.table())?;
    let numbers: BTreeSet<u32> = a
        .table()
        .partitions()
        .chain(b.table().partitions())
        .map(|partition| partition.number)
        .collect();
    let mut partitions = Vec::new();
    let mut is_same_table = fields.0.is_empty();
    for number in numbers {
        let in_a = a.table().partition(number).ok();
        let in_b = b.table().partition(number).ok();
        let difference = match (in_a, in_b) {
            (Some(of_a), Some(of_b)) => {
                let table_fields = table::of_partition(&of_a, &of_b);
                is_same_table &= table_fields.0.is_empty();
                partition((a, &of_a), (b, &of_b), table_fields, options)?
            }
            (Some(partition), None) => Some(alone(&partition, Change::Removed)),
            (None, Some(partition)) => Some(alone(&partition, Change::Added)),
            (None, None) => None,
        };
        is_same_table &= difference
            .as_ref()
            .is_none_or(|difference| difference.change == Change::Changed);
        partitions.extend(difference);
    }
    let skipped = inside(a.table(), b.table(), is_same_table);
    let outside =
        compare(&a.device(), &b.device(), &skipped, options).at(|| "outside of partitions")?;
    let mut difference = DiskDifference {
        fields: fields.0,
        meaning: Vec::new(),
        partitions,
        outside,
    };
    if !difference.is_empty() {
        difference.meaning = meaning::compare(a, b)?;
    }
    Ok(difference)
}

fn alone(partition: &Partition, change: Change) -> PartitionDifference {
    PartitionDifference {
        number: partition.number,
        label: partition.name.to_string(),
        change,
        fields: Vec::new(),
        files: None,
        bytes: None,
        problem: None,
    }
}

/// A partition that both disks have; `None` where it is the same.
fn partition(
    (disk_a, a): (&Disk, &Partition),
    (disk_b, b): (&Disk, &Partition),
    mut fields: Fields,
    options: &DiffOptions<'_>,
) -> Result<Option<PartitionDifference>> {
    let window_a = window(disk_a, a)?;
    let window_b = window(disk_b, b)?;
    let bytes = compare(&window_a, &window_b, &[], options).at(|| a.to_string())?;
    if bytes.is_none() && fields.0.is_empty() {
        return Ok(None);
    }
    let mut difference = alone(a, Change::Changed);
    if let Some(bytes) = bytes {
        match files(window_a, window_b, &mut fields, options) {
            Ok(files) => difference.files = files,
            Err(error) if can_be_told(&error) => difference.problem = Some(error.to_string()),
            Err(error) => return Err(error.at(a.to_string())),
        }
        let shows = difference
            .files
            .as_ref()
            .is_some_and(|files| !files.is_empty());
        let is_overlooked = difference.files.is_some() && !options.ignored.is_empty();
        if !shows {
            difference.files = None;
        }
        if !shows && !is_overlooked {
            difference.bytes = Some(bytes);
        } else if !shows && fields.0.is_empty() {
            return Ok(None);
        }
    }
    difference.fields = fields.0;
    Ok(Some(difference))
}

fn window(disk: &Disk, partition: &Partition) -> Result<Arc<dyn BlockDevice>> {
    let window = Window::of_image(disk.device(), partition.offset(), partition.size());
    Ok(Arc::new(window.at(|| partition.to_string())?))
}

/// What is wrong with a filesystem does not keep its bytes from being compared.
fn can_be_told(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Cancelled | ErrorKind::Io | ErrorKind::Internal
    )
}

/// The files of both, where both hold a filesystem.
fn files(
    a: Arc<dyn BlockDevice>,
    b: Arc<dyn BlockDevice>,
    fields: &mut Fields,
    options: &DiffOptions<'_>,
) -> Result<Option<TreeDifference>> {
    let a = open(a)?;
    let b = open(b)?;
    let kind = |fs: &Option<Box<dyn FileSystem>>| fs.as_ref().map(|fs| fs.kind().to_string());
    let kinds = (kind(&a), kind(&b));
    if kinds.0 != kinds.1 {
        fields.add("filesystem", kinds.0, kinds.1);
    }
    let Some((a, b)) = a.zip(b) else {
        return Ok(None);
    };
    let label = |fs: &dyn FileSystem| -> Result<String> {
        Ok(String::from_utf8_lossy(&fs.label()?).into_owned())
    };
    let labels = (label(&*a)?, label(&*b)?);
    fields.see("filesystem label", &labels.0, &labels.1, String::clone);
    let sizes = (a.capacity()?.total_bytes, b.capacity()?.total_bytes);
    fields.see("filesystem bytes", &sizes.0, &sizes.1, u64::to_string);
    compare_trees(Side::whole(&*a), Side::whole(&*b), options).map(Some)
}

/// The filesystem of a partition; `None` where it holds none that is known.
fn open(device: Arc<dyn BlockDevice>) -> Result<Option<Box<dyn FileSystem>>> {
    match fs::open(device) {
        Ok(fs) => Ok(Some(fs)),
        Err(error) if error.reason() == Some(Reason::Unformatted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is not compared as bytes outside of partitions: the partitions of both, and the tables where they say different
/// things, which is told field by field.
fn inside(a: &PartitionTable, b: &PartitionTable, is_same_table: bool) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    for table in [a, b] {
        for partition in table.partitions() {
            ranges.push((
                partition.offset(),
                partition.offset().saturating_add(partition.size()),
            ));
        }
        if !is_same_table {
            let sector = u64::from(table.sector_size());
            let (first, last) = table.usable_sectors();
            ranges.push(MBR_RECORDS);
            ranges.push((sector, first.saturating_mul(sector)));
            let backup = last.saturating_add(1).saturating_mul(sector);
            ranges.push((backup, table.size().max(backup)));
        }
    }
    ranges.sort_unstable();
    joined(ranges)
}

/// Ranges that overlap or touch are one.
fn joined(sorted: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in sorted {
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    #[test]
    fn ranges_that_touch_are_one() {
        let ranges = vec![(0, 4), (2, 3), (4, 6), (8, 9)];
        assert_eq!(super::joined(ranges), [(0, 6), (8, 9)]);
    }
}
