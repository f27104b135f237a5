use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::block::BlockDevice;
use crate::flatcar::sysext::together::{Candidate, Question, Together, check_together};
use crate::flatcar::sysext::{Class, Host, installed, open_installed};
use crate::flatcar::{Disk, OsRelease};
use crate::{Error, ErrorKind, Progress, Result, ResultExt};
use clap::{ArgGroup, Args, ValueHint};

use super::super::image::ReadArgs;
use super::super::progress::Reporter;
use super::super::table::table;
use super::build::word;
use super::name_of;

/// Tell whether extensions would be merged, together, into an image or a release
///
/// Each is held against systemd's rules for names, systems, levels, versions, architectures and scopes, and against what the
/// kernel mounts; with --image also against the image's own files, extensions and certificates. Of two extensions that both
/// have a file, that of the later one in the order of names is seen. The exit code is 9 where more than notes are found.
#[derive(Debug, Args)]
#[command(
    name = "check",
    after_help = "\
Examples:
  flatbake sysext check hello.raw --image flatcar_sample.bin.bz2
  flatbake sysext check hello.raw greeter.raw --flatcar 4757.2.1 --arch amd64 --after-update 4900.2.0
  flatbake sysext check new=hello.raw --image flatcar_sample.bin.bz2 --json || true"
)]
#[command(group = ArgGroup::new("host").required(true).args(["image", "flatcar"]))]
pub struct CheckCommand {
    /// The images; NAME=FILE for one that is merged by another name than its file's
    #[arg(value_name = "[NAME=]FILE", required = true, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Check against this Flatcar image
    #[arg(long, value_name = "IMG", value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    /// Check against this release of Flatcar, without its files
    #[arg(long, value_name = "VERSION", requires = "arch")]
    flatcar: Option<String>,
    /// The machine of the release: amd64 or arm64
    #[arg(long, value_name = "ARCH", value_parser = word, conflicts_with = "image")]
    arch: Option<String>,
    /// Extensions of the image that are switched off, by links to /dev/null in /etc/extensions
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "image")]
    mask: Vec<String>,
    /// Tell which would stop being merged after an update to this release
    #[arg(long, value_name = "VERSION")]
    after_update: Option<String>,
    /// They are confexts [default: what their release files say]
    #[arg(long)]
    confext: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

impl CheckCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let disk = self.disk(reporter)?;
        let host = match &disk {
            Some(disk) => Host::of_disk(disk)?,
            None => self.release()?,
        };
        let mut given = Vec::new();
        let mut names = BTreeSet::new();
        for argument in &self.files {
            reporter.cancel().check()?;
            let (name, file) = named(argument)?;
            if !names.insert(name.clone()) {
                return Err(Error::invalid(format!(
                    "two extensions would be merged by the name {name}"
                ))
                .with_hint("give one of them another name: NAME=FILE"));
            }
            let device = Arc::new(reporter.inputs().device("extension", &file)?);
            let place = file.display().to_string();
            let class = self.confext.then_some(Class::Confext);
            given.push(Candidate::open(&name, &place, device, class, &host)?);
        }
        let own = match &disk {
            Some(disk) => own(disk, &host)?,
            None => Vec::new(),
        };
        let question = Question {
            masked: self.mask.iter().cloned().collect(),
            after_update: self.after_update.clone(),
        };
        let answer = check_together(given, own, &host, &question, reporter.cancel())?;
        if self.json {
            super::super::print_json(&answer)?;
        } else {
            for finding in &answer.findings {
                reporter.found(finding);
            }
            super::super::print(order(&answer))?;
        }
        if answer.is_clean() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Findings,
            "not all of this works as it should",
        ))
    }

    fn disk(&self, reporter: &Reporter) -> Result<Option<Disk>> {
        let Some(path) = &self.image else {
            return Ok(None);
        };
        let image = self.read.open(path, reporter)?;
        Disk::open(path.display().to_string(), image.device).map(Some)
    }

    /// The host that a release of Flatcar makes, as far as its version tells.
    fn release(&self) -> Result<Host> {
        let version = self.flatcar.as_deref().unwrap_or_default();
        let architecture = self.arch.as_deref().unwrap_or_default();
        let release = OsRelease::of_flatcar(version, architecture).at(|| "--flatcar")?;
        Ok(Host::of_release(release))
    }
}

/// An argument as the name and the file of an extension.
fn named(argument: &std::path::Path) -> Result<(String, PathBuf)> {
    let text = argument.to_str().unwrap_or_default();
    match text.split_once('=') {
        Some((name, file)) if !name.contains('/') && !argument.exists() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Ok((name_of(argument)?, argument.to_owned())),
    }
}

/// The image's own extensions. One that cannot be read is passed over: it is not what is asked about.
fn own(disk: &Disk, host: &Host) -> Result<Vec<Candidate>> {
    let mut own = Vec::new();
    for (name, (partition, path)) in installed(disk)? {
        let place = format!("{partition}:{path}");
        let open = || {
            let device: Arc<dyn BlockDevice> = Arc::new(open_installed(disk, partition, path)?);
            Candidate::open(&name, &place, device, Some(Class::Sysext), host)
        };
        own.extend(open().ok());
    }
    Ok(own)
}

fn order(answer: &Together) -> String {
    let mut rows = vec![
        ["", "name", "merged", "after update", "file"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let word = |is_merged: bool| if is_merged { "yes" } else { "no" }.to_owned();
    for (number, placed) in (1..).zip(&answer.order) {
        rows.push(vec![
            number.to_string(),
            placed.name.clone(),
            word(placed.is_merged),
            placed.is_merged_after_update.map_or("-".to_owned(), word),
            placed.file.clone(),
        ]);
    }
    table(&rows, &[0])
}
