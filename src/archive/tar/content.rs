//! The content of an entry, without its holes.

use std::io::{self, Read};

use super::input::{Input, cut_short, padded};
use crate::bytes::to_u64;
use crate::error::ResultExt;

/// What is left to read of an entry.
#[derive(Default)]
pub(super) struct Data {
    /// Bytes left in the archive, and what fills the last block up.
    stored: u64,
    padding: u64,
    /// Whether they are a file's.
    is_file: bool,
    /// The entry, for errors.
    pub(super) place: String,
}

impl Data {
    /// `stored` bytes in the archive.
    pub(super) fn new(stored: u64, is_file: bool) -> Self {
        Self {
            stored,
            padding: padded(stored) - stored,
            is_file,
            place: String::new(),
        }
    }

    /// Bytes up to the next header.
    pub(super) fn left(&self) -> u64 {
        self.stored.saturating_add(self.padding)
    }
}

/// The stored bytes of a file; its errors carry an [`Error`](crate::Error).
pub struct Content<'a, R> {
    pub(super) input: &'a mut Input<R>,
    pub(super) data: &'a mut Data,
}

impl<R> std::fmt::Debug for Content<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("stored", &self.data.stored)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = if self.data.is_file {
            self.data.stored
        } else {
            0
        };
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        if len == 0 {
            return Ok(0);
        }
        let len = self
            .input
            .read(&mut buf[..len])
            .at(|| self.data.place.clone())?;
        if len == 0 {
            let message = format!(
                "the archive ends at byte {}, {} bytes of this entry are missing",
                self.input.offset, self.data.stored
            );
            return Err(cut_short(&message).at(self.data.place.clone()).into());
        }
        self.data.stored -= to_u64(len);
        Ok(len)
    }
}
