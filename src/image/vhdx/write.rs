//! Writing: payload blocks, then the table, then what makes it an image.

use std::fs::File;

use super::on_disk::MIB;
use super::write_header::{BAT_OFFSET, METADATA_OFFSET, Section};
use super::write_metadata::Metadata;
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::image::block_writer::{BlockPlan, Blocks, disk_size, write_blocks};
use crate::image::{Identity, set_size, write_out};
use crate::progress::Progress;

/// 64 TiB, by the specification.
const MAX_DISK: u64 = 64 << 40;

/// The smallest block, which Microsoft recommends for Linux guests: their filesystems spread data widely, and a block
/// is in the file as a whole.
const MIN_BLOCK_BYTES: u64 = MIB;

/// Blocks double in size rather than be more than this, so that the table stays below 8 MiB.
const MAX_BLOCKS: u64 = 1 << 20;

/// `PAYLOAD_BLOCK_FULLY_PRESENT`; a block that holds nothing is `PAYLOAD_BLOCK_NOT_PRESENT`, 0.
const FULLY_PRESENT: u64 = 6;

/// Writes `device` as a dynamic VHDX into `out`, an empty file.
///
/// The disk has sectors of `sector_bytes` (512 or 4096), and the device's size, rounded up to whole ones; blocks of zeroes take no space. The bytes depend on the
/// content and `identity` alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] where `out` is not empty; [`crate::ErrorKind::Unsupported`] above 64 TiB.
pub fn write(
    device: &dyn BlockDevice,
    out: &File,
    sector_bytes: u32,
    identity: &Identity,
    progress: &dyn Progress,
) -> Result<()> {
    if ![512, 4096].contains(&sector_bytes) {
        return Err(Error::unsupported(format!(
            "a VHDX with sectors of {sector_bytes} bytes: 512 and 4096 are known"
        )));
    }
    let disk_size = disk_size(device, "VHDX", MAX_DISK)?.next_multiple_of(u64::from(sector_bytes));
    let mut block_bytes = MIN_BLOCK_BYTES;
    while disk_size.div_ceil(block_bytes) > MAX_BLOCKS {
        block_bytes *= 2;
    }
    let ratio = chunk_ratio(block_bytes, sector_bytes);
    let bat_length = (8 * bat_entries(disk_size.div_ceil(block_bytes), ratio))
        .max(1)
        .next_multiple_of(MIB);
    let address = |place: u32| BAT_OFFSET + bat_length + u64::from(place) * block_bytes;
    let plan = BlockPlan {
        disk_bytes: disk_size,
        block_bytes,
        address,
    };
    progress.start("writing the VHDX image", device.size());
    let blocks = write_blocks(device, out, &plan, progress);
    progress.finish();
    let blocks = blocks?;
    set_size(out, address(blocks.taken))?;
    write_out(out, BAT_OFFSET, &table(&blocks, ratio, address)?)?;
    let fits =
        |value: u64| u32::try_from(value).map_err(|_| Error::internal("a bounded VHDX table"));
    let guid = |purpose| identity.guid(blocks.fingerprint, purpose);
    let metadata = Metadata {
        block_size: fits(block_bytes)?,
        disk_size,
        disk_id: guid("VHDX disk"),
        sector_bytes,
    };
    write_out(out, METADATA_OFFSET, &metadata.to_bytes()?)?;
    let section = Section {
        file_write_guid: guid("VHDX file"),
        data_write_guid: guid("VHDX data"),
        bat_length: fits(bat_length)?,
    };
    write_out(out, 0, &section.to_bytes()?)
}

/// `ChunkRatio`: so many payload blocks have one sector bitmap block.
fn chunk_ratio(block_bytes: u64, sector_bytes: u32) -> u64 {
    (1 << 23) * u64::from(sector_bytes) / block_bytes
}

/// Entries of the table: one for each payload block, and one for the sector bitmap of every full chunk before the last
/// block, which images without a parent have but do not use.
fn bat_entries(blocks: u64, ratio: u64) -> u64 {
    blocks + blocks.saturating_sub(1) / ratio
}

fn table(blocks: &Blocks, ratio: u64, address: impl Fn(u32) -> u64) -> Result<Vec<u8>> {
    let entries = to_usize(bat_entries(to_u64(blocks.places.len()), ratio))?;
    let ratio = to_usize(ratio)?;
    let mut table = vec![0; 8 * entries];
    for (index, place) in blocks.places.iter().enumerate() {
        if let Some(place) = place {
            // Addresses are whole MiB and stand in the upper 44 bits as such.
            let entry = address(*place) | FULLY_PRESENT;
            let at = 8 * (index + index / ratio);
            table[at..at + 8].copy_from_slice(&entry.to_le_bytes());
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_entries_follow_every_full_chunk() {
        assert_eq!(
            (chunk_ratio(MIB, 512), chunk_ratio(MIB, 4096)),
            (4096, 32_768)
        );
        for (blocks, entries) in [
            (0, 0),
            (1, 1),
            (4096, 4096),
            (4097, 4098),
            (8192, 8193),
            (8193, 8195),
        ] {
            assert_eq!(bat_entries(blocks, 4096), entries, "{blocks} blocks");
        }
    }
}
