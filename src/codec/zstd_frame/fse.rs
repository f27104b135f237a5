//! Finite state entropy (4.1): distributions of symbols, and tables that encode by them.

use super::numbers::{BIT, narrow, symbol};
use crate::codec::bits::BitWriter;

/// `Accuracy_Log` is stored as what it is above this.
const LOG_MIN: u32 = 5;

/// How likely symbols are, in parts of `1 << log`.
#[derive(Debug, Clone)]
pub(super) struct Distribution {
    log: u32,
    /// 0: the symbol does not occur; -1: less than one part, which takes a state at the end of the table.
    parts: Vec<i16>,
}

impl Distribution {
    /// One that the format defines.
    pub fn defined(log: u32, parts: &[i16]) -> Self {
        Self {
            log,
            parts: parts.to_vec(),
        }
    }

    /// The one nearest to `counts`, of which at least two are not 0, with up to `1 << log_max` parts.
    pub fn of(counts: &[u32], log_max: u32) -> Self {
        let total: u32 = counts.iter().sum();
        let used = counts.iter().filter(|&&count| count > 0).count();
        // Finer ones take more to describe than they save.
        let worth = total.ilog2().saturating_sub(2);
        let needed = narrow(used).next_power_of_two().ilog2();
        let log = worth.max(needed).clamp(LOG_MIN, log_max);
        let last = counts.iter().rposition(|&count| count > 0);
        let counts = &counts[..last.map_or(0, |last| last + 1)];
        let mut parts: Vec<u32> = counts
            .iter()
            .map(|&count| match (count << log) / total {
                0 => count.min(1),
                parts => parts,
            })
            .collect();
        let mut sum: u32 = parts.iter().sum();
        // Each part goes to where it saves most, and comes from where it costs least.
        while sum < 1 << log {
            let saved = |(symbol, &part): (usize, &u32)| {
                (counts[symbol] * step(part), std::cmp::Reverse(symbol))
            };
            let (_, std::cmp::Reverse(best)) = parts
                .iter()
                .enumerate()
                .filter(|(symbol, _)| counts[*symbol] > 0)
                .map(saved)
                .max()
                .expect("symbols occur");
            parts[best] += 1;
            sum += 1;
        }
        while sum > 1 << log {
            let (_, best) = parts
                .iter()
                .enumerate()
                .filter(|(_, part)| **part > 1)
                .map(|(symbol, &part)| (counts[symbol] * step(part - 1), symbol))
                .min()
                .expect("there are no more symbols than parts");
            parts[best] -= 1;
            sum -= 1;
        }
        let parts = parts
            .into_iter()
            .map(|part| i16::try_from(part).expect("at most 512 parts"))
            .collect();
        Self { log, parts }
    }

    /// Appends the description (4.1.1).
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut bits = BitWriter::new(out);
        bits.put((self.log - LOG_MIN).into(), 4);
        let mut left = (1_u32 << self.log) + 1;
        let mut parts = self.parts.iter().map(|part| u32::from(part.unsigned_abs()));
        while left > 1 {
            let part = parts.next().expect("the parts add up");
            let value = part + 1;
            // Up to `left` it can be; where codes are left over, the lowest values take a bit less.
            let width = left.ilog2() + 1;
            let spare = (1 << width) - 1 - left;
            if value < spare {
                bits.put(value.into(), width - 1);
            } else if value < 1 << (width - 1) {
                bits.put(value.into(), width);
            } else {
                bits.put((value + spare).into(), width);
            }
            left -= part;
            if part == 0 {
                let mut zeroes = 0_u64;
                let mut ahead = parts.clone();
                while ahead.next() == Some(0) {
                    zeroes += 1;
                    parts.next();
                }
                for _ in 0..zeroes / 3 {
                    bits.put(3, 2);
                }
                bits.put(zeroes % 3, 2);
            }
        }
        bits.align();
    }

    /// Whether the parts add up.
    #[cfg(test)]
    pub fn is_whole(&self) -> bool {
        let parts = self.parts.iter().map(|part| u32::from(part.unsigned_abs()));
        parts.sum::<u32>() == 1 << self.log
    }

    /// What symbols that occur so often take, in 256ths of a bit; `None` where one of them has no part.
    pub fn cost(&self, counts: &[u32]) -> Option<u64> {
        let mut cost = 0;
        for (symbol, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let part = *self.parts.get(symbol).filter(|&&part| part != 0)?;
            let bits = self.log * BIT - log2(part.unsigned_abs().into());
            cost += u64::from(count) * u64::from(bits);
        }
        Some(cost)
    }

    /// How the symbols are spread over the states of a table (4.1.1).
    fn spread(&self) -> Vec<u8> {
        let size = 1_usize << self.log;
        let mut states = vec![0; size];
        let mut end = size;
        for (number, _) in self.parts.iter().enumerate().filter(|(_, part)| **part < 0) {
            end -= 1;
            states[end] = symbol(number);
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut place = 0;
        for (number, &part) in self.parts.iter().enumerate() {
            for _ in 0..part.max(0) {
                states[place] = symbol(number);
                place = (place + step) % size;
                while place >= end {
                    place = (place + step) % size;
                }
            }
        }
        states
    }
}

/// What one more than `part` parts saves each time.
fn step(part: u32) -> u32 {
    log2((part + 1) << 8) - log2(part << 8)
}

/// The logarithm to the base of two of a number above 0, in 256ths. In whole numbers, so that it is the same everywhere.
#[inline(always)]
pub(super) fn log2(number: u32) -> u32 {
    /// How far the logarithm rises above a straight line between powers of two, as a parabola, in 256ths.
    const BEND: u32 = 88;
    let whole = number.ilog2();
    // What follows the highest bit, as 16 bits.
    let fraction = ((number << (31 - whole)) & 0x7fff_ffff) >> 15;
    let bent = fraction + ((((fraction * (0x1_0000 - fraction)) >> 16) * BEND) >> 8);
    whole * BIT + (bent >> 8)
}

/// How a symbol moves the state.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    /// Added to a state, the upper 16 bits tell how many bits go out.
    bits: u32,
    /// Added to what is left of the state, where the next one stands; below 0 it wraps around.
    place: u32,
}

/// States to encode with, from the last symbol to the first.
#[derive(Debug, Clone)]
pub(super) struct Table {
    log: u32,
    states: Vec<u16>,
    steps: Vec<Step>,
}

impl Table {
    pub fn of(distribution: &Distribution) -> Self {
        let log = distribution.log;
        let symbols = distribution.spread();
        let mut next = Vec::with_capacity(distribution.parts.len());
        let mut steps = Vec::with_capacity(distribution.parts.len());
        let mut total = 0_u32;
        for part in &distribution.parts {
            let part = u32::from(part.unsigned_abs());
            next.push(total as usize);
            let bits = match part {
                0 | 1 => log,
                _ => log - (part - 1).ilog2(),
            };
            steps.push(Step {
                bits: (bits << 16) - (part << bits),
                place: total.wrapping_sub(part),
            });
            total += part;
        }
        let mut states = vec![0; symbols.len()];
        for (state, symbol) in (1_u16 << log..).zip(symbols) {
            let next = &mut next[usize::from(symbol)];
            states[*next] = state;
            *next += 1;
        }
        Self { log, states, steps }
    }

    /// The table where `symbol` alone occurs: it takes no bits.
    pub fn single(symbol: u8) -> Self {
        Self {
            log: 0,
            states: vec![0],
            steps: vec![Step::default(); usize::from(symbol) + 1],
        }
    }

    /// The state that the last symbol is encoded as.
    pub fn start(&self, symbol: u8) -> u32 {
        let step = self.steps[usize::from(symbol)];
        let bits = (step.bits + (1 << 15)) >> 16;
        self.state(((bits << 16) - step.bits) >> bits, step)
    }

    /// Encodes the symbol before those that are encoded already.
    #[inline(always)]
    pub fn encode(&self, state: &mut u32, symbol: u8, bits: &mut BitWriter<'_>) {
        let step = self.steps[usize::from(symbol)];
        let count = (*state + step.bits) >> 16;
        bits.put(u64::from(*state) & ((1 << count) - 1), count);
        *state = self.state(*state >> count, step);
    }

    #[inline(always)]
    fn state(&self, rest: u32, step: Step) -> u32 {
        self.states[rest.wrapping_add(step.place) as usize].into()
    }

    /// Appends the state that the reader begins with.
    pub fn finish(&self, state: u32, bits: &mut BitWriter<'_>) {
        bits.put(u64::from(state) & ((1 << self.log) - 1), self.log);
    }
}
