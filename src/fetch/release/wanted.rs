//! Releases as they are asked for.

use std::fmt;
use std::str::FromStr;

use super::version::VERSION_FILE;
use super::{Release, folder_of};
use crate::error::{Error, Result};
use crate::fetch::transfer::Source;
use crate::flatcar::Channel;
use crate::machine::Arch;

/// Longest version: those of nightlies have some thirty characters.
const VERSION_LEN_MAX: usize = 100;

/// A release as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest of a channel.
    Newest(Channel),
    /// The newest of a stream of the LTS channel, such as 2024.
    LtsStream(u16),
    /// This one.
    Version(String),
}

impl Wanted {
    /// The `version.txt` that says which release is the newest; `None` where the version was asked for.
    pub fn current(&self, arch: Arch) -> Result<Option<Source>> {
        let folder = match self {
            Self::Newest(channel) => folder_of(*channel, arch, "current"),
            Self::LtsStream(year) => folder_of(Channel::Lts, arch, &format!("current-{year}")),
            Self::Version(_) => return Ok(None),
        };
        Source::parse(&folder)?.join(VERSION_FILE).map(Some)
    }

    /// Refuses a version that cannot be the answer to this.
    pub fn check(&self, release: &Release) -> Result<()> {
        let fits = match self {
            Self::Newest(channel) => Channel::of_version(&release.version) == Some(*channel),
            Self::LtsStream(_) => Channel::of_version(&release.version) == Some(Channel::Lts),
            Self::Version(version) => *version == release.version,
        };
        if fits {
            return Ok(());
        }
        Err(Error::new(
            crate::ErrorKind::Untrusted,
            format!(
                "{self} was asked for, and the answer is {}",
                release.version
            ),
        )
        .with_hint("the server, or a mirror of it, has the files of another release there"))
    }
}

/// As it is written: `stable`, `lts-2024`, `4757.2.1`.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(channel) => channel.fmt(f),
            Self::LtsStream(year) => write!(f, "lts-{year}"),
            Self::Version(version) => f.pad(version),
        }
    }
}

/// A channel (`stable`, `beta`, `alpha`, `lts`), `current` (the newest stable release), `lts-YYYY`, or a version.
impl FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "stable" | "current" => Self::Newest(Channel::Stable),
            "beta" => Self::Newest(Channel::Beta),
            "alpha" => Self::Newest(Channel::Alpha),
            "lts" => Self::Newest(Channel::Lts),
            _ => match text.strip_prefix("lts-") {
                Some(year) => Self::LtsStream(stream(year)?),
                None => {
                    check_version(text)?;
                    Self::Version(text.to_owned())
                }
            },
        })
    }
}

fn stream(year: &str) -> Result<u16> {
    let year: Option<u16> = Some(year)
        .filter(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|year| year.parse().ok());
    year.ok_or_else(|| {
        Error::invalid("an LTS stream is called after its year").with_hint("write lts-2024")
    })
}

/// Refuses what is not the version of a release or a nightly build: it becomes a part of URLs.
pub(super) fn check_version(version: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let build = version.split_once('+').map_or("0", |(_, build)| build);
    let fits = version.len() <= VERSION_LEN_MAX
        && Channel::of_version(version).is_some()
        && !build.is_empty()
        && build.bytes().all(plain);
    if fits {
        return Ok(());
    }
    Err(
        Error::invalid(format!("'{}' is not a release", version.escape_debug())).with_hint(
            "write a channel (stable, beta, alpha, lts), lts-2024, or a version such as 4757.2.1",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_ask_for_a_release() {
        let current = |text: &str| {
            let wanted: Wanted = text.parse().unwrap();
            let source = wanted.current(Arch::Amd64).unwrap();
            source.map(|source| source.to_string())
        };
        let at = |place: &str| Some(format!("https://{place}/version.txt"));
        for (text, place) in [
            (
                "stable",
                "stable.release.flatcar-linux.net/amd64-usr/current",
            ),
            (
                "current",
                "stable.release.flatcar-linux.net/amd64-usr/current",
            ),
            ("alpha", "alpha.release.flatcar-linux.net/amd64-usr/current"),
            ("lts", "lts.release.flatcar-linux.net/amd64-usr/current"),
            (
                "lts-2023",
                "lts.release.flatcar-linux.net/amd64-usr/current-2023",
            ),
        ] {
            assert_eq!(current(text), at(place), "{text}");
        }
        assert_eq!(current("4593.2.5"), None);
        assert_eq!(current("4790.0.0+nightly-20260813-2100"), None);
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "Stable",
            "edge",
            "lts-",
            "lts-24",
            "lts-20245",
            "lts-+024",
            "4593.2",
            "4593.9.5",
            "4593.2.5+",
            "4593.2.5+a/b",
            "4593.2.5/..",
            "4593.2.5 ",
            "v4593.2.5",
        ] {
            let refused = text.parse::<Wanted>();
            let error = refused.expect_err(text);
            assert!(error.hint().is_some(), "{text}: {error}");
        }
        assert!(
            format!("4593.2.5+{}", "a".repeat(100))
                .parse::<Wanted>()
                .is_err()
        );
    }

    #[test]
    fn an_answer_of_another_channel_is_refused() {
        let wanted: Wanted = "stable".parse().unwrap();
        let release = |version: &str| Release::new(version, Arch::Amd64).unwrap();
        wanted.check(&release("4593.2.5")).unwrap();
        let refused = wanted.check(&release("4790.0.0")).unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::Untrusted);
    }
}
