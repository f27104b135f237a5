//! The compressors of squashfs: each block is one whole stream.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use lzma_rust2::LzmaReader;
use ruzstd::decoding::FrameDecoder;

use super::stream::{WINDOW_MAX, corrupt_stream, read_to_end};
use super::xz;
use crate::bytes::to_usize;
use crate::codec::decompress_lzo1x;
use crate::error::{Error, Result};

/// Memory for one legacy LZMA stream: the largest dictionary and the probability tables of usual settings.
const LZMA_MEMORY_KIB: u32 = 4096;

/// The compressor named in the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Lzma,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

impl Compression {
    pub fn from_id(id: u16) -> Result<Self> {
        match id {
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Lzma),
            3 => Ok(Self::Lzo),
            4 => Ok(Self::Xz),
            5 => Ok(Self::Lz4),
            6 => Ok(Self::Zstd),
            _ => Err(Error::corrupt(format!(
                "compressor {id} is not one of 1 to 6"
            ))),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Lzma => "lzma",
            Self::Lzo => "lzo",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Unpacks blocks; keeps the state that is dear to set up.
pub(super) enum Decoder {
    Gzip(Box<Decompress>),
    Zstd(Box<FrameDecoder>),
    Other(Compression),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decoder({})", self.compression())
    }
}

impl Decoder {
    pub fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(Box::new(Decompress::new(true))),
            Compression::Zstd => {
                let mut frames = FrameDecoder::new();
                frames.set_max_window_size(WINDOW_MAX.into());
                Self::Zstd(Box::new(frames))
            }
            other => Self::Other(other),
        }
    }

    fn compression(&self) -> Compression {
        match self {
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
            Self::Other(other) => *other,
        }
    }

    /// Unpacks the stream `input` into `output` and returns how many bytes it holds; more than fit is an error.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize> {
        let room = output.len();
        let unpacked = match self {
            Self::Gzip(inflate) => gunzip(inflate, input, output),
            Self::Zstd(frames) => frames
                .decode_all(input, output)
                .map_err(|error| Error::corrupt(error.to_string())),
            Self::Other(Compression::Lz4) => lz4_flex::block::decompress_into(input, output)
                .map_err(|error| Error::corrupt(error.to_string())),
            Self::Other(Compression::Lzo) => decompress_lzo1x(input, room).map(|bytes| {
                output[..bytes.len()].copy_from_slice(&bytes);
                bytes.len()
            }),
            Self::Other(Compression::Lzma) => {
                let stream = LzmaReader::new_mem_limit(input, LZMA_MEMORY_KIB, None);
                stream
                    .map_err(corrupt_stream)
                    .and_then(|mut stream| read_to_end(&mut stream, output))
            }
            Self::Other(_) => xz::decode(input, output),
        };
        let compression = self.compression();
        unpacked.map_err(|error| {
            error.at(format!(
                "unpacking a {compression} block of at most {room} bytes"
            ))
        })
    }
}

fn gunzip(inflate: &mut Decompress, input: &[u8], output: &mut [u8]) -> Result<usize> {
    inflate.reset(true);
    match inflate.decompress(input, output, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => to_usize(inflate.total_out()),
        Ok(_) => Err(Error::corrupt("the stream does not end where it should")),
        Err(error) => Err(Error::corrupt(error.to_string())),
    }
}
