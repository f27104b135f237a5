//! A folder of extension images that machines and flatbake find newer versions in.
//!
//! ```text
//!   NAME-VERSION-ARCHITECTURE.raw ──▶ Image: what the name says, held against the release file in it
//!                                       └─▶ index: SHA256SUMS, NAME/SHA256SUMS, NAME.conf
//! ```

mod list;

pub use list::{Entry, List, schema};

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ExtensionRelease, inspect, open_extension};
use crate::block::BlockDevice;
use crate::error::{Error, Result};
use crate::flatcar::sysupdate::Updates;

/// The list of digests, as systemd-sysupdate knows it.
pub const SUMS: &str = "SHA256SUMS";
/// systemd's words for architectures, as names of files end.
const ARCHITECTURES: [&str; 2] = ["x86-64", "arm64"];
const ENDING: &str = ".raw";
const ANY: &str = "_any";

/// An image that is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The name that it is merged by.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, in systemd's words.
    pub architecture: String,
    /// The name of its file.
    pub file: String,
}

impl Image {
    /// The image of a version.
    pub fn of(name: &str, version: &str, architecture: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            file: format!("{name}-{version}-{architecture}{ENDING}"),
        }
    }

    /// What the file called `file` is, by its name and what is in it.
    ///
    /// # Errors
    /// A name that says no version and architecture, or an image that would not be merged by it; those of reading.
    pub fn read(file: &str, device: Arc<dyn BlockDevice>) -> Result<Self> {
        let (stem, architecture) = stem(file)?;
        let info = inspect(&*open_extension(device)?)?;
        let fitting = |release: &&ExtensionRelease| {
            let version = stem
                .strip_prefix(&*release.name)
                .and_then(|rest| rest.strip_prefix('-'));
            version.is_some_and(|version| !version.is_empty())
        };
        // Of docker and docker-compose, the longer one is meant.
        let release = info
            .releases
            .iter()
            .filter(fitting)
            .max_by_key(|release| release.name.len());
        let release = release.ok_or_else(|| {
            let names: Vec<&str> = info.releases.iter().map(|found| &*found.name).collect();
            Error::invalid(format!(
                "no release file in it is for the name of this file; there are some for: {}",
                names.join(", ")
            ))
            .with_hint("name it NAME-VERSION-ARCHITECTURE.raw, by the NAME of its release file")
        })?;
        let own = release.fields.get("ARCHITECTURE").unwrap_or(ANY);
        if own != ANY && own != architecture {
            return Err(Error::invalid(format!(
                "the release file says {own}, and the name says {architecture}"
            )));
        }
        let version = stem[release.name.len() + 1..].to_owned();
        Ok(Self {
            name: release.name.clone(),
            version,
            architecture: architecture.to_owned(),
            file: file.to_owned(),
        })
    }
}

/// The name of a file without its architecture, and that.
fn stem(file: &str) -> Result<(&str, &'static str)> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
    let named = ARCHITECTURES.iter().find_map(|architecture| {
        let stem = file.strip_suffix(ENDING)?.strip_suffix(architecture)?;
        Some((stem.strip_suffix('-')?, *architecture))
    });
    named.filter(|_| file.bytes().all(is_plain)).ok_or_else(|| {
        Error::invalid("the name says no version and architecture")
            .with_hint("name it NAME-VERSION-x86-64.raw or NAME-VERSION-arm64.raw")
    })
}

/// Files of an index by their paths in the folder, each with its text, in the order of the paths. `images` are with their
/// SHA-256; `url` is where the folder will be, and is asked for to write where updates are.
///
/// # Errors
/// What is not a URL, a name that systemd does not take.
pub fn index(images: &[(Image, String)], url: Option<&str>) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut sums: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for (image, sha256) in images {
        let own = sums.entry(&image.name).or_default();
        own.insert(image.file.clone(), sha256.clone());
    }
    let mut all = BTreeMap::new();
    for (name, mut own) in sums {
        if let Some(url) = url {
            let text = Updates::new(name, url).text()?;
            let file = format!("{name}.conf");
            own.insert(file.clone(), digest(text.as_bytes()));
            files.insert(file, text);
        }
        files.insert(format!("{name}/{SUMS}"), lines(&own));
        all.extend(own);
    }
    files.insert(SUMS.to_owned(), lines(&all));
    Ok(files)
}

fn lines(sums: &BTreeMap<String, String>) -> String {
    sums.iter()
        .map(|(file, sha256)| format!("{sha256}  {file}\n"))
        .collect()
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    crate::bytes::hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_say_version_and_architecture() {
        assert_eq!(
            stem("a-b-1.0-rc1-x86-64.raw").unwrap(),
            ("a-b-1.0-rc1", "x86-64")
        );
        assert_eq!(stem("k3s-v1.30.4+k3s1-arm64.raw").unwrap().1, "arm64");
        for bad in [
            "a.raw",
            "a-1-amd64.raw",
            "a-1-arm64",
            "a b-1-arm64.raw",
            "-arm64.raw/",
        ] {
            assert!(stem(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_over_all_and_over_each() {
        let image =
            |name: &str, version: &str| (Image::of(name, version, "arm64"), "ab".repeat(32));
        let images = [image("b", "1"), image("a", "2"), image("a", "1")];
        let files = index(&images, None).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["SHA256SUMS", "a/SHA256SUMS", "b/SHA256SUMS"]);
        assert_eq!(
            files["b/SHA256SUMS"],
            format!("{}  b-1-arm64.raw\n", "ab".repeat(32))
        );
        let order: Vec<&str> = files["SHA256SUMS"]
            .lines()
            .map(|line| &line[66..])
            .collect();
        assert_eq!(order, ["a-1-arm64.raw", "a-2-arm64.raw", "b-1-arm64.raw"]);

        let files = index(&images, Some("https://host.example")).unwrap();
        assert!(files["a.conf"].contains("Path=https://host.example/\n"));
        assert!(files["a/SHA256SUMS"].ends_with("  a.conf\n"));
        assert!(index(&images, Some("host.example")).is_err());
    }
}
