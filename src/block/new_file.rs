//! A file that is being made, or its end, as a device to write to; what is not written stays a hole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};

use super::{Blank, BlockDevice, BlockDeviceMut, Extent, ExtentKind, check_range};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// Zeroes written at a time where there are no holes.
const ZEROES: u64 = 64 << 10;

/// A new file, which nobody else knows yet.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    /// Where the device begins in it.
    start: u64,
    size: u64,
}

impl NewFile {
    /// Gives `blank` `size` bytes, all of them a hole. `what` it is for is told in the error where it holds something.
    pub(crate) fn new(blank: Blank<'_>, size: u64, what: &str) -> Result<Self> {
        blank.check(what)?;
        blank.set_len(size).map_err(|error| {
            Error::io(
                format!("setting the size of the {what} to {size} bytes"),
                error,
            )
        })?;
        let file = blank
            .file()
            .try_clone()
            .map_err(|error| Error::io(format!("writing the {what}"), error))?;
        Ok(Self {
            file,
            start: blank.start(),
            size,
        })
    }
}

fn failed(doing: &str, len: u64, offset: u64, error: io::Error) -> Error {
    Error::io(
        format!("{doing} {len} bytes at {offset} of a new file"),
        error,
    )
}

impl BlockDevice for NewFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = to_u64(buf.len());
        check_range(offset, len, self.size)?;
        self.file
            .read_exact_at(buf, self.start + offset)
            .map_err(|error| failed("reading", len, offset, error))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}

impl BlockDeviceMut for NewFile {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let len = to_u64(buf.len());
        check_range(offset, len, self.size)?;
        self.file
            .write_all_at(buf, self.start + offset)
            .map_err(|error| failed("writing", len, offset, error))
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        let end = check_range(offset, len, self.size)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if len == 0 || fallocate(&self.file, hole, self.start + offset, len).is_ok() {
            return Ok(());
        }
        let zeroes = vec![0; to_usize(len.min(ZEROES))?];
        let mut at = offset;
        while at < end {
            let piece = to_usize((end - at).min(ZEROES))?;
            self.write_at(at, &zeroes[..piece])?;
            at += to_u64(piece);
        }
        Ok(())
    }
}
