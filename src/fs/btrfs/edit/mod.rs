//! Editing by rebuilding: the whole tree is read into memory, changed there, and written as a fresh filesystem.
//!
//! ```text
//!   source ──load──▶ tree in memory ──layout──▶ addresses ──write──▶ target
//!     │               (model)   ▲                 (layout, space,      (write, pack)
//!     │                         │                  items, trees)
//!     └── contents (store) ─────┴── spool: an unlinked temporary file for new contents
//! ```
//!
//! The new filesystem keeps the identity of the old one: UUIDs, label, size, sector and node size, checksum type, feature
//! bits, profiles, inode numbers. Contents that did not change are copied as they are stored, compressed or not. An
//! OEM partition holds little, so this costs less than changing it in place would, and the same edits give the same bytes.

mod items;
mod layout;
mod load;
mod make;
mod model;
mod on_disk;
mod operations;
mod pack;
mod source;
mod space;
mod store;
mod trees;
mod view;
mod write;

use std::path::Path;
use std::sync::Arc;

pub use self::make::{BtrfsOptions, write};

use self::model::Tree;
use self::source::Carried;
use self::store::Store;
use super::key::object;
use super::volume::Volume;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Result, ResultExt};

/// A btrfs filesystem being edited. Nothing is written before [`commit`](crate::fs::FileSystemMut::commit), which writes all
/// of it to the target.
///
/// New files and directories inherit `btrfs.compression` from the directory they are made in, as on Linux. Whatever algorithm it
/// names, new contents are compressed with zlib, which every GRUB and every kernel reads.
///
/// Directories keep their modification times when entries are added or removed: there is no clock to take others from.
#[derive(Debug)]
pub struct BtrfsEditor {
    store: Store,
    tree: Tree,
    carried: Carried,
    target: Arc<dyn BlockDeviceMut>,
    changed: bool,
}

impl BtrfsEditor {
    pub(super) fn open(
        source: Arc<dyn BlockDevice>,
        target: Arc<dyn BlockDeviceMut>,
        temp_dir: &Path,
    ) -> Result<Self> {
        let volume = Volume::open(source)?;
        let carried = Carried::load(&volume)?;
        let csum_root = volume.tree(object::CSUM_TREE)?;
        let root = volume.tree(object::FS_TREE)?;
        let (tree, extents) = load::load(&volume, &root).at(|| "file tree".to_owned())?;
        let store = Store::new(volume, csum_root, extents, temp_dir)?;
        Ok(Self {
            store,
            tree,
            carried,
            target,
            changed: false,
        })
    }

    /// The transaction that the new filesystem is: the next one, or that of the source where nothing changed, so that
    /// rebuilding what we wrote gives the same bytes.
    fn generation(&self) -> u64 {
        self.store.volume.superblock.generation + u64::from(self.changed)
    }
}
