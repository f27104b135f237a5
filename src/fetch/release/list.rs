//! `releases.json`: all releases there were, with what is in them. It is not signed, so nothing is fetched by it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flatcar::Channel;

/// Largest list: it has some megabytes, most of them notes.
pub const LIST_MAX: u64 = 64 << 20;

/// A release as the list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedRelease {
    /// Its version.
    pub version: String,
    /// Its channel, as the list says.
    pub channel: String,
    /// The day, as 2026-08-13.
    pub date: String,
    /// `amd64` and `arm64`.
    pub architectures: Vec<String>,
    /// Versions of software by its name: kernel, systemd, docker, containerd, ignition.
    pub software: BTreeMap<String, Vec<String>>,
}

/// All releases, the newest version first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseList(pub Vec<ListedRelease>);

#[derive(Deserialize)]
struct Entry {
    channel: String,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    release_date: String,
    #[serde(default)]
    major_software: BTreeMap<String, Vec<String>>,
}

impl ReleaseList {
    /// Reads a list. Names that stand for others, such as `current`, are left out.
    ///
    /// # Errors
    /// It is not such a list.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let entries: BTreeMap<String, Entry> = serde_json::from_slice(json).map_err(|error| {
            Error::corrupt("the list of releases cannot be read").with_source(error)
        })?;
        let mut releases: Vec<ListedRelease> = entries
            .into_iter()
            .filter(|(version, _)| !version.starts_with("current"))
            .map(|(version, entry)| ListedRelease {
                version,
                channel: entry.channel,
                date: entry.release_date.chars().take(10).collect(),
                architectures: entry.architectures,
                software: entry.major_software,
            })
            .collect();
        releases
            .sort_by_key(|release| (Reverse(numbers(&release.version)), release.version.clone()));
        Ok(Self(releases))
    }

    /// Those of one channel.
    pub fn of(self, channel: Channel) -> Self {
        let word = channel.to_string();
        let releases = self.0.into_iter();
        Self(releases.filter(|release| release.channel == word).collect())
    }
}

/// The numbers of a version; what is none counts as 0.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split('.');
    parts.map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let json = br#"{
            "4081.3.10": {"channel": "lts", "architectures": ["amd64", "arm64"],
                "release_date": "2026-07-01 09:00:00 +0000", "major_software": {"kernel": ["6.6.100"]}},
            "10000.2.0": {"channel": "stable", "release_notes": "x"},
            "4593.2.5": {"channel": "stable", "release_date": ""},
            "current": {"channel": "stable"}, "current-2024": {"channel": "lts"}}"#;
        let list = ReleaseList::parse(json).unwrap();
        let versions: Vec<&str> = list.0.iter().map(|release| &*release.version).collect();
        assert_eq!(versions, ["10000.2.0", "4593.2.5", "4081.3.10"]);
        assert_eq!(list.0[2].date, "2026-07-01");
        assert_eq!(list.of(Channel::Lts).0.len(), 1);
        for bad in [&b"[]"[..], b"", b"{\"1.2.3\": 7}"] {
            assert!(ReleaseList::parse(bad).is_err());
        }
    }
}
