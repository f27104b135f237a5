//! Releases, and where their files are.

use crate::error::{Error, Result};
use crate::fetch::transfer::Source;
use crate::flatcar::Channel;
use crate::machine::Arch;

/// Where the builds between releases are kept, for a while.
const NIGHTLIES: &str = "https://bincache.flatcar-linux.net/images";

/// Longest version: those of nightlies have some thirty characters.
const VERSION_LEN_MAX: usize = 100;

/// A release of which the version is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// As in os-release: `4757.2.1`, or `4790.0.0+nightly-20260813-2100`.
    pub version: String,
    /// What its files are for.
    pub arch: Arch,
}

impl Release {
    /// The release with this version.
    ///
    /// # Errors
    /// It is not the version of a release.
    pub fn new(version: &str, arch: Arch) -> Result<Self> {
        check_version(version)?;
        Ok(Self {
            version: version.to_owned(),
            arch,
        })
    }

    /// Where it is published under the name `file`.
    pub fn source(&self, file: &str) -> Result<Source> {
        self.folder()?.join(file)
    }

    fn folder(&self) -> Result<Source> {
        if self.version.contains('+') {
            return Source::parse(&format!("{NIGHTLIES}/{}/{}", self.arch, self.version));
        }
        let channel = Channel::of_version(&self.version)
            .ok_or_else(|| Error::internal(format!("{} has no channel", self.version)))?;
        Source::parse(&folder_of(channel, self.arch, &self.version))
    }
}

/// The folder of a channel's server that holds a release, or what is `current`.
pub(super) fn folder_of(channel: Channel, arch: Arch, name: &str) -> String {
    format!("https://{channel}.release.flatcar-linux.net/{arch}-usr/{name}")
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
    fn releases_lie_where_flatcar_puts_them() {
        for (version, arch, place) in [
            (
                "4757.2.1",
                Arch::Amd64,
                "https://stable.release.flatcar-linux.net/amd64-usr/4757.2.1/a.raw",
            ),
            (
                "4081.3.10",
                Arch::Arm64,
                "https://lts.release.flatcar-linux.net/arm64-usr/4081.3.10/a.raw",
            ),
            (
                "4790.0.0+nightly-20260813-2100",
                Arch::Arm64,
                "https://bincache.flatcar-linux.net/images/arm64/4790.0.0+nightly-20260813-2100/a.raw",
            ),
        ] {
            let release = Release::new(version, arch).unwrap();
            assert_eq!(release.source("a.raw").unwrap().to_string(), place);
        }
        let release = Release::new("4757.2.1", Arch::Amd64).unwrap();
        for file in ["../x", "", "/etc/passwd", "a/../b"] {
            assert!(release.source(file).is_err(), "{file}");
        }
    }
}
