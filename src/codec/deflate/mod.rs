//! Raw deflate (RFC 1951) of pieces that are independent of each other: clusters of qcow2, grains of vmdk, stretches of
//! a gzip file.
//!
//! General compressors take a stream and slide their tables along it. Pieces need none of that: the tables of qcow2's
//! 4 KiB window fit into a first-level cache, those of 32 KiB into a second-level one, nothing is ever moved, and a
//! piece that does not shrink is given up before it is written.
//!
//! ```text
//!   bytes ──▶ matcher ──▶ literals and matches ──▶ block: counts ──▶ huffman: codes ──▶ bits
//! ```

mod block;
mod matcher;
#[cfg(test)]
mod tests;

use std::fmt;

use super::bits::BitWriter;
use crate::error::{Error, Result};
use block::Block;
use matcher::{HASHED, Match, Matcher};

/// The base-2 logarithm of the deflate window of compressed qcow2 clusters: 4 KiB, what QEMU writes.
///
/// QEMU's reader asks its inflate for no more, so a larger window is not promised to be readable.
pub const WINDOW_BITS_QCOW2: u8 = 12;

/// Literals and matches with codes of their own. Measured: larger blocks adapt less, smaller ones describe more codes.
const SYMBOLS_PER_BLOCK: usize = 8192;

/// How hard a level looks for matches.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Candidates that are compared at one position.
    depth: u32,
    /// A match of this length is taken without looking further.
    nice: usize,
    /// Whether a match waits for a better one at the next position.
    lazy: bool,
}

/// The efforts of levels 1 to 9. Level 6 is what gives the size of zlib's level 6 with a 4 KiB window.
const EFFORTS: [Effort; 9] = [
    Effort {
        depth: 2,
        nice: 16,
        lazy: false,
    },
    Effort {
        depth: 4,
        nice: 24,
        lazy: false,
    },
    Effort {
        depth: 2,
        nice: 16,
        lazy: true,
    },
    Effort {
        depth: 4,
        nice: 24,
        lazy: true,
    },
    Effort {
        depth: 6,
        nice: 28,
        lazy: true,
    },
    Effort {
        depth: 8,
        nice: 32,
        lazy: true,
    },
    Effort {
        depth: 16,
        nice: 48,
        lazy: true,
    },
    Effort {
        depth: 64,
        nice: 128,
        lazy: true,
    },
    Effort {
        depth: 256,
        nice: 258,
        lazy: true,
    },
];

/// Compresses blocks that are independent of each other; see [`Deflater`] and [`WideDeflater`].
pub struct Windowed<const WINDOW: usize, const HEADS: usize> {
    level: u8,
    effort: Effort,
    matcher: Matcher<WINDOW, HEADS>,
    block: Block,
}

/// Compresses with a window of 4 KiB. Twice as many chains as positions in it: a chain rarely mixes different strings.
pub type Deflater = Windowed<{ 1 << WINDOW_BITS_QCOW2 }, { 2 << WINDOW_BITS_QCOW2 }>;

/// Compresses with deflate's largest window, 32 KiB.
pub type WideDeflater = Windowed<{ 1 << 15 }, { 1 << 15 }>;

impl<const WINDOW: usize, const HEADS: usize> Windowed<WINDOW, HEADS> {
    /// A compressor of `level` 1 (fast) to 9 (small).
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] for any other level.
    pub fn new(level: u8) -> Result<Self> {
        let effort = usize::from(level)
            .checked_sub(1)
            .and_then(|index| EFFORTS.get(index))
            .ok_or_else(|| {
                Error::invalid(format!(
                    "compression level {level} is invalid: must be 1 to 9"
                ))
            })?;
        Ok(Self {
            level,
            effort: *effort,
            matcher: Matcher::new(),
            block: Block::new(),
        })
    }

    /// Appends `data`, compressed, to `out` and returns `true`, or leaves `out` as it was and returns `false` where
    /// that would not make it smaller. The result depends on `data` and the level alone.
    pub fn compress_block(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        self.shrink(data, true, out)
    }

    /// Appends `data` to `out` as a piece of a deflate stream, which ends with the `last` piece; bytes that do not
    /// shrink are stored. Pieces do not refer to each other, begin and end at whole bytes, and can be made in any order.
    pub fn compress_piece(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) {
        if !self.shrink(data, last, out) {
            BitWriter::new(out).store(data, last);
        }
    }

    fn shrink(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.matcher.reset();
        let mut bits = BitWriter::new(out);
        let mut pos = 0;
        let mut block_start = 0;
        while block_start < data.len() && bits.out.len() - start < data.len() {
            pos = self.parse(data, pos);
            self.block.write(
                &data[block_start..pos],
                last && pos == data.len(),
                &mut bits,
            );
            block_start = pos;
        }
        if last {
            bits.align();
        } else {
            bits.store(&[], false); // an empty stored block ends at a whole byte
        }
        let shrinks = pos == data.len() && out.len() - start < data.len();
        if !shrinks {
            out.truncate(start);
        }
        shrinks
    }

    /// Turns the bytes from `pos` on into one block's worth of literals and matches; returns where they end.
    fn parse(&mut self, data: &[u8], mut pos: usize) -> usize {
        let Effort { depth, nice, lazy } = self.effort;
        while pos < data.len() && self.block.len() < SYMBOLS_PER_BLOCK {
            if data.len() - pos < HASHED {
                self.block.literal(data[pos]);
                pos += 1;
                continue;
            }
            let mut found = self.matcher.find(data, pos, Match::default(), depth, nice);
            if found.len == 0 {
                self.block.literal(data[pos]);
                pos += 1;
                continue;
            }
            let mut known = 1;
            while lazy && found.len < nice && data.len() - pos > HASHED {
                let least = Match {
                    len: found.len - 1,
                    dist: 0,
                };
                let next = self.matcher.find(data, pos + 1, least, depth / 2, nice);
                known = 2;
                if !is_better(next, found) {
                    break;
                }
                self.block.literal(data[pos]);
                pos += 1;
                found = next;
                known = 1;
            }
            self.block.found(found);
            self.matcher.insert(data, pos + known, found.len - known);
            pos += found.len;
        }
        pos
    }
}

/// Whether a match one byte later is worth the literal before it: longer, or as long and much nearer.
fn is_better(next: Match, found: Match) -> bool {
    if next.dist == 0 || next.len < found.len {
        return false;
    }
    4 * (next.len - found.len) + found.dist.ilog2() as usize > next.dist.ilog2() as usize + 2
}

impl<const WINDOW: usize, const HEADS: usize> fmt::Debug for Windowed<WINDOW, HEADS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}
