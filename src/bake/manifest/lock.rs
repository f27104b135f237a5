//! The lock of a manifest: the digest of every file that the bake reads, so that a later bake can tell what changed.
//!
//! JSON, sorted by path, the same for the same files on every machine:
//!
//! ```text
//! {"version": 1, "inputs": {"hello.raw": {"sha256": "…", "bytes": 12288}, …}}
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Input, Resolved};
use crate::bake::digests::{self, InputDigest};
use crate::bake::host;
use crate::block::OutputFile;
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::progress::Progress;

/// Largest lock that is read.
const LOCK_MAX: u64 = 256 << 20;
/// The version of what is written.
const VERSION: u32 = 1;
/// Most differences that one message lists.
const SHOWN_MAX: usize = 20;

/// What is done with the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// It is written where it is missing or no longer true.
    Write,
    /// It must be there and true.
    Locked,
    /// It is neither read nor written; only digests that the manifest gives are compared.
    Ignore,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    version: u32,
    inputs: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    sha256: String,
    bytes: u64,
}

impl Resolved {
    /// Reads and hashes what the bake reads, compares digests that the manifest gives, and keeps the lock as `mode` says.
    /// Returns whether the lock was written.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] for a file that has not the digest that the manifest or, with [`LockMode::Locked`], the
    /// lock gives, and for files that the lock does not know or that are gone.
    pub fn check_inputs(&self, mode: LockMode, progress: &dyn Progress) -> Result<bool> {
        let is_asked = |input: &&Input| mode != LockMode::Ignore || input.sha256.is_some();
        let lock = hash(self.inputs.iter().filter(is_asked), progress)?;
        for input in self.inputs.iter().filter(|input| input.sha256.is_some()) {
            check_given(input, &lock)?;
        }
        let path = self.lock_path();
        match mode {
            LockMode::Ignore => Ok(false),
            LockMode::Locked => lock.compare(&path).map(|()| false),
            LockMode::Write => lock.write(&path),
        }
    }
}

/// Compares the digest that the manifest gives for `input`.
fn check_given(input: &Input, lock: &Lock) -> Result<()> {
    match (&input.sha256, lock.inputs.get(&input.name)) {
        (Some(given), Some(entry)) if *given != entry.sha256 => Err(Error::new(
            ErrorKind::Untrusted,
            format!("{} has the SHA-256 {}, not {given}", input.name, entry.sha256),
        )
        .with_hint("get the file again, or mend the digest in the manifest")
        .at(input.position.clone())),
        _ => Ok(()),
    }
}

/// Reads all inputs, folders with all they hold.
fn hash<'a>(inputs: impl Iterator<Item = &'a Input>, progress: &dyn Progress) -> Result<Lock> {
    let files = inputs.map(|input| digests::files_of(&input.name, &input.path).at(|| input.position.clone()));
    let files: Vec<_> = files.collect::<Result<Vec<_>>>()?.concat();
    let entry = |file: InputDigest| (file.name, Entry { sha256: file.sha256, bytes: file.bytes });
    let inputs = digests::hash(files, progress)?.into_iter().map(entry).collect();
    Ok(Lock { version: VERSION, inputs })
}

impl Lock {
    /// Writes the lock unless it says the same already; tells whether it was written.
    fn write(&self, path: &Path) -> Result<bool> {
        let text =
            serde_json::to_string_pretty(self).map_err(|error| Error::internal("making JSON").with_source(error))?;
        let text = text + "\n";
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == to_u64(text.len()))
            && host::read(path, LOCK_MAX)? == text.as_bytes()
        {
            return Ok(false);
        }
        let output = OutputFile::create(path)?;
        let written = output.file().write_all(text.as_bytes());
        written.map_err(|error| Error::io(format!("writing {}", host::shown(path)), error))?;
        output.commit()?;
        Ok(true)
    }

    /// Compares with the lock at `path`.
    fn compare(&self, path: &Path) -> Result<()> {
        let name = host::shown(path);
        let read = host::read(path, LOCK_MAX).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::Untrusted, format!("there is no lock {name}"))
                .with_hint("bake once without --locked, which writes it"),
            _ => error,
        })?;
        let locked: Self = serde_json::from_slice(&read).map_err(|error| {
            let place = format!("{name}:{}:{}", error.line(), error.column());
            let hint = "bake once without --locked, which writes it anew";
            Error::invalid("the lock cannot be read").with_source(error).with_hint(hint).at(place)
        })?;
        if locked.version != VERSION {
            return Err(Error::unsupported(format!("the lock has version {}, not {VERSION}", locked.version)).at(name));
        }
        let differences = self.differences(&locked);
        if differences.is_empty() {
            return Ok(());
        }
        let more = differences.len().saturating_sub(SHOWN_MAX);
        let mut message = format!("{} inputs are not as they were locked:", differences.len());
        differences.iter().take(SHOWN_MAX).for_each(|difference| message.push_str(&format!("\n  - {difference}")));
        if more > 0 {
            message.push_str(&format!("\n  - and {more} more"));
        }
        Err(Error::new(ErrorKind::Untrusted, message)
            .with_hint("where the changes are meant, bake without --locked, which writes the lock anew")
            .at(name))
    }

    /// What differs from `locked`, by path.
    fn differences(&self, locked: &Self) -> Vec<String> {
        let mut found = BTreeMap::new();
        for (name, now) in &self.inputs {
            let shown = name.escape_debug();
            match locked.inputs.get(name) {
                None => found.insert(name, format!("{shown} is new")),
                Some(then) if then.bytes != now.bytes => {
                    found.insert(name, format!("{shown} differs: {} bytes, not {}", now.bytes, then.bytes))
                }
                Some(then) if then != now => found.insert(name, format!("{shown} differs: SHA-256 {}", now.sha256)),
                Some(_) => None,
            };
        }
        for name in locked.inputs.keys().filter(|name| !self.inputs.contains_key(*name)) {
            found.insert(name, format!("{} is gone", name.escape_debug()));
        }
        found.into_values().collect()
    }
}
