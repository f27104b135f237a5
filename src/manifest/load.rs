//! A manifest is read, and kept with what its lock needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Document;
use super::lock::{Entry, Lock, Resolutions};
use super::options::LoadOptions;
use super::parse::{Language, MANIFEST_MAX, parse};
use super::wants::Wants;
use super::{lock, resolve, variables};
use crate::bake::{Locked, Request};
use crate::block::{Input, Inputs, shown};
use crate::document::{Fault, decode};
use crate::error::Result;
use crate::flatcar::vendor::Vendors;

/// A manifest that was read, before what it names by release or version is there.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    document: Document,
    entry: Entry,
}

/// A manifest that was read.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its path.
    pub path: PathBuf,
    /// What it asks for. Host paths include the manifest's folder.
    pub request: Request,
    /// All vendors that there are: built in, of the manifest's files, and of the caller's.
    pub vendors: Arc<Vendors>,
    /// What of it was fetched, for the lock.
    resolutions: Resolutions,
    /// The manifest's own length and digest.
    entry: Entry,
}

/// Reads a manifest; `set` are values of variables.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for whatever is wrong in its text, with file, line and column.
pub fn read(path: &Path, set: &[(String, String)]) -> Result<Draft> {
    let language = Language::of_path(path)?;
    let bytes = Inputs::default().read(lock::ROLE, path, MANIFEST_MAX)?;
    let document = document(&bytes, language, set).map_err(|fault| {
        let text = String::from_utf8_lossy(&bytes);
        fault.into_error(&shown(path), &text)
    })?;
    Ok(Draft {
        path: path.to_owned(),
        document,
        entry: Entry::of(&bytes),
    })
}

/// Reads a manifest and fills the request that it stands for. Nothing is written.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for whatever is wrong in it and [`crate::ErrorKind::NotFound`] for files that are
/// missing, with file, line and column; [`crate::ErrorKind::Unsupported`] for what is not built yet. What parts do not go
/// together is for [`Request::check`] to say, with the same places.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Manifest> {
    read(path, &options.set)?.resolve(options)
}

impl Draft {
    /// What is to be fetched before [`resolve`](Self::resolve).
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] where an image is named, too, and for a sysext that is no NAME@VERSION.
    pub fn wants(&self) -> Result<Wants> {
        Wants::of(&self.document, &shown(&self.path))
    }

    /// The lock of the manifest: the file beside it or, where there is none, the one of its name in `other`.
    ///
    /// # Errors
    /// Those of [`Manifest::lock`].
    pub fn lock(&self, other: Option<&Path>) -> Result<Lock> {
        let path = lock_path(&self.path);
        match other.zip(path.file_name()) {
            Some((folder, name)) if !path.exists() && folder.join(name).exists() => {
                read_lock(&folder.join(name))
            }
            _ => read_lock(&path),
        }
    }

    /// Fills the request that it stands for, with what was fetched in `options`. Nothing is written.
    ///
    /// # Errors
    /// Those of [`load`], and [`crate::ErrorKind::Unsupported`] where `options` lack what is to be fetched.
    pub fn resolve(self, options: &LoadOptions) -> Result<Manifest> {
        self.wants()?;
        let resolved = resolve::resolve(&self.path, options, &self.document)?;
        let mut manifest = Manifest {
            path: self.path,
            request: resolved.request,
            vendors: resolved.vendors,
            resolutions: Resolutions::default(),
            entry: self.entry,
        };
        manifest.request.also_written.push(manifest.lock_path());
        Ok(manifest)
    }
}

impl Manifest {
    /// The same with what was fetched for it, which its lock is to hold.
    pub fn fetched_as(self, resolutions: &Resolutions) -> Self {
        Self {
            resolutions: resolutions.clone(),
            ..self
        }
    }

    /// The lock of the manifest: its name with the extension `lock`.
    pub fn lock_path(&self) -> PathBuf {
        lock_path(&self.path)
    }

    /// The lock beside the manifest.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Untrusted`] where there is no lock, [`crate::ErrorKind::InvalidInput`] where it cannot be
    /// understood, [`crate::ErrorKind::Unsupported`] for one of another version.
    pub fn lock(&self) -> Result<Lock> {
        read_lock(&self.lock_path())
    }

    /// What a lock says, for [`crate::bake::Expected::locked`]: the files that may be read, this manifest among them.
    pub fn locked(&self, lock: Lock) -> Locked {
        let folder = self.folder();
        let mut files: BTreeMap<PathBuf, (u64, String)> = lock
            .inputs
            .into_iter()
            .map(|(name, entry)| (folder.join(name), entry.into_pair()))
            .collect();
        let mut fetched = lock.fetched;
        for (path, urls) in &self.resolutions.files {
            for url in urls {
                if let Some(entry) = fetched.remove(url) {
                    files.insert(path.clone(), entry.into_pair());
                }
            }
        }
        // What nothing was fetched for is missed under its URL.
        let missed = fetched.into_iter();
        files.extend(missed.map(|(url, entry)| (url.into(), entry.into_pair())));
        files.insert(self.path.clone(), self.entry.clone().into_pair());
        Locked {
            name: lock.name,
            files,
        }
    }

    /// The lock for `inputs`, the files that a run read.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for names that are no UTF-8.
    pub fn lock_of(&self, inputs: &[Input]) -> Result<Lock> {
        let others = inputs.iter().filter(|input| input.path != self.path);
        Lock::of(others, self.folder(), &self.resolutions)
    }

    /// Writes the lock for `inputs`, the files that a run read, unless it says the same already. Returns whether it was
    /// written.
    ///
    /// # Errors
    /// Those of the host's filesystem; [`crate::ErrorKind::Unsupported`] for names that are no UTF-8.
    pub fn write_lock(&self, inputs: &[Input]) -> Result<bool> {
        self.lock_of(inputs)?.write(&self.lock_path())
    }

    /// The folder that names in the lock are relative to.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// The lock of the manifest at `path`.
fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn read_lock(path: &Path) -> Result<Lock> {
    Lock::read(path, &shown(path))
}

fn document(bytes: &[u8], language: Language, set: &[(String, String)]) -> Result<Document, Fault> {
    let mut node = parse(bytes, language)?;
    variables::substitute(&mut node, set)?;
    decode(&node)
}
