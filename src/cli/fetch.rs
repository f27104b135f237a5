//! `flatbake fetch`

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::block::OutputFile;
use crate::bytes::ByteSize;
use crate::fetch::fetcher::Fetched;
use crate::fetch::release::{Artifact, Wanted};
use crate::{Error, Progress, Result, from_io};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::fetch_args::{FetchArgs, cache_of};
use super::output::refuse_existing;
use super::progress::Reporter;

/// Fetch files of a Flatcar release, verified by their signatures
///
/// They are kept in the cache, from where bake --release takes them, and are copied to a folder where one is named. Nothing
/// gets a name before its signature holds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake fetch --release stable --dry-run
  flatbake fetch --release 4593.2.5 --arch arm64 --artifact generic --artifact oem-sysext:azure --dry-run")]
pub struct Fetch {
    /// Which release: stable, beta, alpha, lts, lts-2024, or a version
    #[arg(long, value_name = "RELEASE", default_value = "stable", value_parser = super::argument::<Wanted>)]
    release: Wanted,
    /// What of it: generic, vendor:ID, oem-sysext:ID, sysext:NAME, or the name of a file; can be repeated
    #[arg(long, value_name = "WHAT", default_value = "generic", value_parser = super::argument::<Artifact>)]
    artifact: Vec<Artifact>,
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

/// What was fetched.
#[derive(Serialize)]
struct Document {
    release: String,
    arch: String,
    files: Vec<Fetched>,
}

impl Fetch {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        self.fetching.check_arch()?;
        if self.dry_run {
            return self.tell();
        }
        let cache = cache_of(self.cache_dir.as_deref())?;
        let means = self.fetching.means(Some(&cache), reporter)?;
        means
            .findings
            .iter()
            .for_each(|finding| reporter.found(finding));
        let fetcher = means.fetcher(reporter);
        let release = fetcher.release(&self.release, self.fetching.arch(), reporter)?;
        let mut names = Vec::new();
        for artifact in &self.artifact {
            names.push(artifact.file_name(&release.version)?);
        }
        if let Some(folder) = &self.output_dir {
            for name in &names {
                refuse_existing(&target(folder, name), self.overwrite)?;
            }
        }
        let files = fetcher.files(&release, names, reporter)?;
        if let Some(folder) = &self.output_dir {
            std::fs::create_dir_all(folder)
                .map_err(|error| from_io(format!("making {}", folder.display()), error))?;
            for file in &files {
                copy_out(file, folder)?;
            }
        }
        if self.json {
            return super::print_json(&Document {
                release: release.version,
                arch: release.arch.to_string(),
                files,
            });
        }
        files.iter().for_each(|file| told(file, reporter));
        let paths: Vec<String> = files
            .iter()
            .map(|file| match &self.output_dir {
                Some(folder) => target(folder, &file.url).display().to_string(),
                None => file.path.display().to_string(),
            })
            .collect();
        super::print(paths.join("\n") + "\n")
    }

    /// What would be fetched.
    fn tell(&self) -> Result<()> {
        let arch = self.fetching.arch();
        let mut lines = Vec::new();
        match self.release.current(arch)? {
            Some(source) => {
                lines.push(format!("{source} says which release is the newest"));
                for artifact in &self.artifact {
                    lines.push(format!("{artifact} of that release"));
                }
            }
            None => {
                let release = crate::fetch::release::Release::new(&self.release.to_string(), arch)?;
                for artifact in &self.artifact {
                    let name = artifact.file_name(&release.version)?;
                    lines.push(release.source(&name)?.to_string());
                }
            }
        }
        super::print(lines.join("\n") + "\n")
    }
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

/// The file of a folder for what is called `name`, or published under that URL.
fn target(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.rsplit('/').next().unwrap_or(name))
}

/// Copies a file, and its signature where it has one.
fn copy_out(file: &Fetched, folder: &Path) -> Result<()> {
    let to = target(folder, &file.url);
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
