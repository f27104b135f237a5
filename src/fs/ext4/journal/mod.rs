//! The journal (jbd2): changes that a running system had written here but not yet in their places.
//!
//! ```text
//!   superblock │ … │ descriptor │ block │ block │ revoke │ commit │ descriptor │ block │ commit │ (old) …
//!                    └─ transaction 7 ───────────────────────────┘ └─ transaction 8 ────────────┘
//! ```
//!
//! A descriptor says where the blocks behind it belong, a revoke record that older copies of a block are void. All
//! numbers are big-endian. After `include/linux/jbd2.h` and the kernel's documentation, "Journal (jbd2)".

mod on_disk;
mod scan;
mod tag;

use std::collections::BTreeMap;

use super::checksum;
use super::extent::Extent;
use super::store::{Copy, JOURNAL_MAGIC};
use super::superblock::{Superblock, ensure};
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::{Field, Order, Place, to_usize};
use crate::error::{Error, Reason, Result};

use on_disk::Head;

/// `h_blocktype` of a journal superblock, version 1 and 2.
const SUPERBLOCK_V1: u32 = 3;
const SUPERBLOCK_V2: u32 = 4;

/// `JBD2_FEATURE_COMPAT_CHECKSUM`: commit blocks carry a CRC-32 of the transaction.
const COMPAT_CHECKSUM: u32 = 0x1;
/// `JBD2_FEATURE_INCOMPAT_REVOKE`
const INCOMPAT_REVOKE: u32 = 0x1;
/// `JBD2_FEATURE_INCOMPAT_64BIT`
const INCOMPAT_64BIT: u32 = 0x2;
/// `JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT`
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
/// `JBD2_FEATURE_INCOMPAT_CSUM_V2`
const INCOMPAT_CSUM_V2: u32 = 0x8;
/// `JBD2_FEATURE_INCOMPAT_CSUM_V3`
const INCOMPAT_CSUM_V3: u32 = 0x10;
/// What can be replayed; fast commits cannot.
const INCOMPAT_KNOWN: u32 =
    INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_ASYNC_COMMIT | INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3;

/// The newest copies of blocks, by block of the filesystem.
pub(super) type Copies = BTreeMap<u64, Copy>;

/// A journal within the filesystem.
pub(super) struct Journal<'a> {
    device: &'a dyn BlockDevice,
    superblock: &'a Superblock,
    extents: &'a [Extent],
    head: Head<Vec<u8>>,
    /// `s_maxlen`: blocks of the journal.
    len: u32,
    /// `s_first`: the first block of the log.
    first: u32,
    /// `s_sequence`: the first transaction's number.
    sequence: u32,
    /// `s_start`: the block where it begins, 0 where the journal is empty.
    start: u32,
    /// `s_errno`
    errno: u32,
    compat: u32,
    incompat: u32,
}

impl<'a> Journal<'a> {
    /// Reads the superblock of the journal that lies in `extents`.
    pub(super) fn open(
        device: &'a dyn BlockDevice,
        superblock: &'a Superblock,
        extents: &'a [Extent],
    ) -> Result<Self> {
        let mut journal = Self {
            device,
            superblock,
            extents,
            head: Head::zeroed(),
            len: 1,
            first: 1,
            sequence: 0,
            start: 0,
            errno: 0,
            compat: 0,
            incompat: 0,
        };
        let mut head = journal.read(0)?;
        head.truncate(Head::<&[u8]>::SIZE);
        journal.head = Head::over(head)?;
        journal.parse()?;
        Ok(journal)
    }

    fn parse(&mut self) -> Result<()> {
        let head = &self.head;
        let kind = head.h_blocktype();
        ensure(
            head.h_magic() == JOURNAL_MAGIC && [SUPERBLOCK_V1, SUPERBLOCK_V2].contains(&kind),
            || "the journal has no valid superblock".to_owned(),
        )?;
        let size = head.s_blocksize();
        self.len = head.s_maxlen();
        self.first = head.s_first();
        self.sequence = head.s_sequence();
        self.start = head.s_start();
        self.errno = head.s_errno();
        if kind == SUPERBLOCK_V2 {
            self.compat = head.s_feature_compat();
            self.incompat = head.s_feature_incompat();
        }
        let blocks = self
            .extents
            .last()
            .map_or(0, |last| last.logical + last.len);
        ensure(size == self.superblock.block_size, || {
            format!("the journal's blocks have {size} bytes")
        })?;
        ensure(
            self.first > 0 && self.first < self.len && u64::from(self.len) <= blocks,
            || {
                format!(
                    "the log goes from block {} to {} of {blocks}",
                    self.first, self.len
                )
            },
        )?;
        ensure(
            self.start == 0 || (self.first..self.len).contains(&self.start),
            || {
                format!(
                    "the log begins at block {}, outside the journal",
                    self.start
                )
            },
        )?;
        if self.has_checksums() {
            ensure(self.head.s_checksum() == self.head_checksum(), || {
                "the checksum of the journal's superblock is wrong".to_owned()
            })?;
        }
        Ok(())
    }

    /// The block where the log begins and the error number that the kernel left, for messages.
    pub(super) fn position(&self) -> (u32, u32) {
        (self.start, self.errno)
    }

    fn has_checksums(&self) -> bool {
        self.incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0
    }

    fn head_checksum(&self) -> u32 {
        let field = Head::<Place>::s_checksum();
        checksum::crc32c_without(checksum::CRC_START, self.head.bytes(), field)
    }

    /// Where block `logical` of the journal lies.
    fn physical(&self, logical: u32) -> Result<u64> {
        let logical = u64::from(logical);
        let at = self
            .extents
            .partition_point(|extent| extent.logical + extent.len <= logical);
        let extent = self
            .extents
            .get(at)
            .filter(|extent| extent.logical <= logical && extent.written);
        let extent =
            extent.ok_or_else(|| Error::corrupt(format!("the journal has no block {logical}")))?;
        Ok(extent.physical + (logical - extent.logical))
    }

    fn read(&self, logical: u32) -> Result<Vec<u8>> {
        let size = u64::from(self.superblock.block_size);
        let mut block = vec![0; to_usize(size)?];
        self.device
            .read_at(self.physical(logical)? * size, &mut block)?;
        Ok(block)
    }

    /// What is to be replayed, and the superblock of the journal once it is.
    pub(super) fn replay(mut self) -> Result<(Copies, Emptied)> {
        if self.errno != 0 {
            return Err(Error::corrupt(format!(
                "the kernel left error number {} in the journal",
                self.errno
            )));
        }
        let unknown = self.incompat & !INCOMPAT_KNOWN;
        if unknown != 0 {
            return Err(Error::unsupported(format!(
                "the journal has features that cannot be replayed: {unknown:#x}"
            ))
            .because(Reason::Feature));
        }
        let (copies, end) = scan::scan(&self)?;
        // As the kernel does: one number is left out, so that nothing old can seem to go on.
        self.head.set_sequence(end.wrapping_add(1));
        self.head.set_start(0);
        if self.has_checksums() {
            let crc = self.head_checksum();
            self.head.set_checksum(crc);
        }
        let block = self.physical(0)?;
        Ok((
            copies,
            Emptied {
                block,
                head: self.head,
            },
        ))
    }
}

/// The superblock of a journal that was replayed.
pub(super) struct Emptied {
    block: u64,
    head: Head<Vec<u8>>,
}

/// Writes the newest copies to their places, then the journal's superblock.
pub(super) fn apply(
    device: &dyn BlockDeviceMut,
    superblock: &Superblock,
    copies: &Copies,
    emptied: &Emptied,
) -> Result<()> {
    let size = u64::from(superblock.block_size);
    let mut block = vec![0; to_usize(size)?];
    for (place, copy) in copies {
        device.read_at(copy.block * size, &mut block)?;
        if copy.escaped {
            JOURNAL_MAGIC.put(&mut block[..4], Order::Big);
        }
        device.write_at(place * size, &block)?;
    }
    device.write_at(emptied.block * size, emptied.head.bytes())
}
