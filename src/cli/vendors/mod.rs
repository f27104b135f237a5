//! `flatbake vendors`

mod describe;
mod markdown;

use std::path::PathBuf;

use crate::flatcar::Generation;
use crate::flatcar::vendor::{Settings, Status, Vendor, Vendors, major_of};
use crate::{Error, Finding, Result};
use clap::Args;
use serde::Serialize;

use super::table::table;

/// The first major number with the larger system partitions.
const LARGER_SINCE: u64 = 4487;

/// List the vendors that images can be baked for, or show all of one
///
/// The words are those of Flatcar's own table. Sizes are those of images as Flatcar releases them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake vendors
  flatbake vendors azure
  flatbake vendors ami --release 4459.2.0 --json
  flatbake vendors qemu_uefi --toml")]
pub struct VendorsCommand {
    /// The vendor to show
    #[arg(value_name = "NAME", value_parser = super::words::vendors(&[]), hide_possible_values = true)]
    name: Option<String>,
    /// Add the vendor of a file, or replace one; can be repeated
    #[arg(long, value_name = "FILE")]
    vendor_file: Vec<PathBuf>,
    /// Show what holds for this Flatcar release, such as 4593.2.5 or 4593 [default: the newest]
    #[arg(long, value_name = "VERSION", value_parser = release)]
    release: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the file of a built-in vendor, to start one's own from
    #[arg(long, requires = "name", conflicts_with_all = ["json", "vendor_file", "release"])]
    toml: bool,
    /// Print the table of docs/vendors.md
    #[arg(long, hide = true, conflicts_with_all = ["json", "toml", "name"])]
    markdown: bool,
}

fn release(text: &str) -> std::result::Result<u64, String> {
    major_of(text).ok_or_else(|| format!("'{text}' is no Flatcar version: write 4593.2.5 or 4593"))
}

/// A vendor and its settings for one release: the JSON document.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    vendor: &'a Vendor,
    findings: Vec<Finding>,
    settings: Option<Settings>,
    disk_bytes: Option<u64>,
    disk_file: Option<String>,
    conf_files: Vec<String>,
    bundle_file: Option<String>,
    bundle_files: Vec<String>,
    grub_cfg: Option<String>,
}

impl<'a> Row<'a> {
    fn new(vendor: &'a Vendor, release: Option<u64>) -> Result<Self> {
        let settings = match vendor.status {
            Status::Refused => None,
            _ => Some(vendor.for_release(release)?),
        };
        let old = release.is_some_and(|major| major < LARGER_SINCE);
        let generation = if old {
            Generation::Before4487
        } else {
            Generation::Since4487
        };
        let known = settings.as_ref();
        Ok(Self {
            vendor,
            findings: vendor.findings(release),
            disk_bytes: known.and_then(|settings| settings.released_size(generation)),
            disk_file: known.map(Settings::disk_file_name),
            conf_files: known.map(Settings::conf_file_names).unwrap_or_default(),
            bundle_file: known.and_then(Settings::bundle_file_name),
            bundle_files: known.map(Settings::bundle_member_names).unwrap_or_default(),
            grub_cfg: known
                .and_then(|settings| settings.grub.as_ref())
                .map(|grub| grub.render()),
            settings,
        })
    }

    /// The size of the disk in MiB, of which it is always a whole number.
    fn size(&self) -> Option<String> {
        self.disk_bytes.map(|bytes| format!("{} MiB", bytes >> 20))
    }

    /// `current`, `removed 2026-04-23`, `alias of qemu_uefi` or `refused`.
    fn status(&self) -> String {
        let Vendor {
            status,
            removed,
            removed_on,
            alias_of,
            ..
        } = self.vendor;
        let when = removed_on
            .as_ref()
            .map(ToString::to_string)
            .or(removed.map(|major| format!("in {major}")));
        match (status, alias_of, when) {
            (Status::Alias, Some(target), _) => format!("alias of {target}"),
            (Status::Removed, _, Some(when)) => format!("removed {when}"),
            _ => status.to_string(),
        }
    }
}

impl VendorsCommand {
    pub fn run(&self) -> Result<()> {
        if let (true, Some(name)) = (self.toml, &self.name) {
            let vendor = Vendors::builtin().find(name)?;
            let text = Vendors::builtin_file(vendor.id.as_str());
            return super::print(
                text.ok_or_else(|| Error::internal(format!("{name} has no file")))?,
            );
        }
        let vendors = known(&self.vendor_file)?;
        if let Some(name) = &self.name {
            let row = Row::new(vendors.find(name)?, self.release)?;
            return if self.json {
                super::print_json(&row)
            } else {
                super::print(describe::one(&row))
            };
        }
        let rows = vendors
            .iter()
            .map(|vendor| Row::new(vendor, self.release))
            .collect::<Result<Vec<_>>>()?;
        match (self.markdown, self.json) {
            (true, _) => super::print(markdown::table(&rows)),
            (false, true) => super::print_json(&rows),
            (false, false) => super::print(list(&rows)),
        }
    }
}

/// The built-in vendors and those of files.
pub fn known(files: &[PathBuf]) -> Result<Vendors> {
    let mut vendors = Vendors::builtin().clone();
    for path in files {
        vendors.add_file(path)?;
    }
    Ok(vendors)
}

/// The table for people.
fn list(rows: &[Row]) -> String {
    let head = [
        "ID",
        "NAME",
        "FORMAT",
        "LAYOUT",
        "SIZE",
        "OEM SYSEXT",
        "CONFIG",
        "BUNDLE",
        "STATUS",
    ];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let dash = || "-".to_owned();
        let word = |word: Option<String>| word.unwrap_or_else(dash);
        let settings = row.settings.as_ref();
        cells.push(vec![
            row.vendor.id.to_string(),
            row.vendor.name.to_string(),
            word(settings.map(|settings| settings.disk_format.to_string())),
            word(
                settings
                    .and_then(|settings| settings.disk_layout)
                    .map(|layout| layout.to_string()),
            ),
            word(row.size()),
            word(
                settings
                    .and_then(|settings| settings.oem_sysext.as_ref())
                    .map(ToString::to_string),
            ),
            word(
                settings
                    .and_then(|settings| settings.conf_format)
                    .map(|format| format.to_string()),
            ),
            word(
                settings
                    .and_then(|settings| settings.bundle_format)
                    .map(|format| format.to_string()),
            ),
            row.status(),
        ]);
    }
    table(&cells, &[4])
}
