//! Finds earlier places with the same bytes.

use super::numbers::narrow;
use crate::codec::compare::{equal_bytes, load32};

/// Bytes that must follow a place to look for matches there.
pub(super) const HASHED: usize = 4;
/// Hashes of three bytes.
const SHORT_LOG: u32 = 14;
/// Matches of three bytes from farther away cost more than they save.
const SHORT_REACH: u32 = 1 << 14;

/// A multiplier that spreads hashes: 2^32 by the golden ratio.
pub(super) const SPREAD: u32 = 0x9e37_79b1;

/// Earlier bytes that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub length: u32,
    pub distance: u32,
}

/// Chains of places with the same hash. Places count from one; 0 is the end of a chain.
#[derive(Debug)]
pub(super) struct Finder {
    /// Places compared at most.
    depth: u32,
    /// Matches are not measured beyond this length.
    length_max: usize,
    hash_log: u32,
    /// The last place for each hash of four bytes, and for each place the one before.
    last: Vec<u32>,
    before: Vec<u32>,
    /// The last place for each hash of three bytes.
    last_short: Vec<u32>,
    /// The first place that is in no chain yet.
    next: usize,
}

impl Finder {
    pub fn new(depth: u32, length_max: usize) -> Self {
        Self {
            depth,
            length_max,
            hash_log: 0,
            last: Vec::new(),
            before: Vec::new(),
            last_short: Vec::new(),
            next: 0,
        }
    }

    /// Forgets everything, for data of `len` bytes.
    pub fn begin(&mut self, len: usize) {
        self.hash_log = narrow(len).max(1).ilog2().clamp(10, 16);
        self.last.clear();
        self.last.resize(1 << self.hash_log, 0);
        self.last_short.clear();
        self.last_short.resize(1 << SHORT_LOG, 0);
        // What it holds is never looked at: a chain leads to places of this data only.
        self.before.resize(len.max(self.before.len()), 0);
        self.next = 0;
    }

    /// Puts a place that begins with `word` into its chains, and returns the last ones there, of four and of three bytes.
    #[inline(always)]
    fn chain(&mut self, place: usize, word: u32) -> (u32, u32) {
        let hash = (word.wrapping_mul(SPREAD) >> (32 - self.hash_log)) as usize;
        let short = ((word << 8).wrapping_mul(SPREAD) >> (32 - SHORT_LOG)) as usize;
        let number = narrow(place) + 1;
        let last = std::mem::replace(&mut self.last[hash], number);
        self.before[place] = last;
        (last, std::mem::replace(&mut self.last_short[short], number))
    }

    /// Replaces `matches` with what can be found at `at`, nearest first, each longer than the one before. [`HASHED`] bytes
    /// must follow, and places must be asked for in order.
    pub fn find(&mut self, data: &[u8], at: usize, matches: &mut Vec<Match>) {
        matches.clear();
        for place in self.next..at {
            self.chain(place, load32(data, place));
        }
        self.next = at + 1;
        let word = load32(data, at);
        let number = narrow(at) + 1;
        let (mut candidate, short) = self.chain(at, word);
        let most = (data.len() - at).min(self.length_max);
        let mut longest = 0;
        if short != 0
            && number - short < SHORT_REACH
            && (load32(data, short as usize - 1) ^ word) << 8 == 0
        {
            longest = equal_bytes(data, short as usize - 1, at, most);
            matches.push(Match {
                length: narrow(longest),
                distance: number - short,
            });
        }
        longest = longest.max(HASHED - 1);
        for _ in 0..self.depth {
            if candidate == 0 || longest >= most {
                break;
            }
            let place = candidate as usize - 1;
            // A longer match has these four bytes as well, and they differ most often.
            let ahead = longest + 1 - HASHED;
            if load32(data, place + ahead) == load32(data, at + ahead)
                && load32(data, place) == word
            {
                let length = equal_bytes(data, place, at, most);
                if length > longest {
                    longest = length;
                    matches.push(Match {
                        length: narrow(length),
                        distance: number - candidate,
                    });
                }
            }
            candidate = self.before[place];
        }
    }
}
