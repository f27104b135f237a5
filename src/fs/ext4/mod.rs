//! ext4, as Flatcar's ROOT partition has it: read by the code here, edited in place.
//!
//! ```text
//!   Ext4 ── path → inode ── superblock.rs, group.rs, inode.rs, extent.rs, dir.rs, xattr.rs   (checked, never writes)
//!     └──── edit.rs ── engine.rs (rust-fs-ext4) ── device.rs ── the partition's overlay
//! ```
//!
//! Edits bypass the journal: atomicity is that of the whole image, which appears only when finished. The journal must
//! be empty when a filesystem is opened for editing and keeps every byte it was released with; a filesystem that was
//! in use when it was copied is refused (`state.rs`).
//!
//! Layout after the kernel's documentation, `Documentation/filesystems/ext4/`.

mod checksum;
mod device;
mod dir;
mod edit;
mod engine;
mod extent;
mod features;
mod group;
mod inode;
mod names;
mod read;
mod state;
mod superblock;
mod xattr;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};

use engine::Editor;
use superblock::Superblock;

/// Whether `device` holds an ext2, ext3 or ext4 superblock. Nothing else is checked.
pub fn probe(device: &dyn BlockDevice) -> bool {
    let mut magic = [0; 2];
    device.read_at(superblock::SUPERBLOCK_OFFSET + 0x38, &mut magic).is_ok()
        && u16::from_le_bytes(magic) == superblock::MAGIC
}

/// An ext4 filesystem on a device; implements [`FileSystem`](super::FileSystem) and
/// [`FileSystemMut`](super::FileSystemMut).
///
/// What edits do beyond the traits' words:
///
/// - All four times of a new entry are [`Attributes::mtime`](super::Attributes::mtime); directories keep their times
///   when entries come and go, so that a tree can be written in any order. No clock is read.
/// - `write_file` over an existing file keeps its inode, and with it the file's other names; content, owner, mode and
///   times are replaced and extended attributes go.
/// - Symlinks have mode 0777 whatever is asked for, as on Linux.
/// - `system.posix_acl_access` and `…_default` are bytes as ext4 stores them, which differ from `getxattr`'s.
/// - Extended attributes can be changed only where the path is valid UTF-8.
/// - Free space leaves out the blocks reserved for root (5 % as released), so that the running system keeps them.
pub struct Ext4<D> {
    device: Arc<D>,
    superblock: Superblock,
    inode_tables: group::InodeTables,
    names: RefCell<names::Names>,
    /// Present where it was opened for editing.
    editor: Option<Editor>,
}

impl<D: BlockDevice> Ext4<D> {
    /// Opens a filesystem for reading; the device is never written. One whose journal needs to be replayed is
    /// [`Unsupported`](crate::ErrorKind::Unsupported), for what can be read without it is out of date.
    pub fn open_read_only(device: D) -> Result<Self> {
        Self::open_checked(device, state::check_readable)
    }

    fn open_checked(device: D, check: impl FnOnce(&Superblock) -> Result<()>) -> Result<Self> {
        let superblock = Superblock::read(&device)?;
        check(&superblock)?;
        let inode_tables = group::read_inode_tables(&device, &superblock)?;
        let fs = Self { device: Arc::new(device), superblock, inode_tables, names: RefCell::default(), editor: None };
        let root = fs.inode(inode::ROOT_INO)?;
        superblock::ensure(root.file_type == super::FileType::Directory, || "the root is not a directory".to_owned())?;
        Ok(fs)
    }
}

impl<D: BlockDeviceMut + 'static> Ext4<D> {
    /// Opens a filesystem for editing. Nothing is written before the first edit.
    ///
    /// A filesystem that was in use when it was copied (journal not empty, not marked clean, deleted files still
    /// open) or has features that edits would not keep up is [`Unsupported`](crate::ErrorKind::Unsupported).
    pub fn open(device: D) -> Result<Self> {
        let mut fs = Self::open_checked(device, state::check_editable)?;
        features::check_writable(fs.superblock.feature_ro_compat)?;
        let journal = fs.journal_extents().at(|| "journal")?;
        fs.editor = Some(Editor::new(&fs.superblock, journal));
        Ok(fs)
    }

    /// Where the journal lies on the device, after a check that it is empty: (first byte, bytes).
    fn journal_extents(&self) -> Result<Vec<(u64, u64)>> {
        if self.superblock.feature_compat & features::COMPAT_HAS_JOURNAL == 0 {
            return Ok(Vec::new());
        }
        let inode = self.inode(self.superblock.journal_inum)?;
        let extents = self.extent_tree(&inode)?;
        let mut head = vec![0; state::JOURNAL_HEAD];
        if inode.size < crate::bytes::to_u64(head.len()) {
            return Err(Error::corrupt(format!("the journal has only {} bytes", inode.size)));
        }
        let block_size = self.superblock.block_size;
        extent::read_at(&self.device, block_size, &extents, 0, &mut head)?;
        state::check_journal(&head)?;
        let size = u64::from(block_size);
        Ok(extents.iter().map(|extent| (extent.physical * size, extent.len * size)).collect())
    }
}

impl<D> fmt::Debug for Ext4<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext4").field("superblock", &self.superblock).finish_non_exhaustive()
    }
}

impl<D: BlockDevice> Ext4<D> {
    /// Bytes of a block as an index.
    fn block_bytes(&self) -> Result<usize> {
        to_usize(u64::from(self.superblock.block_size))
    }
}
