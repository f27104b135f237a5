//! How large ROOT shall be: as it is, a given size, or as large as its editor needs.

use std::sync::Arc;

use super::super::plan::{Plan, Resize, Space};
use super::super::request::RootSize;
use super::bench::{Bench, Failure, Run, Work};
use crate::block::{Overlay, OverlayOptions};
use crate::bytes::align_up;
use crate::error::{Error, Result};
use crate::flatcar::{DISK_ALIGNMENT, Designator, Disk};

/// Flatcar's partitions are aligned to this.
const PARTITION_ALIGNMENT: u64 = 2 << 20;
/// Room that the backup partition table takes at the end of a disk, with sectors of 4096 bytes too.
const BACKUP_TABLE: u64 = 64 << 10;
/// Room that is left free when ROOT grows by itself.
const MARGIN: u64 = 64 << 20;
/// Inodes that are left free then.
const MARGIN_INODES: u64 = 4096;
/// Largest ROOT: 16 TiB, what ext4 with blocks of 4 KiB and 32-bit block numbers can have.
const ROOT_MAX: u64 = 16 << 40;
/// By how many bytes ROOT grows at first, for each 100 bytes of files that are known to go there.
const GROWTH_PERCENT: u64 = 125;

/// What is asked of the sizes of one disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) root: Option<RootSize>,
    /// ROOT grows to this many bytes where it would be smaller otherwise: that of a vendor's layout.
    pub(super) root_floor: Option<u64>,
    /// The disk grows to this many bytes where it would be smaller otherwise, with free space behind ROOT.
    pub(super) disk_floor: Option<u64>,
    /// The disk grows to a multiple of this many bytes, with free space behind ROOT.
    pub(super) disk_step: Option<u64>,
}

/// What a bench starts from: a disk, and overlays that hold the same.
#[derive(Debug, Clone)]
pub(super) struct Stock {
    pub(super) disk: Disk,
    /// The overlay that the disk is; none for the base image.
    pub(super) overlay: Option<Arc<Overlay>>,
}

impl Stock {
    fn overlay(&self, run: &Run<'_>) -> Result<Arc<Overlay>> {
        Ok(Arc::new(match &self.overlay {
            Some(overlay) => overlay.fork(),
            None => Overlay::new(
                self.disk.device(),
                OverlayOptions::new(&run.context.temp_dir),
            )?,
        }))
    }
}

/// A disk that was changed.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) overlay: Arc<Overlay>,
    pub(super) plan: Plan,
}

/// Carries `work` out on `stock` with the sizes that are asked for.
pub(super) fn make(run: &Run<'_>, stock: &Stock, work: Work<'_>, sizes: Sizes) -> Result<Made> {
    let attempt = |wanted: Option<u64>| -> Result<Made, Failure> {
        let resize = resize(&stock.disk, sizes, wanted).map_err(failure)?;
        let overlay = stock.overlay(run).map_err(failure)?;
        let plan = Bench::carry_out(run, &stock.disk, &overlay, resize, work)?;
        Ok(Made { overlay, plan })
    };
    let given = match sizes.root {
        Some(RootSize::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    match attempt(given) {
        Err(full) if sizes.root == Some(RootSize::Auto) && full.full == Some(Designator::Root) => {
            grow_until_it_fits(run, &stock.disk, sizes, &full, attempt)
        }
        made => made.map_err(|failure| failure.error),
    }
}

fn failure(error: Error) -> Failure {
    Failure {
        error,
        full: None,
        asked_on_root: 0,
    }
}

/// Makes ROOT larger until everything fits, and then as much smaller as its editor says that it has to spare.
fn grow_until_it_fits(
    run: &Run<'_>,
    disk: &Disk,
    sizes: Sizes,
    first: &Failure,
    attempt: impl Fn(Option<u64>) -> Result<Made, Failure>,
) -> Result<Made> {
    let start = disk
        .partition(Designator::Root.into())?
        .size()
        .max(sizes.root_floor.unwrap_or(0));
    let mut more = first.asked_on_root.saturating_mul(GROWTH_PERCENT) / 100 + MARGIN;
    loop {
        run.context.cancel.check()?;
        let size = start.saturating_add(more);
        match attempt(Some(size)) {
            Ok(made) => return Ok(smaller(start, size, made, attempt)),
            Err(full) if full.full == Some(Designator::Root) && size < ROOT_MAX / 2 => {
                more = more.max(full.asked_on_root).saturating_mul(2);
            }
            Err(other) => return Err(other.error),
        }
    }
}

/// The same with a smaller ROOT, where that fits.
fn smaller(
    start: u64,
    size: u64,
    made: Made,
    attempt: impl Fn(Option<u64>) -> Result<Made, Failure>,
) -> Made {
    let spare = made
        .plan
        .space
        .iter()
        .find(|space| space.partition == Designator::Root)
        .map_or(0, spare);
    let wanted = size.saturating_sub(spare).max(start);
    if size - wanted < PARTITION_ALIGNMENT {
        return made;
    }
    // A group of blocks that is gone takes its inodes along, so a size between may be what fits.
    for wanted in [wanted, wanted.midpoint(size)] {
        if let Ok(smaller) = attempt(Some(wanted)) {
            return smaller;
        }
    }
    made
}

/// By how many bytes a filesystem can shrink so that its margins are still free.
fn spare(space: &Space) -> u64 {
    let bytes = space.free_bytes.1.saturating_sub(MARGIN);
    let inodes = space.free_inodes.map_or(u64::MAX, |(_, free)| {
        // At least one inode for each 16 KiB is what every ROOT has.
        free.saturating_sub(MARGIN_INODES).saturating_mul(4096)
    });
    bytes.min(inodes)
}

/// Decides on the new sizes of ROOT and the disk; `None` where they stay. `wanted` is the size that ROOT shall have.
fn resize(disk: &Disk, sizes: Sizes, wanted: Option<u64>) -> Result<Option<Resize>> {
    if wanted.is_none()
        && sizes.root_floor.is_none()
        && sizes.disk_floor.is_none()
        && sizes.disk_step.is_none()
    {
        return Ok(None);
    }
    let root = disk.partition(Designator::Root.into())?;
    let now = root.size();
    let place = || disk.describe(Designator::Root.into());
    let aligned = wanted.map(|bytes| align_up(bytes, PARTITION_ALIGNMENT).unwrap_or(u64::MAX));
    let size = aligned.unwrap_or(now).max(sizes.root_floor.unwrap_or(0));
    if size < now {
        return Err(Error::invalid(format!(
            "a ROOT of {size} bytes is asked for, but it has {now}: it is not shrunk"
        ))
        .with_hint(format!("ask for {now} bytes or more"))
        .at(place()));
    }
    if size > ROOT_MAX {
        return Err(Error::invalid(format!(
            "a ROOT of {size} bytes is too large: at most {ROOT_MAX} are possible"
        ))
        .at(place()));
    }
    let disk_now = disk.device().size();
    let end = root
        .offset()
        .saturating_add(size)
        .saturating_add(BACKUP_TABLE);
    let aligned = if size > now {
        align_up(end, DISK_ALIGNMENT).unwrap_or(u64::MAX)
    } else {
        0
    };
    let least = aligned.max(disk_now).max(sizes.disk_floor.unwrap_or(0));
    let disk_bytes = sizes
        .disk_step
        .map_or(Some(least), |step| align_up(least, step))
        .unwrap_or(u64::MAX);
    if size == now && disk_bytes == disk_now {
        return Ok(None);
    }
    let behind = disk
        .table()
        .partitions()
        .find(|other| other.offset() > root.offset());
    if let Some(other) = behind.filter(|_| size > now) {
        return Err(
            Error::unsupported(format!("ROOT cannot grow: {other} lies behind it")).at(place()),
        );
    }
    Ok(Some(Resize {
        root_bytes_before: now,
        root_bytes: size,
        disk_bytes,
    }))
}
