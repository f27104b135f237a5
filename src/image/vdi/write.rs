//! Writing: blocks, then the map, then the header.

use std::fs::File;

use super::header::Header;
use crate::block::BlockDevice;
use crate::error::{Error, Result};
use crate::image::block_writer::{BlockPlan, disk_size, write_blocks};
use crate::image::{Identity, set_size, write_out};
use crate::progress::Progress;

/// The size of a block; VirtualBox's own, and the only one that QEMU reads.
const BLOCK_BYTES: u32 = 1 << 20;

/// Where VirtualBox puts the map, and to what it aligns data.
const ALIGNMENT: u64 = 1 << 20;

/// QEMU reads no more blocks (`VDI_BLOCKS_IN_IMAGE_MAX`): the map is then 2 GiB.
const MAX_BLOCKS: u64 = 0x1fff_ffff;

/// The entry of a block that holds nothing.
const FREE: u32 = u32::MAX;

/// Writes `device` as a VDI image into `out`, an empty file.
///
/// The disk has the device's size, rounded up to whole sectors; blocks of zeroes take no space. The bytes depend on the
/// content and `identity` alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] where `out` is not empty; [`crate::ErrorKind::Unsupported`] for a disk that is
/// too large.
pub fn write(
    device: &dyn BlockDevice,
    out: &File,
    identity: &Identity,
    progress: &dyn Progress,
) -> Result<()> {
    let block_bytes = u64::from(BLOCK_BYTES);
    let disk_size = disk_size(device, "VDI", MAX_BLOCKS * block_bytes)?;
    let blocks_in_disk = disk_size.div_ceil(block_bytes);
    let data_offset = (ALIGNMENT + 4 * blocks_in_disk).next_multiple_of(ALIGNMENT);
    let address = |place: u32| data_offset + u64::from(place) * block_bytes;
    let plan = BlockPlan {
        disk_bytes: disk_size,
        block_bytes,
        address,
    };
    progress.start("writing the VDI image", device.size());
    let blocks = write_blocks(device, out, &plan, progress);
    progress.finish();
    let blocks = blocks?;
    set_size(out, address(blocks.taken))?;
    write_out(out, ALIGNMENT, &blocks.le32_table(FREE, Ok)?)?;
    let fits = |value: u64| u32::try_from(value).map_err(|_| Error::internal("a bounded VDI map"));
    let header = Header {
        blocks_offset: fits(ALIGNMENT)?,
        data_offset: fits(data_offset)?,
        disk_size,
        block_size: BLOCK_BYTES,
        blocks: fits(blocks_in_disk)?,
        blocks_allocated: blocks.taken,
        uuid_create: identity.guid(blocks.fingerprint, "VDI"),
        uuid_modify: identity.guid(blocks.fingerprint, "VDI content"),
    };
    write_out(out, 0, &header.to_bytes())
}
