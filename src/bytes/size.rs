//! Sizes in bytes as people write and read them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// A size in bytes; prints with a binary unit, parses `4096`, `64K`, `64KiB`, `6G`, `1.5GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, shift) in UNITS {
            let unit = 1u64 << shift;
            if self.0 >= unit {
                let whole = self.0 >> shift;
                let tenth = (self.0 & (unit - 1)).saturating_mul(10) >> shift;
                return if tenth == 0 {
                    write!(f, "{whole} {name}")
                } else {
                    write!(f, "{whole}.{tenth} {name}")
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("'{text}' is not a size"))
                .with_hint("write a number with an optional unit: 4096, 64K, 512MiB, 6G, 1.5GiB")
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            "t" | "tib" => 40,
            _ => return Err(bad()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut size = whole
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift))
            .ok_or_else(bad)?;
        if !fraction.is_empty() {
            if fraction.len() > 9 || shift == 0 {
                return Err(bad());
            }
            let digits = fraction.len().try_into().map_err(|_| bad())?;
            let part = u128::from(fraction.parse::<u64>().map_err(|_| bad())?) << shift;
            let part = u64::try_from(part / 10u128.pow(digits)).map_err(|_| bad())?;
            size = size.checked_add(part).ok_or_else(bad)?;
        }
        Ok(Self(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64K", 65536),
            ("1.5GiB", 1_610_612_736),
            ("6g", 6 << 30),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes), "{text}");
        }
        for text in [
            "",
            "x",
            "1.5",
            "-1",
            "1.K.",
            "99999999999T",
            "5 parsecs",
            "1.0000000000000M",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_with_a_unit() {
        assert_eq!(ByteSize(1_610_612_736).to_string(), "1.5 GiB");
        assert_eq!(ByteSize(512).to_string(), "512 B");
        assert_eq!(ByteSize(u64::MAX).to_string(), "16777215.9 TiB");
    }
}
