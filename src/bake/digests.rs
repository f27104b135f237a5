//! Digests of what a bake reads from the host.

use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::host::{self, HostEntry};
use crate::bytes::{hex, to_u64};
use crate::error::{Error, Result};
use crate::fs::FileType;
use crate::progress::Progress;

/// Bytes hashed at a time.
const CHUNK: usize = 256 << 10;

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputDigest {
    /// Its path as it was given; what is no UTF-8 in names below a folder is escaped.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes (of a symlink's target) in hexadecimal digits.
    pub sha256: String,
}

/// Reads and hashes files and folders of the host, several at a time. What comes is in the order of paths, each once.
pub fn digests(paths: &[PathBuf], progress: &dyn Progress) -> Result<Vec<InputDigest>> {
    let files = paths.iter().map(|path| files_of(&host::shown(path), path));
    let mut found = hash(files.collect::<Result<Vec<_>>>()?.concat(), progress)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup();
    Ok(found)
}

/// The file at `path`, or all files of a folder, with their names.
pub(super) fn files_of(name: &str, path: &Path) -> Result<Vec<(String, HostEntry)>> {
    let mut files = Vec::new();
    host::walk(path, &mut |entry| {
        let below = entry.below.iter().map(|name| format!("/{}", shown_name(name))).collect::<String>();
        if entry.file_type != FileType::Directory {
            files.push((format!("{}{below}", name.trim_end_matches('/')), entry.clone()));
        }
        Ok(())
    })?;
    Ok(files)
}

/// Hashes `files`, several at a time.
pub(super) fn hash(files: Vec<(String, HostEntry)>, progress: &dyn Progress) -> Result<Vec<InputDigest>> {
    let total = files.iter().map(|(_, entry)| entry.bytes).fold(0, u64::saturating_add);
    progress.start("checking the inputs", total);
    let found = files.into_par_iter().map(|(name, entry)| digest(name, &entry, progress)).collect();
    progress.finish();
    found
}

/// A name of the host as text.
fn shown_name(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => name.escape_ascii().to_string(),
    }
}

/// The digest of a file's content or of a symlink's target.
fn digest(name: String, entry: &HostEntry, progress: &dyn Progress) -> Result<InputDigest> {
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
    let sha256 = hex(&hasher.finalize());
    Ok(InputDigest { name, bytes, sha256 })
}
