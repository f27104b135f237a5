//! The 64 attribute bits of a partition entry (UEFI 2.10, table 5-8, and cgpt's use of bits 48 to 56).
//!
//! ```text
//!  bit 0         2              48      52    56
//!      required  legacy boot    priority tries successful     (the last three: which USR partition boots)
//! ```

use std::fmt;

use crate::error::{Error, Result};

const REQUIRED: u64 = 1;
const LEGACY_BOOT: u64 = 1 << 2;
const PRIORITY_SHIFT: u32 = 48;
const TRIES_SHIFT: u32 = 52;
const NIBBLE: u64 = 0xf;
const SUCCESSFUL: u64 = 1 << 56;
const READ_ONLY: u64 = 1 << 60;

/// The attribute bits of a partition, all 64 kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PartitionAttributes(pub u64);

impl PartitionAttributes {
    /// Bit 60 alone: what mounts the partition by its type mounts it read-only (UAPI.2, Discoverable Partitions).
    pub const READ_ONLY: Self = Self(READ_ONLY);

    /// Bit 0: the platform needs this partition.
    pub fn required(self) -> bool {
        self.0 & REQUIRED != 0
    }

    /// Bit 2: a legacy BIOS may boot from it. Flatcar's ESP had it until release 4277 (a hybrid MBR goes with it).
    pub fn legacy_boot(self) -> bool {
        self.0 & LEGACY_BOOT != 0
    }

    /// Bits 48 to 51: 0 (never booted) to 15 (first choice).
    pub fn priority(self) -> u8 {
        self.nibble(PRIORITY_SHIFT)
    }

    /// Bits 52 to 55: boot attempts left, 0 to 15.
    pub fn tries(self) -> u8 {
        self.nibble(TRIES_SHIFT)
    }

    /// Bit 56: it booted once and may boot again without counting tries.
    pub fn successful(self) -> bool {
        self.0 & SUCCESSFUL != 0
    }

    /// These bits with another legacy boot bit.
    #[must_use]
    pub fn with_legacy_boot(self, on: bool) -> Self {
        self.with_bit(LEGACY_BOOT, on)
    }

    /// These bits with another priority, 0 to 15.
    pub fn with_priority(self, priority: u8) -> Result<Self> {
        self.with_nibble("priority", PRIORITY_SHIFT, priority)
    }

    /// These bits with another number of boot attempts, 0 to 15.
    pub fn with_tries(self, tries: u8) -> Result<Self> {
        self.with_nibble("tries", TRIES_SHIFT, tries)
    }

    /// These bits with another successful bit.
    #[must_use]
    pub fn with_successful(self, on: bool) -> Self {
        self.with_bit(SUCCESSFUL, on)
    }

    fn nibble(self, shift: u32) -> u8 {
        self.0.to_le_bytes()[6] >> (shift - PRIORITY_SHIFT) & 0xf
    }

    fn with_nibble(self, what: &str, shift: u32, value: u8) -> Result<Self> {
        if u64::from(value) > NIBBLE {
            return Err(Error::invalid(format!(
                "partition {what} {value} is out of range: must be 0 to 15"
            )));
        }
        Ok(Self(
            self.0 & !(NIBBLE << shift) | u64::from(value) << shift,
        ))
    }

    fn with_bit(self, bit: u64, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// The raw value: `0x0101000000000000`.
impl fmt::Display for PartitionAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_cgpt_puts_them() {
        let fresh = PartitionAttributes(0x0101_0000_0000_0000);
        assert_eq!(
            (fresh.priority(), fresh.tries(), fresh.successful()),
            (1, 0, true)
        );
        assert_eq!(fresh.to_string(), "0x0101000000000000");
        let other = PartitionAttributes(0xfe00_0000_0000_0004);
        assert!(other.legacy_boot() && !other.required());
        let edited = other
            .with_priority(15)
            .unwrap()
            .with_tries(7)
            .unwrap()
            .with_successful(true)
            .with_legacy_boot(false);
        assert_eq!(edited.0, 0xff7f_0000_0000_0000);
        assert_eq!((edited.priority(), edited.tries()), (15, 7));
        assert!(other.with_tries(16).is_err() && other.with_priority(255).is_err());
    }
}
