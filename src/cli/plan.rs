//! `flatbake plan`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use flatbake::bake::manifest::{LockMode, Resolved};
use flatbake::bake::{self, Change};
use flatbake::flatcar::{Designator, Disk};
use flatbake::fs::FsPath;
use flatbake::{Progress, Result};
use serde::Serialize;

use super::image::ReadArgs;
use super::manifest::{LockArgs, ManifestArgs};
use super::progress::Reporter;
use super::show::show;
use super::vendors;

/// Show what a manifest would bake, and write nothing
///
/// The plan of each variant comes after the shared one, with what it adds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake plan -f flatbake.yaml
  flatbake plan -f flatbake.yaml --set HOSTNAME=node7 --json
  flatbake plan -f flatbake.yaml --lock
  flatbake plan -f flatbake.yaml --locked")]
pub struct Plan {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Write the lock: digests of all inputs, in MANIFEST with the extension .lock
    #[arg(long, conflicts_with = "locked")]
    lock: bool,
    #[command(flatten)]
    locked: LockArgs,
    /// Know the vendor that this file describes, in addition or in place of the one with its id
    #[arg(long, value_name = "FILE")]
    vendor_file: Vec<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// The whole of each plan, as the library makes it.
#[derive(Serialize)]
struct Report<'a> {
    manifest: String,
    shared: &'a bake::Plan,
    variants: Vec<NamedPlan<'a>>,
    vendors: Vec<&'a str>,
    folder: Option<String>,
    outputs: Vec<PlannedOutput<'a>>,
}

#[derive(Serialize)]
struct NamedPlan<'a> {
    name: &'a str,
    plan: bake::Plan,
}

#[derive(Serialize)]
struct PlannedOutput<'a> {
    file: &'a str,
    format: bake::OutputFormat,
    compression: Option<String>,
}

impl Plan {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let resolved = self.manifest.load(vendors::ids(&vendors::known(&self.vendor_file)?))?;
        let mode = self.locked.mode(if self.lock { LockMode::Write } else { LockMode::Ignore });
        if resolved.check_inputs(mode, reporter)? {
            reporter.info(&format!("wrote {}", resolved.lock_path().display()));
        }
        let device = self.read.open(&resolved.image, reporter)?.device;
        let disk = Disk::open(resolved.image.display().to_string(), device)?;
        let shared = bake::plan(&disk, &resolved.options)?;
        shared.warnings.iter().for_each(|warning| reporter.warn(warning));
        let mut variants = Vec::with_capacity(resolved.variants.len());
        for variant in &resolved.variants {
            let at_variant = |error: flatbake::Error| error.at(variant.position.clone());
            let plan = bake::plan(&disk, &resolved.merged(variant)).map_err(at_variant)?;
            for warning in plan.warnings.iter().filter(|warning| !shared.warnings.contains(warning)) {
                reporter.warn(&format!("variant {}: {warning}", variant.name));
            }
            variants.push(NamedPlan { name: &variant.name, plan });
        }
        let report = report(&resolved, &shared, variants);
        if self.json { super::print_json(&report) } else { super::print(show_all(&report)) }
    }
}

fn report<'a>(resolved: &'a Resolved, shared: &'a bake::Plan, variants: Vec<NamedPlan<'a>>) -> Report<'a> {
    let output = |output: &'a bake::manifest::OutputRequest| PlannedOutput {
        file: &output.file,
        format: output.format,
        compression: output.compress.map(|compress| compress.to_string()),
    };
    Report {
        manifest: resolved.path.display().to_string(),
        shared,
        variants,
        vendors: resolved.vendors.iter().map(|vendor| vendor.id.as_str()).collect(),
        folder: resolved.folder.as_ref().map(|folder| folder.display().to_string()),
        outputs: resolved.outputs.iter().map(output).collect(),
    }
}

/// The plans for people: of a variant only what the shared bake has not.
fn show_all(report: &Report<'_>) -> String {
    let mut text = show(report.shared);
    let mut known: BTreeMap<(Designator, &FsPath), Vec<&Change>> = BTreeMap::new();
    for change in &report.shared.changes {
        known.entry((change.partition, &change.path)).or_default().push(change);
    }
    let is_shared =
        |change: &Change| known.get(&(change.partition, &change.path)).is_some_and(|all| all.contains(&change));
    for NamedPlan { name, plan } in &report.variants {
        let changes = plan.changes.iter().filter(|change| !is_shared(change)).cloned().collect();
        let image = format!("variant {name} on top of it");
        text.push('\n');
        text.push_str(&show(&bake::Plan { image, release: None, changes, ..plan.clone() }));
    }
    if !report.vendors.is_empty() || !report.outputs.is_empty() {
        text.push_str(&format!("\nOutputs in {}:\n", report.folder.as_deref().unwrap_or("the manifest's folder")));
    }
    for vendor in &report.vendors {
        text.push_str(&format!("  vendor {vendor}\n"));
    }
    for output in &report.outputs {
        let compression = output.compression.as_ref().map(|text| format!(", {text}")).unwrap_or_default();
        text.push_str(&format!("  {} ({}{compression})\n", output.file, output.format));
    }
    text
}
