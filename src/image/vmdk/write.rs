//! Writing monolithicSparse and monolithicFlat.

use std::fs::File;

use super::VmdkTold;
use super::header::{
    DESCRIPTOR_OFFSET, DESCRIPTOR_SECTORS, FLAG_NEWLINE_TEST, FLAG_REDUNDANT_TABLE, GRAIN_BYTES,
    GRAIN_SECTORS, Header, TABLE_ENTRIES, TABLE_SECTORS, table_entry,
};
use super::write_descriptor::{Descriptor, check_name};
use crate::block::BlockDevice;
use crate::error::Result;
use crate::image::block_writer::{BlockPlan, SECTOR, disk_size, write_blocks};
use crate::image::copy::copy_data;
use crate::image::{check_empty, set_size, write_out};
use crate::progress::Progress;

/// Sectors are counted in 32 bits: room for the disk and its tables below 2 TiB.
const MAX_SPARSE: u64 = 2040 << 30;

/// VMware's largest disk, 62 TiB.
const MAX_FLAT: u64 = 62 << 40;

/// Writes `device` as a monolithicSparse VMDK into `out`, an empty file.
///
/// The disk has the device's size, rounded up to whole sectors; grains of zeroes take no space. The bytes depend on the
/// content and on what it tells alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] where `out` is not empty and for a name that a descriptor cannot hold;
/// [`crate::ErrorKind::Unsupported`] above 2,040 GiB.
pub fn write_sparse(
    device: &dyn BlockDevice,
    out: &File,
    told: &VmdkTold<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    check_name(told.name)?;
    let size = disk_size(device, "this kind of vmdk", MAX_SPARSE)?;
    let tables = size
        .div_ceil(GRAIN_BYTES)
        .div_ceil(u64::from(TABLE_ENTRIES));
    let directory_sectors = (4 * tables).div_ceil(SECTOR);
    let rgd_offset = DESCRIPTOR_OFFSET + DESCRIPTOR_SECTORS;
    let gd_offset = rgd_offset + directory_sectors + tables * TABLE_SECTORS;
    let overhead = (2 * gd_offset - rgd_offset).next_multiple_of(GRAIN_SECTORS);
    let address = |place: u32| overhead * SECTOR + u64::from(place) * GRAIN_BYTES;
    let plan = BlockPlan {
        disk_bytes: size,
        block_bytes: GRAIN_BYTES,
        address,
    };
    progress.start("writing the vmdk image", device.size());
    let blocks = write_blocks(device, out, &plan, progress);
    progress.finish();
    let blocks = blocks?;
    set_size(out, address(blocks.taken))?;
    let table = blocks.le32_table(0, |place| table_entry(address(place) / SECTOR))?;
    for directory in [rgd_offset, gd_offset] {
        let first_table = directory + directory_sectors;
        let mut entries = Vec::new();
        for table in 0..tables {
            entries.extend_from_slice(
                &table_entry(first_table + table * TABLE_SECTORS)?.to_le_bytes(),
            );
        }
        write_out(out, directory * SECTOR, &entries)?;
        write_out(out, first_table * SECTOR, &table)?;
    }
    let descriptor = Descriptor {
        create_type: "monolithicSparse",
        sectors: size / SECTOR,
        extent_type: "SPARSE",
        extent_name: told.name,
        adapter: told.adapter,
    };
    write_out(
        out,
        DESCRIPTOR_OFFSET * SECTOR,
        descriptor
            .text(blocks.fingerprint, told.identity)
            .as_bytes(),
    )?;
    let header = Header {
        version: 1,
        flags: FLAG_NEWLINE_TEST | FLAG_REDUNDANT_TABLE,
        capacity: size / SECTOR,
        rgd_offset,
        gd_offset,
        overhead,
        compression: 0,
    };
    write_out(out, 0, &header.to_bytes())
}

/// Writes `device` as a monolithicFlat VMDK: its bytes, sparse, into `extent`, an empty file, whose name is the one that is
/// told. Returns the text of the descriptor, which is a file of its own.
///
/// # Errors
///
/// As [`write_sparse`], with room for 62 TiB.
pub fn write_flat(
    device: &dyn BlockDevice,
    extent: &File,
    told: &VmdkTold<'_>,
    progress: &dyn Progress,
) -> Result<String> {
    check_name(told.name)?;
    let size = disk_size(device, "vmdk", MAX_FLAT)?;
    check_empty(extent)?;
    set_size(extent, size)?;
    progress.start("writing the vmdk image", device.size());
    let copied = copy_data(device, true, progress, |offset, run| {
        write_out(extent, offset, run)
    });
    progress.finish();
    let descriptor = Descriptor {
        create_type: "monolithicFlat",
        sectors: size / SECTOR,
        extent_type: "FLAT",
        extent_name: told.name,
        adapter: told.adapter,
    };
    Ok(descriptor.text(copied?, told.identity))
}
