//! Free slots of a directory: ranges of them by place and by length, so that room for a name is found at once.

use std::collections::{BTreeMap, BTreeSet};

use super::long::SLOTS_MAX;

/// The longest name and its entry: no range that is asked for is longer.
const WANTED_MAX: u32 = SLOTS_MAX as u32 + 1;

/// Ranges of free slots. Neighbours are always one range.
#[derive(Debug, Clone, Default)]
pub(super) struct FreeSlots {
    /// Length by first slot.
    ranges: BTreeMap<u32, u32>,
    /// First slots by length; all that are longer than what is asked for have one length.
    by_len: BTreeMap<u32, BTreeSet<u32>>,
}

impl FreeSlots {
    fn insert(&mut self, start: u32, len: u32) {
        self.ranges.insert(start, len);
        self.by_len
            .entry(len.min(WANTED_MAX))
            .or_default()
            .insert(start);
    }

    fn remove(&mut self, start: u32) -> u32 {
        let len = self.ranges.remove(&start).unwrap_or(0);
        if let Some(starts) = self.by_len.get_mut(&len.min(WANTED_MAX)) {
            starts.remove(&start);
        }
        len
    }

    /// Frees slots that were in use.
    pub(super) fn add(&mut self, start: u32, len: u32) {
        if len == 0 {
            return;
        }
        let before = self
            .ranges
            .range(..start)
            .next_back()
            .filter(|(first, len)| *first + **len == start);
        let first = before.map_or(start, |(first, _)| *first);
        let end = start + len + self.remove(start + len);
        self.remove(first);
        self.insert(first, end - first);
    }

    /// Takes the first slots of the range that begins at `start`.
    pub(super) fn take(&mut self, start: u32, len: u32) {
        let range = self.remove(start);
        if range > len {
            self.insert(start + len, range - len);
        }
    }

    /// Where the first range of at least `len` slots begins.
    pub(super) fn first_fit(&self, len: u32) -> Option<u32> {
        let fitting = self.by_len.range(len.min(WANTED_MAX)..);
        fitting
            .filter_map(|(_, starts)| starts.first().copied())
            .min()
    }

    /// Free slots right before `end`.
    pub(super) fn before(&self, end: u32) -> u32 {
        let last = self
            .ranges
            .range(..end)
            .next_back()
            .filter(|(first, len)| *first + **len == end);
        last.map_or(0, |(_, len)| *len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;

    #[test]
    fn agrees_with_looking_at_every_slot() {
        let mut random = Random::new(7);
        let mut free = FreeSlots::default();
        let mut model = [false; 200];
        for _ in 0..20_000 {
            let wanted = u32::try_from(1 + random.below(21)).unwrap();
            let len = usize::try_from(wanted).unwrap();
            let fit =
                (0..=model.len() - len).find(|at| model[*at..at + len].iter().all(|slot| *slot));
            assert_eq!(
                free.first_fit(wanted),
                fit.map(|at| u32::try_from(at).unwrap())
            );
            let tail = model.iter().rev().take_while(|slot| **slot).count();
            assert_eq!(usize::try_from(free.before(200)).unwrap(), tail);
            match fit.filter(|_| random.below(2) == 0) {
                Some(at) => {
                    free.take(u32::try_from(at).unwrap(), wanted);
                    model[at..at + len].fill(false);
                }
                None => {
                    let at = random.below(model.len());
                    let len = model[at..]
                        .iter()
                        .take(1 + random.below(6))
                        .take_while(|slot| !**slot)
                        .count();
                    free.add(u32::try_from(at).unwrap(), u32::try_from(len).unwrap());
                    model[at..at + len].fill(true);
                }
            }
        }
    }
}
