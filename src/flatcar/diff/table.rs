//! What two partition tables say.

use super::Fields;
use crate::error::Result;
use crate::flatcar::layout::type_name;
use crate::partition::{MbrRecord, Partition, PartitionTable};

/// What the tables say of the disks as a whole.
pub(super) fn of_disk(a: &PartitionTable, b: &PartitionTable) -> Result<Fields> {
    let mut fields = Fields::default();
    fields.see("disk bytes", &a.size(), &b.size(), u64::to_string);
    let sectors = (a.sector_size(), b.sector_size());
    fields.see("sector bytes", &sectors.0, &sectors.1, u32::to_string);
    fields.see(
        "disk GUID",
        &a.disk_guid(),
        &b.disk_guid(),
        ToString::to_string,
    );
    let usable = (a.usable_sectors(), b.usable_sectors());
    fields.see("usable sectors", &usable.0, &usable.1, |(first, last)| {
        format!("{first} to {last}")
    });
    let entries = (a.entry_count(), b.entry_count());
    fields.see(
        "entries of the table",
        &entries.0,
        &entries.1,
        u64::to_string,
    );
    let records = (a.mbr().records()?, b.mbr().records()?);
    for (number, (of_a, of_b)) in (1..).zip(records.0.iter().zip(&records.1)) {
        fields.see(&format!("MBR record {number}"), of_a, of_b, record);
    }
    Ok(fields)
}

fn record(record: &MbrRecord) -> String {
    format!(
        "type {:#04x}, sectors {} from {}, boot indicator {:#04x}",
        record.os_type, record.size_in_lba, record.starting_lba, record.boot_indicator
    )
}

/// What the tables say of one partition.
pub(super) fn of_partition(a: &Partition, b: &Partition) -> Fields {
    let mut fields = Fields::default();
    fields.see("label", &a.name, &b.name, ToString::to_string);
    fields.see("type", &a.type_guid, &b.type_guid, |guid| {
        type_name(*guid).map_or_else(|| guid.to_string(), str::to_owned)
    });
    fields.see("GUID", &a.unique_guid, &b.unique_guid, ToString::to_string);
    fields.see("attributes", &a.attributes.0, &b.attributes.0, |bits| {
        format!("{bits:#018x}")
    });
    fields.see("start", &a.offset(), &b.offset(), u64::to_string);
    fields.see("bytes", &a.size(), &b.size(), u64::to_string);
    fields
}
