//! The two classes of extensions: of the system and of its configuration.

use std::fmt;

use crate::error::Result;
use crate::fs::FsPath;

/// What an extension extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// `/usr` and `/opt`.
    #[default]
    Sysext,
    /// `/etc`.
    Confext,
}

impl Class {
    /// Folders at the top that are merged.
    pub fn merged(self) -> &'static [&'static str] {
        match self {
            Self::Sysext => &["usr", "opt"],
            Self::Confext => &["etc"],
        }
    }

    /// Where the release files lie.
    pub fn release_folder(self) -> &'static str {
        match self {
            Self::Sysext => "/usr/lib/extension-release.d",
            Self::Confext => "/etc/extension-release.d",
        }
    }

    /// The release file for the name `name`.
    pub fn release_path(self, name: &str) -> Result<FsPath> {
        FsPath::new(self.release_folder())?.join(format!("extension-release.{name}"))
    }

    /// Where units lie.
    pub(super) fn units(self) -> &'static str {
        match self {
            Self::Sysext => crate::flatcar::unit::SYSTEM_UNITS,
            Self::Confext => crate::flatcar::unit::MACHINE_UNITS,
        }
    }

    /// The field of a release that says which interface an extension needs.
    pub fn level_field(self) -> &'static str {
        match self {
            Self::Sysext => "SYSEXT_LEVEL",
            Self::Confext => "CONFEXT_LEVEL",
        }
    }

    /// The field that says where an extension may be used.
    pub(super) fn scope_field(self) -> &'static str {
        match self {
            Self::Sysext => "SYSEXT_SCOPE",
            Self::Confext => "CONFEXT_SCOPE",
        }
    }

    /// Its merged folders, for a message.
    pub(super) fn merged_text(self) -> &'static str {
        match self {
            Self::Sysext => "/usr and /opt",
            Self::Confext => "/etc",
        }
    }
}

/// `sysext` or `confext`.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sysext => "sysext",
            Self::Confext => "confext",
        })
    }
}
