//! Zstandard frames (RFC 8878) of blocks that are independent of each other, packed as small as costs allow: blocks of
//! squashfs and clusters of qcow2 at high levels.
//!
//! General compressors choose with tables for megabytes, and anew for each block. Here what is likely in a block comes from
//! a quick look at it; then the cheapest way through all literals and matches is taken, at prices that follow what has
//! been taken so far.
//!
//! ```text
//!   bytes ──▶ guess: counts ──▶ parse: prices, finder's matches ──▶ sequences ──▶ split into blocks
//!                                                    block ──▶ literals: Huffman code ─┐
//!                                                          └─▶ sequences: FSE tables ──┴──▶ bits
//! ```

mod finder;
mod fse;
mod literals;
mod numbers;
mod parse;
mod sequences;
#[cfg(test)]
mod tests;

use std::fmt;

use literals::Code;
pub(super) use numbers::FRAME_MAX;
use numbers::{BYTE, narrow};
use parse::{Parser, Tally};
use sequences::{Counts, Recent, Sequence, Tables};

/// The largest block (3.1.1.2.4).
const BLOCK_MAX: usize = 128 << 10;
/// Sequences on each side of a split: fewer do not pay for tables of their own.
const SPLIT_MIN: usize = 300;

/// Writes frames.
pub(super) struct FrameWriter {
    parser: Parser,
    literals: Vec<u8>,
}

impl FrameWriter {
    /// One that compares up to `depth` earlier places with each place.
    pub fn new(depth: u32) -> Self {
        Self {
            parser: Parser::new(depth),
            literals: Vec::new(),
        }
    }

    /// Replaces `out` with one frame without a checksum that holds `data`, of [`FRAME_MAX`] bytes at most. It depends on
    /// `data` and the depth alone.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>) {
        out.clear();
        write_header(narrow(data.len()), out);
        self.parser.begin(data.len());
        let mut state = State {
            recent: Recent::FIRST,
            code: None,
            tables: Tables::default(),
        };
        let mut from = 0;
        loop {
            let to = (from + BLOCK_MAX).min(data.len());
            let sequences = self.parser.parse(data, from..to, state.recent);
            let stretch = Stretch {
                data: &data[from..to],
                sequences,
            };
            let whole = stretch.estimate(state.recent);
            let mut blocks = Blocks {
                state: &mut state,
                literals: &mut self.literals,
                out,
            };
            blocks.split(stretch, &whole, to == data.len());
            from = to;
            if from == data.len() {
                return;
            }
        }
    }
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter").finish_non_exhaustive()
    }
}

/// Appends `Frame_Header` with the magic number: a single segment whose size is told.
fn write_header(len: u32, out: &mut Vec<u8>) {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    const SINGLE_SEGMENT: u8 = 1 << 5;
    const TWO_BYTES: u8 = 1 << 6;
    const FOUR_BYTES: u8 = 2 << 6;
    out.extend_from_slice(&MAGIC);
    let size = len.to_le_bytes();
    match len {
        ..256 => out.extend_from_slice(&[SINGLE_SEGMENT, size[0]]),
        256..65_792 => {
            out.push(SINGLE_SEGMENT | TWO_BYTES);
            out.extend_from_slice(&(len - 256).to_le_bytes()[..2]);
        }
        _ => {
            out.push(SINGLE_SEGMENT | FOUR_BYTES);
            out.extend_from_slice(&size);
        }
    }
}

/// What a block takes over from the one before.
#[derive(Debug, Clone)]
struct State {
    recent: Recent,
    code: Option<Code>,
    tables: Tables,
}

/// Bytes, and sequences that write them up to the literals at their end.
#[derive(Debug, Clone, Copy)]
struct Stretch<'a> {
    data: &'a [u8],
    sequences: &'a [Sequence],
}

/// What a stretch comes to as one block.
#[derive(Debug)]
struct Estimate {
    /// In 256ths of a bit.
    cost: u64,
    /// Bytes that the sequences write.
    len: usize,
    /// The distances behind it.
    recent: Recent,
}

impl Stretch<'_> {
    fn estimate(&self, mut recent: Recent) -> Estimate {
        const HEADERS: u64 = 12 * BYTE;
        let mut tally = Tally::beginning_with(Counts::NONE);
        let len = tally.add(self.data, self.sequences, &mut recent);
        Estimate {
            cost: tally.cost() + HEADERS,
            len,
            recent,
        }
    }
}

/// The blocks of a frame.
struct Blocks<'a> {
    state: &'a mut State,
    literals: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
}

impl Blocks<'_> {
    /// Writes a stretch as one block, or each half by itself where that is cheaper.
    fn split(&mut self, stretch: Stretch<'_>, whole: &Estimate, is_last: bool) {
        let Stretch { data, sequences } = stretch;
        if sequences.len() >= 2 * SPLIT_MIN {
            let (before, behind) = sequences.split_at(sequences.len() / 2);
            let mut left = Stretch {
                data,
                sequences: before,
            };
            let left_estimate = left.estimate(self.state.recent);
            left.data = &data[..left_estimate.len];
            let right = Stretch {
                data: &data[left_estimate.len..],
                sequences: behind,
            };
            let right_estimate = right.estimate(left_estimate.recent);
            if left_estimate.cost + right_estimate.cost < whole.cost {
                self.split(left, &left_estimate, false);
                return self.split(right, &right_estimate, is_last);
            }
        }
        self.write(stretch, is_last);
    }

    /// Appends one block (3.1.1.2), uncompressed where that is no larger.
    fn write(&mut self, Stretch { data, sequences }: Stretch<'_>, is_last: bool) {
        const RAW: u32 = 0;
        const RLE: u32 = 1;
        const COMPRESSED: u32 = 2;
        let header = |kind: u32, len: usize| {
            let [a, b, c, _] = (u32::from(is_last) | kind << 1 | narrow(len) << 3).to_le_bytes();
            [a, b, c]
        };
        if let [byte, rest @ ..] = data
            && !rest.is_empty()
            && rest.iter().all(|other| other == byte)
        {
            self.out.extend_from_slice(&header(RLE, data.len()));
            return self.out.push(*byte);
        }
        self.literals.clear();
        let mut at = 0;
        for sequence in sequences {
            self.literals
                .extend_from_slice(&data[at..][..sequence.literals as usize]);
            at += sequence.len();
        }
        self.literals.extend_from_slice(&data[at..]);
        let before = self.state.clone();
        let start = self.out.len();
        self.out.extend_from_slice(&header(RAW, data.len()));
        let content = self.out.len();
        literals::write(self.literals, &mut self.state.code, self.out);
        sequences::write(
            sequences,
            &mut self.state.recent,
            &mut self.state.tables,
            self.out,
        );
        let len = self.out.len() - content;
        if len < data.len() {
            self.out[start..content].copy_from_slice(&header(COMPRESSED, len));
        } else {
            // Such a block leaves no distances and tables behind.
            *self.state = before;
            self.out.truncate(content);
            self.out.extend_from_slice(data);
        }
    }
}
