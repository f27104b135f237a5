//! What of a config needs the machine: disks, and what is on them below filesystems; kernel arguments.

use serde::Serialize;

use crate::document::Node;

use super::super::at::At;
use super::sources::Sources;

/// A step that only the machine can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Planned {
    /// What is done.
    pub what: String,
    /// The file, line and column that ask for it.
    pub place: String,
}

/// All such steps of a config, in Ignition's order.
pub(super) fn planned(config: &Node, sources: &Sources<'_>) -> Vec<Planned> {
    let root = At::root(config, false);
    let mut planned = Vec::new();
    let mut add = |what: String, at: &At<'_>| {
        let place = sources.place(at.position());
        planned.push(Planned { what, place });
    };
    for disk in root.items_below("storage", "disks") {
        let device = shown(&disk, "device");
        if disk.is_true("wipeTable") {
            add(format!("{device}: the partition table is made anew"), &disk);
        }
        for partition in disk.items("partitions") {
            add(
                format!("{device}: {}", partition_step(&partition)),
                &partition,
            );
        }
    }
    for raid in root.items_below("storage", "raid") {
        let devices: Vec<&str> = raid
            .items("devices")
            .iter()
            .filter_map(At::as_text)
            .collect();
        let what = format!(
            "RAID {} of level {} from {}",
            shown(&raid, "name"),
            shown(&raid, "level"),
            devices.join(", ").escape_debug()
        );
        add(what, &raid);
    }
    for luks in root.items_below("storage", "luks") {
        let wiped = if luks.is_true("wipeVolume") {
            ", made anew"
        } else {
            ""
        };
        let what = format!(
            "LUKS volume {} on {}{wiped}",
            shown(&luks, "name"),
            shown(&luks, "device")
        );
        add(what, &luks);
    }
    for filesystem in root.items_below("storage", "filesystems") {
        add(filesystem_step(&filesystem), &filesystem);
    }
    for (list, word) in [("shouldExist", "added"), ("shouldNotExist", "removed")] {
        for argument in root.items_below("kernelArguments", list) {
            let text = argument.as_text().unwrap_or_default().escape_debug();
            let what = format!("the kernel argument {text} is {word}, and the machine boots again");
            add(what, &argument);
        }
    }
    planned
}

fn shown(at: &At<'_>, name: &str) -> String {
    let text: String = at
        .text(name)
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    text.escape_debug().to_string()
}

fn partition_step(partition: &At<'_>) -> String {
    let number = partition.number("number").unwrap_or(0);
    let mut what = match number {
        0 => "the next free partition".to_owned(),
        number => format!("partition {number}"),
    };
    if partition.filled("label").is_some() {
        what.push_str(&format!(" '{}'", shown(partition, "label")));
    }
    if partition.flag("shouldExist") == Some(false) {
        return what + " is deleted";
    }
    if let Some(start) = partition.number("startMiB") {
        what.push_str(&format!(", from {start} MiB"));
    }
    match partition.number("sizeMiB") {
        Some(0) => what.push_str(", as large as there is room"),
        Some(size) => what.push_str(&format!(", {size} MiB")),
        None => {}
    }
    what
}

fn filesystem_step(at: &At<'_>) -> String {
    let format = match at.filled("format") {
        Some(_) => shown(at, "format"),
        None => "what is there".to_owned(),
    };
    let mut what = format!("{}: {format}", shown(at, "device"));
    if at.is_true("wipeFilesystem") {
        what.push_str(", made anew");
    }
    if at.filled("path").is_some() {
        what.push_str(&format!(
            ", mounted at {} for Ignition only",
            shown(at, "path")
        ));
    }
    what
}
