//! What a request names by release or version: fetched before it is prepared.

use super::fetched::{Fetching, Target, expect};
use super::{RequestArgs, SysextArg, official, registries};
use crate::Result;
use crate::bake::{Base, Request, SysextSpec};
use crate::cli::fetch_args::Means;
use crate::cli::image::cache_folder;
use crate::cli::progress::Reporter;
use crate::fetch::bakery::Extension;
use crate::fetch::fetcher::{Fetched, Fetcher};
use crate::fetch::release::{Artifact, Release, Wanted};
use crate::flatcar::vendor::major_of;
use crate::flatcar::{Channel, Disk, OsRelease};
use crate::machine::Arch;

impl RequestArgs {
    /// Fetches the release that is asked for; `None` where none is.
    pub(super) fn fetch(&self, reporter: &Reporter) -> Result<Option<Fetching>> {
        // Where nothing is said to start from, it is what the script of the Bakery starts from.
        let is_left_open = self.base.image.is_none() && self.base.file.is_none();
        let usual = Wanted::Newest(Channel::Stable);
        let wanted = match &self.base.release {
            Some(wanted) => wanted,
            None if self.changes.fetch && is_left_open => &usual,
            None => return Ok(None),
        };
        let means = self.means(reporter)?;
        let fetcher = means.fetcher(reporter);
        let release = fetcher.release(wanted, self.fetching.arch(), reporter)?;
        let name = Artifact::Generic.file_name(&release.version)?;
        let image = fetcher.file(&release, &name, reporter)?;
        drop(fetcher);
        Ok(Some(Fetching {
            means,
            release: Some((release, image)),
        }))
    }

    fn means(&self, reporter: &Reporter) -> Result<Means> {
        let cache = match self.read.no_cache {
            true => None,
            false => cache_folder(self.read.cache_dir.as_deref()),
        };
        self.fetching.means(cache.as_deref(), reporter)
    }

    /// Adds to a request all that is to be fetched besides the image of the release, which `fetched` has. What comes back
    /// holds the files.
    pub(super) fn add_fetched(
        &self,
        fetched: Option<Fetching>,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<Option<Fetching>> {
        let fetching = match fetched {
            Some(fetching) => fetching,
            None if self.needs_more(request) => Fetching {
                means: self.means(reporter)?,
                release: None,
            },
            None => {
                self.fetching.check_unused()?;
                return Ok(None);
            }
        };
        self.add_files(&fetching, request, reporter)?;
        Ok(Some(fetching))
    }

    /// Whether a request names something that is fetched besides a release.
    fn needs_more(&self, request: &Request) -> bool {
        self.extensions().next().is_some()
            || (self.changes.fetch && request.edits.sysexts.iter().any(is_absent))
            || registries::names_one(request)
            || official::names_one(request)
    }

    /// Fetches what goes with the release: the OEM sysexts of its vendors; extensions of the Bakery; what is in registries.
    fn add_files(
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
        // A base image in a registry has to be there before it can say what it is.
        let arch = self.fetching.arch_given();
        registries::fetch_base(fetching, arch.unwrap_or(Arch::Amd64), request, reporter)?;
        let target = self.target(fetching, request, reporter)?;
        let fetcher = fetching.means.fetcher(reporter);
        for extension in self.extensions() {
            let found = fetcher.extension(extension, target.arch, reporter)?;
            let files = std::iter::once(&found.file).chain(&found.transfer);
            files.for_each(|file| expect(request, file));
            request.edits.sysexts.push(SysextSpec {
                transfers: found.transfer.map(|file| file.path).into_iter().collect(),
                origin: Some(extension.to_string()),
                ..SysextSpec::new(&extension.name, found.file.path)
            });
        }
        if self.changes.fetch {
            fetch_absent(&fetcher, request, reporter)?;
        }
        drop(fetcher);
        registries::fetch_sysexts(fetching, target.arch, request, reporter)?;
        official::fetch(fetching, &target, request, reporter)
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

impl RequestArgs {
    /// What is fetched for: the release that is baked; else what the image says that it is, where that matters.
    fn target(
        &self,
        fetching: &Fetching,
        request: &Request,
        reporter: &Reporter,
    ) -> Result<Target> {
        if let Some((release, _)) = &fetching.release {
            return Ok(Target {
                arch: release.arch,
                version: Some(release.version.clone()),
            });
        }
        let given = self.fetching.arch_given();
        let needs_version = official::names_one(request);
        if let Some(arch) = given.filter(|_| !needs_version) {
            return Ok(Target {
                arch,
                version: None,
            });
        }
        let open = || {
            let image = self.read.open_base(&request.base, reporter)?;
            let name = request.base.name().display().to_string();
            Disk::open(name, image.device)?.os_release()
        };
        let release = match open() {
            Err(error) if needs_version => return Err(error),
            // What is wrong with the image is told when it is baked.
            release => release.unwrap_or_default(),
        };
        reporter.cancel().check()?;
        let arch = release.as_ref().and_then(OsRelease::architecture);
        let arch = arch.and_then(|arch| arch.parse().ok());
        Ok(Target {
            arch: given.or(arch).unwrap_or(Arch::Amd64),
            version: release.and_then(|release| release.version().map(str::to_owned)),
        })
    }
}

/// Fetches the files of sysexts that are not there, by their own names.
fn fetch_absent(fetcher: &Fetcher<'_>, request: &mut Request, reporter: &Reporter) -> Result<()> {
    let mut fetched = Vec::new();
    let sysexts = request.edits.sysexts.iter_mut();
    for spec in sysexts.filter(|spec| is_absent(spec)) {
        let found = fetcher.extension_file(&spec.name, &spec.file, reporter)?;
        spec.origin = Some(found.file.url.clone());
        spec.file.clone_from(&found.file.path);
        spec.transfers = found
            .transfer
            .iter()
            .map(|file| file.path.clone())
            .collect();
        fetched.push(found.file);
        fetched.extend(found.transfer);
    }
    fetched.iter().for_each(|file| expect(request, file));
    Ok(())
}

/// Whether the file of a sysext is neither here nor in a registry.
fn is_absent(spec: &SysextSpec) -> bool {
    !registries::is_one(&spec.file) && !spec.file.exists()
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
