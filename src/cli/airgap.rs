//! `flatbake check --airgap`

use std::path::Path;

use crate::flatcar::Disk;
use crate::flatcar::airgap::{Needs, needs};
use crate::flatcar::ignition::run::RunOptions;
use crate::{Progress, Result};
use serde::Serialize;

use super::butane::refuse;
use super::image::ImageArgs;
use super::progress::Reporter;
use super::rehearse::config_of;

#[derive(Serialize)]
struct Document {
    image: String,
    #[serde(flatten)]
    needs: Needs,
}

/// Tells what of an image needs a network: its first boot is rehearsed with the config, and the system that it leaves is
/// looked at.
pub fn verdict(
    image: &ImageArgs,
    config: Option<&Path>,
    is_json: bool,
    reporter: &Reporter,
) -> Result<()> {
    let options = RunOptions {
        config: config_of(config, &image.image, reporter)?,
        ..RunOptions::default()
    };
    let opened = image.read.open(&image.image, reporter)?;
    let disk = Disk::open(image.name(), opened.device)?;
    let document = Document {
        image: image.name(),
        needs: needs(&disk, &options)?,
    };
    let findings = &document.needs.findings;
    if is_json {
        super::print_json(&document)?;
    } else {
        for finding in findings {
            reporter.found(finding);
        }
        if findings.is_empty() {
            super::print("nothing needs a network\n")?;
        }
    }
    refuse(findings, true, true, &image.image)
}
