//! One deflate block: symbols collected and counted, then written in whichever form is smallest.

use super::matcher::{MAX_MATCH, Match};
use crate::codec::bits::BitWriter;
use crate::codec::huffman::{Code, MAX_BITS, code_lengths, codes};

/// Literals, the end of the block and match lengths, with the two unused symbols at the end that have fixed codes.
const LITERALS: usize = 288;

const DISTANCES: usize = 30;

const END_OF_BLOCK: usize = 256;

/// The most bytes in a stored block.
const MAX_STORED: usize = 65_535;

/// The order in which the lengths of the code length codes are written.
const CODE_LENGTH_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Extra bits of the match length symbols, from 257 on.
const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];

/// For each match length - 3: its symbol - 257 and the value of its extra bits.
const LENGTH_SYMBOLS: [(u8, u8); MAX_MATCH - 2] = length_symbols();

const fn length_symbols() -> [(u8, u8); MAX_MATCH - 2] {
    let mut table = [(0, 0); MAX_MATCH - 2];
    let mut symbol = 0;
    let mut len = 0;
    while len < MAX_MATCH - 3 {
        let mut extra = 0;
        while extra < 1u16 << LENGTH_EXTRA[symbol as usize] && len < MAX_MATCH - 3 {
            table[len] = (symbol, extra.to_le_bytes()[0]);
            extra += 1;
            len += 1;
        }
        symbol += 1;
    }
    table[MAX_MATCH - 3] = (28, 0); // 258 has a symbol of its own
    table
}

/// The distance symbol, its number of extra bits and their value.
#[inline(always)]
fn distance_symbol(dist: usize) -> (usize, u32, usize) {
    let dist = dist - 1;
    if dist < 4 {
        return (dist, 0, 0);
    }
    let extra_bits = dist.ilog2() - 1;
    (
        2 * extra_bits as usize + (dist >> extra_bits),
        extra_bits,
        dist & ((1 << extra_bits) - 1),
    )
}

/// Literals and matches of a block that is not written yet.
pub(super) struct Block {
    /// A literal, or a match as its length in the upper half and its distance in the lower one.
    symbols: Vec<u32>,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
    extra_bits: usize,
}

impl Block {
    pub fn new() -> Self {
        Self {
            symbols: Vec::new(),
            literals: [0; LITERALS],
            distances: [0; DISTANCES],
            extra_bits: 0,
        }
    }

    /// How many literals and matches there are.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.symbols.clear();
        self.literals.fill(0);
        self.distances.fill(0);
        self.extra_bits = 0;
    }

    #[inline(always)]
    pub fn literal(&mut self, byte: u8) {
        self.symbols.push(u32::from(byte));
        self.literals[usize::from(byte)] += 1;
    }

    #[inline(always)]
    pub fn found(&mut self, found: Match) {
        let (symbol, _) = LENGTH_SYMBOLS[found.len - 3];
        let (distance, extra_bits, _) = distance_symbol(found.dist);
        self.symbols
            .push(u32::try_from(found.len << 16 | found.dist).expect("both below 2^15"));
        self.literals[257 + usize::from(symbol)] += 1;
        self.distances[distance] += 1;
        self.extra_bits += usize::from(LENGTH_EXTRA[usize::from(symbol)]) + extra_bits as usize;
    }

    /// Writes the block, whose symbols stand for `data`, and clears it.
    pub fn write(&mut self, data: &[u8], last: bool, out: &mut BitWriter<'_>) {
        self.literals[END_OF_BLOCK] += 1;
        let dynamic = Codes::dynamic(&self.literals, &self.distances);
        let header = CodeLengths::new(&dynamic);
        let fixed = fixed();
        let fixed_bits = self.bits(&fixed);
        let dynamic_bits = header.bits() + self.bits(&dynamic);
        let stored_bits = data.len() * 8 + data.len().div_ceil(MAX_STORED) * (3 + 7 + 32);
        if stored_bits <= fixed_bits.min(dynamic_bits) {
            out.store(data, last);
        } else if fixed_bits <= dynamic_bits {
            out.put(u64::from(last) | 1 << 1, 3);
            self.write_symbols(&fixed, out);
        } else {
            out.put(u64::from(last) | 2 << 1, 3);
            header.write(out);
            self.write_symbols(&dynamic, out);
        }
        self.clear();
    }

    /// The size in bits with these codes.
    fn bits(&self, codes: &Codes) -> usize {
        let cost = |counts: &[u32], lengths: &[u8]| -> usize {
            counts
                .iter()
                .zip(lengths)
                .map(|(&count, &bits)| count as usize * usize::from(bits))
                .sum()
        };
        3 + self.extra_bits
            + cost(&self.literals, &codes.literals)
            + cost(&self.distances, &codes.distances)
    }

    fn write_symbols(&self, lengths: &Codes, out: &mut BitWriter<'_>) {
        let literals = codes(&lengths.literals);
        let distances = codes(&lengths.distances);
        // A match length's code together with its extra bits.
        let match_lengths: [Code; MAX_MATCH - 2] = std::array::from_fn(|index| {
            let (symbol, extra) = LENGTH_SYMBOLS[index];
            let Code { code, bits } = literals[257 + usize::from(symbol)];
            Code {
                code: code | u32::from(extra) << bits,
                bits: bits + u32::from(LENGTH_EXTRA[usize::from(symbol)]),
            }
        });
        for &symbol in &self.symbols {
            let len = (symbol >> 16) as usize;
            let low = (symbol & 0xffff) as usize;
            if len == 0 {
                out.put_code(literals[low]);
            } else {
                out.put_code(match_lengths[len - 3]);
                let (distance, extra_bits, extra) = distance_symbol(low);
                let Code { code, bits } = distances[distance];
                out.put(u64::from(code) | (extra as u64) << bits, bits + extra_bits);
            }
        }
        out.put_code(literals[END_OF_BLOCK]);
    }
}

/// Code lengths of both alphabets.
struct Codes {
    literals: [u8; LITERALS],
    distances: [u8; DISTANCES],
}

impl Codes {
    fn dynamic(literals: &[u32; LITERALS], distances: &[u32; DISTANCES]) -> Self {
        Self {
            literals: code_lengths(literals, MAX_BITS),
            distances: code_lengths(distances, MAX_BITS),
        }
    }
}

/// The codes that need no description.
fn fixed() -> Codes {
    let literals = std::array::from_fn(|symbol| match symbol {
        144..=255 => 9,
        256..=279 => 7,
        _ => 8,
    });
    Codes {
        literals,
        distances: [5; DISTANCES],
    }
}

/// The description of dynamic codes: all code lengths in a row, runs shortened, Huffman coded.
struct CodeLengths {
    /// Symbol, number of extra bits, their value.
    symbols: Vec<(usize, u32, u32)>,
    lengths: [u8; 19],
    literals: usize,
    distances: usize,
    /// How many entries of [`CODE_LENGTH_ORDER`] are written.
    described: usize,
}

impl CodeLengths {
    fn new(codes: &Codes) -> Self {
        let used = |lengths: &[u8]| {
            lengths
                .iter()
                .rposition(|&bits| bits > 0)
                .map_or(0, |at| at + 1)
        };
        let literals = used(&codes.literals);
        let distances = used(&codes.distances);
        let symbols =
            shorten_runs(&[&codes.literals[..literals], &codes.distances[..distances]].concat());
        let mut counts = [0; 19];
        for &(symbol, ..) in &symbols {
            counts[symbol] += 1;
        }
        let lengths = code_lengths(&counts, 7);
        let described = CODE_LENGTH_ORDER
            .iter()
            .rposition(|&symbol| lengths[symbol] > 0)
            .map_or(4, |at| (at + 1).max(4));
        Self {
            symbols,
            lengths,
            literals,
            distances,
            described,
        }
    }

    fn bits(&self) -> usize {
        let symbols = self
            .symbols
            .iter()
            .map(|&(symbol, bits, _)| usize::from(self.lengths[symbol]) + bits as usize);
        5 + 5 + 4 + 3 * self.described + symbols.sum::<usize>()
    }

    fn write(&self, out: &mut BitWriter<'_>) {
        out.put((self.literals - 257) as u64, 5);
        out.put((self.distances - 1) as u64, 5);
        out.put((self.described - 4) as u64, 4);
        for &symbol in &CODE_LENGTH_ORDER[..self.described] {
            out.put(u64::from(self.lengths[symbol]), 3);
        }
        let codes = codes(&self.lengths);
        for &(symbol, bits, value) in &self.symbols {
            out.put_code(codes[symbol]);
            out.put(u64::from(value), bits);
        }
    }
}

/// Code lengths with runs replaced: 16 repeats the one before 3 to 6 times, 17 and 18 are 3 to 138 zeroes.
fn shorten_runs(lengths: &[u8]) -> Vec<(usize, u32, u32)> {
    let mut symbols = Vec::with_capacity(lengths.len());
    for run in lengths.chunk_by(|left, right| left == right) {
        let mut left = u32::try_from(run.len()).expect("at most 316");
        let bits = usize::from(run[0]);
        if bits != 0 {
            symbols.push((bits, 0, 0));
            left -= 1;
        }
        while left >= 3 {
            let (symbol, extra_bits, least, most) = match (bits, left) {
                (0, 11..) => (18, 7, 11, 138),
                (0, _) => (17, 3, 3, 10),
                _ => (16, 2, 3, 6),
            };
            let count = left.min(most);
            symbols.push((symbol, extra_bits, count - least));
            left -= count;
        }
        for _ in 0..left {
            symbols.push((bits, 0, 0));
        }
    }
    symbols
}

impl BitWriter<'_> {
    #[inline(always)]
    fn put_code(&mut self, code: Code) {
        self.put(u64::from(code.code), code.bits);
    }

    /// Appends `data` as stored blocks, at least one; they end at a whole byte.
    pub(super) fn store(&mut self, data: &[u8], last: bool) {
        let mut rest = data;
        loop {
            let (piece, more) = rest.split_at(rest.len().min(MAX_STORED));
            self.put(u64::from(last && more.is_empty()), 3);
            self.align();
            let len = piece.len() as u64;
            self.put(len | (len ^ 0xffff) << 16, 32);
            self.out.extend_from_slice(piece);
            if more.is_empty() {
                break;
            }
            rest = more;
        }
    }
}
