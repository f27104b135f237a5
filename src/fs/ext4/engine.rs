//! The engine behind edits: crate `rust-fs-ext4`, mounted at the first edit and given up at each commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fs_ext4::Filesystem;
use fs_ext4::error::Error as EngineError;

use super::checksum;
use super::device::Unjournaled;
use super::superblock::Superblock;
use crate::block::BlockDeviceMut;
use crate::error::{Error, Result, from_io};

/// What editing needs beside the filesystem itself.
pub(super) struct Editor {
    journal: Vec<(u64, u64)>,
    clock: Arc<FixedClock>,
    mounted: Option<Filesystem>,
    /// Whether the edit under way has used the engine.
    touched: bool,
    /// Set when an edit failed half-way: there is nothing sound to commit any more.
    broken: bool,
}

/// Stands in for the clock and the generator of inode generations: the same inputs give the same bytes.
struct FixedClock {
    seconds: i64,
    next_generation: AtomicU32,
}

impl fs_ext4::runtime::Runtime for FixedClock {
    fn now_unix_seconds(&self) -> i64 {
        self.seconds
    }

    fn next_inode_generation(&self) -> u32 {
        self.next_generation.fetch_add(1, Ordering::Relaxed)
    }
}

impl Editor {
    /// An editor for the filesystem with this superblock and journal (first byte, bytes).
    pub(super) fn new(superblock: &Superblock, journal: Vec<(u64, u64)>) -> Self {
        // It becomes i_dtime of removed inodes, where a number below the inode count means a place in the orphan list.
        let seconds = superblock.newest_time.max(i64::from(superblock.inodes_count) + 1).min(i64::from(u32::MAX));
        let first = checksum::crc32c(checksum::CRC_START, &superblock.uuid);
        let clock = Arc::new(FixedClock { seconds, next_generation: AtomicU32::new(first) });
        Self { journal, clock, mounted: None, touched: false, broken: false }
    }

    /// The engine, mounted if it is not yet.
    pub(super) fn engine<D: BlockDeviceMut + 'static>(
        &mut self,
        device: &Arc<D>,
        superblock: &Superblock,
    ) -> Result<&Filesystem> {
        self.check_sound()?;
        self.touched = true;
        if self.mounted.is_none() {
            let view = Unjournaled::new(device.clone(), self.journal.clone(), superblock);
            let mounted = Filesystem::mount_with_runtime(Arc::new(view), self.clock.clone());
            self.mounted = Some(mounted.map_err(|error| translate("opening for editing", error))?);
        }
        self.mounted.as_ref().ok_or_else(|| Error::internal("the engine was mounted above"))
    }

    /// An edit begins.
    pub(super) fn begin(&mut self) {
        self.touched = false;
    }

    /// The edit failed: what it has written by then, if anything, cannot be committed.
    pub(super) fn fail(&mut self) {
        self.broken |= self.touched;
    }

    /// Gives up the engine, which leaves nothing unwritten.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.mounted = None;
        self.check_sound()
    }

    fn check_sound(&self) -> Result<()> {
        if self.broken {
            return Err(Error::invalid("an earlier edit of this filesystem failed half-way")
                .with_hint("drop the filesystem and its overlay and begin again"));
        }
        Ok(())
    }
}

/// The engine's error in our terms, while doing `what`.
pub(super) fn translate(what: &str, error: EngineError) -> Error {
    let text = format!("{what}: {error}");
    match error {
        EngineError::Io(error) => from_io(what, error),
        EngineError::NoSpaceLeftOnDevice => {
            Error::no_space(format!("{what}: no block is left, or no room in the inode"))
        }
        // What the engine's allocator says when no group has enough free blocks side by side.
        EngineError::Corrupt(message) if message.contains("contiguous free run") => {
            Error::no_space(format!("{what}: no block is left"))
        }
        EngineError::CorruptExtentTree(message)
            if message.contains("multi-level") || message.contains("LEAF_FULL") || message.contains("would exceed") =>
        {
            Error::unsupported(format!("{what}: the file is in too many pieces for its extent tree to be changed"))
                .with_hint("free some space so that files lie in larger pieces")
        }
        EngineError::NotFound => Error::not_found(text),
        EngineError::InvalidArgument(_) | EngineError::NameTooLong | EngineError::AlreadyExists => Error::invalid(text),
        EngineError::Unsupported(_)
        | EngineError::UnsupportedIncompat(_)
        | EngineError::UnsupportedRoCompat(_)
        | EngineError::TooManyLinks => Error::unsupported(text),
        EngineError::BadMagic { .. }
        | EngineError::BadChecksum { .. }
        | EngineError::InvalidInode(_)
        | EngineError::InvalidBlock(_)
        | EngineError::OutOfBounds
        | EngineError::CorruptExtentTree(_)
        | EngineError::CorruptDirEntry(_)
        | EngineError::Corrupt(_)
        | EngineError::Stale => Error::corrupt(text),
        _ => Error::internal(text),
    }
}
