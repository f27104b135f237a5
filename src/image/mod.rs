//! Disk image formats: what is detected, opened and written.

mod block_writer;
mod blocks;
mod cache;
mod compress;
mod copy;
mod details;
mod detect;
mod format;
mod formats;
#[cfg(test)]
mod hostile;
mod identity;
pub mod iso9660;
mod mapped;
mod not_a_disk;
#[cfg(test)]
mod not_a_disk_tests;
mod open;
mod output_name;
pub mod parallels;
pub mod qcow2;
mod ranges;
pub mod raw;
mod references;
mod scratch;
mod spool;
mod stretches;
mod units;
pub mod vdi;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
mod whole;
#[cfg(test)]
mod write_tests;

pub use cache::{CachedDisk, cached_disks};
pub use compress::{CompressOptions, compress, compress_with};
pub use details::{Details, ExternalReference};
pub use detect::{Compression, Content, detect, detect_start};
pub(crate) use format::{ExtentWriter, FolderWriter, WriteJob, Writer};
pub use format::{Format, OutputFormat, OutputOption};
pub use identity::Identity;
pub(crate) use not_a_disk::NotADisk;
pub use open::{CacheMode, Examined, Image, OpenOptions, examine, examine_file, open, open_file};
pub use output_name::plain_name;
pub use spool::spool;
pub use stretches::data_stretches;
pub use whole::check_whole;

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::block::Blank;
use crate::error::{Error, Result};

/// Writes all of `bytes` at `offset` of the file that an image is written to.
fn write_out(out: &File, offset: u64, bytes: &[u8]) -> Result<()> {
    out.write_all_at(bytes, offset).map_err(|error| {
        Error::io(
            format!("writing {} bytes at {offset} of the new image", bytes.len()),
            error,
        )
    })
}

/// Sets the size of the file that an image is written to.
fn set_size(out: &File, size: u64) -> Result<()> {
    out.set_len(size).map_err(|error| {
        Error::io(
            format!("setting the size of the new image to {size} bytes"),
            error,
        )
    })
}

/// Refuses a file that holds something: writers skip zeroes, so what was there would shine through.
fn check_empty(out: &File) -> Result<()> {
    Blank::from(out).check("new image")
}
