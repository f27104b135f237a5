//! Compressed streams, written on all cores from a source that knows its holes.
//!
//! ```text
//!   source ──▶ [ piece 0 ][ piece 1 ][ zeroes ][ zeroes ][ piece 4 ] …      pieces of a fixed size, on any thread
//!                  │          │          └── packed once ──┘
//!   sink  ◀── head, packed 0, packed 1, …, tail                             strictly in order
//! ```
//!
//! Pieces do not refer to each other, so the bytes depend on the content and the level alone, never on the number of
//! threads nor on what the source knows of its holes, and other programs can decode them in parallel, too.

mod bzip2;
mod gzip;
mod pieces;
#[cfg(test)]
mod tests;
mod xz;
mod zip;
mod zlib;
mod zstd;

pub use bzip2::encode as encode_bzip2;
pub use gzip::encode as encode_gzip;
pub use xz::{compress_xz, encode as encode_xz};
pub use zip::encode as encode_zip;
pub use zlib::compress_zlib;
pub use zstd::{ZstdCompressor, encode as encode_zstd};

use crate::error::{Error, Result};

/// What is compressed: bytes at offsets, some of which are known to be zero without being read.
pub trait Source: Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// How many bytes from `offset` (below the size) on are zero, as far as is known without reading; 0 where data begin.
    fn zeroes_at(&self, offset: u64) -> Result<u64>;
}

/// Takes compressed bytes in order; `done` is how many bytes of the source they bring to an end.
pub trait Sink {
    /// Writes `bytes`.
    fn put(&mut self, bytes: &[u8], done: u64) -> Result<()>;
}

impl<F: FnMut(&[u8], u64) -> Result<()>> Sink for F {
    fn put(&mut self, bytes: &[u8], done: u64) -> Result<()> {
        self(bytes, done)
    }
}

/// Checks that a level lies between `least` and `most`.
fn check_level(name: &str, level: u8, least: u8, most: u8) -> Result<()> {
    if (least..=most).contains(&level) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} level {level} is invalid: must be {least} to {most}"
    )))
}
