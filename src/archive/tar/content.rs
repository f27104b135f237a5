//! The content of an entry, its holes filled in.

use std::io::{self, Read};

use super::input::{Input, cut_short, padded};
use super::sparse::{Segment, SparseMap};
use crate::bytes::to_u64;
use crate::error::ResultExt;

/// What is left to read of an entry.
#[derive(Default)]
pub(super) struct Data {
    /// Bytes left in the archive, and what fills the last block up.
    stored: u64,
    padding: u64,
    /// Bytes given out of the file and bytes it has.
    position: u64,
    size: u64,
    map: Option<SparseMap>,
    /// The segment that is current or comes next.
    segment: usize,
    /// The entry, for errors.
    pub(super) place: String,
}

impl Data {
    /// `stored` bytes in the archive that make `size` bytes of a file.
    pub(super) fn new(stored: u64, size: u64, map: Option<SparseMap>) -> Self {
        Self { stored, padding: padded(stored) - stored, size, map, ..Self::default() }
    }

    /// Bytes up to the next header.
    pub(super) fn left(&self) -> u64 {
        self.stored.saturating_add(self.padding)
    }

    /// The current stretch: whether it is a hole, and its bytes from here on.
    fn stretch(&mut self) -> (bool, u64) {
        let Some(map) = &self.map else { return (false, self.size - self.position) };
        let end = |segment: &Segment| segment.offset + segment.len;
        while let Some(segment) = map.segments().get(self.segment) {
            if self.position < segment.offset {
                return (true, segment.offset - self.position);
            }
            if self.position < end(segment) {
                return (false, end(segment) - self.position);
            }
            self.segment += 1;
        }
        (true, self.size - self.position)
    }
}

/// The content of an entry; its errors carry an [`Error`].
pub struct Content<'a, R> {
    pub(super) input: &'a mut Input<R>,
    pub(super) data: &'a mut Data,
}

impl<R> std::fmt::Debug for Content<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("position", &self.data.position).field("size", &self.data.size).finish()
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (is_hole, len) = self.data.stretch();
        let len = usize::try_from(len).map_or(buf.len(), |len| len.min(buf.len()));
        let buf = &mut buf[..len];
        let len = match is_hole {
            _ if buf.is_empty() => return Ok(0),
            true => {
                buf.fill(0);
                len
            }
            false => {
                let len = self.input.read(buf).at(|| self.data.place.clone())?;
                if len == 0 {
                    let message = format!(
                        "the archive ends at byte {}, {} bytes of this entry are missing",
                        self.input.offset, self.data.stored
                    );
                    return Err(cut_short(&message).at(self.data.place.clone()).into());
                }
                self.data.stored -= to_u64(len);
                len
            }
        };
        self.data.position += to_u64(len);
        Ok(len)
    }
}
