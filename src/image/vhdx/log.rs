//! The log: a ring of entries, each a set of 4 KiB sectors and where they belong.
//!
//! ```text
//!   entry    header │ descriptors … │ data sectors …            one sector: 8 + 4084 + 4 bytes, of which the first
//!            seq N, tail                                        and last 12 are kept in the descriptor
//!   ring     … │ N-2 │ N-1 │ N │ older entries …
//!                └ tail of N: where what is to be applied begins
//! ```
//!
//! The valid sequence that ends with the highest number is applied, from its tail to its end (section 2.3.3).

use std::cell::Cell;
use std::sync::Arc;

use super::header::{Header, check_log, checksum_fits};
use super::on_disk::{
    DATA_DESCRIPTOR_SIGNATURE, DATA_SECTOR_SIGNATURE, DataSector, LOG_ENTRY_SIGNATURE,
    LogDescriptor, LogEntryHeader, ZERO_SIGNATURE,
};
use super::replayed::Replayed;
use crate::block::BlockDevice;
use crate::bytes::{Guid, to_u64, to_usize};
use crate::error::{Error, Result};

/// The unit of the log.
const SECTOR: usize = 4096;
/// Logs have 1 MiB, as a rule; all of it is read at once.
const MAX_LOG: u64 = 32 << 20;
/// How often the bytes of the log are summed up for entries that turn out damaged: true logs have one torn entry.
const MAX_WASTE: usize = 16;
const HEADER_BYTES: usize = LogEntryHeader::<&[u8]>::SIZE;
const DESCRIPTOR_BYTES: usize = LogDescriptor::<&[u8]>::SIZE;
/// No file is larger: the largest disk and its tables.
const MAX_FILE: u64 = 1 << 47;

/// Lays what the log holds over `file`.
pub(super) fn replay(file: Arc<dyn BlockDevice>, header: &Header) -> Result<Arc<dyn BlockDevice>> {
    let mut ring = vec![0; check_log(header, file.size(), MAX_LOG)?];
    file.read_at(header.log_offset, &mut ring)?;
    let log = Log {
        wasted: Cell::new(0),
        ring,
        guid: header.log_guid,
    };
    let entries = log.active()?;
    let mut replayed = Replayed::new(file);
    for entry in entries {
        entry.apply(&mut replayed)?;
    }
    Ok(Arc::new(replayed))
}

struct Log {
    ring: Vec<u8>,
    guid: Guid,
    /// Bytes that were summed up for damaged entries.
    wasted: Cell<usize>,
}

/// A valid entry: its bytes and what its header says.
struct Entry {
    bytes: Vec<u8>,
    sequence: u64,
    /// Where in the ring the first entry lies that is to be applied with this one.
    tail: usize,
    descriptors: usize,
}

impl Log {
    /// The entry at `at` of the ring, where there is a valid one.
    fn entry(&self, at: usize) -> Option<Entry> {
        let header = LogEntryHeader::over(self.ring.get(at..at + SECTOR)?).ok()?;
        let length = to_usize(header.entry_length().into()).ok()?;
        if length == 0
            || length % SECTOR != 0
            || length > self.ring.len()
            || header.signature() != *LOG_ENTRY_SIGNATURE
        {
            return None;
        }
        if self.wasted.get() > self.ring.len() * MAX_WASTE {
            return None;
        }
        let first = length.min(self.ring.len() - at);
        let mut bytes = [&self.ring[at..at + first], &self.ring[..length - first]].concat();
        if !checksum_fits(&mut bytes) {
            self.wasted.set(self.wasted.get() + length);
            return None;
        }
        let tail = to_usize(header.tail().into()).ok()?;
        let sequence = header.sequence_number();
        let descriptors = to_usize(header.descriptor_count().into()).ok()?;
        let fits = tail % SECTOR == 0 && tail < self.ring.len() && sequence != 0;
        let ours = header.log_guid() == self.guid;
        // As many descriptors as the entry has room for at most.
        let possible = descriptors <= (length - HEADER_BYTES) / DESCRIPTOR_BYTES;
        (fits && ours && possible).then_some(Entry {
            bytes,
            sequence,
            tail,
            descriptors,
        })
    }

    /// The entries to apply, in order.
    fn active(&self) -> Result<Vec<Entry>> {
        // Each sequence of entries with rising numbers is walked once; the next one begins where it ends.
        let mut best: Option<(u64, usize)> = None;
        let mut start = 0;
        while start < self.ring.len() {
            let mut places = Vec::new();
            let mut at = start;
            let mut last = None::<Entry>;
            while let Some(entry) = self.entry(at % self.ring.len()) {
                if last
                    .as_ref()
                    .is_some_and(|last| last.sequence.checked_add(1) != Some(entry.sequence))
                {
                    break;
                }
                places.push(at % self.ring.len());
                at += entry.bytes.len();
                last = Some(entry);
                if at >= start + self.ring.len() {
                    break;
                }
            }
            if let Some(last) = last
                && places.contains(&last.tail)
                && best.is_none_or(|(sequence, _)| last.sequence > sequence)
            {
                best = Some((last.sequence, last.tail));
            }
            start = at.max(start + SECTOR);
        }
        let (sequence, mut at) = best.ok_or_else(|| {
            Error::corrupt("it should hold changes, but no valid entry is there")
                .with_hint("let Hyper-V or 'qemu-img check -r all' repair a copy of the image")
        })?;
        let mut entries = Vec::new();
        loop {
            let entry = self
                .entry(at % self.ring.len())
                .ok_or_else(|| Error::internal("the entry was valid before"))?;
            at += entry.bytes.len();
            let done = entry.sequence == sequence;
            entries.push(entry);
            if done {
                return Ok(entries);
            }
        }
    }
}

impl Entry {
    fn apply(&self, file: &mut Replayed) -> Result<()> {
        let header = LogEntryHeader::over(&self.bytes)?;
        let flushed = header.flushed_file_offset();
        let last = header.last_file_offset();
        if flushed > file.base_size() {
            return Err(Error::corrupt(format!(
                "an entry was made when the file had {flushed} bytes, now it has {}",
                file.base_size()
            ))
            .with_hint(
                "the file is cut short: compare its size and checksum with the original's",
            ));
        }
        if last > MAX_FILE {
            return Err(Error::corrupt(format!(
                "an entry claims a file of {last} bytes"
            )));
        }
        file.grow(last);
        let mut data_at =
            (HEADER_BYTES + self.descriptors * DESCRIPTOR_BYTES).next_multiple_of(SECTOR);
        for index in 0..self.descriptors {
            let descriptor =
                LogDescriptor::at(&self.bytes, HEADER_BYTES + index * DESCRIPTOR_BYTES)?;
            let offset = descriptor.file_offset();
            if descriptor.sequence_number() != self.sequence
                || offset % to_u64(SECTOR) != 0
                || offset > MAX_FILE
            {
                return Err(Error::corrupt(format!(
                    "a descriptor of entry {} is damaged",
                    self.sequence
                )));
            }
            match &descriptor.signature() {
                ZERO_SIGNATURE => {
                    let len = descriptor.zero_length();
                    if len % to_u64(SECTOR) != 0 || len > MAX_FILE {
                        return Err(Error::corrupt(format!("an entry makes {len} bytes zero")));
                    }
                    file.put(offset, len, None);
                }
                DATA_DESCRIPTOR_SIGNATURE => {
                    file.put(
                        offset,
                        to_u64(SECTOR),
                        Some(self.sector(&descriptor, data_at)?),
                    );
                    data_at += SECTOR;
                }
                _ => {
                    return Err(Error::corrupt(format!(
                        "entry {} has a descriptor of no known kind",
                        self.sequence
                    )));
                }
            }
        }
        Ok(())
    }

    /// The sector of a data descriptor, whose middle lies at `data_at`.
    fn sector(&self, descriptor: &LogDescriptor<&[u8]>, data_at: usize) -> Result<Vec<u8>> {
        let sector = DataSector::at(&self.bytes, data_at)?;
        let sequence = u64::from(sector.sequence_high()) << 32 | u64::from(sector.sequence_low());
        if sector.signature() != *DATA_SECTOR_SIGNATURE || sequence != self.sequence {
            return Err(Error::corrupt(format!(
                "a data sector of entry {} is damaged",
                self.sequence
            )));
        }
        Ok([
            &descriptor.leading_bytes()[..],
            &sector.data(),
            &descriptor.trailing_bytes(),
        ]
        .concat())
    }
}
