//! The bytes of an archive, in blocks, with a count of what was read.

use std::io::{self, BufRead, BufReader, Read};

use super::header::{BLOCK, Block};
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Result, from_io};

/// Bytes read at once from below.
const BUFFER: usize = 1 << 16;
/// Zeroes behind the end of an archive: records of tapes are filled up, none is as long as this.
const PADDING_MAX: u64 = 64 << 20;

/// How an archive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarEnd {
    /// With two blocks of zeroes, as it should.
    Marked,
    /// With one block of zeroes.
    HalfMarked,
    /// Just after an entry.
    Unmarked,
}

/// The archive with a count of what was read.
pub(super) struct Input<R> {
    reader: BufReader<R>,
    /// Bytes read.
    pub(super) offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER, reader),
            offset: 0,
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        loop {
            match self.reader.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(from_io("reading the archive", error)),
                Ok(len) => {
                    self.offset = self.offset.saturating_add(to_u64(len));
                    return Ok(len);
                }
            }
        }
    }

    /// The next block, `None` where the archive ends in front of it.
    pub(super) fn block(&mut self) -> Result<Option<Block>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.ended(BLOCK - filled)),
                len => filled += len,
            }
        }
        Ok(Some(block))
    }

    fn ended(&self, missing: usize) -> Error {
        cut_short(&format!(
            "the archive is cut short at byte {}, {missing} more were expected",
            self.offset
        ))
    }

    /// The bytes behind an extension header.
    pub(super) fn payload(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        if size > limit {
            return Err(Error::corrupt(format!(
                "an extension header of {size} bytes, at most {limit} are handled here"
            )));
        }
        // Read before it is believed: memory grows with what is there.
        let mut bytes = Vec::new();
        let read = (&mut self.reader)
            .take(padded(size))
            .read_to_end(&mut bytes);
        read.map_err(|error| from_io("reading the archive", error))?;
        self.offset = self.offset.saturating_add(to_u64(bytes.len()));
        match to_usize(padded(size))? - bytes.len() {
            0 => bytes.truncate(to_usize(size)?),
            missing => return Err(self.ended(missing)),
        }
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, mut len: u64) -> Result<()> {
        while len > 0 {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(from_io("reading the archive", error)),
                Ok(bytes) => bytes.len(),
            };
            if available == 0 {
                return Err(cut_short(&format!(
                    "the archive ends at byte {}, {len} more were expected",
                    self.offset
                )));
            }
            let step = usize::try_from(len).map_or(available, |len| len.min(available));
            self.reader.consume(step);
            self.offset = self.offset.saturating_add(to_u64(step));
            len -= to_u64(step);
        }
        Ok(())
    }

    /// Reads what follows the first block of zeroes, to the end.
    pub(super) fn rest(&mut self) -> Result<TarEnd> {
        let Some(second) = self.block()? else {
            return Ok(TarEnd::HalfMarked);
        };
        let mut bytes = second.to_vec();
        let end = self.offset;
        loop {
            if !is_zero(&bytes) {
                return Err(Error::corrupt(format!(
                    "more data follows the end of the archive, before byte {}",
                    self.offset
                ))
                .with_hint("give several archives one by one, not joined"));
            }
            if self.offset - end > PADDING_MAX {
                return Err(Error::corrupt(format!(
                    "more than {PADDING_MAX} zeroes follow the end of the archive"
                )));
            }
            bytes.resize(BUFFER, 0);
            let len = self.read(&mut bytes)?;
            if len == 0 {
                return Ok(TarEnd::Marked);
            }
            bytes.truncate(len);
        }
    }
}

pub(super) fn cut_short(message: &str) -> Error {
    Error::corrupt(message).with_hint("the archive is incomplete: fetch or make it again")
}

pub(super) fn padded(size: u64) -> u64 {
    // Sizes have 63 bits.
    size.next_multiple_of(to_u64(BLOCK))
}
