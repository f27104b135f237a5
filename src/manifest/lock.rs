//! The lock of a manifest: the digest of every file that a run reads, so that a later run can tell what changed.
//!
//! JSON, sorted by path, the same for the same files on every machine; paths are relative to the manifest's folder, those
//! outside of it are as they were given:
//!
//! ```text
//! {"version": 1, "inputs": {"hello.raw": {"sha256": "…", "bytes": 12288}, …}}
//! ```
//!
//! The manifest itself is not in it: who changes a manifest sees what changes, and it names what else may be read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::block::{Input, Inputs, OutputFile, shown};
use crate::bytes::{hex, to_u64};
use crate::error::{Error, ErrorKind, Result};

/// What a manifest is to a run.
pub(super) const ROLE: &str = "manifest";
/// Largest lock that is read.
const LOCK_MAX: u64 = 256 << 20;
/// The version of what is written.
const VERSION: u32 = 1;

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    version: u32,
    /// The files by their names.
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
    /// That of `inputs`, whose names are relative to `folder`.
    pub(super) fn of<'a>(inputs: impl Iterator<Item = &'a Input>, folder: &Path) -> Result<Self> {
        let inputs = inputs
            .map(|input| Ok((name_of(input, folder)?, Entry::of_input(input)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            version: VERSION,
            inputs,
        })
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
        let lock: Self = serde_json::from_slice(&read).map_err(|error| {
            let place = format!("{name}:{}:{}", error.line(), error.column());
            let hint = "bake once without holding to it, which writes it anew";
            Error::invalid("the lock cannot be read")
                .with_source(error)
                .with_hint(hint)
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
        Ok(lock)
    }

    /// Writes the lock unless it says the same already; tells whether it was written.
    pub(super) fn write(&self, path: &Path) -> Result<bool> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::internal("making JSON").with_source(error))?;
        let text = text + "\n";
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
