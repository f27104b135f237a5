//! How blocks are compressed.

use crate::bytes::to_u64;
use crate::codec::{WideDeflater, ZstdCompressor, compress_zlib};
use crate::error::{Error, Result};

/// What blocks are compressed with, and how hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SquashfsCompression {
    /// zlib streams, which every kernel with squashfs reads; level 1 (fast) to 9 (small).
    Gzip(u8),
    /// Zstandard frames, for kernels with `SQUASHFS_ZSTD` (Linux 4.14 and later); level 1 (fast) to 19 (small).
    Zstd(u8),
}

impl SquashfsCompression {
    /// The number of the compressor in the superblock.
    pub(super) fn id(self) -> u16 {
        match self {
            Self::Gzip(_) => 1,
            Self::Zstd(_) => 6,
        }
    }
}

/// Compresses one block after the other.
#[derive(Debug)]
pub(super) enum Packer {
    Gzip(Box<WideDeflater>),
    Zstd(ZstdCompressor),
}

impl Packer {
    /// A packer; an error where the level is out of range.
    pub fn new(compression: SquashfsCompression) -> Result<Self> {
        Ok(match compression {
            SquashfsCompression::Gzip(level) => Self::Gzip(Box::new(WideDeflater::new(level)?)),
            SquashfsCompression::Zstd(level) => Self::Zstd(ZstdCompressor::new(level)?),
        })
    }

    /// Replaces `out` with `data`, compressed, and returns `true`; or with `data` itself and returns `false` where it
    /// does not shrink.
    pub fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        match self {
            Self::Gzip(deflater) => compress_zlib(deflater, data, out),
            Self::Zstd(compressor) => {
                if compressor.compress_block(data, out) {
                    check_window(out, to_u64(data.len()))?;
                }
            }
        }
        let shrinks = !out.is_empty() && out.len() < data.len();
        if !shrinks {
            out.clear();
            out.extend_from_slice(data);
        }
        Ok(shrinks)
    }
}

/// The kernel reserves memory for windows of one block only: the frame must be a single segment (RFC 8878, 3.1.1.1.1).
fn check_window(frame: &[u8], len: u64) -> Result<()> {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    match frame.get(4) {
        Some(descriptor) if descriptor & SINGLE_SEGMENT != 0 => Ok(()),
        _ => Err(Error::internal(format!(
            "the zstd frame of {len} bytes is not a single segment"
        ))),
    }
}
