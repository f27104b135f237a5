//! `flatbake airgap`

use std::path::{Path, PathBuf};

use crate::flatcar::Disk;
use crate::flatcar::airgap::{Needs, needs};
use crate::flatcar::ignition::run::RunOptions;
use crate::{Progress, Result};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::butane::refuse;
use super::image::ReadArgs;
use super::progress::Reporter;
use super::rehearse::config_of;

/// Tell what of an image needs a network, and what to bake instead
///
/// Rehearses the first boot with the config, and looks at the system that it leaves. Errors are what the machine does not come
/// up without, warnings what is tried. Ends with 9 where there is any.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake airgap flatcar_sample.bin.bz2 --config config.ign || [ $? = 9 ]
  flatbake airgap flatcar_sample.bin.bz2 --json || [ $? = 9 ]")]
pub struct Airgap {
    /// The image
    #[arg(value_name = "IMG", value_hint = ValueHint::FilePath)]
    image: PathBuf,
    /// The config, Ignition's or Butane's; - is standard input [default: config.ign of OEM]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    image: String,
    #[serde(flatten)]
    needs: Needs,
}

impl Airgap {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let options = RunOptions {
            config: config_of(self.config.as_deref(), &self.image, reporter)?,
            ..RunOptions::default()
        };
        let image = self.read.open(&self.image, reporter)?;
        let shown = self.image.display().to_string();
        let disk = Disk::open(shown.clone(), image.device)?;
        let document = Document {
            image: shown,
            needs: needs(&disk, &options)?,
        };
        let findings = &document.needs.findings;
        if self.json {
            super::print_json(&document)?;
        } else {
            for finding in findings {
                reporter.found(finding);
            }
            if findings.is_empty() {
                super::print("nothing needs a network\n")?;
            }
        }
        refuse(findings, true, true, Path::new(&self.image))
    }
}
