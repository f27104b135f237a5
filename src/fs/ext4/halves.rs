//! Numbers that ext4 keeps in two fields: the low bits where they always were, the high bits where there was room later.

/// The number with these low and high 32 bits.
pub(super) fn join32(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The number with these low and high 16 bits.
pub(super) fn join16(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// The low 32 bits.
pub(super) fn low32(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The high 32 bits.
pub(super) fn high32(value: u64) -> u32 {
    low32(value >> 32)
}

/// The low 16 bits.
pub(super) fn low16(value: u32) -> u16 {
    let [a, b, ..] = value.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The high 16 bits.
pub(super) fn high16(value: u32) -> u16 {
    low16(value >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_make_the_number_again() {
        let value = 0x0123_4567_89AB_CDEF;
        assert_eq!((low32(value), high32(value)), (0x89AB_CDEF, 0x0123_4567));
        assert_eq!(join32(low32(value), high32(value)), value);
        let value = 0x0123_4567;
        assert_eq!((low16(value), high16(value)), (0x4567, 0x0123));
        assert_eq!(join16(low16(value), high16(value)), value);
    }
}
