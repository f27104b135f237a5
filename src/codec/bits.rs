//! Bits in the order that deflate and Zstandard have in common.

/// Appends bits, lowest first.
pub(super) struct BitWriter<'a> {
    pub out: &'a mut Vec<u8>,
    buffer: u64,
    /// Bits in the buffer, below 32 between calls.
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            buffer: 0,
            count: 0,
        }
    }

    /// Appends the low `bits` (up to 32) bits of `value`, which has no others.
    #[inline(always)]
    pub fn put(&mut self, value: u64, bits: u32) {
        self.buffer |= value << self.count;
        self.count += bits;
        if self.count >= 32 {
            self.out.extend_from_slice(&self.buffer.to_le_bytes()[..4]);
            self.buffer >>= 32;
            self.count -= 32;
        }
    }

    /// Fills up the last byte with zeroes and empties the buffer.
    pub fn align(&mut self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out
            .extend_from_slice(&self.buffer.to_le_bytes()[..bytes]);
        self.buffer = 0;
        self.count = 0;
    }
}
