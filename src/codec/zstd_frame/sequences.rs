//! Sequences of literals and matches, and the section that holds them (3.1.1.3.2).

use super::fse::{Distribution, Table, log2};
use super::numbers::{BIT, BYTE, end, narrow, symbol};
use crate::bytes::to_u64;
use crate::codec::bits::BitWriter;

/// The shortest match.
pub(super) const MATCH_MIN: u32 = 3;

const LITERALS_CODES: usize = 36;
const MATCH_CODES: usize = 53;
const OFFSET_CODES: usize = 32;

/// So many literals, then so many bytes as they stand `distance` bytes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    pub literals: u32,
    pub length: u32,
    pub distance: u32,
}

impl Sequence {
    /// Bytes that it writes.
    pub fn len(&self) -> usize {
        (self.literals + self.length) as usize
    }
}

/// The three distances that offsets can name by their number (3.1.1.5), the last one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent(pub [u32; 3]);

impl Recent {
    /// Those that a frame begins with.
    pub const FIRST: Self = Self([1, 4, 8]);

    /// The distances that `Offset_Value` 1, 2 and 3 mean; 0 means none.
    #[inline(always)]
    pub fn named(&self, literals: u32) -> [u32; 3] {
        let [first, second, third] = self.0;
        if literals > 0 {
            [first, second, third]
        } else {
            [second, third, first - 1]
        }
    }

    /// The `Offset_Value` of a distance behind so many literals. The distance becomes the last one.
    #[inline(always)]
    pub fn value(&mut self, distance: u32, literals: u32) -> u32 {
        let [first, second, third] = self.named(literals);
        let value = match distance {
            d if d == first => 1,
            d if d == second => 2,
            d if d == third => 3,
            d => d + 3,
        };
        let [first, second, third] = self.0;
        // Without literals the names move on by one.
        self.0 = match value + u32::from(literals == 0) {
            1 => [first, second, third],
            2 => [distance, first, third],
            _ => [distance, first, second],
        };
        value
    }
}

/// A kind of code: which numbers each stands for, and the distribution that blocks without one of their own have.
struct Kind<const CODES: usize> {
    /// Bits that follow each code and choose among its numbers.
    bits: [u8; CODES],
    default: &'static [i16],
    default_log: u32,
    log_max: u32,
}

/// Lengths of literals (tables 16 and 19).
static LITERALS: Kind<LITERALS_CODES> = Kind {
    bits: [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10,
        11, 12, 13, 14, 15, 16,
    ],
    default: &[
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1,
        1, 1, -1, -1, -1, -1,
    ],
    default_log: 6,
    log_max: 9,
};

/// Lengths of matches (tables 17 and 20).
static MATCHES: Kind<MATCH_CODES> = Kind {
    bits: [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    ],
    default: &[
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    default_log: 6,
    log_max: 9,
};

/// Offsets, whose code is the logarithm (table 21).
static OFFSETS: Kind<OFFSET_CODES> = Kind {
    bits: [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
        25, 26, 27, 28, 29, 30, 31,
    ],
    default: &[
        1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
    ],
    default_log: 5,
    log_max: 8,
};

/// The code for so many literals.
#[inline(always)]
pub(super) fn literals_code(literals: u32) -> usize {
    const CODES: [u8; 64] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 17, 17, 18, 18, 19, 19, 20,
        20, 20, 20, 21, 21, 21, 21, 22, 22, 22, 22, 22, 22, 22, 22, 23, 23, 23, 23, 23, 23, 23, 23,
        24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 24,
    ];
    match CODES.get(literals as usize) {
        Some(&code) => code.into(),
        None => literals.ilog2() as usize + 19,
    }
}

/// The code for a match of `length` bytes.
#[inline(always)]
pub(super) fn match_code(length: u32) -> usize {
    let above = (length - MATCH_MIN) as usize;
    match above {
        ..32 => above,
        32..40 => 32 + (above - 32) / 2,
        40..48 => 36 + (above - 40) / 4,
        48..64 => 38 + (above - 48) / 8,
        64..96 => 40 + (above - 64) / 16,
        96..128 => 42,
        _ => above.ilog2() as usize + 36,
    }
}

/// How often codes occur.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub literals: [u32; LITERALS_CODES],
    pub matches: [u32; MATCH_CODES],
    pub offsets: [u32; OFFSET_CODES],
}

impl Counts {
    pub const NONE: Self = Self {
        literals: [0; LITERALS_CODES],
        matches: [0; MATCH_CODES],
        offsets: [0; OFFSET_CODES],
    };

    /// Counts the codes of a sequence; `recent` moves on.
    #[inline(always)]
    pub fn add(&mut self, sequence: &Sequence, recent: &mut Recent) {
        let value = recent.value(sequence.distance, sequence.literals);
        self.literals[literals_code(sequence.literals)] += 1;
        self.matches[match_code(sequence.length)] += 1;
        self.offsets[value.ilog2() as usize] += 1;
    }

    /// About what sequences of these codes take with their tables, in 256ths of a bit.
    pub fn estimate(&self) -> u64 {
        LITERALS.estimate(&self.literals)
            + MATCHES.estimate(&self.matches)
            + OFFSETS.estimate(&self.offsets)
    }
}

/// What codes cost that occur so often, with the bits behind them. Those that do not occur have a price as well.
pub(super) struct CodePrices {
    pub literals: [u32; LITERALS_CODES],
    pub matches: [u32; MATCH_CODES],
    pub offsets: [u32; OFFSET_CODES],
}

impl CodePrices {
    pub fn of(counts: &Counts) -> Self {
        Self {
            literals: LITERALS.prices(&counts.literals),
            matches: MATCHES.prices(&counts.matches),
            offsets: OFFSETS.prices(&counts.offsets),
        }
    }
}

/// What symbols cost that occur so often; one that does not occur is taken for half of one.
pub(super) fn prices<const N: usize>(counts: &[u32; N]) -> [u32; N] {
    let halves = |count: u32| 2 * count + 1;
    let total = log2(counts.iter().copied().map(halves).sum());
    counts.map(|count| total - log2(halves(count)))
}

impl<const CODES: usize> Kind<CODES> {
    fn prices(&self, counts: &[u32; CODES]) -> [u32; CODES] {
        /// The least that a code costs: states take parts of bits.
        const LEAST: u32 = BIT / 8;
        let prices = prices(counts);
        std::array::from_fn(|code| prices[code].max(LEAST) + u32::from(self.bits[code]) * BIT)
    }

    fn estimate(&self, counts: &[u32; CODES]) -> u64 {
        /// What a table takes for each code that occurs, about.
        const DESCRIBED: u32 = 5 * BIT;
        let total: u32 = counts.iter().sum();
        let used = counts.iter().zip(&self.bits).filter(|(n, _)| **n > 0);
        used.map(|(&count, &bits)| {
            let cost = log2(total) - log2(count) + u32::from(bits) * BIT;
            u64::from(count) * u64::from(cost) + u64::from(DESCRIBED)
        })
        .sum()
    }

    /// The cheapest table for codes that occur so often; its description goes to `out`. `kept` is that of the block before,
    /// and becomes this one.
    fn table(
        &self,
        counts: &[u32; CODES],
        kept: &mut Option<Kept>,
        out: &mut Vec<u8>,
    ) -> (Mode, Table) {
        let default = Distribution::defined(self.default_log, self.default);
        let default_cost = default.cost(counts);
        let mut used = counts.iter().zip(0..).filter(|(count, _)| **count > 0);
        if let (Some((&count, code)), None) = (used.next(), used.next()) {
            *kept = None;
            if default_cost.is_some_and(|cost| cost <= BYTE) && count > 0 {
                return (Mode::Predefined, Table::of(&default));
            }
            out.push(code);
            return (Mode::Rle, Table::single(code));
        }
        let own = Distribution::of(counts, self.log_max);
        let mut description = Vec::new();
        own.write(&mut description);
        let mut least =
            to_u64(description.len()) * BYTE + own.cost(counts).unwrap_or(u64::MAX >> 1);
        let mut mode = Mode::Compressed;
        if let Some(cost) = default_cost.filter(|&cost| cost <= least) {
            least = cost;
            mode = Mode::Predefined;
        }
        if let Some(kept) = kept
            && kept
                .distribution
                .cost(counts)
                .is_some_and(|cost| cost <= least)
        {
            return (Mode::Repeat, kept.table.clone());
        }
        if mode == Mode::Predefined {
            *kept = None;
            return (mode, Table::of(&default));
        }
        out.extend_from_slice(&description);
        let table = Table::of(&own);
        *kept = Some(Kept {
            distribution: own,
            table: table.clone(),
        });
        (mode, table)
    }
}

/// Where a table comes from (`Symbol_Compression_Modes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Predefined = 0,
    Rle = 1,
    Compressed = 2,
    Repeat = 3,
}

/// Tables of the block before.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    literals: Option<Kept>,
    matches: Option<Kept>,
    offsets: Option<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    distribution: Distribution,
    table: Table,
}

/// A sequence as codes, and what is written behind them.
#[derive(Debug, Clone, Copy)]
struct Coded {
    codes: [u8; 3],
    literals: u32,
    above: u32,
    offset: u32,
}

impl Coded {
    fn of(sequence: &Sequence, recent: &mut Recent) -> Self {
        let offset = recent.value(sequence.distance, sequence.literals);
        Self {
            codes: [
                symbol(literals_code(sequence.literals)),
                symbol(match_code(sequence.length)),
                symbol(offset.ilog2() as usize),
            ],
            literals: sequence.literals,
            above: sequence.length - MATCH_MIN,
            offset,
        }
    }

    /// Appends what chooses among the numbers of each code: their low bits.
    #[inline(always)]
    fn write_rest(&self, bits: &mut BitWriter<'_>) {
        let [literals, matches, offsets] = self.codes.map(usize::from);
        for (value, width) in [
            (self.literals, LITERALS.bits[literals]),
            (self.above, MATCHES.bits[matches]),
            (self.offset, OFFSETS.bits[offsets]),
        ] {
            bits.put(u64::from(value) & ((1 << width) - 1), width.into());
        }
    }
}

/// Appends the section; `recent` moves on behind the sequences.
pub(super) fn write(
    sequences: &[Sequence],
    recent: &mut Recent,
    tables: &mut Tables,
    out: &mut Vec<u8>,
) {
    write_count(narrow(sequences.len()), out);
    let coded: Vec<Coded> = sequences
        .iter()
        .map(|sequence| Coded::of(sequence, recent))
        .collect();
    let mut counts = Counts::NONE;
    for sequence in &coded {
        let [literals, matches, offsets] = sequence.codes.map(usize::from);
        counts.literals[literals] += 1;
        counts.matches[matches] += 1;
        counts.offsets[offsets] += 1;
    }
    let Some((last, others)) = coded.split_last() else {
        return;
    };
    let modes = out.len();
    out.push(0);
    let (literals_mode, literals) = LITERALS.table(&counts.literals, &mut tables.literals, out);
    let (offsets_mode, offsets) = OFFSETS.table(&counts.offsets, &mut tables.offsets, out);
    let (matches_mode, matches) = MATCHES.table(&counts.matches, &mut tables.matches, out);
    out[modes] = (literals_mode as u8) << 6 | (offsets_mode as u8) << 4 | (matches_mode as u8) << 2;

    // All in the reverse of the order in which they are read (3.1.1.3.2.1.2).
    let mut bits = BitWriter::new(out);
    let [mut literals_state, mut matches_state, mut offsets_state] = [
        literals.start(last.codes[0]),
        matches.start(last.codes[1]),
        offsets.start(last.codes[2]),
    ];
    last.write_rest(&mut bits);
    for sequence in others.iter().rev() {
        let [literals_code, matches_code, offsets_code] = sequence.codes;
        offsets.encode(&mut offsets_state, offsets_code, &mut bits);
        matches.encode(&mut matches_state, matches_code, &mut bits);
        literals.encode(&mut literals_state, literals_code, &mut bits);
        sequence.write_rest(&mut bits);
    }
    matches.finish(matches_state, &mut bits);
    offsets.finish(offsets_state, &mut bits);
    literals.finish(literals_state, &mut bits);
    end(bits);
}

/// Appends `Number_of_Sequences`.
fn write_count(count: u32, out: &mut Vec<u8>) {
    const THREE_BYTES: u32 = 0x7f00;
    let [low, high, ..] = count.to_le_bytes();
    match count {
        ..128 => out.push(low),
        128..THREE_BYTES => out.extend_from_slice(&[high + 128, low]),
        _ => {
            let [low, high, ..] = (count - THREE_BYTES).to_le_bytes();
            out.extend_from_slice(&[255, low, high]);
        }
    }
}
