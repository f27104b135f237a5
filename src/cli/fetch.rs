//! `flatbake fetch`

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::bake::Output;
use crate::block::OutputFile;
use crate::bytes::ByteSize;
use crate::fetch::bundle::NewBundle;
use crate::fetch::fetcher::Fetched;
use crate::fetch::oci::Unpack;
use crate::fetch::openpgp::FLATCAR;
use crate::fetch::registry::Reference;
use crate::fetch::release::{Artifact, Wanted};
use crate::manifest::{self, LoadOptions, Lock, Manifest};
use crate::{Error, Progress, Result, from_io};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::fetch_args::{FetchArgs, Means, cache_of};
use super::fetching::{Asked, Fetching, Flags, registries, release_lines};
use super::image::ReadArgs;
use super::keys;
use super::output::refuse_existing;
use super::progress::Reporter;

/// Fetch files of a Flatcar release, or all that a manifest names, verified
///
/// They are kept in the cache, from where bake takes them, and are copied to a folder or a bundle where one is named. Nothing
/// gets a name before its signature holds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake fetch --release stable --dry-run
  flatbake fetch --release 4593.2.5 --arch arm64 --artifact generic --artifact oem-sysext:azure --dry-run
  flatbake fetch --artifact oci://ghcr.io/example/docker:28 --dry-run
  flatbake fetch -f release.yaml --dry-run
  flatbake fetch -f extension.yaml --mirror https://extensions.flatcar.org/=bakery/ --bundle bundle")]
pub struct Fetch {
    /// Which release: stable, beta, alpha, lts, lts-2024, or a version
    #[arg(long, value_name = "RELEASE", default_value = "stable", value_parser = super::argument::<Wanted>)]
    release: Wanted,
    /// What of it: generic, vendor:ID, oem-sysext:ID, sysext:NAME, or the name of a file; or oci://… for the one file of an
    /// artifact in a registry; can be repeated
    #[arg(long, value_name = "WHAT", default_value = "generic", value_parser = super::argument::<What>)]
    artifact: Vec<What>,
    /// Fetch what this manifest names by release or version, and the OEM sysexts that its vendors need
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["release", "artifact"])]
    file: Option<PathBuf>,
    /// Give a variable of the manifest a value
    #[arg(long, value_name = "NAME=VALUE", requires = "file", value_parser = super::request::set)]
    set: Vec<(String, String)>,
    /// Paths in the manifest may lead out of its folder
    #[arg(long, requires = "file")]
    allow_outside: bool,
    /// Take the releases and versions of the lock beside the manifest
    #[arg(long, requires = "file")]
    locked: bool,
    /// Make a new folder with all of it, the signatures and keys, and the lock of the manifest, which bake and plan take
    /// with --bundle where there is no network
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(conflicts_with_all = ["output_dir", "insecure_skip_verify"])]
    bundle: Option<PathBuf>,
    /// Copy the files and their signatures to this folder
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output_dir: Option<PathBuf>,
    /// Replace files that exist there
    #[arg(long, requires = "output_dir")]
    overwrite: bool,
    /// Say what would be fetched, by its names as far as they are known without the network
    #[arg(long)]
    dry_run: bool,
    /// Folder where fetched files are kept [default: flatbake below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    fetching: FetchArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is fetched by name.
#[derive(Debug, Clone)]
enum What {
    /// A file of the release.
    OfRelease(Artifact),
    /// The one file of an artifact in a registry.
    InRegistry(Reference),
}

impl FromStr for What {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match registries::is_one(Path::new(text)) {
            true => text.parse().map(Self::InRegistry),
            false => text.parse().map(Self::OfRelease),
        }
    }
}

/// What was fetched.
#[derive(Serialize)]
struct Document {
    release: Option<String>,
    arch: String,
    files: Vec<Fetched>,
}

impl Fetch {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        self.fetching.check_arch()?;
        match &self.file {
            Some(file) => self.fetch_all(file, reporter),
            None => self.fetch_artifacts(reporter),
        }
    }

    /// Fetches what was named one by one.
    fn fetch_artifacts(&self, reporter: &Reporter) -> Result<()> {
        if self.dry_run {
            return self.tell_artifacts();
        }
        let bundle = self.new_bundle()?;
        let means = self.means(reporter)?;
        let of_release = means
            .tally
            .unless_missing(self.fetch_of_release(&means, reporter))?;
        let in_registries = self.fetch_from_registries(&means, reporter)?;
        means.tally.check()?;
        let (release, mut files) = of_release.unwrap_or_default();
        files.extend(in_registries);
        if let Some(bundle) = bundle {
            self.finish(bundle, &means, reporter)?;
        }
        let document = Document {
            release,
            arch: self.fetching.arch().to_string(),
            files,
        };
        self.deliver(document, reporter)
    }

    /// The artifacts that are files of the release.
    fn of_release(&self) -> Vec<Artifact> {
        let of_release = |what: &What| match what {
            What::OfRelease(artifact) => Some(artifact.clone()),
            What::InRegistry(_) => None,
        };
        self.artifact.iter().filter_map(of_release).collect()
    }

    /// Those that are in registries.
    fn in_registries(&self) -> impl Iterator<Item = &Reference> {
        self.artifact.iter().filter_map(|what| match what {
            What::OfRelease(_) => None,
            What::InRegistry(reference) => Some(reference),
        })
    }

    /// Says what would be fetched by name.
    fn tell_artifacts(&self) -> Result<()> {
        let artifacts = self.of_release();
        let mut lines = match artifacts.as_slice() {
            [] => Vec::new(),
            some => release_lines(&self.release, self.fetching.arch(), some)?,
        };
        let in_registries = self.in_registries();
        lines.extend(in_registries.map(|reference| format!("oci://{reference}")));
        tell(&lines)
    }

    /// Fetches the artifacts that are files of the release; its version, where there are any.
    fn fetch_of_release(
        &self,
        means: &Means,
        reporter: &Reporter,
    ) -> Result<(Option<String>, Vec<Fetched>)> {
        let artifacts = self.of_release();
        if artifacts.is_empty() {
            return Ok((None, Vec::new()));
        }
        let fetcher = means.fetcher(reporter);
        let release = fetcher.release(&self.release, self.fetching.arch(), reporter)?;
        let mut names = Vec::new();
        for artifact in &artifacts {
            names.push(artifact.file_name(&release.version)?);
        }
        if let Some(folder) = &self.output_dir {
            for name in &names {
                refuse_existing(&folder.join(name), self.overwrite)?;
            }
        }
        let files = fetcher.files(&release, names, reporter)?;
        Ok((Some(release.version), files))
    }

    /// Fetches the artifacts of registries, as they are there. Those that are missing are noted.
    fn fetch_from_registries(&self, means: &Means, reporter: &Reporter) -> Result<Vec<Fetched>> {
        let mut files = Vec::new();
        for reference in self.in_registries() {
            let repository = reference.repository();
            let name = repository.rsplit('/').next().unwrap_or(repository);
            let registry = means.registry(reporter)?;
            let file = means.fetcher(reporter).artifact(
                registry,
                reference,
                self.fetching.arch(),
                (name, Unpack::No),
                reporter,
            );
            files.extend(means.tally.unless_missing(file)?);
        }
        Ok(files)
    }

    /// Fetches all that a manifest names.
    fn fetch_all(&self, file: &Path, reporter: &Reporter) -> Result<()> {
        let draft = manifest::read(file, &self.set)?;
        let lock = match self.locked {
            true => Some(draft.lock(None)?),
            false => None,
        };
        let flags = Flags {
            arch: self.fetching.given_arch(),
            ..Flags::default()
        };
        let asked = Asked::of(&draft.wants()?, &flags)?;
        let mut manifest = draft.resolve(&asked.fill(LoadOptions {
            allow_outside: self.allow_outside,
            ..LoadOptions::default()
        }))?;
        if !asked.is_needed_for(&manifest.request) {
            let message = format!("{} names nothing that is fetched", file.display());
            return Err(Error::invalid(message).with_hint(
                "it has a key release or enable_sysexts, or files that are NAME@VERSION or oci://…",
            ));
        }
        if self.dry_run {
            return tell(&asked.tell(&manifest.request)?);
        }
        let bundle = self.new_bundle()?;
        let means = self.means(reporter)?;
        let mut fetching = Fetching::new(asked, means, lock.clone());
        fetching.complete(&mut manifest.request, &self.read(), reporter)?;
        let arch = fetching.arch().to_string();
        let manifest = manifest.fetched_as(&fetching.resolutions);
        if let Some(mut bundle) = bundle {
            let (name, text) = self.lock_of(manifest, lock, reporter)?;
            bundle.put(&name, text.as_bytes(), reporter.cancel())?;
            self.finish(bundle, &fetching.means, reporter)?;
        }
        let document = Document {
            release: fetching.release.map(|release| release.version),
            arch,
            files: fetching.files,
        };
        self.deliver(document, reporter)
    }

    fn means(&self, reporter: &Reporter) -> Result<Means> {
        let cache = cache_of(self.cache_dir.as_deref())?;
        let means = self.fetching.means(Some(&cache), None, reporter)?;
        let findings = means.findings.iter();
        findings.for_each(|finding| reporter.found(finding));
        Ok(means)
    }

    /// How images are read.
    fn read(&self) -> ReadArgs {
        ReadArgs {
            cache_dir: self.cache_dir.clone(),
            no_cache: false,
            allow_external: false,
        }
    }

    fn new_bundle(&self) -> Result<Option<NewBundle>> {
        self.bundle.as_deref().map(NewBundle::create).transpose()
    }

    /// Name and text of the lock that a bake of a manifest writes. The bake is prepared for that: it can be carried out with
    /// what was fetched.
    fn lock_of(
        &self,
        mut manifest: Manifest,
        lock: Option<Lock>,
        reporter: &Reporter,
    ) -> Result<(String, String)> {
        let lock_path = manifest.lock_path();
        let name = lock_path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            Error::unsupported(format!("{} is not UTF-8", lock_path.display()))
                .with_hint("give the manifest another name")
        })?;
        let locked = lock.map(|lock| manifest.locked(lock));
        let request = &mut manifest.request;
        request.expected.locked = locked;
        // Nothing is written, so that nothing is in the way, and a flag of the bake may say later what is.
        request.policy.overwrite = true;
        if request.outputs.is_empty() && request.vendors.is_empty() {
            request.outputs.push(Output::at("disk.bin"));
        }
        let read = self.read();
        let context = read.context(reporter);
        let prepared = manifest.request.prepare(&context)?;
        let lock = manifest.lock_of(&prepared.inputs(&context)?)?;
        Ok((name.to_owned(), lock.text()?))
    }

    /// Puts what was fetched into a bundle, with the keys, and gives it its name.
    fn finish(&self, mut bundle: NewBundle, means: &Means, reporter: &Reporter) -> Result<()> {
        let cancel = reporter.cancel();
        bundle.copy(&means.tally.files(), cancel, reporter)?;
        bundle.put_keys("flatcar.asc", FLATCAR, cancel)?;
        for (number, path) in (1..).zip(self.fetching.keyrings(reporter)?) {
            let keys = keys::read(&path, reporter)?;
            bundle.put_keys(&format!("keyring-{number}"), &keys, cancel)?;
        }
        bundle.commit(cancel)
    }

    /// Copies the files to the folder that is named, where one is, and says what was fetched.
    fn deliver(&self, document: Document, reporter: &Reporter) -> Result<()> {
        if let Some(folder) = &self.output_dir {
            std::fs::create_dir_all(folder)
                .map_err(|error| from_io(format!("making {}", folder.display()), error))?;
            for file in &document.files {
                refuse_existing(&target(folder, file), self.overwrite)?;
            }
            for file in &document.files {
                copy_out(file, folder)?;
            }
        }
        if self.json {
            return super::print_json(&document);
        }
        let files = document.files.iter();
        files.clone().for_each(|file| told(file, reporter));
        if let Some(bundle) = &self.bundle {
            return super::print(format!("{}\n", bundle.display()));
        }
        let paths: Vec<String> = files
            .map(|file| match &self.output_dir {
                Some(folder) => target(folder, file).display().to_string(),
                None => file.path.display().to_string(),
            })
            .collect();
        tell(&paths)
    }
}

/// Prints lines.
fn tell(lines: &[String]) -> Result<()> {
    super::print(lines.join("\n") + "\n")
}

/// Says who signed a file.
fn told(file: &Fetched, reporter: &Reporter) {
    let size = ByteSize(file.bytes);
    reporter.info(&match &file.signed {
        Some(signed) => format!(
            "{} ({size}): signed {} by {}",
            file.url, signed.made, signed.primary
        ),
        None => match &file.listed_in {
            Some(list) => format!("{} ({size}): as {list} has it", file.url),
            None => format!("{} ({size}): not verified", file.url),
        },
    });
}

/// The file of a folder for what was fetched: by its URL, or by its own name where a registry names the artifact alone.
fn target(folder: &Path, file: &Fetched) -> PathBuf {
    let url = &file.url;
    match file.path.file_name() {
        Some(name) if registries::is_one(Path::new(url)) => folder.join(name),
        _ => folder.join(url.rsplit('/').next().unwrap_or(url)),
    }
}

/// Copies a file, and its signature where it has one.
fn copy_out(file: &Fetched, folder: &Path) -> Result<()> {
    let to = target(folder, file);
    let fails = |error| from_io(format!("copying to {}", to.display()), error);
    let output = OutputFile::create(&to)?;
    let mut source = File::open(&file.path).map_err(fails)?;
    let copied = io::copy(&mut source, &mut output.file()).map_err(fails)?;
    if copied != file.bytes {
        return Err(Error::invalid(format!(
            "{} changed while it was copied",
            file.path.display()
        )));
    }
    let mut outputs = vec![output];
    if let Some(signature) = &file.signature {
        let mut name = to.as_os_str().to_owned();
        name.push(".sig");
        let output = OutputFile::create(Path::new(&name))?;
        let mut source = File::open(signature).map_err(fails)?;
        io::copy(&mut source, &mut output.file()).map_err(fails)?;
        outputs.push(output);
    }
    OutputFile::commit_all(outputs)
}
