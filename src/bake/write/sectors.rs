//! The size of a disk's sectors goes along with the disk, or its format is refused.

use std::path::Path;
use std::sync::Arc;

use crate::block::{BlockDevice, Overlay, OverlayOptions, Window};
use crate::error::{Error, Result, ResultExt};
use crate::fs::unit_bytes;
use crate::image::OutputFormat;
use crate::partition::PartitionTable;

/// The size of sectors that every format can hold, in bytes.
const USUAL: u32 = 512;

/// Bytes in a sector of `disk`, as its partition table has them; 512 where it has none that can be read.
pub(super) fn sector_bytes(disk: &dyn BlockDevice) -> u32 {
    PartitionTable::read(disk).map_or(USUAL, |table| table.sector_size())
}

/// An error where `format` cannot hold a disk with sectors of `sector_bytes`.
///
/// A raw disk and qcow2 say nothing of sectors: the machine decides. VHDX says it. All others have sectors of 512 bytes.
pub(in crate::bake) fn check_sectors(format: OutputFormat, sector_bytes: u32) -> Result<()> {
    let holds_any = |format: OutputFormat| format.row().holds_any_sectors;
    if holds_any(format) || sector_bytes == USUAL {
        return Ok(());
    }
    let others: Vec<_> = OutputFormat::all()
        .filter(|format| holds_any(*format))
        .map(|it| it.to_string())
        .collect();
    Err(Error::unsupported(format!(
        "the disk has sectors of {sector_bytes} bytes, and those of {format} have {USUAL}: the partitions would not be found"
    ))
    .with_hint(format!("write it in one of these formats: {}", others.join(", "))))
}

/// The disk with its partition table in sectors of `sector_bytes` (512 or 4096); no partition moves. `temp_dir` takes a
/// file without a name should the changes not fit into memory.
///
/// # Errors
/// Those of [`PartitionTable::rewrite_in_sectors_of`]; [`crate::ErrorKind::Unsupported`] where a filesystem is made of
/// smaller units, which nobody can read on a disk with larger sectors.
pub fn in_sectors_of(
    device: Arc<dyn BlockDevice>,
    sector_bytes: u32,
    temp_dir: &Path,
) -> Result<Arc<dyn BlockDevice>> {
    let table = PartitionTable::read(&device)?;
    for partition in table.partitions() {
        let window = Window::of_image(Arc::clone(&device), partition.offset(), partition.size())?;
        let unit = unit_bytes(&window).at(|| partition.to_string())?;
        if let Some((kind, unit)) = unit.filter(|(_, unit)| *unit < sector_bytes) {
            return Err(Error::unsupported(format!(
                "{partition} holds a {kind} filesystem made of units of {unit} bytes, which cannot be read on a disk with \
                 sectors of {sector_bytes} bytes"
            ))
            .with_hint("make the filesystem anew for such a disk; what it is made of cannot be changed in place"));
        }
    }
    let overlay = Overlay::new(device, OverlayOptions::new(temp_dir))?;
    table.rewrite_in_sectors_of(sector_bytes, &overlay)?;
    Ok(Arc::new(overlay))
}
