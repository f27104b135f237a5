//! Extensions of the Bakery that a request names by their versions, or by the names of their files.

use std::path::{Path, PathBuf};

use super::{Fetching, all_edits_mut, registries};
use crate::Result;
use crate::bake::{Request, SysextSpec};
use crate::cli::progress::Reporter;
use crate::fetch::bakery::{Chosen, Extension, Files, Listed, Transfer};
use crate::fetch::fetcher::FetchedExtension;
use crate::fetch::transfer::Source;
use crate::machine::Arch;
use crate::manifest::{Lock, Resolution};

/// What stands before an extension that stands in for its file.
const STAND_IN: &str = "bakery:";

/// The name in the place of an extension's file, until that is there.
pub(super) fn stand_in(extension: &Extension) -> PathBuf {
    format!("{STAND_IN}{extension}").into()
}

/// Whether the file of a shared sysext is not there.
pub(super) fn lacks_one(request: &Request) -> bool {
    request.edits.sysexts.iter().any(is_absent)
}

/// Whether the file of a sysext is neither here nor what is fetched anyway.
fn is_absent(spec: &SysextSpec) -> bool {
    let is_stand_in = |path: &Path| path.to_str().is_some_and(|path| path.starts_with(STAND_IN));
    !registries::is_one(&spec.file) && !is_stand_in(&spec.file) && !spec.file.exists()
}

impl Fetching {
    /// Fetches the extensions that are asked for by version.
    pub(super) fn fetch_extensions(
        &mut self,
        arch: Arch,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<()> {
        for extension in self.asked.extensions.clone() {
            let Some(chosen) = self.choose(&extension, arch, reporter)? else {
                continue;
            };
            self.resolutions.extensions.push(Resolution {
                asked: extension.to_string(),
                arch: arch.to_string(),
                version: chosen.version,
                url: chosen.files.sysext.source.to_string(),
            });
            let Some(found) = self.fetch_chosen(&chosen.files, reporter)? else {
                continue;
            };
            let named = stand_in(&extension);
            let sysexts = all_edits_mut(request).flat_map(|edits| &mut edits.sysexts);
            sysexts
                .filter(|spec| spec.file == named)
                .for_each(|spec| put(spec, &found));
        }
        Ok(())
    }

    /// What an extension comes to, by the lock or by the list of its server.
    fn choose(
        &self,
        extension: &Extension,
        arch: Arch,
        reporter: &Reporter,
    ) -> Result<Option<Chosen>> {
        let Some(lock) = &self.lock else {
            let fetcher = self.means.fetcher(reporter);
            let chosen = fetcher.choose(extension, arch, reporter);
            return self.means.tally.unless_missing(chosen);
        };
        let version = lock.extension(&extension.to_string(), &arch.to_string())?;
        Ok(Some(Chosen {
            version: version.to_owned(),
            files: held(lock, extension, extension.source(version, arch)?)?,
        }))
    }

    /// Fetches the files of sysexts that are not there, by their own names.
    pub(super) fn fetch_absent(
        &mut self,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<()> {
        if !self.asked.absent {
            return Ok(());
        }
        let sysexts = request.edits.sysexts.iter_mut();
        for spec in sysexts.filter(|spec| is_absent(spec)) {
            let Some(files) = self.choose_file(&spec.name, &spec.file, reporter)? else {
                continue;
            };
            if let Some(found) = self.fetch_chosen(&files, reporter)? {
                put(spec, &found);
                spec.origin = Some(found.file.url);
            }
        }
        Ok(())
    }

    /// What the name of a file comes to, by the lock or by the list of its server.
    fn choose_file(&self, name: &str, file: &Path, reporter: &Reporter) -> Result<Option<Files>> {
        let Some(lock) = &self.lock else {
            let fetcher = self.means.fetcher(reporter);
            let files = fetcher.choose_file(name, file, reporter);
            return self.means.tally.unless_missing(files);
        };
        let extension = Extension::newest(name)?;
        let source = extension.own_file(file)?;
        held(lock, &extension, source).map(Some)
    }

    /// The files that were chosen; `None` where some are missing.
    fn fetch_chosen(
        &mut self,
        files: &Files,
        reporter: &Reporter,
    ) -> Result<Option<FetchedExtension>> {
        let found = self.means.fetcher(reporter).chosen(files, reporter);
        let found = self.means.tally.unless_missing(found)?;
        if let Some(found) = &found {
            let files = std::iter::once(&found.file).chain(&found.transfer);
            files.cloned().try_for_each(|file| self.take(file))?;
        }
        Ok(found)
    }
}

/// Puts the files of an extension into a request.
fn put(spec: &mut SysextSpec, found: &FetchedExtension) {
    spec.file.clone_from(&found.file.path);
    let transfers = found.transfer.iter();
    spec.transfers = transfers.map(|file| file.path.clone()).collect();
}

/// The files of an extension as a lock holds them.
fn held(lock: &Lock, extension: &Extension, source: Source) -> Result<Files> {
    let listed = |source: Source| {
        let sha256 = lock.sha256(&source.to_string())?;
        Ok::<_, crate::Error>(Listed {
            sha256: sha256.to_owned(),
            source,
            listed_in: lock.name().to_owned(),
        })
    };
    let transfer = extension.transfer()?;
    let transfer = match lock.holds(&transfer.to_string()) {
        true => Some(Transfer::Listed(listed(transfer)?)),
        // There was none when the lock was written.
        false => None,
    };
    Ok(Files {
        sysext: listed(source)?,
        transfer,
    })
}
