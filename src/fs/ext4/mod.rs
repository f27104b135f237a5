//! ext2, ext3 and ext4, as Flatcar's ROOT partition has them, read and edited offline.
//!
//! ```text
//!   Ext4 ── paths ── read.rs ─── superblock.rs, group.rs, inode.rs, map.rs (extent.rs, blockmap.rs), dir.rs, xattr.rs
//!     ├──── edit/ ──── directory.rs, htree.rs, space.rs (bitmap.rs), extent_write.rs
//!     ├──── journal/, orphan.rs    what a running system left undone, before the first edit
//!     └──── grow.rs
//! ```
//!
//! Edits bypass the journal: atomicity is that of the whole image, which appears only when finished. A journal that is
//! empty keeps every byte.
//!
//! Layout after the kernel's documentation, `Documentation/filesystems/ext4/`.

mod bitmap;
mod blockmap;
mod checksum;
mod dir;
mod directory;
mod dirhash;
mod edit;
mod extent;
mod extent_write;
mod features;
mod group;
mod htree;
mod inline;
mod inode;
mod layout;
mod map;
mod names;
mod read;
mod space;
mod state;
mod store;
mod superblock;
mod xattr;

use std::cell::RefCell;
use std::fmt;

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, Result, ResultExt};

use edit::Editor;
use space::Space;
use store::Store;
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
/// - Blocks of zeroes in content become holes.
/// - Free space leaves out the blocks reserved for root (5 % as released), so that the running system keeps them.
pub struct Ext4<D> {
    store: Store<D>,
    superblock: Superblock,
    space: Space,
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
        let space = Space::new(group::read_all(&device, &superblock)?);
        let store = Store::new(device, superblock.block_size);
        let fs = Self { store, superblock, space, names: RefCell::default(), editor: None };
        let root = fs.inode(inode::ROOT_INO)?;
        superblock::ensure(root.file_type == super::FileType::Directory, || "the root is not a directory".to_owned())?;
        Ok(fs)
    }

    /// Free blocks that an edit may use: neither reserved for the running system nor set aside for directories.
    fn usable_blocks(&self) -> u64 {
        let kept = self.superblock.free.reserved_blocks + self.editor.as_ref().map_or(0, Editor::pending);
        self.space.free_blocks().saturating_sub(kept)
    }
}

impl<D: BlockDeviceMut> Ext4<D> {
    /// Opens a filesystem for editing. Nothing is written before the first edit.
    ///
    /// A filesystem that was in use when it was copied (journal not empty, not marked clean, deleted files still
    /// open) or has features that edits would not keep up is [`Unsupported`](crate::ErrorKind::Unsupported).
    pub fn open(device: D) -> Result<Self> {
        let mut fs = Self::open_checked(device, state::check_editable)?;
        features::check_writable(fs.superblock.feature_ro_compat)?;
        fs.check_journal().at(|| "journal")?;
        fs.space.protect(&fs.superblock)?;
        fs.editor = Some(Editor::default());
        Ok(fs)
    }

    /// Checks that the journal is empty.
    fn check_journal(&self) -> Result<()> {
        if self.superblock.feature_compat & features::COMPAT_HAS_JOURNAL == 0 {
            return Ok(());
        }
        let inode = self.inode(self.superblock.journal_inum)?;
        let extents = self.mapping(&inode)?.extents;
        let mut head = vec![0; state::JOURNAL_HEAD];
        if inode.size < crate::bytes::to_u64(head.len()) {
            return Err(Error::corrupt(format!("the journal has only {} bytes", inode.size)));
        }
        extent::read_at(&self.store, self.superblock.block_size, &extents, 0, &mut head)?;
        state::check_journal(&head)
    }
}

impl<D> fmt::Debug for Ext4<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Superblock { blocks_count, block_size, .. } = self.superblock;
        let mut shown = f.debug_struct("Ext4");
        shown.field("blocks_count", &blocks_count).field("block_size", &block_size).finish_non_exhaustive()
    }
}
