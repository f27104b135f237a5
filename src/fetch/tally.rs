//! What the files of a run are, and what of them is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Reason, Result};
use crate::lock::lock;

/// A file that a run was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal digits, where it is known.
    pub sha256: Option<String>,
}

/// All files that a run was given, and all that it lacks.
#[derive(Debug, Default)]
pub struct Tally {
    missing: Mutex<BTreeSet<String>>,
    handed: Mutex<BTreeMap<String, Handed>>,
}

impl Tally {
    /// Notes that what is published as `name` is not here and may not be fetched. The error has the reason
    /// [`Reason::NotFetched`].
    pub(super) fn lacks(&self, name: &str) -> Error {
        lock(&self.missing).insert(name.to_owned());
        refusal(&[name])
    }

    /// Notes a file that was given, published as `name`.
    pub(super) fn hand(&self, name: &str, path: &Path, sha256: Option<&String>) {
        let handed = Handed {
            path: path.to_owned(),
            sha256: sha256.cloned(),
        };
        lock(&self.handed).insert(name.to_owned(), handed);
    }

    /// The files, by their URLs.
    pub fn files(&self) -> BTreeMap<String, Handed> {
        lock(&self.handed).clone()
    }

    /// Goes on where something is missing, so that all that is can be told at once.
    pub fn unless_missing<T>(&self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Err(error) if error.reason() == Some(Reason::NotFetched) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Refuses to go on where anything is missing.
    ///
    /// # Errors
    /// All that is missing, in one list.
    pub fn check(&self) -> Result<()> {
        let missing = lock(&self.missing);
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        match names.as_slice() {
            [] => Ok(()),
            names => Err(refusal(names)),
        }
    }
}

fn refusal(names: &[&str]) -> Error {
    let message = match names {
        [name] => format!("not in the cache: {name}"),
        names => format!(
            "{} files are not in the cache:\n  - {}",
            names.len(),
            names.join("\n  - ")
        ),
    };
    Error::not_found(message)
        .because(Reason::NotFetched)
        .with_hint("fetch it first where there is a network, and use that cache, or a bundle, here")
}
