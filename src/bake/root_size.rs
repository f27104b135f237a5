//! How large ROOT shall be: as it is, a given size, or just large enough.

use std::str::FromStr;

use serde::Serialize;

use super::options::BakeOptions;
use super::plan::Space;
use crate::bytes::{ByteSize, align_up};
use crate::error::{Error, Result};
use crate::flatcar::{DISK_ALIGNMENT, Designator, Disk};

/// The size asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootSize {
    /// Just enough for the content, and a margin.
    Auto,
    /// This many bytes.
    Bytes(u64),
}

impl FromStr for RootSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" { Ok(Self::Auto) } else { Ok(Self::Bytes(text.parse::<ByteSize>()?.0)) }
    }
}

/// ROOT and the disk are made larger, or the disk alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resize {
    /// ROOT's size now.
    pub root_bytes_before: u64,
    /// ROOT's size then.
    pub root_bytes: u64,
    /// The disk's size then: a multiple of 126 MiB, as all of Flatcar's disks, unless it is large enough as it is or a
    /// vendor wants another.
    pub disk_bytes: u64,
}

/// Flatcar's partitions are aligned to this.
const PARTITION_ALIGNMENT: u64 = 2 << 20;
/// Room that the backup partition table takes at the end of a disk, with sectors of 4096 bytes too.
const BACKUP_TABLE: u64 = 64 << 10;
/// Of 100 bytes by which ROOT grows, those that files can have: inode tables take 6.25, the reserve 5.
const USABLE_PERCENT: u64 = 86;
/// Bytes of the disk for each inode of ROOT (`mke2fs -i 4096`).
const BYTES_PER_INODE: u64 = 4096;
/// Room that is left free when ROOT grows by itself.
const MARGIN: u64 = 64 << 20;
/// Largest ROOT: 16 TiB, what ext4 with blocks of 4 KiB and 32-bit block numbers can have.
const ROOT_MAX: u64 = 16 << 40;

/// The size of ROOT at which `space` would suffice.
fn enough(now: u64, space: &Space) -> Result<u64> {
    let bytes = space.needed_bytes.saturating_sub(space.free_bytes);
    let inodes = space.free_inodes.map_or(0, |free| space.needed_inodes.saturating_sub(free));
    if bytes == 0 && inodes == 0 {
        return Ok(now);
    }
    let for_bytes = bytes.saturating_add(MARGIN).saturating_mul(100) / USABLE_PERCENT;
    let for_inodes = inodes.saturating_mul(BYTES_PER_INODE).saturating_mul(100) / USABLE_PERCENT;
    let size = now.saturating_add(for_bytes.max(for_inodes));
    align_up(size, PARTITION_ALIGNMENT).filter(|&size| size <= ROOT_MAX).ok_or_else(|| {
        Error::unsupported(format!(
            "ROOT would have to be {}: at most {} are possible",
            ByteSize(size),
            ByteSize(ROOT_MAX)
        ))
    })
}

/// Decides on the new sizes of ROOT and the disk; `None` where they stay. `space` is what the bake needs of ROOT now.
pub(super) fn resize(disk: &Disk, options: &BakeOptions, space: Option<&Space>) -> Result<Option<Resize>> {
    if options.root_size.is_none() && options.root_floor.is_none() && options.disk_floor.is_none() {
        return Ok(None);
    }
    let root = disk.partition(Designator::Root.into())?;
    let now = root.size();
    let wanted = match options.root_size {
        None => now,
        Some(RootSize::Auto) => space.map_or(Ok(now), |space| enough(now, space))?,
        Some(RootSize::Bytes(bytes)) => align_up(bytes, PARTITION_ALIGNMENT).unwrap_or(u64::MAX),
    };
    let size = wanted.max(options.root_floor.unwrap_or(0));
    let place = || disk.describe(Designator::Root.into());
    if size < now {
        return Err(Error::invalid(format!("--root-size {size} is below ROOT's {now} bytes: ROOT is not shrunk"))
            .with_hint(format!("ask for {now} bytes or more"))
            .at(place()));
    }
    if size > ROOT_MAX {
        return Err(Error::invalid(format!("--root-size {size} is too large: at most {ROOT_MAX} bytes are possible"))
            .at(place()));
    }
    let disk_now = disk.device().size();
    if size == now && options.disk_floor.is_none_or(|floor| floor <= disk_now) {
        return Ok(None);
    }
    let behind = disk.table().partitions().find(|other| other.offset() > root.offset());
    if let Some(other) = behind.filter(|_| size > now) {
        return Err(Error::unsupported(format!("ROOT cannot grow: {other} lies behind it")).at(place()));
    }
    let end = root.offset().saturating_add(size).saturating_add(BACKUP_TABLE);
    let aligned = if size > now { align_up(end, DISK_ALIGNMENT).unwrap_or(u64::MAX) } else { 0 };
    let disk_bytes = aligned.max(disk_now).max(options.disk_floor.unwrap_or(0));
    Ok(Some(Resize { root_bytes_before: now, root_bytes: size, disk_bytes }))
}

impl Space {
    /// The same with ROOT grown.
    pub(super) fn grown(self, resize: &Resize) -> Self {
        let more = (resize.root_bytes - resize.root_bytes_before) / 100 * USABLE_PERCENT;
        let inodes = self.free_inodes.map(|free| free.saturating_add(more / BYTES_PER_INODE));
        Self { free_bytes: self.free_bytes.saturating_add(more), free_inodes: inodes, ..self }
    }

    /// [`check`](Self::check), with the `--root-size` that would do in the hint where ROOT is what is too small.
    pub(super) fn check_root(&self, disk: &Disk) -> Result<()> {
        self.check().map_err(|error| {
            let now = disk.partition(Designator::Root.into()).map(|root| root.size());
            match now.and_then(|now| enough(now, self)) {
                Ok(size) => Error::no_space(error.message()).at(self.partition.to_string()).with_hint(format!(
                    "make ROOT larger with --root-size {}M or --root-size auto, or remove something with --remove",
                    size >> 20
                )),
                Err(_) => error,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FsKind;

    fn space(needed_bytes: u64, needed_inodes: u64) -> Space {
        let (partition, filesystem) = (Designator::Root, FsKind::Ext4);
        Space { partition, filesystem, needed_bytes, free_bytes: 100 << 20, needed_inodes, free_inodes: Some(1000) }
    }

    #[test]
    fn what_is_enough_is_enough() {
        let now = 1784 << 20;
        assert_eq!(enough(now, &space(100 << 20, 1000)).unwrap(), now);
        for short in [space(5 << 30, 10), space(10, 2_000_000), space(u64::MAX >> 24, 3)] {
            let size = enough(now, &short).unwrap();
            assert!(size > now && size.is_multiple_of(PARTITION_ALIGNMENT));
            short.grown(&Resize { root_bytes_before: now, root_bytes: size, disk_bytes: 0 }).check().unwrap();
        }
        assert!(enough(now, &space(u64::MAX, 0)).is_err());
    }

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!("auto".parse::<RootSize>().unwrap(), RootSize::Auto);
        assert_eq!("6G".parse::<RootSize>().unwrap(), RootSize::Bytes(6 << 30));
        assert!("large".parse::<RootSize>().is_err());
    }
}
