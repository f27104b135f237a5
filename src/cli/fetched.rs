//! A release that a bake starts from: its image, and the OEM sysexts that vendors need.

use std::num::NonZeroUsize;

use crate::bake::{ExpectedDigest, Request};
use crate::fetch::fetcher::{Fetched, Fetcher};
use crate::fetch::release::{Artifact, Release, Wanted};
use crate::fetch::transfer::{Together, in_parallel};
use crate::flatcar::vendor::major_of;
use crate::machine::Arch;
use crate::{Progress, Result};

use super::progress::Reporter;

/// Files that are fetched at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// A release whose image is at hand.
pub struct FetchedRelease<'a> {
    fetcher: Fetcher<'a>,
    release: Release,
    /// The generic image.
    pub image: Fetched,
}

impl<'a> FetchedRelease<'a> {
    /// Finds out which release it is, and fetches its image.
    pub fn new(
        fetcher: Fetcher<'a>,
        wanted: &Wanted,
        arch: Arch,
        reporter: &Reporter,
    ) -> Result<Self> {
        let release = fetcher.release(wanted, arch, reporter)?;
        let name = Artifact::Generic.file_name(&release.version)?;
        let image = fetcher.file(&release, &name, reporter)?;
        Ok(Self {
            fetcher,
            release,
            image,
        })
    }

    /// Has the request expect this release, and gives it the OEM sysexts of its vendors, unless some were given.
    pub fn add_to(&self, request: &mut Request, reporter: &Reporter) -> Result<()> {
        request.expected.release = Some(self.release.version.clone());
        let mut files = vec![self.image.clone()];
        let names = self.missing_sysexts(request)?;
        if !names.is_empty() {
            reporter.start(&format!("fetching {} OEM sysexts", names.len()), 0);
            let fetch = |name: String| self.fetcher.file(&self.release, &name, &Together(reporter));
            let fetched = in_parallel(names, AT_ONCE, fetch);
            reporter.finish();
            files.extend(fetched.into_iter().collect::<Result<Vec<Fetched>>>()?);
        }
        for file in &files[1..] {
            request.vendors.oem_sysexts.push(file.path.clone());
        }
        let digests = files.into_iter().map(|file| ExpectedDigest {
            path: file.path,
            sha256: file.sha256,
            origin: Some(file.url),
        });
        request.expected.digests.extend(digests);
        Ok(())
    }

    /// Names of the OEM sysexts that the vendors of a request need and do not have.
    fn missing_sysexts(&self, request: &Request) -> Result<Vec<String>> {
        let targets = &request.vendors;
        if targets.no_oem || !targets.oem_sysexts.is_empty() {
            return Ok(Vec::new());
        }
        let major = major_of(&self.release.version);
        let chosen = targets
            .chosen
            .iter()
            .filter(|choice| choice.oem_sysext.is_none())
            .map(|choice| &choice.vendor);
        let all = targets.all_of.iter().flat_map(|vendors| vendors.iter());
        let made = all.filter(|vendor| vendor.is_made_in(major));
        let mut names = Vec::new();
        for vendor in chosen.chain(made) {
            if let Some(id) = vendor.for_release(major)?.oem_sysext {
                names.push(
                    Artifact::OemSysext(id.as_str().to_owned()).file_name(&self.release.version)?,
                );
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }
}
