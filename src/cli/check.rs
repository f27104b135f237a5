//! `flatbake check`

use std::path::PathBuf;

use crate::bake::{Context, Generalize, Request};
use crate::flatcar::Disk;
use crate::flatcar::doctor::{self, Diagnosis, Sign, Symptom};
use crate::{Error, ErrorKind, Finding, Result};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::image::{ImageArgs, ReadArgs};
use super::output::OutputArgs;
use super::progress::Reporter;

/// Tell what a machine left on an image, what in it does not fit together, and what of it needs a network
///
/// An image that was booted carries the identity of one machine to all that are made from it, and Ignition does not run
/// again. With --fix, a repaired copy is written; files of accounts, and keys that open them, stay unless --remove-accounts
/// is given. Configs on OEM are rehearsed where the first boot is still to come. The exit code is 9 where more than notes
/// are found, with --fix where they are left in the copy.
///
/// With --airgap, the first boot is rehearsed, and what needs a network is told, with what to bake instead. Errors are what
/// the machine does not come up without, warnings what is tried; the exit code is 9 where there is any.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake check flatcar_sample.bin.bz2
  flatbake check flatcar_sample.bin.bz2 --json
  flatbake check flatcar_sample.bin.bz2 --after-update 4900.2.0
  flatbake check flatcar_sample.bin.bz2 --fix -o repaired.img
  flatbake check flatcar_sample.bin.bz2 --airgap --config config.ign || [ $? = 9 ]")]
pub struct Check {
    #[command(flatten)]
    image: ImageArgs,
    /// Tell which extensions would stop being merged after an update to this release
    #[arg(long, value_name = "VERSION")]
    after_update: Option<String>,
    /// Tell what needs a network instead, and what to bake so that nothing does
    #[arg(long, conflicts_with_all = ["after_update", "fix"])]
    airgap: bool,
    /// The config of the first boot, Ignition's or Butane's; - is standard input [default: config.ign of OEM]
    #[arg(long, value_name = "FILE", requires = "airgap", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Write a repaired copy
    #[arg(long, requires = "output")]
    fix: bool,
    /// The repaired copy, in the format that its name says
    #[arg(long, short, value_name = "PATH", requires = "fix", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// With --fix, take away files of accounts, and keys that open them, too
    #[arg(long, requires = "fix")]
    remove_accounts: bool,
    /// Replace the file that exists under the name of the copy
    #[arg(long, requires = "fix")]
    overwrite: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    details: OutputArgs,
}

#[derive(Serialize)]
struct Document {
    image: String,
    booted: bool,
    symptoms: Vec<Told>,
    /// The repaired copy, where one was written.
    fixed: Option<String>,
    /// What the repaired copy still shows.
    left: Vec<Told>,
}

/// A symptom as it is told.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    finding: Finding,
    sign: Sign,
    proof: bool,
    fixing: Option<String>,
}

impl From<&Symptom> for Told {
    fn from(symptom: &Symptom) -> Self {
        Self {
            finding: symptom.finding.clone(),
            sign: symptom.sign,
            proof: symptom.is_proof,
            fixing: symptom.what_fixing_does(),
        }
    }
}

impl Check {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        if self.airgap {
            let config = self.config.as_deref();
            return super::airgap::verdict(&self.image, config, self.json, reporter);
        }
        let diagnosis = self.examine(&self.image.image, &self.image.read, reporter)?;
        let mut document = Document {
            image: self.image.name(),
            booted: diagnosis.is_booted(),
            symptoms: told(&diagnosis),
            fixed: None,
            left: Vec::new(),
        };
        if !self.json {
            show(&diagnosis, reporter);
        }
        let mut last = diagnosis;
        if let Some(output) = self.output.as_ref().filter(|_| self.fix) {
            self.repair(output, reporter)?;
            last = self.examine(output, &self.image.read, reporter)?;
            document.fixed = Some(output.display().to_string());
            document.left = told(&last);
        }
        if self.json {
            super::print_json(&document)?;
        } else {
            super::print(summary(&document, &last))?;
        }
        if last.is_clean() {
            return Ok(());
        }
        let what = if self.fix {
            "the copy still has what cannot be taken away, or only where that is asked for"
        } else {
            "the image is not as it should be"
        };
        Err(Error::new(ErrorKind::Findings, what))
    }

    fn examine(
        &self,
        path: &std::path::Path,
        read: &ReadArgs,
        reporter: &Reporter,
    ) -> Result<Diagnosis> {
        let image = read.open(path, reporter)?;
        let disk = Disk::open(path.display().to_string(), image.device)?;
        let mut diagnosis = doctor::examine(&disk, reporter.cancel())?;
        if let Some(version) = &self.after_update {
            let later = doctor::after_update(&disk, version, reporter.cancel())?;
            diagnosis.symptoms.extend(later);
        }
        Ok(diagnosis)
    }

    /// Writes the copy by a request like any other.
    fn repair(&self, output: &std::path::Path, reporter: &Reporter) -> Result<()> {
        let mut request = Request::new(&self.image.image);
        request.base = self.image.read.base(&self.image.image, reporter)?;
        request.generalize = if self.remove_accounts {
            Generalize::TracesAndAccounts
        } else {
            Generalize::Traces
        };
        request.outputs.push(self.details.output(output, 0)?);
        request.policy.force = true;
        request.policy.overwrite = self.overwrite;
        request.policy.allow_external = self.image.read.allow_external;
        let context: Context<'_> = self.image.read.context(reporter);
        let written = request.prepare(&context)?.write(&context)?;
        written.failure.map_or(Ok(()), Err)
    }
}

fn told(diagnosis: &Diagnosis) -> Vec<Told> {
    diagnosis.symptoms.iter().map(Told::from).collect()
}

fn show(diagnosis: &Diagnosis, reporter: &Reporter) {
    use crate::Progress;
    for symptom in &diagnosis.symptoms {
        reporter.found(&symptom.finding);
    }
}

fn summary(document: &Document, last: &Diagnosis) -> String {
    let mut text = match document.booted {
        true => format!("{}: a machine ran from it\n", document.image),
        false => format!("{}: nothing shows that it was booted\n", document.image),
    };
    let fixes: Vec<&String> = document
        .symptoms
        .iter()
        .filter_map(|symptom| symptom.fixing.as_ref())
        .collect();
    match &document.fixed {
        Some(fixed) => {
            let left = last.symptoms.iter().filter(|symptom| symptom.counts());
            text.push_str(&format!("{fixed}: {} findings left\n", left.count()));
        }
        None if fixes.is_empty() => {}
        None => {
            text.push_str("fixing it (--fix -o OUT):\n");
            for fix in fixes {
                text.push_str(&format!("  {fix}\n"));
            }
        }
    }
    text
}
