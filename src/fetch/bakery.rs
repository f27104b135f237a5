//! Extensions of the sysext Bakery, by their names and versions.
//!
//! ```text
//!   https://extensions.flatcar.org/extensions/wasmtime/SHA256SUMS      which versions there are, and their digests
//!                                            /wasmtime-24.0.0-x86-64.raw
//!                                            /wasmtime.conf            where systemd-sysupdate finds newer ones
//! ```
//!
//! The Bakery signs nothing: what comes is held against the list of the server, and TLS is what vouches for both.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::transfer::Source;
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::machine::Arch;

/// Where extensions are.
const SERVER: &str = "https://extensions.flatcar.org/extensions";
/// A list has some hundred bytes for each version.
pub(super) const SUMS_MAX: u64 = 4 << 20;
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// An extension as it is asked for: `wasmtime@24.0.0`, or `wasmtime@latest` for the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its name, which is also that of its release file.
    pub name: String,
    /// Its version; `None` for the newest.
    pub version: Option<String>,
}

/// What an extension came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The version.
    pub version: String,
    /// Its files.
    pub files: Files,
}

/// The files of an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The sysext.
    pub sysext: Listed,
    /// What systemd-sysupdate finds newer ones by.
    pub transfer: Option<Transfer>,
}

/// A file of systemd-sysupdate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transfer {
    /// One whose digest is known.
    Listed(Listed),
    /// One that no list has, if there is one at all.
    Unlisted(Source),
}

/// A file whose digest is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is published.
    pub source: Source,
    /// The SHA-256 that it must have, in hexadecimal digits.
    pub sha256: String,
    /// The list, or the lock, that says so.
    pub listed_in: String,
}

impl Extension {
    /// The newest one of that name.
    ///
    /// # Errors
    /// It cannot be a name.
    pub fn newest(name: &str) -> Result<Self> {
        format!("{name}@latest").parse()
    }

    /// Where its file with a version for `arch` is published.
    ///
    /// # Errors
    /// It is not a version.
    pub fn source(&self, version: &str, arch: Arch) -> Result<Source> {
        if !is_plain(version) {
            return Err(Error::invalid(format!(
                "'{}' is not the version of an extension",
                version.escape_debug()
            )));
        }
        let file = format!("{}-{version}-{}.raw", self.name, word(arch));
        Source::parse(&format!("{SERVER}/{file}"))
    }

    /// Where the list of its versions is.
    pub fn sums(&self) -> Result<Source> {
        Source::parse(&format!("{SERVER}/{}/SHA256SUMS", self.name))
    }

    /// Where the file of systemd-sysupdate for it is published.
    ///
    /// # Errors
    /// A defect of flatbake.
    pub fn transfer(&self) -> Result<Source> {
        Source::parse(&format!("{SERVER}/{}.conf", self.name))
    }

    /// Where the file that is called `file` is published; it need not be one of this extension.
    ///
    /// # Errors
    /// It is not the name of a sysext of the Bakery.
    pub fn own_file(&self, file: &Path) -> Result<Source> {
        let name = file.to_str().filter(|name| is_sysext(name));
        let name = name.ok_or_else(|| {
            let file = file.display().to_string();
            Error::not_found(format!(
                "{} is not here, and the Bakery has nothing of that name",
                file.escape_debug()
            ))
        })?;
        Source::parse(&format!("{SERVER}/{name}"))
    }

    /// The files of the extension whose sysext is called `file`, by a list.
    pub(super) fn find(&self, sums: &[u8], file: &Path) -> Result<Files> {
        let mut all: Vec<(&str, &str)> = text_of(sums)?.lines().filter_map(listed).collect();
        all.retain(|(_, name)| is_sysext(name));
        let found = all.iter().find(|(_, name)| Path::new(name) == file);
        let (sha256, name) = found.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
            let file = file.display().to_string();
            let file = file.escape_debug();
            Error::not_found(format!(
                "{file} is not here, and the Bakery has none for {}",
                self.name
            ))
            .with_hint(format!("it has: {}", names.join(", ")))
        })?;
        let source = Source::parse(&format!("{SERVER}/{name}"))?;
        self.files(sums, source, sha256)
    }

    /// The files for `arch` among those of a list.
    pub(super) fn choose(&self, sums: &[u8], arch: Arch) -> Result<Chosen> {
        let mut found: Vec<(&str, &str)> = text_of(sums)?
            .lines()
            .filter_map(|line| self.entry(line, arch))
            .collect();
        found.sort_by(|(one, _), (other, _)| by_version(one, other));
        let chosen = match &self.version {
            Some(version) => found.iter().rfind(|(known, _)| known == version),
            None => found.last(),
        };
        let (version, sha256) = chosen.ok_or_else(|| {
            let versions: Vec<&str> = found.iter().map(|(version, _)| *version).collect();
            let there = match versions.as_slice() {
                [] => format!("nothing for {}", word(arch)),
                some => some.join(", "),
            };
            Error::not_found(format!("the Bakery has no {self} for {}", word(arch)))
                .with_hint(format!("it has: {there}"))
        })?;
        let source = self.source(version, arch)?;
        Ok(Chosen {
            version: (*version).to_owned(),
            files: self.files(sums, source, sha256)?,
        })
    }

    /// A sysext of a list, and the file for its updates.
    fn files(&self, sums: &[u8], source: Source, sha256: &str) -> Result<Files> {
        let listed_in = self.sums()?.to_string();
        let transfer = self.transfer()?;
        let name = format!("{}.conf", self.name);
        let transfer = match sums_of(sums)?.remove(&name) {
            Some(sha256) => Transfer::Listed(Listed {
                source: transfer,
                sha256,
                listed_in: listed_in.clone(),
            }),
            None => Transfer::Unlisted(transfer),
        };
        Ok(Files {
            sysext: Listed {
                source,
                sha256: sha256.to_owned(),
                listed_in,
            },
            transfer: Some(transfer),
        })
    }

    /// Version and digest of a line that is about this extension.
    fn entry<'a>(&self, line: &'a str, arch: Arch) -> Option<(&'a str, &'a str)> {
        let (sha256, file) = listed(line)?;
        let version = file
            .strip_prefix(&*self.name)?
            .strip_prefix('-')?
            .strip_suffix(".raw")?
            .strip_suffix(word(arch))?
            .strip_suffix('-')?;
        is_plain(version).then_some((version, sha256))
    }
}

/// The digests of a list by the names of the files.
pub(super) fn sums_of(sums: &[u8]) -> Result<BTreeMap<String, String>> {
    let all = text_of(sums)?.lines().filter_map(listed);
    Ok(all
        .map(|(sha256, name)| (name.to_owned(), sha256.to_owned()))
        .collect())
}

fn text_of(sums: &[u8]) -> Result<&str> {
    std::str::from_utf8(sums)
        .map_err(|error| Error::corrupt("SHA256SUMS is not text").with_source(error))
}

/// Digest and file of a line.
fn listed(line: &str) -> Option<(&str, &str)> {
    let (sha256, file) = line.split_once(char::is_whitespace)?;
    let file = file.trim_start().trim_start_matches('*').trim_end();
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_digest = sha256.len() == DIGITS && sha256.bytes().all(is_digit);
    is_digest.then_some((sha256, file))
}

/// Whether it is the name of a sysext's file.
fn is_sysext(name: &str) -> bool {
    name.ends_with(".raw") && is_plain(name)
}

/// What is said of a file that does not have the digest in the list, or the lock, that is called `list`.
pub fn mismatch(found: &str, wanted: &str, list: &str) -> Error {
    Error::new(
        ErrorKind::Untrusted,
        format!("the SHA-256 is {found}, but {list} says {wanted}"),
    )
    .because(Reason::Checksum)
    .with_hint(
        "fetch it again; if it stays so, the server or a mirror of it has another file there",
    )
}

/// systemd's word for an architecture, as names of files have it.
fn word(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86-64",
        Arch::Arm64 => "arm64",
    }
}

/// What the parts of a version before its release begin with.
const BEFORE_RELEASE: [&str; 5] = ["alpha", "beta", "dev", "pre", "rc"];

/// Numbers by their values, all else as text; what leads up to a release comes before it.
fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (parts(one), parts(other));
    let len = one.len().max(other.len());
    one.resize(len, (0, ""));
    other.resize(len, (0, ""));
    one.cmp(&other)
}

/// Each part of a version as a number, and as a text where it is none.
fn parts(version: &str) -> Vec<(i64, &str)> {
    let part = |part| {
        let number = str::trim_start_matches(part, 'v').parse();
        let is_before = BEFORE_RELEASE.iter().any(|word| part.starts_with(word));
        match number {
            Ok(number) => (number, ""),
            Err(_) if is_before => (-1, part),
            Err(_) => (0, part),
        }
    };
    version.split(['.', '-', '+', '_']).map(part).collect()
}

fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    !word.is_empty() && word.len() <= 100 && word.bytes().all(plain) && !word.starts_with('.')
}

/// `wasmtime@24.0.0`, `wasmtime@latest`.
impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("latest");
        write!(f, "{}@{version}", self.name)
    }
}

/// `NAME@VERSION` or `NAME@latest`.
impl FromStr for Extension {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text
            .split_once('@')
            .filter(|(name, version)| is_plain(name) && is_plain(version));
        let (name, version) = parts.ok_or_else(|| {
            Error::invalid(format!("'{}' is not NAME@VERSION", text.escape_debug()))
                .with_hint("write wasmtime@24.0.0, or wasmtime@latest")
        })?;
        Ok(Self {
            name: name.to_owned(),
            version: (version != "latest").then(|| version.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(text: &str) -> Extension {
        text.parse().unwrap()
    }

    #[test]
    fn the_version_that_is_asked_for_or_the_newest() {
        let digest = |digit: &str| digit.repeat(DIGITS);
        let sums = [
            format!("{}  wasmtime-9.0.0-x86-64.raw", digest("a")),
            format!("{}  wasmtime-24.0.0-x86-64.raw", digest("b")),
            format!("{} *wasmtime-24.0.1-arm64.raw", digest("c")),
            format!("{}  wasmtime-other-99-x86-64.raw.gz", digest("d")),
            format!("{}  ../wasmtime-99-x86-64.raw", digest("e")),
            format!("{}  wasmtime-100-x86-64.raw", "E".repeat(DIGITS)),
            "short  wasmtime-101-x86-64.raw".to_owned(),
        ];
        let sums = sums.join("\n");
        let choose = |text: &str, arch| {
            let chosen = extension(text).choose(sums.as_bytes(), arch)?;
            let sysext = chosen.files.sysext;
            Ok::<_, Error>((sysext.source.to_string(), sysext.sha256))
        };
        let at = |file: &str| format!("https://extensions.flatcar.org/extensions/{file}");
        let newest = choose("wasmtime@latest", Arch::Amd64).unwrap();
        assert_eq!(newest, (at("wasmtime-24.0.0-x86-64.raw"), digest("b")));
        let older = choose("wasmtime@9.0.0", Arch::Amd64).unwrap();
        assert_eq!(older.1, digest("a"));
        let other = choose("wasmtime@latest", Arch::Arm64).unwrap();
        assert_eq!(other.1, digest("c"));
        let missing = choose("wasmtime@24.0.1", Arch::Amd64).unwrap_err();
        assert!(missing.hint().unwrap().contains("9.0.0, 24.0.0"));
        assert!(choose("tailscale@latest", Arch::Amd64).is_err());
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let mut versions = ["v1.10.0", "v1.9.9", "v1.9.9-rc.1", "2", "10", "1.32.2+k3s1"];
        versions.sort_by(|one, other| by_version(one, other));
        assert_eq!(
            versions,
            ["v1.9.9-rc.1", "v1.9.9", "v1.10.0", "1.32.2+k3s1", "2", "10"]
        );
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "wasmtime",
            "@1",
            "wasmtime@",
            "a/b@1",
            "a@..",
            "a@1 2",
            "a@b@c",
        ] {
            assert!(text.parse::<Extension>().is_err(), "{text}");
        }
        assert_eq!(
            extension("k3s@v1.32.1+k3s1").to_string(),
            "k3s@v1.32.1+k3s1"
        );
    }
}
