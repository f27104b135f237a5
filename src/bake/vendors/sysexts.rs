//! The OEM sysexts at hand: files and folders that a person names, and what of them belongs to which vendor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::host;
use crate::block::FileDevice;
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::OsRelease;
use crate::flatcar::sysext;

/// What a vendor's sysext is called, without its ID.
const PREFIX: &str = "oem-";

/// OEM sysexts to take from.
#[derive(Debug, Clone, Default)]
pub struct OemSysexts {
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
    pub fn new<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let mut found = Self::default();
        for path in paths.iter().map(AsRef::as_ref) {
            if path.is_dir() {
                found.folders.push(path.to_owned());
                continue;
            }
            let id = id_of(path).at(|| host::shown(path))?;
            if let Some(other) = found.files.insert(id.clone(), path.to_owned()) {
                return Err(Error::invalid(format!(
                    "{} and {} are both the sysext of OEM {id}",
                    host::shown(&other),
                    host::shown(path)
                ))
                .with_hint("give one of them"));
            }
        }
        Ok(found)
    }

    /// The sysext of OEM `id` for an image of `release`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] that names the file and where it is published.
    pub fn find(&self, id: &str, release: Option<&OsRelease>) -> Result<PathBuf> {
        if let Some(file) = self.files.get(id) {
            return Ok(file.clone());
        }
        let plain = format!("{PREFIX}{id}.raw");
        let version = release.and_then(OsRelease::version);
        let names: Vec<String> =
            version.map(|version| format!("{PREFIX}{id}-{version}.raw")).into_iter().chain([plain.clone()]).collect();
        let candidates = self.folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            let of = version.map(|version| format!(" of release {version}")).unwrap_or_default();
            let from = release.and_then(|release| release.published_at(&plain));
            let from = from.map(|url| format!(", published at {url} (check its signature, {plain}.sig)"));
            Error::not_found(format!("the OEM sysext {plain}{of} is needed and was not given")).with_hint(format!(
                "give it with --oem-sysext{}; --no-oem makes the format only",
                from.unwrap_or_default()
            ))
        })
    }
}

/// The OEM that a sysext belongs to: its release file is `extension-release.oem-ID`.
fn id_of(path: &Path) -> Result<String> {
    let fs = sysext::open_extension(Arc::new(FileDevice::open(path)?))?;
    let names: Vec<String> = sysext::inspect(&*fs)?.releases.into_iter().map(|release| release.name).collect();
    match names.iter().find_map(|name| name.strip_prefix(PREFIX)) {
        Some(id) => Ok(id.to_owned()),
        None => Err(Error::invalid(format!("it is no OEM sysext: its release files are for '{}'", names.join("', '")))
            .with_hint("an OEM sysext has usr/lib/extension-release.d/extension-release.oem-ID")),
    }
}
