//! The section of literals (3.1.1.3.1) and its Huffman code (4.2).

use super::fse::{Distribution, Table, log2};
use super::numbers::{BIT, BYTE, end, symbol};
use crate::bytes::to_u64;
use crate::codec::bits::BitWriter;
use crate::codec::huffman::code_lengths;

/// The longest code of a literal, in bits.
const BITS_MAX: usize = 11;
/// Fewer literals do not pay for a code of their own.
const CODED_MIN: usize = 32;
/// From so many literals on, they are written as four streams, which readers take side by side.
const FOUR_STREAMS: usize = 256;
/// What a code takes to describe for each literal that occurs, about.
const DESCRIBED: u64 = 3 * BIT as u64;

/// Types of sections (`Literals_Block_Type`).
const RAW: u64 = 0;
const RLE: u64 = 1;
const COMPRESSED: u64 = 2;
const TREELESS: u64 = 3;

/// How often each byte occurs.
pub(super) type Counts = [u32; 256];

pub(super) fn add(counts: &mut Counts, literals: &[u8]) {
    for &byte in literals {
        counts[usize::from(byte)] += 1;
    }
}

/// About what literals that occur so often take with their code, in 256ths of a bit.
pub(super) fn estimate(counts: &Counts) -> u64 {
    /// The least that a code of whole bits takes, about, for a byte that is most of all.
    const LEAST: u32 = 200;
    let total: u32 = counts.iter().sum();
    if total == 0 {
        return 0;
    }
    let mut cost = 0;
    let mut used = 0;
    for &count in counts.iter().filter(|&&count| count > 0) {
        let bits = (log2(total) - log2(count)).max(LEAST);
        cost += u64::from(count) * u64::from(bits);
        used += 1;
    }
    cost.min(u64::from(total) * BYTE) + used * DESCRIBED
}

/// A Huffman code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    /// Of each byte its length in bits, 0 where it has none, and its value.
    codes: [(u8, u16); 256],
    description: Vec<u8>,
}

impl Code {
    /// The best code for bytes that occur so often; `None` where fewer than two do, or it cannot be described.
    fn of(counts: &Counts) -> Option<Self> {
        if counts.iter().filter(|&&count| count > 0).count() < 2 {
            return None;
        }
        let lengths = code_lengths(counts, BITS_MAX);
        let longest = lengths.iter().copied().max()?;
        let mut numbers = [0_u16; BITS_MAX + 1];
        for &length in lengths.iter().filter(|&&length| length > 0) {
            numbers[usize::from(length)] += 1;
        }
        // The longest codes begin at 0, each length goes on where the longer one ended (4.2.1.3).
        let mut next = [0_u16; BITS_MAX + 1];
        let mut end = 0;
        for (next, number) in next.iter_mut().zip(numbers).skip(1).rev() {
            *next = end;
            end = (end + number) >> 1;
        }
        let codes = lengths.map(|length| {
            let next = &mut next[usize::from(length)];
            let code = *next;
            *next += u16::from(length > 0);
            (length, code)
        });
        // The weight of the last byte follows from the others.
        let last = lengths.iter().rposition(|&length| length > 0)?;
        let weight = |&length: &u8| if length > 0 { longest + 1 - length } else { 0 };
        let weights: Vec<u8> = lengths[..last].iter().map(weight).collect();
        Some(Self {
            codes,
            description: describe(&weights)?,
        })
    }

    /// What bytes that occur so often take, in bits; `None` where one has no code.
    fn cost(&self, counts: &Counts) -> Option<u64> {
        let mut bits = 0;
        for (&count, &(length, _)) in counts.iter().zip(&self.codes).filter(|(n, _)| **n > 0) {
            if length == 0 {
                return None;
            }
            bits += u64::from(count) * u64::from(length);
        }
        Some(bits)
    }

    /// Appends a stream, from the last literal to the first.
    fn write(&self, literals: &[u8], out: &mut Vec<u8>) {
        let mut bits = BitWriter::new(out);
        for &byte in literals.iter().rev() {
            let (length, code) = self.codes[usize::from(byte)];
            bits.put(code.into(), length.into());
        }
        end(bits);
    }
}

/// The description of a code (4.2.1) by the weights of all bytes but the last; `None` where there is none.
fn describe(weights: &[u8]) -> Option<Vec<u8>> {
    /// Weights that can be described as they are, and the least first byte that says so.
    const DIRECT: usize = 128;
    let direct = weights.len().div_ceil(2);
    if let Some(packed) = pack(weights)
        && packed.len() < DIRECT
        && (packed.len() < direct || weights.len() > DIRECT)
    {
        return Some([&[symbol(packed.len())], &packed[..]].concat());
    }
    if weights.len() > DIRECT {
        return None;
    }
    let head = symbol(weights.len() + DIRECT - 1);
    let pairs = weights
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
    Some(std::iter::once(head).chain(pairs).collect())
}

/// Weights in two states that take turns (4.2.1.2); `None` where they are all the same.
fn pack(weights: &[u8]) -> Option<Vec<u8>> {
    const LOG_MAX: u32 = 6;
    let mut counts = [0; BITS_MAX + 2];
    for &weight in weights {
        counts[usize::from(weight)] += 1;
    }
    if counts.iter().filter(|&&count| count > 0).count() < 2 {
        return None;
    }
    let distribution = Distribution::of(&counts, LOG_MAX);
    let table = Table::of(&distribution);
    let mut out = Vec::new();
    distribution.write(&mut out);
    let mut bits = BitWriter::new(&mut out);
    let (first, ends) = weights.split_at(weights.len() - 2);
    let mut states = [0; 2];
    for (place, &weight) in (first.len()..).zip(ends) {
        states[place % 2] = table.start(weight);
    }
    for (place, &weight) in first.iter().enumerate().rev() {
        table.encode(&mut states[place % 2], weight, &mut bits);
    }
    table.finish(states[1], &mut bits);
    table.finish(states[0], &mut bits);
    end(bits);
    Some(out)
}

/// Appends the section for `literals`. `kept` is the code of the block before, and becomes that of this one.
pub(super) fn write(literals: &[u8], kept: &mut Option<Code>, out: &mut Vec<u8>) {
    if let [first, rest @ ..] = literals
        && rest.len() > 2
        && rest.iter().all(|byte| byte == first)
    {
        write_plain_header(RLE, literals.len(), out);
        return out.push(*first);
    }
    let mut counts = [0; 256];
    add(&mut counts, literals);
    let new = (literals.len() >= CODED_MIN)
        .then(|| Code::of(&counts))
        .flatten()
        .and_then(|code| {
            let described = 8 * to_u64(code.description.len());
            Some((code.cost(&counts)? + described, COMPRESSED, code))
        });
    let again = kept
        .as_ref()
        .and_then(|code| Some((code.cost(&counts)?, TREELESS, code.clone())));
    let best = again.into_iter().chain(new).min_by_key(|way| way.0);
    let start = out.len();
    if let Some((cost, kind, code)) = best
        && cost / 8 < to_u64(literals.len())
        && write_coded(literals, kind, &code, out)
    {
        *kept = Some(code);
        return;
    }
    out.truncate(start);
    write_plain_header(RAW, literals.len(), out);
    out.extend_from_slice(literals);
}

/// Appends literals with `code`; `false` where they do not shrink, and `out` is then of no use.
fn write_coded(literals: &[u8], kind: u64, code: &Code, out: &mut Vec<u8>) -> bool {
    /// The sizes of three of the four streams.
    const JUMP_TABLE: usize = 6;
    let len = literals.len();
    let is_single = len < FOUR_STREAMS;
    // Sizes of literals and of what they are packed to have so many bits.
    let (format, width) = match len {
        _ if is_single => (0, 10),
        ..0x400 => (1, 10),
        0x400..0x4000 => (2, 14),
        _ => (3, 18),
    };
    let header_len = (4 + 2 * width) / 8;
    let start = out.len();
    out.resize(start + header_len, 0);
    if kind == COMPRESSED {
        out.extend_from_slice(&code.description);
    }
    if is_single {
        code.write(literals, out);
    } else {
        let mut size_at = out.len();
        out.extend_from_slice(&[0; JUMP_TABLE]);
        let streams = out.len();
        for part in literals.chunks(len.div_ceil(4)) {
            let stream = out.len();
            code.write(part, out);
            let Ok(size) = u16::try_from(out.len() - stream) else {
                return false;
            };
            if size_at < streams {
                out[size_at..][..2].copy_from_slice(&size.to_le_bytes());
                size_at += 2;
            }
        }
    }
    let packed = out.len() - start - header_len;
    let header = kind | format << 2 | to_u64(len) << 4 | to_u64(packed) << (4 + width);
    out[start..start + header_len].copy_from_slice(&header.to_le_bytes()[..header_len]);
    packed < len
}

/// Appends the header of literals that are not coded.
fn write_plain_header(kind: u64, len: usize, out: &mut Vec<u8>) {
    let len_bits = to_u64(len);
    let (header, bytes) = match len {
        ..0x20 => (kind | len_bits << 3, 1),
        0x20..0x1000 => (kind | 1 << 2 | len_bits << 4, 2),
        _ => (kind | 3 << 2 | len_bits << 4, 3),
    };
    out.extend_from_slice(&header.to_le_bytes()[..bytes]);
}
