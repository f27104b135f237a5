//! A bitmap of one group: one bit for each block or inode, set where it is in use.

/// One block of bits; those beyond the group are kept as they are.
#[derive(Debug, Clone)]
pub(super) struct Bitmap {
    words: Vec<u64>,
    /// Whether it differs from what is on the device.
    pub dirty: bool,
}

impl Bitmap {
    /// From the bytes of a block.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            chunk
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        Self {
            words: bytes.chunks(8).map(word).collect(),
            dirty: false,
        }
    }

    /// Of `bytes` bytes, the first `len` bits clear and the others set.
    pub(super) fn clear_with_padding(bytes: usize, len: u32) -> Self {
        let mut bitmap = Self {
            words: vec![u64::MAX; bytes / 8],
            dirty: true,
        };
        bitmap.put(0, len, false);
        bitmap
    }

    /// The bytes of its block.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    /// The first bit of `from..end` that is `wanted`, or `end`.
    pub(super) fn next(&self, from: u32, end: u32, wanted: bool) -> u32 {
        let mut bit = from;
        while bit < end {
            let Some(word) = self.words.get((bit / 64) as usize) else {
                return end;
            };
            let word = if wanted { *word } else { !word };
            let rest = word >> (bit % 64);
            if rest != 0 {
                return end.min(bit + rest.trailing_zeros());
            }
            bit = (bit / 64 + 1) * 64;
        }
        end
    }

    /// Whether all of `len` bits from `from` are `value`.
    pub(super) fn all(&self, from: u32, len: u32, value: bool) -> bool {
        self.next(from, from + len, !value) == from + len
    }

    /// Sets or clears `len` bits from `from`.
    pub(super) fn put(&mut self, from: u32, len: u32, value: bool) {
        let end = from + len;
        let mut bit = from;
        while bit < end {
            let upto = end.min((bit / 64 + 1) * 64);
            let mask = (u64::MAX >> (64 - (upto - bit))) << (bit % 64);
            if let Some(word) = self.words.get_mut((bit / 64) as usize) {
                *word = if value { *word | mask } else { *word & !mask };
            }
            bit = upto;
        }
        self.dirty = true;
    }

    /// Clear bits among the first `len`.
    pub(super) fn count_clear(&self, len: u32) -> u32 {
        let whole = (len / 64) as usize;
        let mut clear: u32 = self
            .words
            .iter()
            .take(whole)
            .map(|word| word.count_zeros())
            .sum();
        if let Some(word) = self.words.get(whole)
            && !len.is_multiple_of(64)
        {
            clear += (!word & (u64::MAX >> (64 - len % 64))).count_ones();
        }
        clear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_found_and_counted() {
        let mut bitmap = Bitmap::clear_with_padding(128, 1000);
        assert_eq!(
            (bitmap.count_clear(1000), bitmap.count_clear(1024)),
            (1000, 1000)
        );
        for (from, len) in [(0, 1), (60, 10), (128, 64), (999, 1)] {
            bitmap.put(from, len, true);
            assert!(bitmap.all(from, len, true));
        }
        assert_eq!(bitmap.count_clear(1000), 1000 - 76);
        assert_eq!(
            [
                bitmap.next(0, 1000, true),
                bitmap.next(1, 1000, true),
                bitmap.next(1, 50, true)
            ],
            [0, 60, 50]
        );
        assert_eq!(
            [bitmap.next(60, 1000, false), bitmap.next(128, 1000, false)],
            [70, 192]
        );
        assert_eq!(
            [bitmap.next(192, 1000, true), bitmap.next(999, 1000, false)],
            [999, 1000]
        );
        bitmap.put(61, 8, false);
        assert!(!bitmap.all(60, 10, true) && bitmap.all(61, 8, false));
        let copy = Bitmap::from_bytes(&bitmap.to_bytes());
        assert_eq!(copy.words, bitmap.words);
    }
}
