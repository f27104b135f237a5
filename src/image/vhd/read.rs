//! VHD of Virtual PC and Azure (specification: "Virtual Hard Disk Image Format", Microsoft 2006). Numbers are big-endian.
//!
//! ```text
//!   fixed      the disk … │ footer
//!   dynamic    copy of the footer │ header │ block table │ [ bitmap │ block ] [ bitmap │ block ] … │ footer
//! ```

use std::sync::Arc;

use super::footer::{DiskType, Footer};
use super::header::{DYNAMIC_COOKIE, DYNAMIC_HEADER_BYTES, VERSION};
use super::on_disk::DynamicDiskHeader;
use crate::block::{BlockDevice, Window};
use crate::bytes::{Order, in_a_row};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::image::blocks::{self, ABSENT};
use crate::image::references::References;

const SECTOR: u64 = 512;
/// Blocks have 2 MiB or 512 KiB; more than this no writer makes.
const MAX_BLOCK: u64 = 256 << 20;
/// A table entry of a block that is not there.
const UNUSED: u32 = u32::MAX;

/// Opens the image in `file`. The size of the disk is the footer's `Current Size`, not its rounded geometry.
pub(in crate::image) fn open(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let end = file.size().saturating_sub(SECTOR);
    let footer = match Footer::read(&*file, end) {
        Ok(footer) => footer,
        // The copy at the start is there for this case.
        Err(error) => match Footer::read(&*file, 0) {
            Ok(copy) if copy.disk_type == DiskType::Dynamic => {
                references
                    .progress
                    .found(&Finding::new(code::IMAGE_HEADER_COPY).with("why", error));
                references.note(|details| details.damaged = true);
                copy
            }
            _ => return Err(error),
        },
    };
    references.note(|details| {
        let fixed = footer.disk_type == DiskType::Fixed;
        details.variant = Some(if fixed { "fixed" } else { "dynamic" }.to_owned());
        details.virtual_bytes = Some(footer.current_size);
    });
    match footer.disk_type {
        DiskType::Fixed if footer.current_size > end => Err(Error::corrupt(format!(
            "the VHD footer claims a disk of {} bytes, but only {end} lie before it",
            footer.current_size
        ))),
        DiskType::Fixed => Ok(Arc::new(Window::of_image(file, 0, footer.current_size)?)),
        DiskType::Dynamic => open_dynamic(file, &footer, references),
    }
}

fn open_dynamic(
    file: Arc<dyn BlockDevice>,
    footer: &Footer,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let mut bytes = [0; DYNAMIC_HEADER_BYTES];
    file.read_at(footer.data_offset, &mut bytes)
        .at(|| "the VHD dynamic disk header")?;
    let header = DynamicDiskHeader::over(&bytes)?;
    if header.cookie() != *DYNAMIC_COOKIE || header.checksum() != header.computed_checksum() {
        return Err(Error::corrupt(format!(
            "the VHD dynamic disk header at {} is damaged",
            footer.data_offset
        )));
    }
    if header.header_version() != VERSION {
        let version = header.header_version();
        return Err(
            Error::unsupported(format!("VHD dynamic disk header version {version:#x}"))
                .because(Reason::Version),
        );
    }
    let block_bytes = u64::from(header.block_size());
    if !block_bytes.is_power_of_two() || !(SECTOR..=MAX_BLOCK).contains(&block_bytes) {
        return Err(Error::corrupt(format!(
            "VHD blocks of {block_bytes} bytes: must be a power of two of {SECTOR} to {MAX_BLOCK}"
        )));
    }
    references.note(|details| details.cluster_bytes = Some(block_bytes));
    // One bit for each sector, in whole sectors. It marks what was ever written: the rest of a block is zero anyway.
    let bitmap_bytes = block_bytes.div_ceil(SECTOR * 8).next_multiple_of(SECTOR);
    let entries = footer.current_size.div_ceil(block_bytes);
    if entries > header.max_table_entries().into() {
        return Err(Error::corrupt(format!(
            "the VHD block table has {} entries: a disk of {} bytes needs {entries}",
            header.max_table_entries(),
            footer.current_size
        )));
    }
    let table = blocks::read_table(&*file, header.table_offset(), entries, 4)?;
    let place = |entry: u32| match entry {
        UNUSED => ABSENT,
        sector => u64::from(sector) * SECTOR + bitmap_bytes,
    };
    blocks::open(
        file,
        footer.current_size,
        block_bytes,
        in_a_row(&table, Order::Big).map(place).collect(),
    )
}
