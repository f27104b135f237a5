//! The OEM sysexts at hand: files and folders that a person names, and what of them belongs to which vendor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Inputs, shown};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::OsRelease;
use crate::flatcar::sysext;

/// What a vendor's sysext is called, without its ID.
const PREFIX: &str = "oem-";

/// OEM sysexts to take from.
#[derive(Debug, Default)]
pub(super) struct OemSysexts {
    /// Files by the OEM ID that their release file names.
    files: BTreeMap<String, PathBuf>,
    /// Folders with files as they are published: `oem-ID.raw`.
    folders: Vec<PathBuf>,
}

impl OemSysexts {
    /// Looks at files and folders. A file is known by what it holds, whatever its name; in a folder only names count.
    ///
    /// # Errors
    /// A path that is missing, a file that is no OEM sysext, two files of one OEM.
    pub(super) fn new(paths: &[PathBuf], inputs: &Inputs) -> Result<Self> {
        let mut found = Self::default();
        for path in paths {
            if path.is_dir() {
                found.folders.push(path.clone());
                continue;
            }
            let id = id_of(path, inputs).at(|| shown(path))?;
            if let Some(other) = found.files.insert(id.clone(), path.clone()) {
                let message = format!(
                    "{} and {} are both the sysext of OEM {id}",
                    shown(&other),
                    shown(path)
                );
                return Err(Error::invalid(message).with_hint("give one of them"));
            }
        }
        Ok(found)
    }

    /// The file of the sysext of OEM `id`: one that was named, else `oem-ID-VERSION.raw` or `oem-ID.raw` of a folder.
    pub(super) fn find(&self, id: &str, release: Option<&OsRelease>) -> Option<PathBuf> {
        if let Some(file) = self.files.get(id) {
            return Some(file.clone());
        }
        let version = release.and_then(OsRelease::version);
        let versioned = version.map(|version| format!("{PREFIX}{id}-{version}.raw"));
        let names: Vec<String> = versioned
            .into_iter()
            .chain([format!("{PREFIX}{id}.raw")])
            .collect();
        let mut candidates = self
            .folders
            .iter()
            .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        candidates.find(|path| path.is_file())
    }

    /// The error that names all sysexts that were not given, each with its vendor.
    pub(super) fn missing(
        &self,
        missing: &[(String, String)],
        release: Option<&OsRelease>,
    ) -> Error {
        let mut ids: Vec<&str> = missing.iter().map(|(_, id)| id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let files: Vec<String> = ids.iter().map(|id| format!("{PREFIX}{id}.raw")).collect();
        let version = release.and_then(OsRelease::version);
        let of = version
            .map(|version| format!(" of release {version}"))
            .unwrap_or_default();
        let what = match files.as_slice() {
            [file] => format!("the OEM sysext {file}{of} is needed and was not given"),
            files => format!(
                "{} OEM sysexts{of} are needed and were not given: {}",
                files.len(),
                files.join(", ")
            ),
        };
        let vendors: Vec<&str> = missing.iter().map(|(vendor, _)| vendor.as_str()).collect();
        let published = files
            .first()
            .and_then(|file| release.and_then(|release| release.published_at(file)));
        let from = published
            .map(|url| format!(" (published at {url}; check its signature)"))
            .unwrap_or_default();
        Error::not_found(format!("{what} (for {})", vendors.join(", "))).with_hint(format!(
            "give the files, or a folder that holds them{from}, or make formats only, without OEM"
        ))
    }
}

/// The OEM that a sysext belongs to: its release file is `extension-release.oem-ID`.
fn id_of(path: &Path, inputs: &Inputs) -> Result<String> {
    let fs = sysext::open_extension(Arc::new(inputs.device("OEM sysext", path)?))?;
    let names: Vec<String> = sysext::inspect(&*fs)?
        .releases
        .into_iter()
        .map(|release| release.name)
        .collect();
    match names.iter().find_map(|name| name.strip_prefix(PREFIX)) {
        Some(id) => Ok(id.to_owned()),
        None => Err(Error::invalid(format!(
            "it is no OEM sysext: its release files are for '{}'",
            names.join("', '")
        ))
        .with_hint("an OEM sysext has usr/lib/extension-release.d/extension-release.oem-ID")),
    }
}
