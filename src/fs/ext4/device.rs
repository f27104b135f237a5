//! The device as the engine sees it: the same filesystem without its journal.
//!
//! ```text
//!   engine reads the superblock   ◀── has_journal and s_journal_inum taken out, sealed again
//!   engine writes the superblock  ──▶ both put back, s_state "clean", sealed again
//!   engine writes into the journal's blocks ──▶ refused
//! ```
//!
//! Without a journal the engine writes each changed block once, in place, where it would otherwise write everything
//! twice and leave the journal changed. Flushes do nothing: the device is an overlay of an image that appears only when
//! whole.

use std::sync::Arc;

use fs_ext4::error::{Error as EngineError, Result as EngineResult};

use super::superblock::{S_FEATURE_COMPAT, S_JOURNAL_INUM, S_STATE, STATE_VALID, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE};
use super::{checksum, features, superblock};
use crate::block::BlockDeviceMut;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// See the module.
pub(super) struct Unjournaled<D> {
    device: Arc<D>,
    /// Places of the journal: (first byte, bytes).
    journal: Vec<(u64, u64)>,
    /// The superblock's own words for the journal: `s_feature_compat` has it, `s_journal_inum`.
    has_journal: u32,
    journal_inum: u32,
    checksummed: bool,
}

impl<D: BlockDeviceMut> Unjournaled<D> {
    pub(super) fn new(device: Arc<D>, journal: Vec<(u64, u64)>, superblock: &superblock::Superblock) -> Self {
        Self {
            device,
            journal,
            has_journal: superblock.feature_compat & features::COMPAT_HAS_JOURNAL,
            journal_inum: superblock.journal_inum,
            checksummed: superblock.has_checksums(),
        }
    }

    /// The superblock within `buf`, which begins at `offset`; `None` where they do not meet.
    fn superblock_in(offset: u64, buf: &mut [u8]) -> Result<Option<&mut [u8; SUPERBLOCK_SIZE]>> {
        let end = SUPERBLOCK_OFFSET + to_u64(SUPERBLOCK_SIZE);
        if offset >= end || offset + to_u64(buf.len()) <= SUPERBLOCK_OFFSET {
            return Ok(None);
        }
        let whole = SUPERBLOCK_OFFSET.checked_sub(offset).map(to_usize).transpose()?;
        let bytes = whole.and_then(|at| buf.get_mut(at..at + SUPERBLOCK_SIZE));
        let part = || Error::internal(format!("a part of the superblock at {offset} is not handled"));
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Some).ok_or_else(part)
    }

    fn set_words(&self, raw: &mut [u8; SUPERBLOCK_SIZE], has_journal: u32, journal_inum: u32) {
        let at = S_FEATURE_COMPAT;
        let compat = u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let compat = compat & !features::COMPAT_HAS_JOURNAL | has_journal;
        raw[at..at + 4].copy_from_slice(&compat.to_le_bytes());
        raw[S_JOURNAL_INUM..S_JOURNAL_INUM + 4].copy_from_slice(&journal_inum.to_le_bytes());
        if self.checksummed {
            checksum::seal_superblock(raw);
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.device.read_at(offset, buf)?;
        if let Some(raw) = Self::superblock_in(offset, buf)? {
            self.set_words(raw, 0, 0);
        }
        Ok(())
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let end = offset.saturating_add(to_u64(buf.len()));
        if self.journal.iter().any(|(first, len)| offset < first + len && *first < end) {
            return Err(Error::corrupt(format!("byte {offset} belongs to the journal but is not marked as in use"))
                .with_hint("run e2fsck -f on the partition"));
        }
        let mut copy = Vec::new();
        if offset < SUPERBLOCK_OFFSET + to_u64(SUPERBLOCK_SIZE) {
            copy.extend_from_slice(buf);
            if let Some(raw) = Self::superblock_in(offset, &mut copy)? {
                raw[S_STATE..S_STATE + 2].copy_from_slice(&STATE_VALID.to_le_bytes());
                self.set_words(raw, self.has_journal, self.journal_inum);
            }
        }
        self.device.write_at(offset, if copy.is_empty() { buf } else { &copy })
    }
}

impl<D: BlockDeviceMut> fs_ext4::block_io::BlockDevice for Unjournaled<D> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> EngineResult<()> {
        self.read(offset, buf).map_err(|error| EngineError::Io(error.into()))
    }

    fn size_bytes(&self) -> u64 {
        self.device.size()
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> EngineResult<()> {
        self.write(offset, buf).map_err(|error| EngineError::Io(error.into()))
    }

    fn is_writable(&self) -> bool {
        true
    }
}
