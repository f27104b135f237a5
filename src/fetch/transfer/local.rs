//! Files of this machine, where a URL could stand.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::sink::Sink;
use super::steps::Step;
use crate::bytes::{ByteSize, to_u64};
use crate::error::{Error, Reason, Result};
use crate::progress::Cancel;

/// Read at once.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Copies the file at `path` into `sink`.
pub(super) fn copy(
    path: &Path,
    max_bytes: u64,
    sink: &mut dyn Sink,
    step: &mut Step<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let mut file = open(path)?;
    let reading = |error| Error::io("reading it", error);
    let size = file.metadata().map_err(reading)?.len();
    check_len(size, max_bytes)?;
    step.begin(size);
    sink.restart()?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut len = 0;
    loop {
        cancel.check()?;
        let count = file.read(&mut piece).map_err(reading)?;
        if count == 0 {
            return Ok(());
        }
        len += to_u64(count);
        check_len(len, max_bytes)?;
        sink.write(&piece[..count])?;
        step.reached(len);
    }
}

/// Opens a regular file; a pipe without a writer does not hold us up.
fn open(path: &Path) -> Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| Error::io("opening it", error))?;
    let metadata = file
        .metadata()
        .map_err(|error| Error::io("reading it", error))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(Error::invalid("it is no regular file"))
    }
}

/// Whether so many bytes are within the limit.
pub(super) fn check_len(len: u64, max_bytes: u64) -> Result<()> {
    if len <= max_bytes {
        return Ok(());
    }
    let message = format!(
        "it is larger than the {} that are allowed",
        ByteSize(max_bytes)
    );
    Err(Error::unsupported(message).because(Reason::Limit))
}
