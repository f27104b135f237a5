//! What a request names by release or version: fetched before it is prepared.

use super::{RequestArgs, SysextArg};
use crate::Result;
use crate::bake::{Base, ExpectedDigest, Request, SysextSpec};
use crate::cli::fetch_args::Means;
use crate::cli::image::cache_folder;
use crate::cli::progress::Reporter;
use crate::fetch::bakery::Extension;
use crate::fetch::fetcher::Fetched;
use crate::fetch::release::{Artifact, Release};
use crate::flatcar::vendor::major_of;

/// What was fetched for a run, and what fetches the rest. It holds the files that are kept for this run alone.
pub struct Fetching {
    means: Means,
    /// The release that is baked, and its generic image.
    release: Option<(Release, Fetched)>,
}

impl RequestArgs {
    /// Fetches the release that is asked for; `None` where nothing is to be fetched.
    pub(super) fn fetch(&self, reporter: &Reporter) -> Result<Option<Fetching>> {
        if self.base.release.is_none() && self.extensions().next().is_none() {
            self.fetching.check_unused()?;
            return Ok(None);
        }
        let cache = match self.read.no_cache {
            true => None,
            false => cache_folder(self.read.cache_dir.as_deref()),
        };
        let means = self.fetching.means(cache.as_deref(), reporter)?;
        let fetcher = means.fetcher(reporter);
        let mut found = None;
        if let Some(wanted) = &self.base.release {
            let release = fetcher.release(wanted, self.fetching.arch(), reporter)?;
            let name = Artifact::Generic.file_name(&release.version)?;
            let image = fetcher.file(&release, &name, reporter)?;
            found = Some((release, image));
        }
        drop(fetcher);
        Ok(Some(Fetching {
            means,
            release: found,
        }))
    }

    /// Adds to a request what goes with the release: the OEM sysexts of its vendors, and extensions of the Bakery.
    pub(super) fn add_fetched(
        &self,
        fetching: &Fetching,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<()> {
        let findings = fetching.means.findings.iter();
        request.findings.extend(findings.cloned());
        if let Some((release, image)) = &fetching.release {
            request.expected.release = Some(release.version.clone());
            expect(request, image);
            for file in fetching.oem_sysexts(release, request, reporter)? {
                expect(request, &file);
                request.vendors.oem_sysexts.push(file.path);
            }
        }
        let fetcher = fetching.means.fetcher(reporter);
        for extension in self.extensions() {
            let file = fetcher.extension(extension, self.fetching.arch(), reporter)?;
            expect(request, &file);
            request.edits.sysexts.push(SysextSpec {
                name: extension.name.clone(),
                file: file.path,
                origin: Some(extension.to_string()),
            });
        }
        Ok(())
    }

    /// The extensions of the Bakery that are asked for.
    fn extensions(&self) -> impl Iterator<Item = &Extension> {
        let sysexts = self.changes.sysexts.iter();
        sysexts.filter_map(|sysext| match sysext {
            SysextArg::File(_) => None,
            SysextArg::Extension(extension) => Some(extension),
        })
    }
}

/// Has the run refuse other bytes than those that were verified.
fn expect(request: &mut Request, file: &Fetched) {
    request.expected.digests.push(ExpectedDigest {
        path: file.path.clone(),
        sha256: file.sha256.clone(),
        origin: Some(file.url.clone()),
    });
}

impl Fetching {
    /// The generic image of the release.
    pub(super) fn base(&self) -> Option<Base> {
        let (_, image) = self.release.as_ref()?;
        Some(Base::Path(image.path.clone()))
    }

    /// The OEM sysexts that the vendors of a request need and do not have.
    fn oem_sysexts(
        &self,
        release: &Release,
        request: &Request,
        reporter: &Reporter,
    ) -> Result<Vec<Fetched>> {
        let names = missing_sysexts(release, request)?;
        let fetcher = self.means.fetcher(reporter);
        fetcher.files(release, names, reporter)
    }
}

fn missing_sysexts(release: &Release, request: &Request) -> Result<Vec<String>> {
    let targets = &request.vendors;
    if targets.no_oem || !targets.oem_sysexts.is_empty() {
        return Ok(Vec::new());
    }
    let major = major_of(&release.version);
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
            let sysext = Artifact::OemSysext(id.as_str().to_owned());
            names.push(sysext.file_name(&release.version)?);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}
