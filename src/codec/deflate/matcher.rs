//! Finds earlier occurrences of the bytes at a position within the window.
//!
//! ```text
//!   head4[hash of 4 bytes] ──▶ newest position ──prev──▶ older ──prev──▶ older …   all within the window
//!   head3[hash of 3 bytes] ──▶ newest position
//! ```
//!
//! Positions are kept as their low 16 bits, so tables are small and nothing has to be moved as the window slides. What
//! an entry says is only a hint: a wrong one is either out of reach or the bytes do not compare equal.

use crate::codec::compare::{equal_bytes, load32};

/// The longest match of deflate.
pub(super) const MAX_MATCH: usize = 258;

/// Bytes that are hashed, and must follow a position, to look for a match there.
pub(super) const HASHED: usize = 4;

/// Chains of strings of 3 bytes, which are worth something nearby only.
const HEAD3_BITS: u32 = 12;

/// An earlier occurrence: `len` equal bytes, `dist` bytes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Match {
    pub len: usize,
    pub dist: usize,
}

/// Matches reach back `WINDOW` bytes (a power of two, up to 32 KiB); `HEADS` is the number of chains, a power of two,
/// too.
pub(super) struct Matcher<const WINDOW: usize, const HEADS: usize> {
    head4: Box<[u16; HEADS]>,
    head3: Box<[u16; 1 << HEAD3_BITS]>,
    prev: Box<[u16; WINDOW]>,
}

impl<const WINDOW: usize, const HEADS: usize> Matcher<WINDOW, HEADS> {
    pub fn new() -> Self {
        Self {
            head4: Box::new([0; HEADS]),
            head3: Box::new([0; 1 << HEAD3_BITS]),
            prev: Box::new([0; WINDOW]),
        }
    }

    /// Forgets the block before, so that the result does not depend on it.
    pub fn reset(&mut self) {
        self.head4.fill(0);
        self.head3.fill(0);
    }

    /// Makes `pos` known, and returns what the heads of its chains were.
    #[inline(always)]
    fn chain(&mut self, data: &[u8], pos: usize) -> (u16, u16) {
        let bytes = load32(data, pos);
        let short = low16(pos);
        let hash4 = (bytes.wrapping_mul(0x9e37_79b1) >> (32 - HEADS.ilog2())) as usize;
        let hash3 = ((bytes << 8).wrapping_mul(0x9e37_79b1) >> (32 - HEAD3_BITS)) as usize;
        let newest4 = std::mem::replace(&mut self.head4[hash4], short);
        let newest3 = std::mem::replace(&mut self.head3[hash3], short);
        self.prev[pos % WINDOW] = newest4;
        (newest4, newest3)
    }

    /// Makes `count` positions from `pos` known; those with fewer than [`HASHED`] bytes behind them are left out.
    pub fn insert(&mut self, data: &[u8], pos: usize, count: usize) {
        for pos in pos..(pos + count).min((data.len() + 1).saturating_sub(HASHED)) {
            self.chain(data, pos);
        }
    }

    /// Makes `pos`, which has at least [`HASHED`] bytes behind it, known and finds a match longer than `best.len`; looks
    /// at no more than `depth` candidates and is content with `nice` bytes.
    #[inline(always)]
    pub fn find(
        &mut self,
        data: &[u8],
        pos: usize,
        mut best: Match,
        depth: u32,
        nice: usize,
    ) -> Match {
        let (mut candidate, newest3) = self.chain(data, pos);
        let max_len = (data.len() - pos).min(MAX_MATCH);
        let reach = pos.min(WINDOW);
        let start = load32(data, pos);
        if best.len < 3 {
            let dist = distance(pos, newest3);
            if dist != 0 && dist <= reach && (load32(data, pos - dist) ^ start) << 8 == 0 {
                best = Match { len: 3, dist };
            }
        }
        let mut longest = best.len.max(3);
        let mut last = 0;
        for _ in 0..depth {
            let dist = distance(pos, candidate);
            // Distances grow along a chain; where they do not, the entry is one that has been overwritten.
            if dist <= last || dist > reach || longest >= max_len {
                break;
            }
            last = dist;
            let at = pos - dist;
            // The bytes that would make it longer are the ones that differ most often.
            if load32(data, at + longest - 3) == load32(data, pos + longest - 3)
                && load32(data, at) == start
            {
                let len = equal_bytes(data, at, pos, max_len);
                if len > longest {
                    longest = len;
                    best = Match { len, dist };
                    if len >= nice {
                        break;
                    }
                }
            }
            candidate = self.prev[at % WINDOW];
        }
        best
    }
}

/// How far back from `pos` the position with these low 16 bits lies.
#[inline(always)]
fn distance(pos: usize, short: u16) -> usize {
    usize::from(low16(pos).wrapping_sub(short))
}

#[inline(always)]
fn low16(pos: usize) -> u16 {
    let bytes = pos.to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}
