//! What a request names in registries, `oci://…`: fetched, and the files put in its place.

use std::path::{Path, PathBuf};

use super::{Fetching, all_edits, all_edits_mut};
use crate::Result;
use crate::bake::{Base, Request};
use crate::cli::progress::Reporter;
use crate::fetch::fetcher::Fetched;
use crate::fetch::oci::Unpack;
use crate::fetch::registry::{Reference, SCHEME};
use crate::machine::Arch;

/// Whether a request names something in a registry.
pub(super) fn names_one(request: &Request) -> bool {
    base_of(request).is_some() || names_sysext(request)
}

/// Whether a request names a sysext in a registry.
pub(super) fn names_sysext(request: &Request) -> bool {
    let mut sysexts = all_edits(request).flat_map(|edits| &edits.sysexts);
    sysexts.any(|sysext| is_one(&sysext.file))
}

/// All that a request names in registries.
pub(super) fn named_in(request: &Request) -> Vec<String> {
    let sysexts = all_edits(request).flat_map(|edits| &edits.sysexts);
    let files = sysexts.map(|sysext| sysext.file.clone());
    let all = base_of(request)
        .into_iter()
        .chain(files.filter(|file| is_one(file)));
    all.map(|path| path.display().to_string()).collect()
}

impl Fetching {
    /// Fetches the base image of a request, where it is in a registry.
    pub(super) fn fetch_base(&mut self, request: &mut Request, reporter: &Reporter) -> Result<()> {
        let Some(named) = base_of(request) else {
            return Ok(());
        };
        // It has to be there before it can say what it is for.
        let arch = self.asked.arch.unwrap_or(Arch::Amd64);
        match self.pull(arch, &named, ("image", Unpack::No), reporter)? {
            Some(file) => {
                request.base = Base::Path(file.path.clone());
                expect_of(request, &named, &file.path);
                self.take(file)
            }
            None => {
                self.lacks_base = true;
                Ok(())
            }
        }
    }

    /// Fetches the sysexts that a request names in registries.
    pub(super) fn fetch_sysexts(
        &mut self,
        arch: Arch,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<()> {
        let mut found = Vec::new();
        for sysext in all_edits_mut(request).flat_map(|edits| &mut edits.sysexts) {
            if !is_one(&sysext.file) {
                continue;
            }
            let name = format!("{}.raw", sysext.name);
            let called = (&*name, Unpack::Yes);
            let Some(file) = self.pull(arch, &sysext.file, called, reporter)? else {
                continue;
            };
            let named = std::mem::replace(&mut sysext.file, file.path.clone());
            sysext.origin.get_or_insert_with(|| file.url.clone());
            found.push((named, file));
        }
        for (named, file) in found {
            expect_of(request, &named, &file.path);
            self.take(file)?;
        }
        Ok(())
    }

    /// What is called `named`: what a lock holds for it, where there is one. `None` where it is missing.
    fn pull(
        &self,
        arch: Arch,
        named: &Path,
        called: (&str, Unpack),
        reporter: &Reporter,
    ) -> Result<Option<Fetched>> {
        let mut reference: Reference = named.to_string_lossy().parse()?;
        if let Some(lock) = &self.lock {
            reference = lock.pinned(&format!("{SCHEME}{reference}"))?.parse()?;
        }
        let fetcher = self.means.fetcher(reporter);
        let registry = self.means.registry(reporter)?;
        let file = fetcher.artifact(registry, &reference, arch, called, reporter);
        self.means.tally.unless_missing(file)
    }
}

/// What was asked of `named` counts for the file that was fetched.
fn expect_of(request: &mut Request, named: &Path, file: &Path) {
    for expected in &mut request.expected.digests {
        if expected.path == named {
            expected.path = file.to_owned();
        }
    }
}

/// The base image, where it is in a registry.
fn base_of(request: &Request) -> Option<PathBuf> {
    match &request.base {
        Base::Path(path) if is_one(path) => Some(path.clone()),
        _ => None,
    }
}

/// Whether it is the name of something in a registry.
pub fn is_one(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(SCHEME))
}
