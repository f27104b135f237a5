//! Outputs that go into a pipe, front to back.
//!
//! ```text
//!   disk ──raw, zeroes and all───────────────────────────────────▶ pipe
//!   disk ──raw, compressed───────────────────────────────────────▶ pipe
//!   disk ──any other format───▶ a file without a name ──as it is──▶ pipe
//!                                                     └─compressed─▶ pipe
//! ```
//!
//! Formats other than raw begin with what is only known at their end: where tables lie, and identifiers that are made from
//! the content.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::digest::Sha256Sum;
use super::output::Output;
use super::schedule::{Oversight, alone};
use super::{Making, with_hint};
use crate::block::BlockDevice;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::image::{OutputFormat, raw};
use crate::progress::Cancel;

/// What went into a pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Streamed {
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes in hexadecimal digits, where [`Output::digest`] asked for it.
    pub sha256: Option<String>,
}

/// Writes `disk` to `out`, which may be a pipe, with the bytes that [`super::emit`] gives to a file. The path of `output`
/// only serves for the names that some formats hold.
///
/// Raw disks, compressed or not, go there as they are read, holes as zeroes. All other formats are written to a file
/// without a name in `temp_dir` before. The work ends at the next read or write after it is cancelled.
///
/// # Errors
///
/// The disk's read errors; [`crate::ErrorKind::Io`] for `out`, also where its reader goes away;
/// [`crate::ErrorKind::Unsupported`] for formats of several files; [`crate::ErrorKind::Cancelled`].
pub fn stream(
    disk: &dyn BlockDevice,
    output: &Output,
    out: &mut dyn Write,
    temp_dir: &Path,
    oversight: &Oversight<'_>,
) -> Result<Streamed> {
    refuse_several_files(output.format)?;
    let mut pipe = Pipe::new(out, oversight.cancel, output.digest);
    let step = format!("streaming {}", output.format);
    let written = alone(&step, work(output, disk.size()), oversight, |desk| {
        let making = Making {
            desk,
            disk: &desk.read(disk),
            output,
            folder: temp_dir,
        };
        write(&making, &mut pipe)?;
        pipe.finish()
    });
    written
        .at(|| format!("writing a stream of {}", output.format))
        .map_err(with_hint)
}

fn refuse_several_files(format: OutputFormat) -> Result<()> {
    if format.is_one_file() {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "{format} is more than one file, which cannot be streamed"
    ))
    .because(Reason::Limit)
    .with_hint("write it to a file, or choose a format that is one file, such as vmdk_stream"))
}

/// What it counts: one pass for raw, else one more for the way through a file.
fn work(output: &Output, disk_bytes: u64) -> u64 {
    let passes = if output.format == OutputFormat::Raw {
        1
    } else {
        2
    };
    disk_bytes.saturating_mul(passes)
}

fn write(making: &Making<'_, '_>, pipe: &mut Pipe<'_>) -> Result<()> {
    let mut sink = |bytes: &[u8]| pipe.put(bytes);
    let output = making.output;
    if let Some(options) = &output.compress {
        return making.compressed(options, &mut sink);
    }
    if output.format == OutputFormat::Raw {
        return raw::stream(making.disk, &making.step(), &mut sink);
    }
    let image = making.unnamed()?;
    raw::stream(&making.desk.watch(image), &making.step(), &mut sink)
}

/// Where the bytes go.
pub(super) struct Pipe<'a> {
    out: &'a mut dyn Write,
    cancel: &'a Cancel,
    bytes: u64,
    sum: Option<Sha256Sum>,
}

impl<'a> Pipe<'a> {
    /// `out`, until `cancel` is raised; with a digest of what goes there where `digest` asks for it.
    pub(super) fn new(out: &'a mut dyn Write, cancel: &'a Cancel, digest: bool) -> Self {
        Self {
            out,
            cancel,
            bytes: 0,
            sum: digest.then(Sha256Sum::default),
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.cancel.check()?;
        self.out
            .write_all(bytes)
            .map_err(|error| failed(error, self.bytes))?;
        self.bytes += to_u64(bytes.len());
        self.sum.iter_mut().for_each(|sum| sum.update(bytes));
        Ok(())
    }

    /// Flushes it, and tells what went into it.
    pub(super) fn finish(self) -> Result<Streamed> {
        self.cancel.check()?;
        self.out
            .flush()
            .map_err(|error| failed(error, self.bytes))?;
        Ok(Streamed {
            bytes: self.bytes,
            sha256: self.sum.map(Sha256Sum::finish),
        })
    }
}

fn failed(error: std::io::Error, at: u64) -> Error {
    let is_closed = error.kind() == std::io::ErrorKind::BrokenPipe;
    let failed = Error::io(format!("writing to the stream at {at}"), error);
    if is_closed {
        failed.with_hint("whoever read the stream has closed it")
    } else {
        failed
    }
}
