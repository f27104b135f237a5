//! `flatbake inspect`

use std::io::IsTerminal;

use crate::bytes::ByteSize;
use crate::flatcar::{self, Disk, Inspection, PartitionInfo};
use crate::{Progress, Result};
use clap::Args;
use serde::Serialize;

use super::image::ImageArgs;
use super::map;
use super::progress::Reporter;
use super::table::table;

/// Show what an image is: partitions, filesystems, release, OEM, sysexts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake inspect flatcar_sample.bin.bz2
  flatbake inspect flatcar_sample.bin.bz2 --json")]
pub struct Inspect {
    #[command(flatten)]
    image: ImageArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    image: String,
    format: String,
    compression: Option<String>,
    #[serde(flatten)]
    inspection: Inspection,
}

impl Inspect {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let image = self.image.open(reporter)?;
        let disk = Disk::open(self.image.name(), image.device)?;
        let document = Document {
            image: self.image.name(),
            format: image.format.to_string(),
            compression: image.compression.map(|compression| compression.to_string()),
            inspection: flatcar::inspect(&disk)?,
        };
        if self.json {
            return super::print_json(&document);
        }
        let mut text = summary(&document);
        text.push('\n');
        text.push_str(&partitions(&document.inspection.partitions));
        if std::io::stdout().is_terminal() {
            let width = rustix::termios::tcgetwinsize(std::io::stdout())
                .map_or(80, |size| usize::from(size.ws_col));
            text.push('\n');
            text.push_str(&map::draw(&document.inspection, width));
        }
        for finding in &document.inspection.findings {
            reporter.found(finding);
        }
        super::print(text)
    }
}

fn summary(document: &Document) -> String {
    let disk = &document.inspection;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![format!("{name}:"), value]);
    let unknown = || "unknown".to_owned();
    row("image", document.image.clone());
    let compression = document
        .compression
        .as_ref()
        .map(|name| format!(", compressed with {name}"))
        .unwrap_or_default();
    row("format", format!("{}{compression}", document.format));
    row(
        "disk",
        format!(
            "{} ({} bytes), sectors of {} bytes",
            ByteSize(disk.disk_bytes),
            disk.disk_bytes,
            disk.sector_bytes
        ),
    );
    row("disk GUID", disk.disk_guid.clone());
    row("layout", disk.layout.clone().unwrap_or_else(unknown));
    match &disk.release {
        Some(release) => {
            let channel = release
                .channel
                .as_ref()
                .map(|channel| format!(" ({channel})"))
                .unwrap_or_default();
            row(
                "Flatcar",
                format!(
                    "{}{channel}",
                    release.version.clone().unwrap_or_else(unknown)
                ),
            );
            row("board", release.board.clone().unwrap_or_else(unknown));
            row(
                "sysext level",
                release.sysext_level.clone().unwrap_or_else(unknown),
            );
        }
        None => row("Flatcar", "no os-release found on USR".to_owned()),
    }
    row(
        "OEM",
        disk.oem_id.clone().unwrap_or_else(|| "none".to_owned()),
    );
    row(
        "first boot",
        match disk.first_boot {
            Some(true) => "yes: Ignition runs at the next boot".to_owned(),
            Some(false) => "no: Ignition will not run".to_owned(),
            None => unknown(),
        },
    );
    let booted = match (disk.booted, disk.traces) {
        (false, 0) => "no".to_owned(),
        (false, traces) => format!("perhaps: {traces} traces (see flatbake check)"),
        (true, traces) => format!("yes: {traces} traces (see flatbake check)"),
    };
    row("booted", booted);
    for sysext in &disk.sysexts {
        let to = sysext.target.as_ref().map(|target| format!(" -> {target}"));
        let size = || sysext.bytes.map(|bytes| format!(" ({})", ByteSize(bytes)));
        let more = to.or_else(size).unwrap_or_default();
        row(
            "sysext",
            format!("{}:{}{more}", sysext.partition, sysext.path),
        );
    }
    table(&rows, &[])
}

fn partitions(partitions: &[PartitionInfo]) -> String {
    let head = [
        "#",
        "label",
        "type",
        "start",
        "size",
        "filesystem",
        "used",
        "free",
        "inodes free",
        "attributes",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for partition in partitions {
        let fs = partition.filesystem.as_ref();
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let kind = fs.map(|fs| {
            if fs.label.is_empty() {
                fs.kind.clone()
            } else {
                format!("{} '{}'", fs.kind, fs.label)
            }
        });
        rows.push(vec![
            partition.number.to_string(),
            partition.label.clone(),
            partition.type_name.clone(),
            ByteSize(partition.start_bytes).to_string(),
            ByteSize(partition.len_bytes).to_string(),
            cell(kind.or_else(|| partition.problem.clone())),
            cell(fs.map(|fs| ByteSize(fs.used_bytes).to_string())),
            cell(fs.map(|fs| ByteSize(fs.free_bytes).to_string())),
            cell(
                fs.and_then(|fs| fs.free_inodes)
                    .map(|free| free.to_string()),
            ),
            cell(attributes(partition)),
        ]);
    }
    table(&rows, &[0, 3, 4, 6, 7, 8])
}

fn attributes(partition: &PartitionInfo) -> Option<String> {
    let attributes = &partition.attributes;
    if attributes.bits == 0 {
        return None;
    }
    let mut words = Vec::new();
    if attributes.legacy_boot {
        words.push("legacy-boot".to_owned());
    }
    if attributes.priority > 0 || attributes.tries > 0 || attributes.successful {
        let successful = u8::from(attributes.successful);
        words.push(format!(
            "priority={} tries={} successful={successful}",
            attributes.priority, attributes.tries
        ));
    }
    if words.is_empty() {
        words.push(format!("{:#018x}", attributes.bits));
    }
    Some(words.join(" "))
}
