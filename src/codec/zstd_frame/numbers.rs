//! Numbers that all of a frame has in common, and their bounds.

use crate::codec::bits::BitWriter;

/// The largest frame: tables for larger ones no longer fit into a cache.
pub(in crate::codec) const FRAME_MAX: usize = 1 << 20;

/// A bit in the unit of costs.
pub(super) const BIT: u32 = 256;
/// A byte in the unit of costs.
pub(super) const BYTE: u64 = 8 * 256;

/// A number that is at most [`FRAME_MAX`].
#[inline(always)]
pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("no more than a frame")
}

/// The number of a symbol.
#[inline(always)]
pub(super) fn symbol(number: usize) -> u8 {
    u8::try_from(number).expect("a symbol")
}

/// Ends what is read from its end: a one bit marks where.
pub(super) fn end(mut bits: BitWriter<'_>) {
    bits.put(1, 1);
    bits.align();
}
