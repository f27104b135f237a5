//! ext2, ext3 and ext4, as Flatcar's ROOT partition has them, read and edited offline.
//!
//! ```text
//!   Ext4 ── nodes ── read.rs (lookup.rs) ─── superblock.rs, group.rs, inode.rs, map.rs (extent.rs, blockmap.rs), dir.rs, xattr.rs
//!     ├──── edit/ ──── directory.rs, htree.rs, space/ (bitmap.rs), extent_write.rs
//!     ├──── journal/, orphan.rs    what a running system left undone, before the first edit
//!     ├──── grow/
//!     └──── make/                  a new one, of a tree
//! ```
//!
//! What lies on disk is a table (`structure!`) in the file of its name, which reader and writer share: the superblock,
//! descriptors, inodes (`raw_inode.rs`), extents, hash trees (`index.rs`), records, attributes, the journal (`on_disk.rs`).
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
mod grow;
mod halves;
mod htree;
mod index;
mod inline;
mod inode;
mod journal;
mod layout;
mod lookup;
mod make;
mod map;
mod orphan;
mod raw_inode;
mod read;
mod space;
mod state;
mod store;
mod superblock;
mod time;
mod xattr;

use std::fmt;

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, Result, ResultExt};

pub use make::{Ext4Options, write};
pub use state::Recovery;

use edit::Editor;
use journal::{Copies, Emptied, Journal};
use space::Space;
use store::Store;
use superblock::Superblock;

/// Whether `device` holds an ext2, ext3 or ext4 superblock. Nothing else is checked.
pub fn probe(device: &dyn BlockDevice) -> bool {
    superblock::read_raw(device)
        .and_then(superblock::OnDisk::over)
        .is_ok_and(|on_disk| on_disk.s_magic() == superblock::MAGIC)
}

/// An ext2, ext3 or ext4 filesystem on a device; implements [`FileSystem`](super::FileSystem) and
/// [`FileSystemMut`](super::FileSystemMut), and can [`grow`](Ext4::grow).
///
/// What edits do beyond the traits' words:
///
/// - All four times of a new entry are [`Attributes::mtime`](super::Attributes::mtime); directories keep their times
///   when entries come and go, so that a tree can be written in any order. No clock is read.
/// - `write_file` over an existing file keeps its inode, and with it the file's other names; content, owner, mode and
///   times are replaced and extended attributes go.
/// - Symlinks have mode 0777 whatever is asked for, as on Linux.
/// - `system.posix_acl_access` and `…_default` are read and set in the form of `getxattr`; ext4 has its own on disk.
/// - Blocks of zeroes in content become holes; a file must fit as if it had none, for its content is not known before.
/// - Content is written at once, to blocks that were free; names, inodes and bitmaps are written at commit.
/// - Free space leaves out the blocks reserved for root (5 % as released), so that the running system keeps them, and
///   those that edited directories may need at commit. A file in many pieces needs a little more than its content.
/// - Inodes whose extended attributes lie in other inodes (ea_inode) can be read and moved, not changed or removed.
pub struct Ext4<D> {
    store: Store<D>,
    superblock: Superblock,
    space: Space,
    /// Present where it was opened for editing.
    editor: Option<Editor>,
    /// Changed inodes that are kept in memory; the tests make it small.
    inodes_max: usize,
}

impl<D: BlockDevice> Ext4<D> {
    /// Opens a filesystem for reading; the device is never written. One whose journal needs to be replayed is read as
    /// if it had been; deleted files that were still open stay where they are.
    pub fn open_read_only(device: D) -> Result<Self> {
        let mut fs = Self::load(Store::new(device, 0))?;
        if let Some((copies, _)) = fs.log()? {
            fs.store.redirect(copies);
            fs = Self::load(fs.store)?;
        }
        Ok(fs)
    }

    /// Reads superblock and descriptors.
    fn load(mut store: Store<D>) -> Result<Self> {
        let superblock = Superblock::read(&store)?;
        store.set_block_size(superblock.block_size);
        let space = Space::new(group::read_all(&store, &superblock)?);
        let inodes_max =
            edit::INODES_BYTES_MAX / (usize::from(superblock.inode_size) + edit::INODE_OVERHEAD);
        let fs = Self {
            store,
            superblock,
            space,
            editor: None,
            inodes_max,
        };
        let root = fs.inode(inode::ROOT_INO)?;
        superblock::ensure(root.file_type == super::FileType::Directory, || {
            "the root is not a directory".to_owned()
        })?;
        Ok(fs)
    }

    /// What the journal holds, where it needs to be replayed.
    fn log(&self) -> Result<Option<(Copies, Emptied)>> {
        if !state::needs_replay(&self.superblock) {
            return Ok(None);
        }
        let extents = self.journal_extents()?;
        let journal = Journal::open(&self.store, &self.superblock, &extents).at(|| "journal")?;
        journal.replay().at(|| "journal").map(Some)
    }

    /// Where the journal lies; nowhere without one.
    fn journal_extents(&self) -> Result<Vec<extent::Extent>> {
        if !self.superblock.has_compat(features::COMPAT_HAS_JOURNAL) {
            return Ok(Vec::new());
        }
        if self.superblock.journal_inum == 0 {
            return Err(Error::unsupported("its journal is on another device"));
        }
        let inode = self.inode(self.superblock.journal_inum).at(|| "journal")?;
        Ok(self.mapping(&inode).at(|| "journal")?.extents)
    }

    /// Free blocks that an edit may use: neither reserved for the running system nor set aside for directories.
    fn usable_blocks(&self) -> u64 {
        let (free, pending) = match &self.editor {
            Some(editor) => (self.space.free_blocks(), editor.pending()),
            None => (self.superblock.free.blocks, 0),
        };
        free.saturating_sub(self.superblock.free.reserved_blocks + pending)
    }
}

impl<D: BlockDeviceMut> Ext4<D> {
    /// Opens a filesystem for editing. Nothing is written before the first edit, unless the filesystem was in use when
    /// it was copied: then its journal is replayed and what was left undone is finished, as mounting it would.
    ///
    /// One that has features that edits would not keep up or is not marked clean is
    /// [`Unsupported`](crate::ErrorKind::Unsupported), one that is marked as holding errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt).
    pub fn open(device: D) -> Result<Self> {
        Self::open_with(device, Recovery::Replay)
    }

    /// Keeps at most so many changed inodes in memory.
    #[cfg(feature = "internals")]
    pub fn keep_inodes(&mut self, most: usize) {
        self.inodes_max = most;
    }

    /// The same, with a choice of what to do where it was in use.
    pub fn open_with(device: D, recovery: Recovery) -> Result<Self> {
        let mut fs = Self::load(Store::new(device, 0))?;
        if recovery == Recovery::Refuse {
            state::check_unused(&fs.superblock)?;
        }
        state::check_editable(&fs.superblock)?;
        features::check_writable(fs.superblock.feature_ro_compat)?;
        if let Some((copies, emptied)) = fs.log()? {
            journal::apply(&fs.store, &fs.superblock, &copies, &emptied)?;
            fs = Self::load(fs.store)?;
            // What was replayed can have brought these.
            state::check_editable(&fs.superblock)?;
            features::check_writable(fs.superblock.feature_ro_compat)?;
        } else {
            fs.check_counts()?;
        }
        fs.check_journal()?;
        fs.space.protect(&fs.superblock)?;
        fs.editor = Some(Editor::default());
        if state::needs_replay(&fs.superblock) || state::has_orphans(&fs.superblock) {
            fs.finish_orphans()?;
        }
        Ok(fs)
    }

    /// Checks that the superblock's counts are those of the groups, as they are once unmounted.
    fn check_counts(&self) -> Result<()> {
        let said = self.superblock.free;
        let found = (self.space.free_blocks(), self.space.free_inodes());
        superblock::ensure((said.blocks, said.inodes) == found, || {
            format!(
                "the superblock says that {} blocks and {} inodes are free, the groups say {} and {}",
                said.blocks, said.inodes, found.0, found.1
            )
        })
    }

    /// Checks that the journal is empty.
    fn check_journal(&self) -> Result<()> {
        let extents = self.journal_extents()?;
        if extents.is_empty() && !self.superblock.has_compat(features::COMPAT_HAS_JOURNAL) {
            return Ok(());
        }
        let journal = Journal::open(&self.store, &self.superblock, &extents).at(|| "journal")?;
        state::check_journal(journal.position())
    }
}

impl<D> fmt::Debug for Ext4<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Superblock {
            blocks_count,
            block_size,
            ..
        } = self.superblock;
        let mut shown = f.debug_struct("Ext4");
        shown
            .field("blocks_count", &blocks_count)
            .field("block_size", &block_size)
            .finish_non_exhaustive()
    }
}
