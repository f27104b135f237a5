//! `flatbake ignition`

use std::path::{Path, PathBuf};

use crate::flatcar::butane::{self, TranslateOptions};
use crate::flatcar::ignition::{self, CheckOptions, Checked, ConfigKind};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};
use crate::{Error, Finding, Progress, Result};
use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;

use super::butane::{name, read, refuse};
use super::image::ReadArgs;
use super::progress::Reporter;
use super::{rehearse, stdio};

/// Tell what a machine would do with an Ignition config, before one boots
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake ignition check config.ign
  flatbake ignition check config.ign --flatcar 4593.2.5 --strict
  flatbake ignition check node.bu --image flatcar_sample.bin.bz2 --json
  flatbake ignition run --image flatcar_sample.bin.bz2 --config config.ign --diff")]
pub struct IgnitionCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(Box<Check>),
    Run(Box<rehearse::Run>),
}

/// Check a config, or the translation of a Butane config, as Ignition and Flatcar would take it
///
/// Ends with 9 where a machine would not come up with it.
#[derive(Debug, Args)]
struct Check {
    /// The config; - is standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Check it against this image: what its Ignition reads, and the files on its OEM partition
    #[arg(long, value_name = "IMG", value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    /// Check it against what this release reads [default: against all that is known]
    #[arg(long, value_name = "VERSION", conflicts_with = "image", value_parser = major)]
    flatcar: Option<u64>,
    /// End with 9 at warnings, too
    #[arg(long, short)]
    strict: bool,
    #[command(flatten)]
    read: ReadArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The first number of a version such as 4593.2.5.
fn major(text: &str) -> std::result::Result<u64, String> {
    let first = text.split('.').next().unwrap_or_default();
    first
        .parse()
        .map_err(|_| "a version is written as 4593.2.5, or as its first number".to_owned())
}

#[derive(Serialize)]
struct Document {
    file: String,
    #[serde(flatten)]
    checked: Checked,
}

impl IgnitionCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        match &self.action {
            Action::Check(check) => check.run(reporter),
            Action::Run(run) => run.run(reporter),
        }
    }
}

impl Check {
    fn run(&self, reporter: &Reporter) -> Result<()> {
        let content = read(&self.file, reporter)?;
        let disk = self.disk(reporter)?;
        let oem = match &disk {
            Some(disk) => Some(disk.filesystem(Designator::Oem.into())?),
            None => None,
        };
        let release = match &disk {
            Some(disk) => disk.os_release()?.and_then(|release| release.major()),
            None => self.flatcar,
        };
        let has = |path: &str| oem.as_deref().is_some_and(|oem| has_file(oem, path));
        let name = name(&self.file);
        let options = CheckOptions {
            name: &name,
            release,
            oem_has: oem.is_some().then_some(&has),
        };
        let document = Document {
            file: name.clone(),
            checked: self.check(&content, options, reporter),
        };
        let findings: &[Finding] = &document.checked.findings;
        if self.json {
            super::print_json(&document)?;
        } else {
            for finding in findings {
                reporter.found(finding);
            }
            super::print(summary(&document))?;
        }
        refuse(findings, self.strict, true, &self.file)
    }

    fn disk(&self, reporter: &Reporter) -> Result<Option<Disk>> {
        let Some(path) = &self.image else {
            return Ok(None);
        };
        if path == Path::new(stdio::DASH) && self.file == Path::new(stdio::DASH) {
            return Err(Error::invalid(
                "the config and the image cannot both be on standard input",
            ));
        }
        let image = self.read.open(path, reporter)?;
        Disk::open(name_of(path), image.device).map(Some)
    }

    fn check(&self, content: &[u8], options: CheckOptions<'_>, reporter: &Reporter) -> Checked {
        let is_named = self
            .file
            .extension()
            .is_some_and(|end| end == "bu" || end == "yaml" || end == "yml");
        let is_json = content.trim_ascii_start().starts_with(b"{");
        let is_butane = ConfigKind::of(content) == ConfigKind::Butane || (is_named && !is_json);
        if !is_butane {
            return ignition::check(content, &options);
        }
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let mut translate = TranslateOptions::new(options.name).registering(reporter.inputs());
        translate.check = options;
        translate.folder = (self.file != Path::new(stdio::DASH)).then_some(folder);
        let translated = butane::translate(content, &translate);
        Checked {
            kind: ConfigKind::Butane,
            version: translated.version,
            findings: translated.findings,
        }
    }
}

fn name_of(path: &Path) -> String {
    path.display().to_string()
}

/// Whether a filesystem has a file at `path`, symlinks followed.
fn has_file(fs: &dyn FileSystem, path: &str) -> bool {
    let found = FsPath::new(path)
        .and_then(|path| fs::resolve(fs, &path))
        .and_then(|path| fs.metadata_at(&path));
    found.is_ok_and(|metadata| metadata.file_type == FileType::File)
}

fn summary(document: &Document) -> String {
    let checked = &document.checked;
    let what = match (checked.kind, &checked.version) {
        (ConfigKind::Butane, Some(version)) => {
            format!("a Butane config, for specification {version}")
        }
        (ConfigKind::Butane, None) => "a Butane config".to_owned(),
        (_, Some(version)) => format!("an Ignition config of specification {version}"),
        (ConfigKind::CloudConfig, _) => "a cloud-config".to_owned(),
        (ConfigKind::Script, _) => "a script".to_owned(),
        (ConfigKind::Multipart, _) => "a multipart archive for cloud-init".to_owned(),
        (_, None) => "no Ignition config of specification 3".to_owned(),
    };
    let count = match checked.findings.len() {
        0 => "nothing is wrong with it".to_owned(),
        1 => "one finding".to_owned(),
        count => format!("{count} findings"),
    };
    format!("{}: {what}, {count}\n", document.file)
}
