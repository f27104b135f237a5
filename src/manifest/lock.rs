//! The lock of a manifest: the digest of every file that a run reads, so that a later run can tell what changed, and what
//! releases and versions came to, so that it can take the same.
//!
//! JSON, sorted by path, the same for the same files on every machine; paths are relative to the manifest's folder, those
//! outside of it are as they were given, and what was fetched goes by its URL:
//!
//! ```text
//! {"version": 1,
//!  "release": {"asked": "stable", "arch": "amd64", "version": "4593.2.5", "url": "https://…/flatcar_production_image.bin.bz2"},
//!  "extensions": [{"asked": "wasmtime@latest", "arch": "amd64", "version": "24.0.0", "url": "https://…"}, …],
//!  "fetched": {"https://…": {"sha256": "…", "bytes": 12288}, …},
//!  "inputs": {"hello.raw": {"sha256": "…", "bytes": 12288}, …}}
//! ```
//!
//! The manifest itself is not in it: who changes a manifest sees what changes, and it names what else may be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::block::{Input, Inputs, OutputFile, shown};
use crate::bytes::{hex, to_u64};
use crate::error::{Error, ErrorKind, Result};

/// What a manifest is to a run.
pub(super) const ROLE: &str = "manifest";
/// Largest lock that is read.
const LOCK_MAX: u64 = 256 << 20;
/// How a lock comes to say something else.
const REWRITE: &str = "bake once without holding to it, which writes it anew";
/// The version of what is written.
const VERSION: u32 = 1;

/// What a release, or an extension of the Bakery, came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// As it was asked for: `stable`, `wasmtime@latest`.
    pub asked: String,
    /// The architecture that it is for.
    pub arch: String,
    /// The version that it came to.
    pub version: String,
    /// Where its file is published: the generic image of a release, the sysext of an extension.
    pub url: String,
}

/// What was fetched for a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolutions {
    /// The release that it starts from.
    pub release: Option<Resolution>,
    /// Extensions of the Bakery.
    pub extensions: Vec<Resolution>,
    /// The URLs of all files that were fetched, by where they are on this machine: two tags may name one file.
    pub files: BTreeMap<PathBuf, BTreeSet<String>>,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    #[serde(skip)]
    pub(super) name: String,
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<Resolution>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extensions: Vec<Resolution>,
    /// The files that were fetched by their URLs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) fetched: BTreeMap<String, Entry>,
    /// The other files by their names.
    pub(super) inputs: BTreeMap<String, Entry>,
}

/// A file in the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    sha256: String,
    bytes: u64,
}

impl Entry {
    /// That of a file with this content.
    pub(super) fn of(content: &[u8]) -> Self {
        Self {
            sha256: hex(&Sha256::digest(content)),
            bytes: to_u64(content.len()),
        }
    }

    fn of_input(input: &Input) -> Result<Self> {
        let sha256 = input.sha256.clone().ok_or_else(|| {
            Error::internal(format!(
                "the digest of {} is not known when the lock is written",
                shown(&input.path)
            ))
        })?;
        Ok(Self {
            sha256,
            bytes: input.bytes,
        })
    }

    pub(super) fn into_pair(self) -> (u64, String) {
        (self.bytes, self.sha256)
    }
}

impl Lock {
    /// That of `inputs`, whose names are relative to `folder`, and of what some of them were fetched as.
    pub(super) fn of<'a>(
        inputs: impl Iterator<Item = &'a Input>,
        folder: &Path,
        resolutions: &Resolutions,
    ) -> Result<Self> {
        let mut extensions = resolutions.extensions.clone();
        extensions.sort();
        let mut lock = Self {
            name: String::new(),
            version: VERSION,
            release: resolutions.release.clone(),
            extensions,
            fetched: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        for input in inputs {
            let entry = Entry::of_input(input)?;
            match resolutions.files.get(&input.path) {
                Some(urls) => {
                    let entries = urls.iter().map(|url| (url.clone(), entry.clone()));
                    lock.fetched.extend(entries);
                }
                None => {
                    lock.inputs.insert(name_of(input, folder)?, entry);
                }
            }
        }
        Ok(lock)
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that a release came to, which was asked for as `asked`.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] where it is not in the lock.
    pub fn release(&self, asked: &str, arch: &str) -> Result<&str> {
        self.version_of(self.release.as_slice(), asked, arch)
    }

    /// The version that an extension of the Bakery came to.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn extension(&self, asked: &str, arch: &str) -> Result<&str> {
        self.version_of(&self.extensions, asked, arch)
    }

    fn version_of<'a>(&self, held: &'a [Resolution], asked: &str, arch: &str) -> Result<&'a str> {
        let fits = |held: &&Resolution| held.asked == asked && held.arch == arch;
        match held.iter().find(fits) {
            Some(held) => Ok(&held.version),
            None => Err(self.lacks(&format!("{asked} for {arch}"))),
        }
    }

    /// The SHA-256 of the file that is published as `url`, in hexadecimal digits.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn sha256(&self, url: &str) -> Result<&str> {
        match self.fetched.get(url) {
            Some(entry) => Ok(&entry.sha256),
            None => Err(self.lacks(url)),
        }
    }

    /// Whether it holds the file that is published as `url`.
    pub fn holds(&self, url: &str) -> bool {
        self.fetched.contains_key(url)
    }

    /// The URL with a digest that the file came to which `url` names in a registry: by a tag, or by the digest itself.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub fn pinned(&self, url: &str) -> Result<&str> {
        let is_it = |held: &&String| {
            let rest = held.strip_prefix(url);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        match self.fetched.keys().find(is_it) {
            Some(held) => Ok(held),
            None => Err(self.lacks(url)),
        }
    }

    fn lacks(&self, what: &str) -> Error {
        let message = format!("{what} is to be fetched, and the lock does not hold it");
        Error::new(ErrorKind::Untrusted, message)
            .with_hint(REWRITE)
            .with_setting("locked")
            .at(self.name.clone())
    }

    /// Reads the lock at `path`, which messages call `name`.
    pub(super) fn read(path: &Path, name: &str) -> Result<Self> {
        let read = Inputs::default()
            .read("lock", path, LOCK_MAX)
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    Error::new(ErrorKind::Untrusted, format!("there is no lock {name}"))
                        .with_hint("bake once without holding to it, which writes it")
                        .with_setting("locked")
                }
                _ => error,
            })?;
        let mut lock: Self = serde_json::from_slice(&read).map_err(|error| {
            let place = format!("{name}:{}:{}", error.line(), error.column());
            Error::invalid("the lock cannot be read")
                .with_source(error)
                .with_hint(REWRITE)
                .with_setting("locked")
                .at(place)
        })?;
        if lock.version != VERSION {
            return Err(Error::unsupported(format!(
                "the lock has version {}, not {VERSION}",
                lock.version
            ))
            .at(name));
        }
        lock.name = name.to_owned();
        Ok(lock)
    }

    /// What a file of it holds.
    ///
    /// # Errors
    /// A defect of flatbake.
    pub fn text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::internal("making JSON").with_source(error))?;
        Ok(text + "\n")
    }

    /// Writes the lock unless it says the same already; tells whether it was written.
    pub(super) fn write(&self, path: &Path) -> Result<bool> {
        let text = self.text()?;
        if has_content(path, text.as_bytes())? {
            return Ok(false);
        }
        let output = OutputFile::create(path)?;
        let written = output.file().write_all(text.as_bytes());
        written.map_err(|error| Error::io(format!("writing {}", shown(path)), error))?;
        output.commit()?;
        Ok(true)
    }
}

/// What a file is called in the lock of a manifest in `folder`.
fn name_of(input: &Input, folder: &Path) -> Result<String> {
    let name = input.path.strip_prefix(folder).unwrap_or(&input.path);
    let name = name.to_str().ok_or_else(|| {
        Error::unsupported(format!(
            "{} cannot be locked: its name is not UTF-8",
            shown(&input.path)
        ))
        .with_hint("give it another name")
    })?;
    Ok(name.to_owned())
}

/// Whether the file at `path` holds just `content`.
fn has_content(path: &Path, content: &[u8]) -> Result<bool> {
    let bytes = to_u64(content.len());
    let has_length =
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes);
    Ok(has_length && Inputs::default().read("lock", path, bytes)? == content)
}
