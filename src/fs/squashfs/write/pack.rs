//! How blocks are compressed.

use crate::bytes::to_u64;
use crate::codec::{WideDeflater, ZstdCompressor, compress_xz, compress_zlib};
use crate::error::{Error, Result};

/// `LZ4_LEGACY`, the only format of blocks that the kernel knows.
const LZ4_VERSION: u32 = 1;

/// What blocks are compressed with, and how hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SquashfsCompression {
    /// zlib streams, which every kernel with squashfs reads; level 1 (fast) to 9 (small).
    Gzip(u8),
    /// Zstandard frames, for kernels with `SQUASHFS_ZSTD` (Linux 4.14 and later); level 1 (fast) to 19 (small).
    Zstd(u8),
    /// xz streams, for kernels with `SQUASHFS_XZ`; level 0 (fast) to 9 (small).
    Xz(u8),
    /// LZ4 blocks, for kernels with `SQUASHFS_LZ4`: large and quickly read.
    Lz4,
    /// Nothing is compressed.
    None,
}

impl SquashfsCompression {
    /// The number of the compressor in the superblock.
    pub(super) fn id(self) -> u16 {
        match self {
            // Each block says itself whether it is compressed; zlib is what every kernel knows.
            Self::Gzip(_) | Self::None => 1,
            Self::Xz(_) => 4,
            Self::Lz4 => 5,
            Self::Zstd(_) => 6,
        }
    }

    /// What a kernel must know of the compressor, to lie behind the superblock; others have their defaults.
    pub(super) fn settings(self) -> Option<Vec<u8>> {
        let no_flags = [0; 4];
        matches!(self, Self::Lz4).then(|| [LZ4_VERSION.to_le_bytes(), no_flags].concat())
    }
}

/// Compresses one block after the other.
#[derive(Debug)]
pub(super) enum Packer {
    Gzip(Box<WideDeflater>),
    Zstd(ZstdCompressor),
    Xz { level: u8, dict_bytes: u32 },
    Lz4,
    None,
}

impl Packer {
    /// A packer of blocks of `block_bytes` at most; an error where the level is out of range.
    pub fn new(compression: SquashfsCompression, block_bytes: u32) -> Result<Self> {
        Ok(match compression {
            // The kernel has memory for dictionaries as large as a block.
            SquashfsCompression::Xz(level) => {
                compress_xz(level, block_bytes, &[], &mut Vec::new())?;
                Self::Xz {
                    level,
                    dict_bytes: block_bytes,
                }
            }
            SquashfsCompression::Lz4 => Self::Lz4,
            SquashfsCompression::None => Self::None,
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
            Self::Xz { level, dict_bytes } => compress_xz(*level, *dict_bytes, data, out)?,
            Self::Lz4 => *out = lz4_flex::block::compress(data),
            Self::None => {}
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
