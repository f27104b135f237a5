//! GUIDs as the UEFI specification stores them (first three fields little-endian).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A GUID in its on-disk byte order of the UEFI specification (appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid([u8; 16]);

/// Where each printed byte lies on disk.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// The all-zero GUID, which marks an unused partition entry.
    pub const ZERO: Self = Self([0; 16]);

    /// From its on-disk bytes.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its on-disk bytes.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0
    }

    /// From its bytes in the order in which they are printed.
    pub fn from_printed(bytes: [u8; 16]) -> Self {
        let mut on_disk = [0; 16];
        for (byte, at) in bytes.into_iter().zip(ORDER) {
            on_disk[at] = byte;
        }
        Self(on_disk)
    }

    /// Its bytes in the order in which they are printed.
    pub fn to_printed(self) -> [u8; 16] {
        ORDER.map(|at| self.0[at])
    }

    /// A constant GUID from its printed fields: `Guid::from_fields(0xc12a7328, 0xf81f, 0x11d2, 0xba4b00a0c93ec93b)`.
    pub const fn from_fields(a: u32, b: u16, c: u16, d: u64) -> Self {
        let a = a.to_le_bytes();
        let b = b.to_le_bytes();
        let c = c.to_le_bytes();
        let d = d.to_be_bytes();
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (printed, on_disk) in ORDER.into_iter().enumerate() {
            if matches!(printed, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[on_disk])?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("'{text}' is not a GUID"))
                .with_hint("a GUID looks like c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
        };
        let dashes_right = text.len() == 36
            && [8, 13, 18, 23]
                .iter()
                .all(|&at| text.as_bytes()[at] == b'-');
        let hex: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
        if !dashes_right || hex.len() != 32 {
            return Err(bad());
        }
        let mut bytes = [0; 16];
        for (printed, on_disk) in ORDER.into_iter().enumerate() {
            let digit = |at: usize| {
                char::from(hex[at])
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let (high, low) = digit(2 * printed)
                .zip(digit(2 * printed + 1))
                .ok_or_else(bad)?;
            bytes[on_disk] = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_the_mixed_byte_order() {
        let efi = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
        assert_eq!(efi.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(efi.to_string().to_uppercase().parse::<Guid>().unwrap(), efi);
        assert_eq!(efi.to_disk()[..4], [0x28, 0x73, 0x2a, 0xc1]);
        assert_eq!(efi.to_printed()[..6], [0xc1, 0x2a, 0x73, 0x28, 0xf8, 0x1f]);
        assert_eq!(Guid::from_printed(efi.to_printed()), efi);
        for bad in [
            "",
            "c12a7328",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93g",
            "c12a7328f-81f-11d2-ba4b-00a0c93ec93b",
            "é12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        ] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
    }
}
