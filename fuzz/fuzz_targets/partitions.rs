//! Partition tables: damage with good checksums, read, listed, edited, written and read again.
#![no_main]

use std::sync::LazyLock;

use flatbake::block::BlockDevice;
use flatbake::bytes::Guid;
use flatbake::partition::{PartitionAttributes, PartitionTable, TableKind};
use flatbake::{MemoryDevice, Result};
use flatbake_fuzz::blames_the_input;
use flatbake_fuzz::device::Layer;
use flatbake_fuzz::volumes::{Volume, partitioned, select};
use libfuzzer_sys::fuzz_target;

static DISKS: LazyLock<Vec<Volume>> = LazyLock::new(partitioned);

fuzz_target!(|input: &[u8]| {
    let raw = MemoryDevice::new(input.to_vec());
    blames_the_input(&PartitionTable::read(&raw));
    blames_the_input(&TableKind::of(&raw));
    let Some((disk, patches)) = select(&DISKS, input) else {
        return;
    };
    let layer = disk.changed(patches);
    blames_the_input(&TableKind::of(&layer));
    match PartitionTable::read(&layer) {
        Ok(table) => blames_the_input(&edit(table, &layer, patches)),
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
});

/// What was set must be there when the table is read again, and all else must be as it was.
fn edit(mut table: PartitionTable, layer: &Layer, bytes: &[u8]) -> Result<()> {
    let size = table.size();
    assert!(size <= layer.size());
    for partition in table.partitions() {
        blames_the_input(&table.max_size(partition.number));
    }
    let Some(number) = table.partitions().map(|partition| partition.number).next() else {
        return Ok(());
    };
    let seed = bytes.first().copied().unwrap_or(0);
    let guid = Guid::from_disk([seed | 1; 16]);
    table.set_disk_guid(guid)?;
    table.set_attributes(number, PartitionAttributes(u64::from(seed) << 48))?;
    let largest = table.max_size(number)?;
    if seed % 2 == 0 {
        table.resize(number, largest)?;
    }
    let before: Vec<_> = table.partitions().collect();
    table.write(layer)?;
    let again = PartitionTable::read(layer)?;
    assert_eq!(again.disk_guid(), guid);
    assert_eq!(
        format!("{before:?}"),
        format!("{:?}", again.partitions().collect::<Vec<_>>())
    );
    Ok(())
}
