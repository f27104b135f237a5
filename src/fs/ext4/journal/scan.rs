//! Walking the log: whole transactions only, in their order, what was revoked left out.

use std::collections::HashMap;

use super::on_disk::{BlockHeader, Commit, Revoke, Tail};
use super::tag::{self, TAIL, Tag};
use super::{
    COMPAT_CHECKSUM, Copies, Copy, INCOMPAT_64BIT, INCOMPAT_CSUM_V3, JOURNAL_MAGIC, Journal,
};
use crate::bytes::{Order, Place, in_a_row, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::ext4::checksum;
use crate::fs::ext4::superblock::ensure;

/// `h_blocktype`
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;
/// Where the numbers in a revoke block begin.
const REVOKED: usize = Revoke::<&[u8]>::SIZE;
/// `h_chksum_type` and `h_chksum_size` of a CRC-32.
const CRC32: [u8; 2] = [1, 4];
/// Revoke records kept in memory (about 64 MiB); a journal of 1 GiB full of them would have 134 million.
const REVOKED_MAX: usize = 1 << 22;

/// A block of the log that belongs somewhere.
struct Entry {
    tag: Tag,
    /// Block of the journal.
    logical: u32,
    sequence: u32,
}

struct Scan<'a> {
    journal: &'a Journal<'a>,
    seed: u32,
    /// Of whole transactions.
    entries: Vec<Entry>,
    revoked: HashMap<u64, u32>,
    /// Of the transaction being read.
    open_entries: Vec<Entry>,
    open_revoked: Vec<u64>,
    /// CRC-32 of the transaction being read.
    sum: u32,
    next: u32,
    sequence: u32,
    /// Blocks walked over; a log is no longer than the journal.
    walked: u32,
}

/// The newest copy of each block, and the number behind that of the last whole transaction.
pub(super) fn scan(journal: &Journal<'_>) -> Result<(Copies, u32)> {
    let mut scan = Scan {
        journal,
        seed: checksum::crc32c(checksum::CRC_START, &journal.head.s_uuid()),
        entries: Vec::new(),
        revoked: HashMap::new(),
        open_entries: Vec::new(),
        open_revoked: Vec::new(),
        sum: u32::MAX,
        next: journal.start,
        sequence: journal.sequence,
        walked: 0,
    };
    if journal.start != 0 {
        while scan.step()? {}
    }
    Ok((scan.copies()?, scan.sequence))
}

impl Scan<'_> {
    /// Goes over `count` blocks of the log; returns false where it is at its end.
    fn advance(&mut self, count: u32) -> bool {
        let first = u64::from(self.journal.first);
        let len = u64::from(self.journal.len);
        let next = first + (u64::from(self.next) - first + u64::from(count)) % (len - first);
        self.next = u32::try_from(next).unwrap_or(self.journal.first);
        self.walked = self.walked.saturating_add(count);
        u64::from(self.walked) < len - first
    }

    /// Reads one block with a header and what belongs to it; returns false at the end of the log.
    fn step(&mut self) -> Result<bool> {
        let block = self.journal.read(self.next)?;
        let header = BlockHeader::over(&block[..])?;
        if header.h_magic() != JOURNAL_MAGIC || header.h_sequence() != self.sequence {
            return Ok(false);
        }
        match header.h_blocktype() {
            DESCRIPTOR => self.descriptor(&block),
            COMMIT => self.commit(&block),
            REVOKE => self.revoke(&block),
            _ => Ok(false),
        }
    }

    /// Whether the checksum at the end of a block is right; always where there are none.
    fn tail_is_right(&self, block: &[u8]) -> Result<bool> {
        let end = block.len() - TAIL;
        let tail = Tail::at(block, end)?;
        let crc = checksum::crc32c_without(self.seed, block, end..block.len());
        Ok(!self.journal.has_checksums() || tail.t_checksum() == crc)
    }

    fn descriptor(&mut self, block: &[u8]) -> Result<bool> {
        if !self.tail_is_right(block)? {
            return Ok(false);
        }
        let tags = tag::parse(self.journal, block)?;
        self.add_to_sum(block);
        if !self.advance(1) {
            return Ok(false);
        }
        for tag in tags {
            self.open_entries.push(Entry {
                tag,
                logical: self.next,
                sequence: self.sequence,
            });
            if self.journal.compat & COMPAT_CHECKSUM != 0 {
                let data = self.journal.read(self.next)?;
                self.add_to_sum(&data);
            }
            if !self.advance(1) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn add_to_sum(&mut self, block: &[u8]) {
        if self.journal.compat & COMPAT_CHECKSUM != 0 {
            self.sum = crc32_be(self.sum, block);
        }
    }

    /// Ends a transaction; one whose checksum is wrong was never finished.
    fn commit(&mut self, block: &[u8]) -> Result<bool> {
        let commit = Commit::over(block)?;
        let stored = commit.h_chksum();
        if self.journal.has_checksums() {
            let field = Commit::<Place>::h_chksum();
            if stored != checksum::crc32c_without(self.seed, block, field) {
                return Ok(false);
            }
        } else if self.journal.compat & COMPAT_CHECKSUM != 0 {
            let kind = commit.h_chksum_type_and_size();
            let unset = kind == [0, 0] && stored == 0;
            if !unset && (kind != CRC32 || stored != self.sum) {
                return Ok(false);
            }
        }
        self.entries.append(&mut self.open_entries);
        for block in self.open_revoked.drain(..) {
            self.revoked.insert(block, self.sequence);
        }
        self.sum = u32::MAX;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(self.advance(1))
    }

    fn revoke(&mut self, block: &[u8]) -> Result<bool> {
        if !self.tail_is_right(block)? {
            return Ok(false);
        }
        let end = to_usize(u64::from(Revoke::over(block)?.r_count()))?;
        let tail = if self.journal.has_checksums() {
            TAIL
        } else {
            0
        };
        ensure(end <= block.len() - tail, || {
            format!("a revoke block of the journal has {end} bytes")
        })?;
        let wide = self.journal.incompat & INCOMPAT_64BIT != 0;
        let numbers = block.get(REVOKED..end).unwrap_or_default();
        if wide {
            self.add_revoked(in_a_row(numbers, Order::Big))?;
        } else {
            self.add_revoked(in_a_row::<u32>(numbers, Order::Big).map(u64::from))?;
        }
        Ok(self.advance(1))
    }

    /// Notes blocks that the transaction being read revokes.
    fn add_revoked(&mut self, blocks: impl Iterator<Item = u64>) -> Result<()> {
        for block in blocks {
            if self.open_revoked.len() + self.revoked.len() >= REVOKED_MAX {
                return Err(Error::unsupported(format!(
                    "the journal revokes more than {REVOKED_MAX} blocks"
                ))
                .because(Reason::Limit));
            }
            self.open_revoked.push(block);
        }
        Ok(())
    }

    /// The last copy of each block that was not revoked later.
    fn copies(&self) -> Result<Copies> {
        let mut copies = Copies::new();
        for Entry {
            tag,
            logical,
            sequence,
        } in &self.entries
        {
            // Numbers of transactions wrap around.
            let revoked = self
                .revoked
                .get(&tag.block)
                .is_some_and(|by| by.wrapping_sub(*sequence) < 1 << 31);
            if revoked {
                continue;
            }
            let superblock = self.journal.superblock;
            ensure(tag.block < superblock.blocks_count, || {
                format!(
                    "the journal holds block {}, outside the filesystem",
                    tag.block
                )
            })?;
            self.check_data(tag, *logical, *sequence)?;
            copies.insert(
                tag.block,
                Copy {
                    block: self.journal.physical(*logical)?,
                    escaped: tag.escaped,
                },
            );
        }
        Ok(copies)
    }

    fn check_data(&self, tag: &Tag, logical: u32, sequence: u32) -> Result<()> {
        if !self.journal.has_checksums() {
            return Ok(());
        }
        let data = self.journal.read(logical)?;
        let crc = checksum::crc32c(checksum::crc32c(self.seed, &sequence.to_be_bytes()), &data);
        let crc = if self.journal.incompat & INCOMPAT_CSUM_V3 != 0 {
            crc
        } else {
            crc & 0xFFFF
        };
        ensure(crc == tag.checksum, || {
            format!("the checksum of block {logical} of the journal does not match")
        })
    }
}

/// `crc` carried on over `data`: CRC-32 with the highest bit first, as version 1 checksums have it.
fn crc32_be(crc: u32, data: &[u8]) -> u32 {
    data.iter().fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x04C1_1DB7
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_version_1() {
        // CRC-32/MPEG-2 of the usual check string.
        assert_eq!(crc32_be(u32::MAX, b"123456789"), 0x0376_E6E7);
    }
}
