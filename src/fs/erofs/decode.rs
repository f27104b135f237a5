//! The compressors: each stretch of packed data is one stream of its own.

use std::fmt;
use std::io::Read;

use flate2::{Decompress, FlushDecompress};
use lzma_rust2::LzmaReader;
use ruzstd::decoding::StreamingDecoder;

use super::lz4;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};

/// Largest window that a zstd frame may ask for, that of the longest stretch there can be.
const ZSTD_WINDOW_MAX: u64 = super::UNPACKED_MAX;

/// The longest match of LZMA.
const LZMA_MATCH_MAX: u64 = 273;

/// A compressor (`Z_EROFS_COMPRESSION_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Lz4,
    Lzma,
    Deflate,
    Zstd,
}

impl Algorithm {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Lz4, Self::Lzma, Self::Deflate, Self::Zstd];

    /// The compressor of a number.
    pub fn from_number(number: u8) -> Result<Self> {
        let known = Self::ALL.get(usize::from(number));
        known.copied().ok_or_else(|| {
            Error::unsupported(format!("compressor {number}, only 0 to 3 are known"))
                .because(Reason::Feature)
        })
    }

    /// Its bit in `available_compr_algs`.
    pub fn bit(self) -> u16 {
        match self {
            Self::Lz4 => 1,
            Self::Lzma => 2,
            Self::Deflate => 4,
            Self::Zstd => 8,
        }
    }

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a stream is unpacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder {
    pub algorithm: Algorithm,
    /// The stream may hold more than is asked for, or something may follow it.
    pub is_partial: bool,
    pub lzma_dictionary: u32,
}

impl Decoder {
    /// Fills `output` from the stream `input`.
    pub fn decode(&self, input: &[u8], output: &mut [u8]) -> Result<()> {
        let unpacked = match self.algorithm {
            Algorithm::Lz4 if self.is_partial => lz4::decode_beginning(input, output),
            Algorithm::Lz4 => decode_lz4(input, output),
            Algorithm::Lzma => decode_lzma(input, output, self),
            Algorithm::Deflate => inflate(input, output),
            Algorithm::Zstd => decode_zstd(input, output),
        };
        let algorithm = self.algorithm;
        let len = output.len();
        unpacked.map_err(|error| error.at(format!("unpacking {len} bytes with {algorithm}")))
    }
}

fn decode_lz4(input: &[u8], output: &mut [u8]) -> Result<()> {
    let len = lz4_flex::block::decompress_into(input, output).map_err(damaged)?;
    if len != output.len() {
        return Err(Error::corrupt(format!("there are only {len} bytes")));
    }
    Ok(())
}

/// MicroLZMA: an LZMA stream without end marker, whose first byte, always zero, gives its place to the inverted
/// properties.
fn decode_lzma(input: &[u8], output: &mut [u8], decoder: &Decoder) -> Result<()> {
    let (first, rest) = input
        .split_first()
        .ok_or_else(|| Error::corrupt("there is no stream"))?;
    let stream = (&[0][..]).chain(rest);
    // What goes on may do so within a match.
    let more = if decoder.is_partial {
        LZMA_MATCH_MAX
    } else {
        0
    };
    let len = to_u64(output.len()) + more;
    let reader = LzmaReader::new_with_props(stream, len, !first, decoder.lzma_dictionary, None);
    let mut reader = reader.map_err(damaged)?;
    reader.read_exact(output).map_err(damaged)
}

fn inflate(input: &[u8], output: &mut [u8]) -> Result<()> {
    let mut stream = Decompress::new(false);
    stream
        .decompress(input, output, FlushDecompress::Finish)
        .map_err(damaged)?;
    if stream.total_out() != to_u64(output.len()) {
        return Err(Error::corrupt(format!(
            "there are only {} bytes",
            stream.total_out()
        )));
    }
    Ok(())
}

fn decode_zstd(input: &[u8], output: &mut [u8]) -> Result<()> {
    let mut stream =
        StreamingDecoder::new_with_max_window_size(input, ZSTD_WINDOW_MAX).map_err(damaged)?;
    stream.read_exact(output).map_err(damaged)
}

/// What a decoder over bytes in memory reports can only be damage.
fn damaged(error: impl fmt::Display) -> Error {
    Error::corrupt(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::bytes::random::Random;

    fn content() -> Vec<u8> {
        let mut content = b"all work and no play ".repeat(400);
        content.extend(Random::new(3).bytes(500));
        content.extend(vec![0; 9000]);
        content
    }

    fn packed(algorithm: Algorithm, content: &[u8]) -> Vec<u8> {
        match algorithm {
            Algorithm::Lz4 => lz4_flex::block::compress(content),
            Algorithm::Lzma => {
                let options = lzma_rust2::LzmaOptions::with_preset(6);
                let mut writer =
                    lzma_rust2::LzmaWriter::new_no_header(Vec::new(), &options, false).unwrap();
                writer.write_all(content).unwrap();
                let mut stream = writer.finish().unwrap();
                assert_eq!(stream[0], 0);
                stream[0] = !options.get_props();
                stream
            }
            Algorithm::Deflate => {
                let mut writer =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
                writer.write_all(content).unwrap();
                writer.finish().unwrap()
            }
            Algorithm::Zstd => {
                let mut frame = Vec::new();
                assert!(
                    crate::codec::ZstdCompressor::new(3)
                        .unwrap()
                        .compress_block(content, &mut frame)
                );
                frame
            }
        }
    }

    #[test]
    fn every_compressor_gives_the_content_and_its_beginnings_back() {
        let content = content();
        for algorithm in Algorithm::ALL {
            let stream = packed(algorithm, &content);
            assert!(stream.len() < content.len() / 2);
            for (len, is_partial) in [
                (content.len(), false),
                (content.len(), true),
                (5000, true),
                (1, true),
                (0, true),
            ] {
                let decoder = Decoder {
                    algorithm,
                    is_partial,
                    lzma_dictionary: 1 << 16,
                };
                let mut output = vec![0; len];
                decoder
                    .decode(&stream, &mut output)
                    .unwrap_or_else(|error| panic!("{algorithm} {len}: {error}"));
                assert!(output == content[..len], "{algorithm} {len}");
            }
            let decoder = Decoder {
                algorithm,
                is_partial: false,
                lzma_dictionary: 1 << 16,
            };
            let error = decoder
                .decode(&stream[..stream.len() / 2], &mut vec![0; content.len()])
                .unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Corrupt, "{algorithm}");
            assert!(decoder.decode(&[], &mut [0; 9]).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn damaged_streams_give_a_result_or_an_error() {
        let content = content();
        let mut random = Random::new(4);
        for algorithm in Algorithm::ALL {
            let stream = packed(algorithm, &content);
            for _ in 0..300 {
                let mut bad = stream.clone();
                let at = random.below(bad.len());
                bad[at] ^= 1 << random.below(8);
                for is_partial in [false, true] {
                    let decoder = Decoder {
                        algorithm,
                        is_partial,
                        lzma_dictionary: 4096,
                    };
                    let _ = decoder.decode(&bad, &mut vec![0; content.len()]);
                }
            }
        }
    }
}
