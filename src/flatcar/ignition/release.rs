//! Which specifications the Ignition of a release reads (fact book, section C).

use std::fmt;

/// The newest minor version of specification 3 that is known here, as stable.
pub(in crate::flatcar) const NEWEST: u8 = 6;

/// What an Ignition reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// The version of Ignition.
    pub ignition: &'static str,
    /// The newest minor version of specification 3: 5 stands for 3.0 to 3.5, and 3.6.0-experimental.
    pub newest: u8,
    /// Whether it reads Butane configs.
    pub butane: bool,
}

/// The first major version of each, the newest first.
const RELEASES: [(u64, Reads); 6] = [
    (4820, reads("2.27", 6, true)),
    (4593, reads("2.24", 5, false)),
    (4152, reads("2.20", 5, false)),
    (4081, reads("2.19", 4, false)),
    (3602, reads("2.15", 4, false)),
    (3185, reads("2.13", 3, false)),
];

const fn reads(ignition: &'static str, newest: u8, butane: bool) -> Reads {
    Reads {
        ignition,
        newest,
        butane,
    }
}

impl Reads {
    /// What the Ignition of the release with this major version reads; `None` before Ignition 2, which reads
    /// specifications 1 and 2 only.
    pub fn of_release(major: u64) -> Option<Self> {
        let found = RELEASES.iter().find(|(first, _)| major >= *first);
        found.map(|(_, reads)| *reads)
    }

    /// What flatbake knows, for a config whose release is not known.
    pub const fn all() -> Self {
        reads("2.27", NEWEST, true)
    }

    /// Whether it reads a config of this version.
    pub(in crate::flatcar) fn takes(self, version: Version) -> bool {
        match version.is_experimental {
            false => version.minor <= self.newest,
            true => version.minor == self.newest + 1,
        }
    }
}

/// `3.0 to 3.5`
impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.0 to 3.{}", self.newest)
    }
}

/// A version of specification 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::flatcar) struct Version {
    pub(in crate::flatcar) minor: u8,
    pub(in crate::flatcar) is_experimental: bool,
}

impl Version {
    /// Of `3.4.0` or `3.4.0-experimental`: nothing else is read.
    pub(in crate::flatcar) fn parse(text: &str) -> Option<Self> {
        let (text, is_experimental) = match text.strip_suffix("-experimental") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let minor = text.strip_prefix("3.")?.strip_suffix(".0")?;
        let is_plain = minor.len() == 1 && minor.bytes().all(|byte| byte.is_ascii_digit());
        let minor = minor.parse().ok().filter(|_| is_plain)?;
        Some(Self {
            minor,
            is_experimental,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.is_experimental {
            "-experimental"
        } else {
            ""
        };
        write!(f, "3.{}.0{suffix}", self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_read_what_their_ignition_reads() {
        let newest = |major| Reads::of_release(major).map(|reads| reads.newest);
        for (major, expected) in [
            (3139, None),
            (3185, Some(3)),
            (3510, Some(3)),
            (3815, Some(4)),
            (4081, Some(4)),
            (4230, Some(5)),
            (4593, Some(5)),
            (4757, Some(5)),
            (4830, Some(6)),
        ] {
            assert_eq!(newest(major), expected, "{major}");
        }
    }

    #[test]
    fn versions_are_matched_exactly() {
        let reads = Reads::of_release(4757).unwrap();
        let takes = |text: &str| Version::parse(text).map(|version| reads.takes(version));
        for (text, expected) in [
            ("3.0.0", Some(true)),
            ("3.5.0", Some(true)),
            ("3.6.0", Some(false)),
            ("3.6.0-experimental", Some(true)),
            ("3.5.0-experimental", Some(false)),
            ("3.7.0-experimental", Some(false)),
            ("3.3.1", None),
            ("3.3", None),
            ("3.03.0", None),
            ("2.3.0", None),
            ("", None),
        ] {
            assert_eq!(takes(text), expected, "{text}");
        }
        let experimental = Version::parse("3.6.0-experimental").unwrap();
        assert_eq!(experimental.to_string(), "3.6.0-experimental");
    }
}
