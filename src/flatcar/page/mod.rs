//! A page that shows an image to people: one file of HTML with all it needs, and without a script.
//!
//! ```text
//!   inspection ─┐                   ┌─▶ map.rs       the disk, how full filesystems are
//!   doctor ─────┤                   ├─▶ room.rs      what takes room on ROOT and OEM
//!   usage ──────┼──▶ image_page() ──┼─▶ compared.rs  before and after
//!   diff ───────┤                   ├─▶ contents.rs  sysexts, container images, configs
//!   digests ────┘                   └─▶ html.rs      escapes everything
//! ```
//!
//! A browser that shows it asks nobody for anything, which a policy in the page makes sure of as well. The same image gives
//! the same page. What an Ignition config holds is not shown, only what it makes.

mod compared;
mod contents;
pub(crate) mod html;
pub(crate) mod map;
pub(crate) mod room;

use super::diff::{DiffOptions, compare_disks};
use super::doctor::{Diagnosis, examine};
use super::usage::usage;
use super::{Designator, Disk, Inspection, PartitionInfo, inspect};
use crate::bytes::ByteSize;
use crate::error::{Reason, Result};
use crate::finding::{Finding, Severity};
use crate::fs::FsPath;
use crate::progress::{Cancel, NoProgress, Progress};

use html::{Cell, Html};
use map::Fill;
use room::Branch;

/// Folders below the top of a tree whose sizes are shown; fewer, where there are too many.
const DEPTHS: [usize; 3] = [5, 2, 0];
/// The partitions whose trees are shown.
const TREES: [(Designator, &str); 2] = [(Designator::Root, "ROOT"), (Designator::Oem, "OEM")];

/// An image, as it is shown.
#[derive(Debug)]
pub struct ShownImage<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its format, such as qcow2, and what it is compressed with.
    pub format: &'a str,
    /// Length of its file in bytes, and the SHA-256 of it in hexadecimal digits.
    pub file: Option<(u64, &'a str)>,
    /// The disk in it.
    pub disk: &'a Disk,
}

/// What a page shows besides, and the means to make it.
#[derive(Clone)]
pub struct PageOptions<'a> {
    /// Another disk that this one was before, and what it is called.
    pub before: Option<(&'a str, &'a Disk)>,
    /// Is told how far the comparison is.
    pub progress: &'a dyn Progress,
    /// Ends the work.
    pub cancel: Cancel,
}

impl Default for PageOptions<'_> {
    fn default() -> Self {
        Self {
            before: None,
            progress: &NoProgress,
            cancel: Cancel::new(),
        }
    }
}

impl std::fmt::Debug for PageOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageOptions")
            .field("before", &self.before.map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

/// The page of an image.
///
/// # Errors
/// Those of reading the disk. A filesystem that cannot be read is told in the page.
pub fn image_page(image: &ShownImage<'_>, options: &PageOptions<'_>) -> Result<String> {
    let inspection = inspect(image.disk)?;
    let diagnosis = examine(image.disk, &options.cancel)?;
    let before = match options.before {
        Some((name, disk)) => Some((name, disk, inspect(disk)?)),
        None => None,
    };
    let mut html = Html::new();
    head(&mut html, image, &inspection);
    html.section("Disk", |html| {
        map::disk(html, inspection.disk_bytes, &inspection.partitions);
        partitions(html, &inspection.partitions);
    });
    let trees = trees(image.disk, &options.cancel)?;
    html.section("Room", |html| {
        let before = before.as_ref().map(|(_, _, inspection)| inspection);
        fills(html, &inspection, before);
        for (name, tree) in &trees {
            match tree {
                Ok(tree) => room::tree(html, name, tree),
                Err(why) => drop(html.line("h3", "", name).line("p", "error", why)),
            }
        }
    });
    if let Some((name, disk, _)) = &before {
        let compare = DiffOptions {
            progress: options.progress,
            cancel: options.cancel.clone(),
            ..DiffOptions::default()
        };
        compared::section(&mut html, name, &compare_disks(disk, image.disk, &compare)?);
    }
    findings(&mut html, &inspection, &diagnosis);
    contents::contents(&mut html, image.disk, &inspection.sysexts, &options.cancel)?;
    Ok(html.page(image.name))
}

fn head(html: &mut Html, image: &ShownImage<'_>, inspection: &Inspection) {
    html.line("h1", "", image.name);
    let release = inspection.release.as_ref();
    let version = release.and_then(|release| {
        let version = release.version.clone()?;
        Some(match &release.channel {
            Some(channel) => format!("{version} ({channel})"),
            None => version,
        })
    });
    let first_boot = inspection.first_boot.map(|will_run| {
        let text = if will_run {
            "Ignition runs at the next boot"
        } else {
            "Ignition will not run"
        };
        text.to_owned()
    });
    let booted = match (inspection.booted, inspection.traces) {
        (true, traces) => format!("yes: {traces} traces"),
        (false, 0) => "no".to_owned(),
        (false, traces) => format!("perhaps: {traces} traces"),
    };
    let of_release =
        |field: fn(&super::Release) -> &Option<String>| release.and_then(|of| field(of).clone());
    html.facts(&[
        ("Flatcar", version),
        ("board", of_release(|release| &release.board)),
        ("sysext level", of_release(|release| &release.sysext_level)),
        ("OEM", inspection.oem_id.clone()),
        ("first boot", first_boot),
        ("booted before", Some(booted)),
        ("format", Some(image.format.to_owned())),
        ("layout", inspection.layout.clone()),
        ("disk", Some(exact(inspection.disk_bytes))),
        ("disk GUID", Some(inspection.disk_guid.clone())),
        ("file", image.file.map(|(bytes, _)| exact(bytes))),
        ("SHA-256", image.file.map(|(_, sha256)| sha256.to_owned())),
    ]);
}

/// A size for people, and to the byte.
pub(crate) fn exact(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", ByteSize(bytes))
}

fn partitions(html: &mut Html, partitions: &[PartitionInfo]) {
    let rows: Vec<Vec<Cell>> = partitions
        .iter()
        .map(|partition| {
            let filesystem = match (&partition.filesystem, &partition.problem) {
                (Some(fs), _) => Cell::text(fs.kind.clone()),
                (None, Some(problem)) => Cell::Badge("error", problem.clone()),
                (None, None) => Cell::text(""),
            };
            vec![
                Cell::text(partition.number.to_string()),
                Cell::text(partition.label.clone()),
                Cell::text(partition.type_name.clone()),
                Cell::text(ByteSize(partition.start_bytes).to_string()),
                Cell::text(ByteSize(partition.len_bytes).to_string()),
                filesystem,
                Cell::code(partition.guid.clone()),
            ]
        })
        .collect();
    let head = [
        "#",
        "label",
        "type",
        "#start",
        "#size",
        "filesystem",
        "GUID",
    ];
    html.table(&head, &rows);
}

fn fills(html: &mut Html, inspection: &Inspection, before: Option<&Inspection>) {
    for partition in &inspection.partitions {
        let Some(fs) = &partition.filesystem else {
            continue;
        };
        let used_before = before.and_then(|before| {
            let is_it = |other: &&PartitionInfo| other.number == partition.number;
            let other = before.partitions.iter().find(is_it)?;
            other.filesystem.as_ref().map(|fs| fs.used_bytes)
        });
        let fill = Fill {
            total_bytes: fs.total_bytes,
            used_bytes: fs.used_bytes,
            used_before,
        };
        let name = format!("{} {}", partition.number, partition.label);
        map::fill(html, &name, fill);
    }
}

/// What takes room on each partition, or why that is not known.
fn trees(
    disk: &Disk,
    cancel: &Cancel,
) -> Result<Vec<(&'static str, std::result::Result<Branch, String>)>> {
    let mut trees = Vec::new();
    for (partition, name) in TREES {
        // One without a filesystem is told where partitions are listed.
        let Ok(fs) = disk.filesystem(partition.into()) else {
            continue;
        };
        let counted = DEPTHS
            .iter()
            .map(|&depth| usage(&*fs, &FsPath::root(), depth, cancel))
            .find(|found| {
                let reason = found.as_ref().err().and_then(crate::Error::reason);
                reason != Some(Reason::Limit)
            });
        cancel.check()?;
        match counted {
            Some(Ok(found)) => trees.extend(Branch::of(found).map(|top| (name, Ok(top)))),
            Some(Err(error)) => trees.push((name, Err(error.to_string()))),
            None => {}
        }
    }
    Ok(trees)
}

fn findings(html: &mut Html, inspection: &Inspection, diagnosis: &Diagnosis) {
    let told = inspection
        .findings
        .iter()
        .map(|finding| (finding, None))
        .chain(diagnosis.symptoms.iter().map(|symptom| {
            let fixing = symptom.what_fixing_does();
            (&symptom.finding, fixing)
        }));
    let rows: Vec<Vec<Cell>> = told
        .map(|(finding, fixing)| finding_row(finding, fixing))
        .collect();
    html.section("Findings", |html| {
        if rows.is_empty() {
            html.line("p", "good", "Nothing was found.");
        } else {
            html.table(&["", "code", "what", "fixing it"], &rows);
        }
    });
}

fn finding_row(finding: &Finding, fixing: Option<String>) -> Vec<Cell> {
    let class = match finding.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        _ => "note",
    };
    vec![
        Cell::Badge(class, finding.severity().to_string()),
        Cell::code(finding.code().word),
        Cell::text(finding.to_string()),
        Cell::text(fixing.unwrap_or_default()),
    ]
}
