//! FAT12, FAT16 and FAT32 with long names: the EFI system partition.
//!
//! ```text
//!   Fat<ReadOnly<D>>     Fat<Editable<D>>       FileSystem, and FileSystemMut where it can be edited
//!          \                 /
//!         check (once, at open)                 directories are a tree, chains are whole and apart
//!                  |
//!         hadris-fat                            lookup, long names, allocation
//!                  |
//!         Blocks → the partition's window
//! ```
//!
//! The volume is edited in place and never formatted anew: its serial number is baked into every GRUB image.
//!
//! FAT knows no owners, modes, links, device nodes or attributes: reading gives root's 0755 and 0644, writing ignores
//! modes and owners, and everything else is [`crate::ErrorKind::Unsupported`]. Times have steps of two seconds from
//! 1980 to 2107 (others become the nearest) and are taken as UTC. Names keep their case but are found in any, also by
//! their short alias (`LONGNA~1.TXT`): writing `/EFI/BOOT/X` where `/efi/boot` exists uses that folder.

mod boot;
mod build;
mod check;
mod device;
mod edit;
mod names;
#[cfg(test)]
mod tests;

pub use boot::{probe, serial};
pub use build::{FatContent, FatFile, FatIdentity, FatVolume, build};
pub use device::{Editable, Medium, ReadOnly};
pub use names::check_name;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hadris_fat::sync::FatFs;
use hadris_fat::{CacheOptions, Geometry};
use hadris_fs::{DirCursor, MountOptions, Name, NodeId};

use self::boot::BOOT_SECTOR;
use self::check::Depth;
use self::device::{Blocks, Cached, explain, read_vec};
use super::interned::Interned;
use super::{Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Node, Xattr, check_within};
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, Result, ResultExt};

/// Entries of the directory last searched that are indexed when only reading.
const CACHED_ENTRIES: usize = 4096;
/// Bytes of the longest label (11 characters) as UTF-8.
const LABEL_MAX: usize = 64;

type Driver<M> = FatFs<Blocks<M>>;

/// A FAT volume on the device of `M`.
pub struct Fat<M: Medium> {
    driver: Mutex<Driver<M>>,
    nodes: Interned,
    device: Arc<Cached<M>>,
    edited: bool,
}

impl<D: BlockDevice> Fat<ReadOnly<D>> {
    /// Opens the volume that begins at the start of `device`, for reading.
    ///
    /// A volume that is not FAT or whose directories are damaged is [`crate::ErrorKind::Corrupt`].
    pub fn open_read_only(device: D) -> Result<Self> {
        Self::mount(ReadOnly(device), Depth::Tree)
    }
}

impl<D: BlockDeviceMut> Fat<Editable<D>> {
    /// Opens the volume that begins at the start of `device`, for reading and editing. Nothing is written yet.
    ///
    /// A volume that is not FAT or damaged anywhere is [`crate::ErrorKind::Corrupt`].
    pub fn open(device: D) -> Result<Self> {
        let fat = Self::mount(Editable(device), Depth::Whole)?;
        // Counts the free clusters, which the driver keeps up to date from here on.
        fat.capacity()?;
        Ok(fat)
    }
}

impl<M: Medium> fmt::Debug for Fat<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fat").field("driver", &self.driver).field("edited", &self.edited).finish_non_exhaustive()
    }
}

impl<M: Medium> Fat<M> {
    fn mount(medium: M, depth: Depth) -> Result<Self> {
        let device = Arc::new(Cached::new(medium));
        let sector = read_vec(&device.medium, 0, BOOT_SECTOR).map_err(|error| match error.kind() {
            crate::ErrorKind::Corrupt => Error::corrupt("no FAT filesystem: too small for a boot sector"),
            _ => error,
        })?;
        boot::check_tables(&sector)?;
        let blocks = Blocks { device: Arc::clone(&device), free_count: boot::free_count_offset(&sector)? };
        let driver = FatFs::mount(blocks, MountOptions::new()).map_err(|error| explain(error.into_error()))?;
        check::check(&device.medium, driver.info(), depth)?;
        // Every edit would throw the index of a directory away, and building it costs more than one search.
        let entries = if M::WRITABLE { 0 } else { CACHED_ENTRIES };
        let cache = CacheOptions::new().with_blocks(0).with_directory_entries(entries);
        Ok(Self { driver: Mutex::new(driver.with_cache(cache)), nodes: Interned::new(), device, edited: false })
    }

    fn driver(&self) -> MutexGuard<'_, Driver<M>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn geometry(&self) -> Geometry {
        *self.driver().info()
    }

    /// The entry at `path`, pinned; give it back with `forget`.
    fn pin(&self, path: &FsPath) -> Result<NodeId> {
        let mut driver = self.driver();
        let mut node = driver.root();
        for name in path.components() {
            let next = driver.lookup(node, Name::new(name));
            driver.forget(node, 1);
            node = next.map_err(explain).at(|| path.to_string())?;
        }
        Ok(node)
    }

    fn forget(&self, node: NodeId) {
        self.driver().forget(node, 1);
    }

    /// Runs `task` on the entry at `path`; errors get the path.
    fn with<T>(
        &self,
        path: &FsPath,
        task: impl FnOnce(&mut Driver<M>, NodeId) -> Result<T, hadris_fs::Error<Error>>,
    ) -> Result<T> {
        let node = self.pin(path)?;
        let result = task(&mut *self.driver(), node);
        self.forget(node);
        result.map_err(explain).at(|| path.to_string())
    }
}

fn describe(metadata: &hadris_fs::Metadata, node: NodeId) -> Metadata {
    let is_dir = metadata.file_type().is_dir();
    Metadata {
        file_type: if is_dir { FileType::Directory } else { FileType::File },
        mode: if is_dir { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        size: metadata.len(),
        nlink: 1,
        mtime: names::timestamp(metadata.modified()),
        device: (0, 0),
        inode: node.get(),
    }
}

impl<M: Medium> FileSystem for Fat<M> {
    fn kind(&self) -> FsKind {
        FsKind::Fat
    }

    fn label(&self) -> Result<Vec<u8>> {
        let mut buf = [0; LABEL_MAX];
        let label = self.driver().label(&mut buf).map_err(explain)?.map(|label| label.as_bytes().to_vec());
        Ok(label.unwrap_or_default())
    }

    fn capacity(&self) -> Result<Capacity> {
        let stats = self.driver().statfs().map_err(explain)?;
        let cluster = u64::from(self.geometry().cluster_size());
        Ok(Capacity {
            total_bytes: stats.total_blocks() * cluster,
            free_bytes: stats.free_blocks() * cluster,
            block_bytes: cluster,
            inodes: None,
        })
    }

    fn root(&self) -> Node {
        self.nodes.node(&FsPath::root())
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let path = self.nodes.path(directory)?.join(name)?;
        match self.metadata_of(&path) {
            Ok(_) => Ok(Some(self.nodes.node(&path))),
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        self.read_dir(&self.nodes.path(directory)?)
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        self.metadata_of(&self.nodes.path(node)?)
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        self.metadata(node)?;
        Err(Error::invalid("not a symlink; FAT has none"))
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        self.metadata(node)?;
        Ok(Vec::new())
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        self.open_path(&self.nodes.path(node)?)
    }
}

impl<M: Medium> Fat<M> {
    fn metadata_of(&self, path: &FsPath) -> Result<Metadata> {
        self.with(path, |driver, node| Ok(describe(&driver.stat(node)?, node)))
    }

    fn read_dir(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        let names = self.with(path, |driver, directory| {
            let mut names = Vec::new();
            let mut cursor = DirCursor::default();
            while let Some(entry) = driver.readdir(directory, cursor)? {
                cursor = entry.next_cursor();
                names.push((entry.name().as_bytes().to_vec(), entry.file_type().is_dir()));
            }
            Ok(names)
        })?;
        let mut entries = Vec::new();
        for (name, is_dir) in names {
            let node = self.nodes.node(&path.join(&name)?);
            entries.push(DirEntry { name, file_type: if is_dir { FileType::Directory } else { FileType::File }, node });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open_path(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        let node = self.pin(path)?;
        let file = OpenFile { size: 0, node, fat: self };
        let stat = self.driver().stat(node).map_err(explain).at(|| path.to_string())?;
        if stat.file_type().is_dir() {
            return Err(Error::invalid("is a directory, not a file").at(path.to_string()));
        }
        Ok(Box::new(OpenFile { size: stat.len(), ..file }))
    }
}

/// An open file; holds its entry until dropped.
struct OpenFile<'a, M: Medium> {
    fat: &'a Fat<M>,
    node: NodeId,
    size: u64,
}

impl<M: Medium> Drop for OpenFile<'_, M> {
    fn drop(&mut self) {
        self.fat.forget(self.node);
    }
}

impl<M: Medium> FileRead for OpenFile<'_, M> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        // The driver reads all of what lies within the file.
        let read = self.fat.driver().read(self.node, offset, buf).map_err(explain)?;
        if read != buf.len() {
            return Err(Error::corrupt(format!("{read} of {} bytes at {offset} could be read", buf.len())));
        }
        Ok(())
    }
}
