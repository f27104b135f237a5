//! The lock of a manifest: the digest of every file that the bake reads, so that a later bake can tell what changed.
//!
//! JSON, sorted by path, the same for the same files on every machine:
//!
//! ```text
//! {"version": 1, "inputs": {"hello.raw": {"sha256": "…", "bytes": 12288}, …}}
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Input, Resolved};
use crate::bake::host::{self, HostEntry};
use crate::block::OutputFile;
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::FileType;
use crate::progress::Progress;

/// Largest lock that is read.
const LOCK_MAX: u64 = 256 << 20;
/// The version of what is written.
const VERSION: u32 = 1;
/// Bytes hashed at a time.
const CHUNK: usize = 256 << 10;
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
    let mut files: Vec<(String, HostEntry)> = Vec::new();
    for input in inputs {
        host::walk(&input.path, &mut |entry| {
            let below = entry.below.iter().map(|name| format!("/{}", shown_name(name))).collect::<String>();
            if entry.file_type != FileType::Directory {
                files.push((format!("{}{below}", input.name.trim_end_matches('/')), entry.clone()));
            }
            Ok(())
        })
        .at(|| input.position.clone())?;
    }
    let total = files.iter().map(|(_, entry)| entry.bytes).fold(0, u64::saturating_add);
    progress.start("checking the inputs", total);
    let inputs = files.into_par_iter().map(|(name, entry)| Ok((name, digest(&entry, progress)?)));
    let inputs = inputs.collect::<Result<BTreeMap<_, _>>>()?;
    progress.finish();
    Ok(Lock { version: VERSION, inputs })
}

/// A name of the host as text: what is no UTF-8 is escaped.
fn shown_name(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => name.escape_ascii().to_string(),
    }
}

/// The digest of a file's content or of a symlink's target.
fn digest(entry: &HostEntry, progress: &dyn Progress) -> Result<Entry> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    if entry.file_type == FileType::Symlink {
        hasher.update(entry.target.as_bytes());
        bytes = to_u64(entry.target.len());
    } else {
        let mut file = host::open(&entry.source)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk);
            let read = read.map_err(|error| Error::io(format!("reading {}", host::shown(&entry.source)), error))?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            bytes += to_u64(read);
            progress.advance(to_u64(read));
        }
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry { sha256, bytes })
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
