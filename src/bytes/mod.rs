//! Checked fields in byte slices, sizes for people, alignment.
//!
//! On-disk numbers are read with [`Fields`], which never panics: a field beyond the end is an error.

pub(crate) mod gpt;
mod guid;
mod structure;

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod judge;
#[cfg(test)]
pub(crate) mod random;
mod size;

pub use guid::Guid;
pub use size::ByteSize;
pub(crate) use structure::{
    Field, Order, Place, field_fits, field_range, in_a_row, put_in_a_row, row_of, structure,
};

use crate::error::{Error, Reason, Result};

/// Reads fixed-size numbers at byte offsets of an on-disk structure.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields of `bytes`; `what` names the structure in errors ("GPT header").
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    /// The `N` bytes at `offset`.
    pub fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N]> {
        self.slice(offset, N)?
            .try_into()
            .map_err(|_| Error::internal("slice has its length"))
    }

    /// `len` bytes at `offset`.
    pub fn slice(&self, offset: usize, len: usize) -> Result<&'a [u8]> {
        offset
            .checked_add(len)
            .and_then(|end| self.bytes.get(offset..end))
            .ok_or_else(|| {
                Error::corrupt(format!(
                    "{} is cut short: bytes {offset} to {} of {} wanted",
                    self.what,
                    offset.saturating_add(len),
                    self.bytes.len()
                ))
                .because(Reason::CutShort)
            })
    }

    /// The byte at `offset`.
    pub fn u8(&self, offset: usize) -> Result<u8> {
        Ok(self.array::<1>(offset)?[0])
    }

    /// Little-endian 16 bits.
    pub fn le16(&self, offset: usize) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array(offset)?))
    }

    /// Little-endian 32 bits.
    pub fn le32(&self, offset: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(offset)?))
    }

    /// Little-endian 64 bits.
    pub fn le64(&self, offset: usize) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(offset)?))
    }

    /// Big-endian 32 bits.
    pub fn be32(&self, offset: usize) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array(offset)?))
    }

    /// Big-endian 64 bits.
    pub fn be64(&self, offset: usize) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array(offset)?))
    }
}

/// Whether every byte is zero. Stops at the first chunk that is not.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(512)
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// `value` rounded up to a multiple of `align` (not 0); `None` on overflow.
pub fn align_up(value: u64, align: u64) -> Option<u64> {
    value.checked_next_multiple_of(align)
}

/// A length or offset as an index into memory, or [`crate::ErrorKind::Unsupported`] where it does not fit.
pub fn to_usize(value: u64) -> Result<usize> {
    usize::try_from(value)
        .map_err(|_| Error::unsupported(format!("{value} bytes do not fit this machine's memory")))
}

/// A length in memory as 64 bits, which always fits on the machines Rust supports.
pub fn to_u64(value: usize) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_beyond_the_end_are_errors() {
        let fields = Fields::new("test header", &[1, 2, 3, 4, 5]);
        assert_eq!(fields.le32(1).unwrap(), 0x0504_0302);
        assert_eq!(fields.be32(0).unwrap(), 0x0102_0304);
        assert!(
            fields
                .le32(2)
                .unwrap_err()
                .to_string()
                .contains("test header is cut short")
        );
        assert!(fields.slice(usize::MAX, 2).is_err());
    }

    #[test]
    fn one_byte_that_is_not_zero_is_seen() {
        let mut bytes = vec![0; 1500];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for at in [0, 511, 512, 1499] {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "byte {at}");
            bytes[at] = 0;
        }
    }

    #[test]
    fn alignment_reports_overflow() {
        assert_eq!(align_up(5, 4), Some(8));
        assert_eq!(align_up(u64::MAX, 4096), None);
    }
}
