//! LZ4 into a given room: as much of the input as fits, which is how EROFS packs.
//!
//! The blocks follow lz4's "LZ4 Block Format Description"; matches are looked for greedily, by a hash of four bytes.

use crate::error::{Error, Result};

/// Places of four bytes that are remembered.
const HASH_BITS: u32 = 13;
/// A multiplier that spreads them (2^32 by the golden ratio).
const HASH_FACTOR: u32 = 2_654_435_761;
/// The shortest match.
const MATCH_MIN: usize = 4;
/// A block ends with at least so many bytes that are no match, and no match begins so near its end.
const LITERALS_MIN: usize = 5;
const MATCH_MARGIN: usize = 12;
/// How far back a match can be.
const DISTANCE_MAX: usize = 65_535;
/// A length in a token; the rest comes in bytes of 255.
const LONG: usize = 15;
/// After so many bytes without a match, every second place is tried, then every third, and so on.
const SKIP_SHIFT: u32 = 6;

/// Packs an input, one block after the other.
#[derive(Debug)]
pub(super) struct Compressor {
    /// Where four bytes with a hash were seen last, plus one; 0 is nowhere.
    seen: Box<[u32; 1 << HASH_BITS]>,
}

/// A match.
#[derive(Debug, Clone, Copy)]
struct Match {
    start: usize,
    distance: usize,
    len: usize,
}

/// A block that is being written.
struct Block<'a> {
    input: &'a [u8],
    out: &'a mut Vec<u8>,
    /// Bytes that `out` may have.
    room: usize,
    /// Input that is in `out`.
    done: usize,
}

impl Compressor {
    pub fn new() -> Self {
        Self {
            seen: Box::new([0; 1 << HASH_BITS]),
        }
    }

    /// Forgets the input of before. Every input begins with this.
    pub fn begin(&mut self) {
        self.seen.fill(0);
    }

    /// Replaces `out` with a block of at most `room` bytes that holds as much of `input` from `start` on as it finds room
    /// for, and returns how much that is. `room` is at least 16. What was packed before is not referred to.
    pub fn pack(
        &mut self,
        input: &[u8],
        start: usize,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize> {
        if u32::try_from(input.len()).is_err() {
            return Err(Error::internal("an LZ4 block of more than 4 GiB"));
        }
        out.clear();
        out.reserve(room);
        let mut block = Block {
            input,
            out,
            room,
            done: start,
        };
        let mut from = start;
        while let Some(found) = self.find(input, start, from, block.done) {
            if !block.put(found) {
                break;
            }
            from = block.done;
            // A place within the match, so that what repeats is found sooner.
            if let Some(value) = four_bytes(input, from - 2) {
                self.see(value, from - 2);
            }
        }
        Ok(block.finish() - start)
    }

    /// The next match that begins at `from` or later and refers to nothing before `start`; `done` is the end of the last
    /// one.
    fn find(&mut self, input: &[u8], start: usize, from: usize, done: usize) -> Option<Match> {
        let last = input.len().checked_sub(MATCH_MARGIN)?;
        let mut at = from;
        while at <= last {
            let value = four_bytes(input, at)?;
            // One more than the place, so that nowhere is before everything. What an earlier block looked at without
            // having room for it lies ahead.
            let before = self.see(value, at);
            if (start + 1..=at).contains(&before)
                && at - before < DISTANCE_MAX
                && four_bytes(input, before - 1) == Some(value)
            {
                return Some(extend(input, (start, before - 1), at, done));
            }
            at += 1 + ((at - from) >> SKIP_SHIFT);
        }
        None
    }

    /// Notes that four bytes lie at `at`, and returns where some of the same hash did before, plus one.
    fn see(&mut self, value: u32, at: usize) -> usize {
        let slot = value.wrapping_mul(HASH_FACTOR) >> (32 - HASH_BITS);
        let slot = &mut self.seen[slot as usize];
        let before = *slot as usize;
        // The length of the input has 32 bits.
        *slot = u32::try_from(at + 1).unwrap_or(0);
        before
    }
}

fn four_bytes(input: &[u8], at: usize) -> Option<u32> {
    input[at..].first_chunk().copied().map(u32::from_le_bytes)
}

/// The match of four bytes at `at` with those at the candidate, made longer in both directions. A candidate comes with
/// where the block begins.
fn extend(input: &[u8], candidate: (usize, usize), at: usize, done: usize) -> Match {
    let (start, candidate) = candidate;
    let distance = at - candidate;
    let before = input[done..at]
        .iter()
        .rev()
        .zip(input[start..candidate].iter().rev());
    let back = before.take_while(|(one, other)| one == other).count();
    let end = input.len() - LITERALS_MIN;
    let ahead = common(&input[at + MATCH_MIN..end], &input[candidate + MATCH_MIN..]);
    Match {
        start: at - back,
        distance,
        len: back + MATCH_MIN + ahead,
    }
}

/// How many bytes at the beginning of `one` are also at that of `other`, which is not shorter.
fn common(one: &[u8], other: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let (words, _) = one.as_chunks::<WORD>();
    let (other_words, _) = other.as_chunks::<WORD>();
    for (index, (word, other)) in words.iter().zip(other_words).enumerate() {
        let differ = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*other);
        if differ != 0 {
            return index * WORD + (differ.trailing_zeros() / u8::BITS) as usize;
        }
    }
    let done = words.len() * WORD;
    let rest = one[done..].iter().zip(&other[done..]);
    done + rest.take_while(|(one, other)| one == other).count()
}

/// Bytes of a length of which a token holds the beginning.
fn long_bytes(len: usize) -> usize {
    if len < LONG {
        0
    } else {
        (len - LONG) / 255 + 1
    }
}

impl Block<'_> {
    /// Writes the literals before a match and the match, or as much of it as there is room for. `false` where there is none
    /// for it.
    fn put(&mut self, found: Match) -> bool {
        let literals = found.start - self.done;
        let head = 1 + long_bytes(literals) + literals + 2;
        // A token and the literals that must follow.
        let reserve = 1 + LITERALS_MIN.max(MATCH_MARGIN - MATCH_MIN);
        let Some(left) = self.room.checked_sub(self.out.len() + head + reserve) else {
            return false;
        };
        let most = if left == 0 {
            MATCH_MIN + LONG - 1
        } else {
            MATCH_MIN + LONG + (left - 1) * 255 + 254
        };
        let len = found.len.min(most);
        self.token(literals, len - MATCH_MIN);
        self.out
            .extend_from_slice(&self.input[self.done..found.start]);
        self.out.extend(
            u16::try_from(found.distance)
                .unwrap_or(u16::MAX)
                .to_le_bytes(),
        );
        self.long(len - MATCH_MIN);
        self.done = found.start + len;
        true
    }

    /// Writes literals as far as there is room, and returns how much of the input is written.
    fn finish(mut self) -> usize {
        let left = self.room - self.out.len() - 1;
        let mut literals = left.min(self.input.len() - self.done);
        while literals + long_bytes(literals) > left {
            literals -= 1;
        }
        self.token(literals, 0);
        let end = self.done + literals;
        self.out.extend_from_slice(&self.input[self.done..end]);
        end
    }

    /// A token, and the rest of the length of literals.
    fn token(&mut self, literals: usize, match_len: usize) {
        let four_bits = |len: usize| u8::try_from(len.min(LONG)).unwrap_or_default();
        self.out
            .push(four_bits(literals) << 4 | four_bits(match_len));
        self.long(literals);
    }

    /// What a token does not hold of a length.
    fn long(&mut self, len: usize) {
        if let Some(rest) = len.checked_sub(LONG) {
            self.out.extend(std::iter::repeat_n(u8::MAX, rest / 255));
            self.out.extend(u8::try_from(rest % 255));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;

    /// Text, noise, runs and repetitions of any lengths.
    fn content(random: &mut Random) -> Vec<u8> {
        let mut content = Vec::new();
        for _ in 0..random.below(40) {
            let len = random.below(2000);
            match random.below(4) {
                0 => content.extend(random.bytes(len)),
                1 => content.extend(std::iter::repeat_n(b'z', len * 20)),
                2 => content.extend(b"some words of a text ".iter().cycle().take(len)),
                _ => {
                    let start = random.below(content.len() + 1);
                    content.extend_from_within(start..(start + len).min(content.len()));
                }
            }
        }
        content
    }

    /// Packs what lies behind `start`, compares what comes back, and returns how much that was.
    fn packed(compressor: &mut Compressor, content: &[u8], start: usize, room: usize) -> usize {
        let mut out = Vec::new();
        let taken = compressor.pack(content, start, room, &mut out).unwrap();
        assert!(out.len() <= room);
        let mut back = vec![0; taken];
        let len = lz4_flex::block::decompress_into(&out, &mut back).unwrap();
        assert_eq!(len, taken);
        assert!(back == content[start..start + taken]);
        let left = content.len() - start;
        let is_used = taken == left || out.len() + 16 >= room;
        assert!(is_used, "{taken} of {left} in {room}");
        taken
    }

    #[test]
    fn what_fits_comes_back_and_the_room_is_used() {
        let mut random = Random::new(7);
        let mut compressor = Compressor::new();
        for round in 0..400 {
            let content = content(&mut random);
            let room = 16 + random.below(if round % 2 == 0 { 200 } else { 20_000 });
            compressor.begin();
            let mut start = 0;
            while start < content.len() {
                start += packed(&mut compressor, &content, start, room);
            }
        }
    }

    #[test]
    fn the_shortest_inputs_and_rooms() {
        let mut compressor = Compressor::new();
        let mut out = Vec::new();
        for len in 0..40 {
            for room in 16..60 {
                compressor.begin();
                let taken = compressor.pack(&vec![9; len], 0, room, &mut out).unwrap();
                assert!(out.len() <= room && out[0] != 0 || len == 0, "{len} {room}");
                let mut back = vec![0; taken];
                assert_eq!(
                    lz4_flex::block::decompress_into(&out, &mut back).unwrap(),
                    taken
                );
            }
        }
    }
}
