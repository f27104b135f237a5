//! `flatbake diff`

use std::ffi::OsString;

use crate::flatcar::diff::{
    Aspect, ByteDifference, Change, DiffOptions, DiskDifference, EntryDifference, Field,
    PartitionDifference, TreeDifference, compare_disks, compare_trees,
};
use crate::{Error, ErrorKind, Result, ResultExt};
use clap::{Args, ValueEnum, ValueHint};
use serde::Serialize;

use super::image::ReadArgs;
use super::progress::Reporter;
use super::sides::{Opened, SideArg, refuse_mixed};

/// Tell how two images, or two trees of files, differ
///
/// Images are compared as disks, whatever their formats: partition table, partitions, files, boot code and all bytes
/// besides. Files of a partition, of a folder and of an archive are compared by type, content, mode, owner, extended
/// attributes, time, targets of links and device numbers. The exit code is 9 where anything differs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake diff flatcar_sample.bin.bz2 flatcar_sample.bin.bz2
  flatbake diff flatcar_sample.bin.bz2:usr:/lib flatcar_sample.bin.bz2:3:/lib --json
  flatbake diff flatcar_sample.bin.bz2:root flatcar_sample.bin.bz2:oem --content --ignore times,xattrs || true")]
pub struct Diff {
    /// The first side: an image, IMG:PART[:/PATH] for files of a partition, a folder, or a tar archive
    #[arg(value_name = "A", value_hint = ValueHint::AnyPath, value_parser = clap::builder::OsStringValueParser::new())]
    a: OsString,
    /// The second side, likewise
    #[arg(value_name = "B", value_hint = ValueHint::AnyPath, value_parser = clap::builder::OsStringValueParser::new())]
    b: OsString,
    /// Show how texts differ, line by line; Ignition configs with a line for each value
    #[arg(long)]
    content: bool,
    /// What of files is passed over
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    ignore: Vec<Ignored>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ignored {
    /// When contents changed last
    Times,
    /// Owners and groups
    Owners,
    /// Permission bits
    Modes,
    /// Extended attributes
    Xattrs,
    /// The number of names of a file
    Links,
}

impl From<Ignored> for Aspect {
    fn from(ignored: Ignored) -> Self {
        match ignored {
            Ignored::Times => Self::Times,
            Ignored::Owners => Self::Owners,
            Ignored::Modes => Self::Modes,
            Ignored::Xattrs => Self::Xattrs,
            Ignored::Links => Self::Links,
        }
    }
}

#[derive(Serialize)]
struct Document {
    a: String,
    b: String,
    same: bool,
    disk: Option<DiskDifference>,
    files: Option<TreeDifference>,
}

impl Diff {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let first = SideArg(self.a.clone().into());
        let second = SideArg(self.b.clone().into());
        let options = DiffOptions {
            content: self.content,
            ignored: self.ignore.iter().map(|&ignored| ignored.into()).collect(),
            progress: reporter,
            cancel: reporter.cancel().clone(),
        };
        let opened_a = first.open(&self.read, reporter)?;
        let opened_b = second.open(&self.read, reporter)?;
        let mut document = Document {
            a: first.name(),
            b: second.name(),
            same: true,
            disk: None,
            files: None,
        };
        match (&opened_a, &opened_b) {
            (Opened::Disk(a), Opened::Disk(b)) => {
                let disk = compare_disks(a, b, &options).at(|| document.a.clone())?;
                document.same = disk.is_empty();
                document.disk = Some(disk);
            }
            (Opened::Tree(a), Opened::Tree(b)) => {
                let files = compare_trees(a.side()?, b.side()?, &options)
                    .at(|| format!("{} and {}", document.a, document.b))?;
                document.same = files.is_empty();
                document.files = Some(files);
            }
            (Opened::Disk(_), Opened::Tree(_)) => return Err(refuse_mixed(&document.a)),
            (Opened::Tree(_), Opened::Disk(_)) => return Err(refuse_mixed(&document.b)),
        }
        if self.json {
            super::print_json(&document)?;
        } else {
            super::print(text(&document))?;
        }
        if document.same {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Findings, "the two sides differ"))
    }
}

fn text(document: &Document) -> String {
    let mut lines = Vec::new();
    if let Some(disk) = &document.disk {
        disk_lines(disk, &mut lines);
    }
    if let Some(files) = &document.files {
        tree_lines(files, "", &mut lines);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn disk_lines(disk: &DiskDifference, lines: &mut Vec<String>) {
    for field in disk.meaning.iter().chain(&disk.fields) {
        lines.push(field_text(field));
    }
    for partition in &disk.partitions {
        partition_lines(partition, lines);
    }
    if let Some(outside) = &disk.outside {
        lines.push("outside of partitions:".to_owned());
        lines.push(bytes_text(outside));
    }
}

fn partition_lines(partition: &PartitionDifference, lines: &mut Vec<String>) {
    let head = format!(
        "partition {} '{}'",
        partition.number,
        partition.label.escape_debug()
    );
    if partition.change != Change::Changed {
        lines.push(format!("{head}: {}", word(partition.change)));
        return;
    }
    lines.push(format!("{head}:"));
    for field in &partition.fields {
        lines.push(format!("  {}", field_text(field)));
    }
    if let Some(problem) = &partition.problem {
        lines.push(format!("  its files cannot be compared: {problem}"));
    }
    if let Some(files) = &partition.files {
        tree_lines(files, "  ", lines);
    }
    if let Some(bytes) = &partition.bytes {
        lines.push(bytes_text(bytes));
    }
}

fn tree_lines(files: &TreeDifference, indent: &str, lines: &mut Vec<String>) {
    for entry in &files.entries {
        lines.push(format!("{indent}{}", entry_text(entry)));
        for line in entry.text.iter().flat_map(|text| text.lines()) {
            lines.push(format!("{indent}    {}", shown(line)));
        }
    }
    if files.left_out > 0 {
        lines.push(format!("{indent}and {} more entries", files.left_out));
    }
}

/// A line of a file, without what would steer a terminal.
fn shown(line: &str) -> String {
    let shown = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    line.chars().map(shown).collect()
}

fn entry_text(entry: &EntryDifference) -> String {
    let path = &entry.path;
    let change = word(entry.change);
    if entry.change != Change::Changed {
        let bytes = entry
            .bytes
            .map(|bytes| format!(", {bytes} bytes"))
            .unwrap_or_default();
        return format!("{change:<8} {path} ({}{bytes})", entry.file_type);
    }
    let fields: Vec<String> = entry
        .fields
        .iter()
        .map(|field| match field.name.as_str() {
            // The digests say no more to a person.
            "sha256" => "content".to_owned(),
            _ => field_text(field),
        })
        .collect();
    format!("{change:<8} {path}: {}", fields.join(", "))
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
    }
}

fn field_text(field: &Field) -> String {
    let value = |value: &Option<String>| value.as_deref().map_or("none".to_owned(), shown);
    format!(
        "{} {} -> {}",
        shown(&field.name),
        value(&field.a),
        value(&field.b)
    )
}

fn bytes_text(difference: &ByteDifference) -> String {
    let mut places: Vec<String> = difference
        .stretches
        .iter()
        .map(|stretch| format!("{} from {}", stretch.len, stretch.offset))
        .collect();
    if difference.left_out > 0 {
        places.push(format!("and {} more stretches", difference.left_out));
    }
    let word = if difference.bytes == 1 {
        "byte differs"
    } else {
        "bytes differ"
    };
    format!("  {} {word}: {}", difference.bytes, places.join(", "))
}
