//! FAT12, FAT16 and FAT32 with long names: the EFI system partition.
//!
//! ```text
//!   Fat ── read.rs ─── directory.rs (entry.rs, long.rs, names.rs, slots.rs), table.rs (kind.rs)
//!     ├─── edit.rs ─── space.rs, info.rs
//!     ├─── check.rs    at open: directories are a tree, chains are whole and apart
//!     └─── boot.rs, geometry.rs
//!   build.rs           a new volume
//! ```
//!
//! The volume is edited in place and never formatted anew: its serial number is baked into every GRUB image.
//!
//! FAT knows no owners, modes, links, device nodes or attributes: reading gives root's 0755 and 0644, writing ignores
//! modes and owners, and everything else is [`crate::ErrorKind::Unsupported`]. Times have steps of two seconds from
//! 1980 to 2107 (others become the nearest) and are taken as UTC. Names keep their case but are found in any, also by
//! their short alias (`LONGNA~1.TXT`): writing `/EFI/BOOT/X` where `/efi/boot` exists uses that folder.
//!
//! All tables of a volume are kept alike, unless it says that only one is kept up to date. Layout after Microsoft's
//! "FAT32 File System Specification" (1.03).

mod boot;
mod build;
mod check;
mod codepage;
mod device;
mod directory;
mod edit;
mod entry;
mod geometry;
mod info;
mod kind;
mod known;
mod long;
mod names;
mod read;
mod slots;
mod space;
mod table;
#[cfg(test)]
mod tests;
mod time;

pub use boot::{probe, serial};
pub use build::{FatFile, FatIdentity, FatLayout, FatVolume, build};
pub use kind::Kind as FatKind;
pub use names::check_name;

use std::fmt;
use std::sync::Mutex;

use boot::{BOOT_SECTOR, BootSector};
use check::Depth;
use device::read_vec;
use edit::Editor;
use geometry::Geometry;
use known::Known;
use table::Table;

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::lock;

/// Bytes of a slot in memory.
const SLOT_LEN: usize = 32;

/// A FAT volume on a device; implements [`FileSystem`](super::FileSystem) and [`FileSystemMut`](super::FileSystemMut).
///
/// What edits do beyond the traits' words:
///
/// - Clusters that are given up, and the rest of a file's last cluster, are filled with zeroes.
/// - FAT has no holes: they become zeroes, which take room.
/// - A file that is replaced keeps its entry, and so the case of its name.
/// - Directories keep their times when entries come and go. No clock is read.
/// - Entries and content are written at once, the table and the count of free clusters at commit, which also takes the
///   marks of an unclean end away.
pub struct Fat<D> {
    device: D,
    geometry: Geometry,
    table: Table,
    /// Directories that were looked through.
    known: Mutex<Known>,
    /// Present where it was opened for editing.
    editor: Option<Editor>,
}

impl<D: BlockDevice> Fat<D> {
    /// Opens the volume that begins at the start of `device`, for reading.
    ///
    /// A volume that is not FAT or whose directories are damaged is [`crate::ErrorKind::Corrupt`].
    pub fn open_read_only(device: D) -> Result<Self> {
        Self::load(device, Depth::Tree)
    }

    fn load(device: D, depth: Depth) -> Result<Self> {
        let sector = read_vec(&device, 0, BOOT_SECTOR).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => Error::corrupt("no FAT filesystem: too small for a boot sector"),
            _ => error,
        })?;
        let geometry = Geometry::new(&BootSector::over(sector)?, device.size())?;
        let table = Table::new(geometry);
        check::check(&device, &geometry, &table, depth)?;
        Ok(Self {
            device,
            geometry,
            table,
            known: Mutex::default(),
            editor: None,
        })
    }
}

impl<D: BlockDeviceMut> Fat<D> {
    /// Opens the volume that begins at the start of `device`, for reading and editing. Nothing is written yet.
    ///
    /// A volume that is not FAT or damaged anywhere is [`crate::ErrorKind::Corrupt`].
    pub fn open(device: D) -> Result<Self> {
        let mut fat = Self::load(device, Depth::Whole)?;
        fat.editor = Some(Editor::new(&fat.device, &fat.geometry, &fat.table)?);
        Ok(fat)
    }
}

impl<D> Fat<D> {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

impl<D> fmt::Debug for Fat<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fat")
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}
