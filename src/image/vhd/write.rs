//! Writing: the disk first, the structures that say what it is last.

use std::fs::File;

use super::footer::DiskType;
use super::header::{DYNAMIC_HEADER_BYTES, FOOTER_BYTES, Footer, dynamic_header};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::image::block_writer::{BlockPlan, SECTOR, disk_size, write_blocks};
use crate::image::copy::copy_data;
use crate::image::{Identity, check_empty, set_size, write_out};
use crate::progress::Progress;

/// 2,040 GiB: what Hyper-V and QEMU allow.
const MAX_DISK: u64 = 0xff00_0000 * SECTOR;

/// What every writer uses.
const BLOCK_BYTES: u32 = 2 << 20;

/// Before each block: a bit for every sector, all set, since what was never written is zero in the file.
const BITMAP_BYTES: usize = 512;

/// Where blocks begin in the file, so that they share no page with another one; their bitmap lies right before.
const PAGE: u64 = 4096;

const TABLE_OFFSET: u64 = 1536;

/// The entry of a block that holds nothing.
const UNUSED: u32 = u32::MAX;

/// Writes `device` as a fixed VHD into `out`, an empty file: its bytes, sparse, and the footer.
///
/// The disk has the device's size, rounded up to whole sectors. Azure wants whole MiB, which is the caller's choice.
///
/// # Errors
///
/// As [`write_dynamic`].
pub fn write_fixed(
    device: &dyn BlockDevice,
    out: &File,
    identity: &Identity,
    progress: &dyn Progress,
) -> Result<()> {
    let size = disk_size(device, "VHD", MAX_DISK)?;
    check_empty(out)?;
    progress.start("writing the VHD image", device.size());
    let copied = copy_data(device, true, progress, |offset, run| {
        write_out(out, offset, run)
    });
    progress.finish();
    let unique_id = identity.guid(copied?, "VHD");
    let footer = Footer {
        disk_type: DiskType::Fixed,
        size,
        time: identity.time,
        unique_id,
    };
    write_out(out, size, &footer.to_bytes())
}

/// Writes `device` as a dynamic VHD into `out`, an empty file.
///
/// The disk has the device's size, rounded up to whole sectors; blocks of zeroes take no space. The bytes depend on the
/// content and `identity` alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] where `out` is not empty; [`crate::ErrorKind::Unsupported`] above 2,040 GiB.
pub fn write_dynamic(
    device: &dyn BlockDevice,
    out: &File,
    identity: &Identity,
    progress: &dyn Progress,
) -> Result<()> {
    let size = disk_size(device, "VHD", MAX_DISK)?;
    let block_bytes = u64::from(BLOCK_BYTES);
    let table_entries = size.div_ceil(block_bytes);
    let table_end = (TABLE_OFFSET + 4 * table_entries).next_multiple_of(SECTOR);
    let first = (table_end + to_u64(BITMAP_BYTES)).next_multiple_of(PAGE);
    let address = |place: u32| first + u64::from(place) * (block_bytes + PAGE);
    let plan = BlockPlan {
        disk_bytes: size,
        block_bytes,
        address,
    };
    progress.start("writing the VHD image", device.size());
    let blocks = write_blocks(device, out, &plan, progress);
    progress.finish();
    let blocks = blocks?;

    let too_far = |_| Error::internal("a VHD block lies beyond 2 TiB");
    let mut table = vec![0xff; to_usize(table_end - TABLE_OFFSET)?];
    for (entry, place) in table.chunks_exact_mut(4).zip(&blocks.places) {
        let sector = match place {
            Some(place) => {
                let bitmap = address(*place) - to_u64(BITMAP_BYTES);
                write_out(out, bitmap, &[0xff; BITMAP_BYTES])?;
                u32::try_from(bitmap / SECTOR).map_err(too_far)?
            }
            None => UNUSED,
        };
        entry.copy_from_slice(&sector.to_be_bytes());
    }
    write_out(out, TABLE_OFFSET, &table)?;
    let end = match blocks.taken.checked_sub(1) {
        Some(last) => address(last) + block_bytes,
        None => table_end,
    };
    let unique_id = identity.guid(blocks.fingerprint, "VHD");
    let footer = Footer {
        disk_type: DiskType::Dynamic,
        size,
        time: identity.time,
        unique_id,
    }
    .to_bytes();
    let entries = u32::try_from(table_entries).map_err(too_far)?;
    set_size(out, end + to_u64(FOOTER_BYTES))?;
    write_out(out, end, &footer)?;
    write_out(
        out,
        to_u64(FOOTER_BYTES),
        &dynamic_header(TABLE_OFFSET, entries, BLOCK_BYTES),
    )?;
    debug_assert_eq!(to_u64(FOOTER_BYTES + DYNAMIC_HEADER_BYTES), TABLE_OFFSET);
    write_out(out, 0, &footer)
}
