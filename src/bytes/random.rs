//! Repeatable numbers for tests, which integration tests compile as well (`tests/common`).

/// xorshift64*: the same numbers for the same seed, so that a failure comes again.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; seeds may be small and neighbours.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.below_u64(u64::try_from(limit).unwrap())).unwrap()
    }

    /// A number below `limit`, which is not 0.
    pub fn below_u64(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// `len` bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
