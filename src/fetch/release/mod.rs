//! Flatcar's releases: how they are asked for, where their files are, and what `version.txt` and `releases.json` say.
//!
//! ```text
//!   stable, lts-2024 ──▶ https://stable.release.flatcar-linux.net/amd64-usr/current/version.txt ──▶ 4757.2.1
//!   4757.2.1 ──────────▶ https://stable.release.flatcar-linux.net/amd64-usr/4757.2.1/FILE
//!   4790.0.0+nightly… ─▶ https://bincache.flatcar-linux.net/images/amd64/4790.0.0+nightly…/FILE
//! ```

mod artifact;
mod list;
mod version;
mod wanted;

pub use artifact::Artifact;
pub use list::{LIST_MAX, ListedRelease, ReleaseList};
pub use version::{VERSION_FILE, VERSION_MAX, version_of};
pub use wanted::Wanted;

use super::transfer::Source;
use crate::error::{Error, Result};
use crate::flatcar::Channel;
use crate::machine::Arch;

/// Where `releases.json` is.
pub const LIST_URL: &str = "https://www.flatcar.org/releases-json/releases.json";
/// Where the builds between releases are kept, for a while.
const NIGHTLIES: &str = "https://bincache.flatcar-linux.net/images";

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
        wanted::check_version(version)?;
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
fn folder_of(channel: Channel, arch: Arch, name: &str) -> String {
    format!("https://{channel}.release.flatcar-linux.net/{arch}-usr/{name}")
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
