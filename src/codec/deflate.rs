//! Raw deflate (RFC 1951) of one block after another, with one reusable compressor state for each thread.

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use crate::error::{Error, Result};

/// The base-2 logarithm of the deflate window of compressed qcow2 clusters: 4 KiB, what QEMU writes.
///
/// QEMU's reader asks its inflate for no more, so a larger window is not promised to be readable.
pub const WINDOW_BITS_QCOW2: u8 = 12;

/// zlib's `memLevel`: a block of 2^(7 + 6) symbols has its own Huffman codes. Measured on programs and documents this
/// is the best size for 64 KiB at once: 0.3 % below `memLevel` 9, whose larger blocks adapt less.
const MEM_LEVEL: i32 = 7;

/// Compresses blocks that are independent of each other.
pub struct Deflater {
    state: Deflate,
    level: u8,
    window_bits: u8,
}

impl Deflater {
    /// A compressor of `level` 1 (fast) to 9 (small) with a window of 2^`window_bits` bytes (9 to 15).
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] for a number outside these ranges.
    pub fn new(level: u8, window_bits: u8) -> Result<Self> {
        if !(1..=9).contains(&level) {
            return Err(Error::invalid(format!("compression level {level} is invalid: must be 1 to 9")));
        }
        if !(9..=15).contains(&window_bits) {
            return Err(Error::invalid(format!("deflate window of {window_bits} bits is invalid: must be 9 to 15")));
        }
        Ok(Self { state: new_state(level, window_bits), level, window_bits })
    }

    /// Appends `block`, compressed, to `out` and returns `true`, or leaves `out` as it was and returns `false` where
    /// that would not make it smaller.
    pub fn compress_block(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let start = out.len();
        // Room for the worst case, every byte a literal of 9 bits: the stream always comes to its end. An unfinished
        // one would cost more than it saves, since the next block then needs a new state.
        out.resize(start + block.len() + block.len() / 8 + block.len() / 64 + 64, 0);
        self.state.reset();
        let status = self
            .state
            .compress(block, &mut out[start..], DeflateFlush::Finish)
            .map_err(|error| Error::internal(format!("deflate of {} bytes: {}", block.len(), error.as_str())));
        let len = usize::try_from(self.state.total_out()).unwrap_or(usize::MAX);
        let shrinks = matches!(status, Ok(Status::StreamEnd)) && len < block.len();
        out.truncate(if shrinks { start + len } else { start });
        if !matches!(status, Ok(Status::StreamEnd)) {
            // At level 1 zlib-rs cannot reset a stream that did not come to its end.
            self.state = new_state(self.level, self.window_bits);
        }
        status.map(|_| shrinks)
    }
}

fn new_state(level: u8, window_bits: u8) -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        window_bits: -i32::from(window_bits), // negative: no zlib header
        mem_level: MEM_LEVEL,
        ..DeflateConfig::new(i32::from(level))
    })
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("level", &self.level).field("window_bits", &self.window_bits).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zlib_rs::{Inflate, InflateFlush};

    use super::*;

    /// Inflates with the window that QEMU uses.
    fn inflate(compressed: &[u8], len: usize) -> Vec<u8> {
        let mut block = vec![0; len];
        let mut state = Inflate::new(false, WINDOW_BITS_QCOW2);
        let status = state.decompress(compressed, &mut block, InflateFlush::Finish).unwrap();
        assert_eq!((status, usize::try_from(state.total_out()).unwrap()), (Status::StreamEnd, len));
        block
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn every_level_comes_back_after_incompressible_and_empty_blocks() {
        let text = include_bytes!("deflate.rs");
        let mut mixed = noise(40_000);
        mixed.extend_from_slice(text);
        mixed.resize(65_536, 7);
        for level in 1..=9 {
            let mut deflater = Deflater::new(level, WINDOW_BITS_QCOW2).unwrap();
            let mut out = b"kept".to_vec();
            for len in [0, 1, 3, 512, 65_536, 2 << 20] {
                assert!(
                    !deflater.compress_block(&noise(len), &mut out).unwrap(),
                    "{len} bytes of noise, level {level}"
                );
                assert_eq!(out, b"kept");
            }
            for block in [&text[..], &mixed, &[0; 65_536]] {
                assert!(deflater.compress_block(block, &mut out).unwrap(), "level {level}");
                assert!(inflate(&out[4..], block.len()) == block, "level {level}");
                out.truncate(4);
            }
        }
    }

    #[test]
    fn no_match_reaches_beyond_the_window() {
        // The same noise twice, further apart than 4 KiB: only a larger window can make use of it.
        let block = noise(8192).repeat(2);
        let mut out = Vec::new();
        assert!(!Deflater::new(6, WINDOW_BITS_QCOW2).unwrap().compress_block(&block, &mut out).unwrap());
        assert!(Deflater::new(6, 15).unwrap().compress_block(&block, &mut out).unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        for (level, window_bits) in [(0, 12), (10, 12), (6, 8), (6, 16)] {
            assert_eq!(Deflater::new(level, window_bits).unwrap_err().kind(), crate::ErrorKind::InvalidInput);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_block_comes_back(pieces in prop::collection::vec((any::<u8>(), 0..2000usize, any::<bool>()), 0..40), level in 1..=9u8) {
            let mut block = Vec::new();
            for (byte, len, random) in pieces {
                if random { block.extend(noise(len)) } else { block.extend(vec![byte; len]) }
            }
            let mut out = Vec::new();
            let mut deflater = Deflater::new(level, WINDOW_BITS_QCOW2).unwrap();
            if deflater.compress_block(&block, &mut out).unwrap() {
                prop_assert!(out.len() < block.len());
                prop_assert!(inflate(&out, block.len()) == block);
            } else {
                prop_assert!(out.is_empty());
            }
        }
    }
}
