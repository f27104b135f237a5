//! What a run names by release or version, in flags or in a manifest: fetched before its request is prepared.
//!
//! ```text
//!   flags, manifest ──▶ Asked ──▶ image, extensions ──▶ the manifest's request ──▶ OEM sysexts of its vendors
//!                   lock, if held to ─┘                                     all that is missing, in one list
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::bake::{Base, ExpectedDigest, Request};
use crate::fetch::bakery::{Chosen, Extension, mismatch};
use crate::fetch::fetcher::Fetched;
use crate::fetch::release::{Artifact, Release, Wanted};
use crate::flatcar::vendor::major_of;
use crate::machine::Arch;
use crate::manifest::{LoadOptions, Lock, Resolution, Resolutions, Wants};
use crate::{Error, Result, ResultExt};

use super::fetch_args::Means;
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
}

/// What is to be fetched.
#[derive(Debug)]
pub struct Asked {
    /// The release to start from.
    pub release: Option<Wanted>,
    /// The architecture of everything.
    pub arch: Arch,
    /// Extensions of the Bakery, each once.
    pub extensions: Vec<Extension>,
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
            arch: flags.arch.or(arch.transpose()?).unwrap_or(Arch::Amd64),
            extensions: Vec::new(),
        };
        for text in &manifest.extensions {
            asked.add(text.text.parse().at(|| text.place.clone())?);
        }
        let of_flags = flags.extensions.iter();
        of_flags.for_each(|extension| asked.add((*extension).clone()));
        match &manifest.arch {
            Some(arch) if asked.is_empty() && manifest.is_empty() => Err(Error::invalid(
                "an architecture is given for what is fetched, and nothing is",
            )
            .with_hint("give a release or NAME@VERSION, or leave it out")
            .at(arch.place.clone())),
            _ => Ok(asked),
        }
    }

    fn add(&mut self, extension: Extension) {
        if !self.extensions.contains(&extension) {
            self.extensions.push(extension);
        }
    }

    /// Whether there is nothing to fetch.
    pub fn is_empty(&self) -> bool {
        self.release.is_none() && self.extensions.is_empty()
    }

    /// What would be fetched, as far as that is known without the network, a line each.
    pub fn tell(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        if let Some(release) = &self.release {
            lines.extend(release_lines(release, self.arch, &[Artifact::Generic])?);
            lines.push("the OEM sysexts of that release that the vendors need".to_owned());
        }
        for extension in &self.extensions {
            lines.push(format!("{} says what {extension} is", extension.sums()?));
        }
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

/// What was fetched for a run, and what fetches the rest. It holds the files that are kept for this run alone.
pub struct Fetching {
    /// By which it is fetched.
    pub means: Means,
    asked: Asked,
    /// What must be taken, where a run is held to that.
    lock: Option<Lock>,
    /// The release that is baked, once it is known.
    pub release: Option<Release>,
    /// Its image, or what would be there if it were not missing.
    base: Option<PathBuf>,
    /// Files of extensions by what they are asked for as.
    extensions: BTreeMap<String, PathBuf>,
    /// All files.
    pub files: Vec<Fetched>,
    /// What releases and versions came to.
    pub resolutions: Resolutions,
}

impl Fetching {
    /// Fetches the image of the release and the extensions. What is missing is noted, for [`complete`](Self::complete) to
    /// refuse.
    pub fn start(
        asked: Asked,
        means: Means,
        lock: Option<Lock>,
        reporter: &Reporter,
    ) -> Result<Self> {
        let mut fetching = Self {
            means,
            asked,
            lock,
            release: None,
            base: None,
            extensions: BTreeMap::new(),
            files: Vec::new(),
            resolutions: Resolutions::default(),
        };
        if let Some(wanted) = fetching.asked.release.clone() {
            fetching.fetch_image(&wanted, reporter)?;
        }
        for extension in fetching.asked.extensions.clone() {
            let file = fetching.fetch_extension(&extension, reporter)?;
            // The name stands in for a file that is missing, so that all else can be looked at.
            let name = extension.to_string();
            let path = file.unwrap_or_else(|| name.clone().into());
            fetching.extensions.insert(name, path);
        }
        Ok(fetching)
    }

    fn fetch_image(&mut self, wanted: &Wanted, reporter: &Reporter) -> Result<()> {
        let asked = wanted.to_string();
        self.base = Some(asked.clone().into());
        let Some(release) = self.resolve(wanted, reporter)? else {
            return Ok(());
        };
        let name = Artifact::Generic.file_name(&release.version)?;
        self.resolutions.release = Some(Resolution {
            asked,
            arch: release.arch.to_string(),
            version: release.version.clone(),
            url: release.source(&name)?.to_string(),
        });
        if let [image] = self.fetch_files(&release, vec![name], reporter)?.as_slice() {
            self.base = Some(image.clone());
        }
        self.release = Some(release);
        Ok(())
    }

    /// The release that is asked for, by the lock or by its server.
    fn resolve(&self, wanted: &Wanted, reporter: &Reporter) -> Result<Option<Release>> {
        let arch = self.asked.arch;
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

    /// An extension; `None` where it is missing.
    fn fetch_extension(
        &mut self,
        extension: &Extension,
        reporter: &Reporter,
    ) -> Result<Option<PathBuf>> {
        let Some(chosen) = self.choose(extension, reporter)? else {
            return Ok(None);
        };
        self.resolutions.extensions.push(Resolution {
            asked: extension.to_string(),
            arch: self.asked.arch.to_string(),
            version: chosen.version.clone(),
            url: chosen.source.to_string(),
        });
        let file = self.means.fetcher(reporter).chosen(&chosen, reporter);
        let Some(file) = self.means.tally.unless_missing(file)? else {
            return Ok(None);
        };
        let path = file.path.clone();
        self.take(file)?;
        Ok(Some(path))
    }

    /// What an extension comes to, by the lock or by the list of its server.
    fn choose(&self, extension: &Extension, reporter: &Reporter) -> Result<Option<Chosen>> {
        let arch = self.asked.arch;
        let Some(lock) = &self.lock else {
            let chosen = self
                .means
                .fetcher(reporter)
                .choose(extension, arch, reporter);
            return self.means.tally.unless_missing(chosen);
        };
        let version = lock.extension(&extension.to_string(), &arch.to_string())?;
        let source = extension.source(version, arch)?;
        let sha256 = lock.sha256(&source.to_string())?.to_owned();
        Ok(Some(Chosen {
            version: version.to_owned(),
            source,
            sha256,
            listed_in: lock.name().to_owned(),
        }))
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
        files.insert(file.path.clone(), file.url.clone());
        self.files.push(file);
        Ok(())
    }

    /// Says to a manifest what was fetched for it.
    pub fn fill(&self, options: LoadOptions) -> LoadOptions {
        let base = self.base.clone().map(Base::Path);
        LoadOptions {
            base: base.or(options.base),
            extensions: self.extensions.clone(),
            ..options
        }
    }

    /// Adds to a request the OEM sysexts that its vendors need of the release, and holds it to what was fetched.
    ///
    /// # Errors
    /// Those of fetching, and where anything is missing, all of it in one list.
    pub fn complete(&mut self, request: &mut Request, reporter: &Reporter) -> Result<()> {
        let findings = self.means.findings.iter();
        request.findings.extend(findings.cloned());
        if let Some(release) = self.release.clone() {
            request.expected.release = Some(release.version.clone());
            let names = missing_sysexts(&release, request)?;
            let files = self.fetch_files(&release, names, reporter)?;
            request.vendors.oem_sysexts.extend(files);
        }
        self.means.tally.check()?;
        let files = self.files.iter();
        request.expected.digests.extend(files.map(expected));
        Ok(())
    }
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
