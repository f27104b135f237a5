//! VHDX of Hyper-V (specification: \[MS-VHDX\]).
//!
//! ```text
//!   0        64 KiB     128 KiB    192 KiB         256 KiB         1 MiB …
//!   magic │ header 1 │ header 2 │ region table │ region table │ log, metadata, block table, blocks, in any order
//!              └──────────┴─▶ the log: changes to tables that may not be in their place yet
//! ```
//!
//! Of each pair the valid one with the higher number counts. What the log holds is laid over the file in memory
//! before anything else is read; the file stays as it is.

use std::sync::Arc;

use super::header::{Header, Regions};
use super::log;
use super::metadata::Metadata;
use crate::block::BlockDevice;
use crate::bytes::{Order, in_a_row};
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::image::blocks::{self, ABSENT};
use crate::image::references::References;

/// Opens the image in `file`.
pub(in crate::image) fn open(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let header = Header::read(&*file)?;
    let file = if header.has_log() {
        references.note(|details| details.dirty = true);
        references
            .progress
            .found(&Finding::new(code::IMAGE_LOG_APPLIED).with("format", "VHDX"));
        log::replay(file, &header).at(|| "the VHDX log")?
    } else {
        file
    };
    let regions = Regions::read(&*file)?;
    let metadata = Metadata::read(&*file, &regions.metadata)?;
    references.note(|details| {
        details.variant = Some(if metadata.fixed { "fixed" } else { "dynamic" }.to_owned());
        details.virtual_bytes = Some(metadata.virtual_disk_size);
        details.cluster_bytes = Some(metadata.block_size);
        details.sector_bytes = Some(metadata.logical_sector_size);
    });
    let blocks = metadata.virtual_disk_size.div_ceil(metadata.block_size);
    // After the blocks of a chunk, whose sectors take a bitmap of 1 MiB in differencing disks, comes its entry.
    let chunk_ratio = (u64::from(metadata.logical_sector_size) << 23) / metadata.block_size;
    let entries = blocks + blocks.saturating_sub(1) / chunk_ratio;
    if entries > regions.bat.length / 8 {
        return Err(Error::corrupt(format!(
            "the VHDX block table has {} entries: a disk of {} bytes needs {entries}",
            regions.bat.length / 8,
            metadata.virtual_disk_size
        )));
    }
    let table = blocks::read_table(&*file, regions.bat.offset, entries, 8)?;
    let mut places = Vec::with_capacity(table.len() / 8);
    for (index, entry) in (0..).zip(in_a_row(&table, Order::Little)) {
        if index % (chunk_ratio + 1) != chunk_ratio {
            places.push(place(entry)?);
        }
    }
    blocks::open(
        file,
        metadata.virtual_disk_size,
        metadata.block_size,
        places,
    )
}

/// `BAT Entry`: the state of a payload block in bits 0 to 2, its place in MiB in bits 20 to 63.
fn place(entry: u64) -> Result<u64> {
    match entry & 7 {
        // Not present, undefined, zero, unmapped.
        0..=3 => Ok(ABSENT),
        // Fully present.
        6 => Ok(entry >> 20 << 20),
        state => Err(Error::corrupt(format!(
            "a VHDX block has state {state}: must be 0 to 3 or 6"
        ))),
    }
}
