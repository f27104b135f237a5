//! What a run names by release or version, by its place in a registry, or as one of Flatcar's own sysexts, in flags or in a
//! manifest: fetched when its request is made, and before it is prepared.
//!
//! ```text
//!   flags, manifest ──▶ Asked ──fill──▶ the request, with names in the place of files
//!                   lock, if held to ──▶ │ complete
//!                                        ├─ image of the release, OEM sysexts of the vendors
//!                                        ├─ image in a registry
//!                                        ├─ for what they are for: extensions, sysexts in registries, sysexts of Flatcar
//!                                        └─ all that is missing, in one list
//! ```

mod bakery;
mod official;
pub mod registries;
mod target;

use std::path::PathBuf;

use crate::bake::{Base, Edits, ExpectedDigest, Request};
use crate::fetch::bakery::{Extension, mismatch};
use crate::fetch::fetcher::Fetched;
use crate::fetch::release::{Artifact, Release, Wanted};
use crate::flatcar::vendor::major_of;
use crate::machine::Arch;
use crate::manifest::{LoadOptions, Lock, Resolution, Resolutions, Wants};
use crate::{Error, Result, ResultExt};

use super::fetch_args::Means;
use super::image::ReadArgs;
use super::progress::Reporter;

/// What flags say of it.
#[derive(Debug, Default)]
pub struct Flags<'a> {
    /// An image is given, which is taken in place of any release.
    pub has_image: bool,
    /// The release.
    pub release: Option<&'a Wanted>,
    /// The architecture.
    pub arch: Option<Arch>,
    /// Extensions of the Bakery.
    pub extensions: Vec<&'a Extension>,
    /// Files of sysexts that are not there are those of the Bakery with their names.
    pub absent: bool,
}

/// What is to be fetched, besides what the request itself tells.
#[derive(Debug)]
pub struct Asked {
    /// The release to start from.
    pub release: Option<Wanted>,
    /// The architecture of everything, where it is given.
    pub arch: Option<Arch>,
    /// Extensions of the Bakery, each once.
    pub extensions: Vec<Extension>,
    /// Files of sysexts that are not there are those of the Bakery with their names.
    absent: bool,
    /// The place of a manifest's architecture, which is given for more than its release.
    arch_place: Option<String>,
}

/// What is fetched for.
struct Target {
    /// Its architecture.
    arch: Arch,
    /// The version of the image; `None` where it cannot be told.
    version: Option<String>,
}

impl Asked {
    /// What a manifest asks for, with the flags on top of it.
    pub fn of(manifest: &Wants, flags: &Flags<'_>) -> Result<Self> {
        let release = manifest.release.as_ref();
        let release = release.map(|text| text.text.parse::<Wanted>().at(|| text.place.clone()));
        let arch = manifest.arch.as_ref();
        let arch = arch.map(|text| text.text.parse::<Arch>().at(|| text.place.clone()));
        let release = release.transpose()?.filter(|_| !flags.has_image);
        let mut asked = Self {
            release: flags.release.cloned().or(release),
            arch: flags.arch.or(arch.transpose()?),
            extensions: Vec::new(),
            absent: flags.absent,
            // An image in place of the release is the wish of who runs it.
            arch_place: match (&manifest.arch, &manifest.release) {
                (Some(arch), None) => Some(arch.place.clone()),
                _ => None,
            },
        };
        for text in &manifest.extensions {
            asked.add(text.text.parse().at(|| text.place.clone())?);
        }
        let of_flags = flags.extensions.iter();
        of_flags.for_each(|extension| asked.add((*extension).clone()));
        Ok(asked)
    }

    fn add(&mut self, extension: Extension) {
        if !self.extensions.contains(&extension) {
            self.extensions.push(extension);
        }
    }

    /// Puts names in the place of the files that are to be fetched, by which [`Fetching::complete`] knows them.
    pub fn fill(&self, options: LoadOptions) -> LoadOptions {
        let base = self.release.as_ref().map(|wanted| {
            let name = wanted.to_string();
            Base::Path(name.into())
        });
        let extensions = self.extensions.iter();
        LoadOptions {
            base: base.or(options.base),
            extensions: extensions
                .map(|extension| (extension.to_string(), bakery::stand_in(extension)))
                .collect(),
            ..options
        }
    }

    /// Whether anything is to be fetched for a request.
    pub fn is_needed_for(&self, request: &Request) -> bool {
        self.release.is_some()
            || !self.extensions.is_empty()
            || (self.absent && bakery::lacks_one(request))
            || registries::names_one(request)
            || official::names_one(request)
    }

    /// Refuses what a manifest says of fetching where nothing is fetched.
    ///
    /// # Errors
    /// It has an architecture.
    pub fn check_unused(&self) -> Result<()> {
        match &self.arch_place {
            Some(place) => Err(Error::invalid(
                "an architecture is given for what is fetched, and nothing is",
            )
            .with_hint("give a release or NAME@VERSION, or leave it out")
            .at(place.clone())),
            None => Ok(()),
        }
    }

    /// What would be fetched for a request, as far as that is known without the network, a line each.
    pub fn tell(&self, request: &Request) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        if let Some(release) = &self.release {
            let arch = self.arch.unwrap_or(Arch::Amd64);
            lines.extend(release_lines(release, arch, &[Artifact::Generic])?);
            lines.push("the OEM sysexts of that release that the vendors need".to_owned());
        }
        for extension in &self.extensions {
            lines.push(format!("{} says what {extension} is", extension.sums()?));
        }
        lines.extend(registries::named_in(request));
        let official = official::named_in(request).into_iter();
        lines.extend(official.map(|name| format!("flatcar-{name}.raw of the image's release")));
        Ok(lines)
    }
}

/// What files of a release would be fetched.
pub fn release_lines(wanted: &Wanted, arch: Arch, artifacts: &[Artifact]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    match wanted.current(arch)? {
        Some(source) => {
            lines.push(format!("{source} says which release is the newest"));
            let of_it = |artifact| format!("{artifact} of that release");
            lines.extend(artifacts.iter().map(of_it));
        }
        None => {
            let release = Release::new(&wanted.to_string(), arch)?;
            for artifact in artifacts {
                let name = artifact.file_name(&release.version)?;
                lines.push(release.source(&name)?.to_string());
            }
        }
    }
    Ok(lines)
}

/// What was fetched for a run, and what fetches it. It holds the files that are kept for this run alone.
pub struct Fetching {
    /// By which it is fetched.
    pub means: Means,
    asked: Asked,
    /// What must be taken, where a run is held to that.
    lock: Option<Lock>,
    /// The release that is baked, once it is known.
    pub release: Option<Release>,
    /// The architecture of what was fetched, once it is known.
    arch: Option<Arch>,
    /// The image is one that is missing.
    lacks_base: bool,
    /// All files.
    pub files: Vec<Fetched>,
    /// What releases and versions came to.
    pub resolutions: Resolutions,
}

impl Fetching {
    /// What fetches by `means` all that is asked for, and takes what a lock holds, where there is one.
    pub fn new(asked: Asked, means: Means, lock: Option<Lock>) -> Self {
        Self {
            means,
            asked,
            lock,
            release: None,
            arch: None,
            lacks_base: false,
            files: Vec::new(),
            resolutions: Resolutions::default(),
        }
    }

    /// Fetches all that a request needs, puts the files into it, and holds it to them. What `read` says is how images are
    /// read.
    ///
    /// # Errors
    /// Those of fetching, and where anything is missing, all of it in one list.
    pub fn complete(
        &mut self,
        request: &mut Request,
        read: &ReadArgs,
        reporter: &Reporter,
    ) -> Result<()> {
        let findings = self.means.findings.iter();
        request.findings.extend(findings.cloned());
        self.fetch_release(request, reporter)?;
        self.fetch_base(request, reporter)?;
        let target = self.target(request, read, reporter)?;
        self.arch = Some(target.arch);
        self.fetch_extensions(target.arch, request, reporter)?;
        self.fetch_absent(request, reporter)?;
        self.fetch_sysexts(target.arch, request, reporter)?;
        self.fetch_official(&target, request, reporter)?;
        self.means.tally.check()?;
        for file in &self.files {
            request.fetched.insert(file.path.clone(), file.url.clone());
            request.expected.digests.push(expected(file));
        }
        Ok(())
    }

    /// The architecture of what was fetched.
    pub fn arch(&self) -> Arch {
        self.arch.unwrap_or(Arch::Amd64)
    }

    /// Fetches the image of the release, and the OEM sysexts that the vendors need of it.
    fn fetch_release(&mut self, request: &mut Request, reporter: &Reporter) -> Result<()> {
        let Some(wanted) = self.asked.release.clone() else {
            return Ok(());
        };
        // It stays so where the release itself cannot be told.
        self.lacks_base = true;
        let Some(release) = self.resolve(&wanted, reporter)? else {
            return Ok(());
        };
        let name = Artifact::Generic.file_name(&release.version)?;
        self.resolutions.release = Some(Resolution {
            asked: wanted.to_string(),
            arch: release.arch.to_string(),
            version: release.version.clone(),
            url: release.source(&name)?.to_string(),
        });
        if let [image] = self.fetch_files(&release, vec![name], reporter)?.as_slice() {
            request.base = Base::Path(image.clone());
            self.lacks_base = false;
        }
        request.expected.release = Some(release.version.clone());
        let names = missing_sysexts(&release, request)?;
        let files = self.fetch_files(&release, names, reporter)?;
        request.vendors.oem_sysexts.extend(files);
        self.release = Some(release);
        Ok(())
    }

    /// The release that is asked for, by the lock or by its server.
    fn resolve(&self, wanted: &Wanted, reporter: &Reporter) -> Result<Option<Release>> {
        let arch = self.asked.arch.unwrap_or(Arch::Amd64);
        if let Some(lock) = &self.lock {
            let version = lock.release(&wanted.to_string(), &arch.to_string())?;
            return Release::new(version, arch).map(Some);
        }
        let release = self.means.fetcher(reporter).release(wanted, arch, reporter);
        self.means.tally.unless_missing(release)
    }

    /// Files of a release; none where some are missing.
    fn fetch_files(
        &mut self,
        release: &Release,
        names: Vec<String>,
        reporter: &Reporter,
    ) -> Result<Vec<PathBuf>> {
        if let Some(lock) = &self.lock {
            for name in &names {
                lock.sha256(&release.source(name)?.to_string())?;
            }
        }
        let files = self.means.fetcher(reporter).files(release, names, reporter);
        let files = self.means.tally.unless_missing(files)?.unwrap_or_default();
        let paths = files.iter().map(|file| file.path.clone()).collect();
        files.into_iter().try_for_each(|file| self.take(file))?;
        Ok(paths)
    }

    /// Notes a file, which must be the one of the lock.
    fn take(&mut self, file: Fetched) -> Result<()> {
        if let Some(lock) = &self.lock {
            let wanted = lock.sha256(&file.url)?;
            if wanted != file.sha256 {
                let error = mismatch(&file.sha256, wanted, lock.name());
                return Err(error.at(file.url));
            }
        }
        let files = &mut self.resolutions.files;
        let urls = files.entry(file.path.clone()).or_default();
        urls.insert(file.url.clone());
        if self.files.iter().all(|known| known.url != file.url) {
            self.files.push(file);
        }
        Ok(())
    }
}

/// All changes of a request, those of its variants behind the shared ones.
fn all_edits(request: &Request) -> impl Iterator<Item = &Edits> {
    let variants = request.variants.iter();
    std::iter::once(&request.edits).chain(variants.map(|variant| &variant.edits))
}

/// The same, to be filled in.
fn all_edits_mut(request: &mut Request) -> impl Iterator<Item = &mut Edits> {
    let variants = request.variants.iter_mut();
    std::iter::once(&mut request.edits).chain(variants.map(|variant| &mut variant.edits))
}

/// Has the run refuse other bytes than those that were verified.
fn expected(file: &Fetched) -> ExpectedDigest {
    ExpectedDigest {
        path: file.path.clone(),
        sha256: file.sha256.clone(),
        origin: Some(file.url.clone()),
    }
}

/// The OEM sysexts that the vendors of a request need and do not have.
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
