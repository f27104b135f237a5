//! A manifest is read, and kept with what its lock needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Document;
use super::lock::{Entry, Lock};
use super::options::LoadOptions;
use super::parse::{Language, MANIFEST_MAX, parse};
use super::{decode, lock, resolve, variables};
use crate::bake::{Locked, Request};
use crate::block::{Input, Inputs, shown};
use crate::document::{Fault, frame, place};
use crate::error::{Error, Result};
use crate::flatcar::vendor::Vendors;

/// A manifest that was read.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its path.
    pub path: PathBuf,
    /// What it asks for. Host paths include the manifest's folder.
    pub request: Request,
    /// All vendors that there are: built in, of the manifest's files, and of the caller's.
    pub vendors: Arc<Vendors>,
    /// The manifest's own length and digest.
    entry: Entry,
}

/// Reads a manifest and fills the request that it stands for. Nothing is written.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for whatever is wrong in it and [`crate::ErrorKind::NotFound`] for files that are
/// missing, with file, line and column; [`crate::ErrorKind::Unsupported`] for what is not built yet. What parts do not go
/// together is for [`Request::check`] to say, with the same places.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Manifest> {
    let language = Language::of_path(path)?;
    let bytes = Inputs::default().read(lock::ROLE, path, MANIFEST_MAX)?;
    let document = document(&bytes, language, &options.set)
        .map_err(|fault| fault_error(path, &bytes, fault))?;
    let resolved = resolve::resolve(path, options, &document)?;
    let mut manifest = Manifest {
        path: path.to_owned(),
        request: resolved.request,
        vendors: resolved.vendors,
        entry: Entry::of(&bytes),
    };
    manifest.request.also_written.push(manifest.lock_path());
    Ok(manifest)
}

impl Manifest {
    /// The lock of the manifest: its name with the extension `lock`.
    pub fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    /// What the lock says, for [`crate::bake::Expected::locked`]: the files that may be read, this manifest among them.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Untrusted`] where there is no lock, [`crate::ErrorKind::InvalidInput`] where it cannot be
    /// understood, [`crate::ErrorKind::Unsupported`] for one of another version.
    pub fn locked(&self) -> Result<Locked> {
        let path = self.lock_path();
        let name = shown(&path);
        let lock = Lock::read(&path, &name)?;
        let folder = self.folder();
        let mut files: BTreeMap<PathBuf, (u64, String)> = lock
            .inputs
            .into_iter()
            .map(|(name, entry)| (folder.join(name), entry.into_pair()))
            .collect();
        files.insert(self.path.clone(), self.entry.clone().into_pair());
        Ok(Locked { name, files })
    }

    /// Writes the lock for `inputs`, the files that a run read, unless it says the same already. Returns whether it was
    /// written.
    ///
    /// # Errors
    /// Those of the host's filesystem; [`crate::ErrorKind::Unsupported`] for names that are no UTF-8.
    pub fn write_lock(&self, inputs: &[Input]) -> Result<bool> {
        let others = inputs.iter().filter(|input| input.path != self.path);
        Lock::of(others, self.folder())?.write(&self.lock_path())
    }

    /// The folder that names in the lock are relative to.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

fn document(bytes: &[u8], language: Language, set: &[(String, String)]) -> Result<Document, Fault> {
    let mut node = parse(bytes, language)?;
    variables::substitute(&mut node, set)?;
    decode::decode(&node)
}

/// An error that shows the line it is about.
fn fault_error(path: &Path, bytes: &[u8], fault: Fault) -> Error {
    let text = String::from_utf8_lossy(bytes);
    let frame = fault.position.and_then(|position| frame(&text, position));
    let error = Error::invalid(match frame {
        Some(frame) => format!("{}\n{frame}", fault.message),
        None => fault.message,
    });
    let error = match fault.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    error.at(match fault.position {
        Some(position) => place(&shown(path), position),
        None => shown(path),
    })
}
