//! Writing the expandable image: clusters, then the table, then the header.

use std::fs::File;

use super::Descriptor;
use super::header::{HEADER_BYTES, HEADS, Header, SECTORS_PER_TRACK};
use crate::block::BlockDevice;
use crate::bytes::to_u64;
use crate::error::{Error, Result};
use crate::image::block_writer::{BlockPlan, SECTOR, disk_size, write_blocks};
use crate::image::{Identity, set_size, write_out};
use crate::progress::Progress;

/// The size of a cluster, Parallels' own.
const CLUSTER_BYTES: u64 = 1 << 20;

/// QEMU reads no larger tables (2 GiB).
const MAX_CLUSTERS: u64 = 0x1fff_ffff;

/// Writes `device` as an expandable Parallels image (`.hds`) into `out`, an empty file, and returns the descriptor that
/// belongs beside it in the folder called `name`.
///
/// The disk has the device's size, rounded up to whole sectors; clusters of zeroes take no space. The bytes depend on
/// the content and `identity` alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] where `out` is not empty; [`crate::ErrorKind::Unsupported`] for a disk that is
/// too large.
pub fn write(
    device: &dyn BlockDevice,
    out: &File,
    name: &str,
    identity: &Identity,
    progress: &dyn Progress,
) -> Result<Descriptor> {
    let size = disk_size(device, "Parallels", MAX_CLUSTERS * CLUSTER_BYTES)?;
    let clusters = size.div_ceil(CLUSTER_BYTES);
    let data_offset = (to_u64(HEADER_BYTES) + 4 * clusters).next_multiple_of(CLUSTER_BYTES);
    let address = |place: u32| data_offset + u64::from(place) * CLUSTER_BYTES;
    let plan = BlockPlan {
        disk_bytes: size,
        block_bytes: CLUSTER_BYTES,
        address,
    };
    progress.start("writing the Parallels image", device.size());
    let blocks = write_blocks(device, out, &plan, progress);
    progress.finish();
    let blocks = blocks?;
    let fits =
        |value: u64| u32::try_from(value).map_err(|_| Error::internal("a bounded Parallels table"));
    set_size(out, address(blocks.taken))?;
    // Entries count clusters from the start of the file; 0 is a cluster that holds nothing.
    let table = blocks.le32_table(0, |place| fits(address(place) / CLUSTER_BYTES))?;
    write_out(out, to_u64(HEADER_BYTES), &table)?;
    let header = Header {
        cylinders: u32::try_from(size / SECTOR / u64::from(HEADS * SECTORS_PER_TRACK))
            .unwrap_or(u32::MAX),
        cluster_sectors: fits(CLUSTER_BYTES / SECTOR)?,
        nb_bat_entries: fits(clusters)?,
        nb_sectors: size / SECTOR,
        data_offset: fits(data_offset / SECTOR)?,
    };
    write_out(out, 0, &header.to_bytes())?;
    let uid = identity.guid(blocks.fingerprint, "Parallels");
    Ok(Descriptor {
        name: name.to_owned(),
        sectors: size / SECTOR,
        uid,
    })
}
