//! Disks with their partitions, filesystems, RAID and LUKS.

use crate::finding::{Finding, code};

use super::at::At;
use super::check::Checker;
use super::findings::because;

/// Longest label of a partition in bytes.
const PARTITION_LABEL_MAX: usize = 36;
/// Longest label of a LUKS volume in bytes.
const LUKS_LABEL_MAX: usize = 47;
/// Formats of filesystems, each with the longest label in bytes, where it has one.
const FORMATS: [(&str, Option<usize>); 6] = [
    ("ext4", Some(16)),
    ("btrfs", Some(256)),
    ("xfs", Some(12)),
    ("swap", Some(15)),
    ("vfat", Some(11)),
    ("none", None),
];
/// The format that came with specification 3.3.
const NONE: &str = "none";
/// Names of RAID levels without redundancy, and of the others.
const LEVELS_WITHOUT_SPARES: [&str; 4] = ["linear", "raid0", "0", "stripe"];
const LEVELS: [&str; 11] = [
    "raid1", "1", "mirror", "raid4", "4", "raid5", "5", "raid6", "6", "raid10", "10",
];
/// Releases in which a partition without a number fails.
const NUMBER_ZERO_FAILS: std::ops::RangeInclusive<u64> = 4152..=4694;
/// What sets up a custom pin of Clevis.
const PINS: [&str; 3] = ["tpm2", "tang", "sss"];

impl Checker<'_, '_> {
    fn storage(&mut self, why: impl Into<String>, at: &At<'_>) {
        self.add(because(code::IGNITION_STORAGE, why), at);
    }

    /// Checks `device`, which must be given.
    fn device(&mut self, at: &At<'_>) {
        match at.text("device") {
            None | Some("") => self.storage("device is missing", &at.place_of("device")),
            Some(device) => self.path(&at.place_of("device"), device),
        }
    }

    /// Checks disks and their partitions.
    pub(super) fn disks(&mut self, root: &At<'_>) {
        let disks = root.items_below("storage", "disks");
        self.unique_by(&disks, "device");
        for disk in &disks {
            self.device(disk);
            let partitions = disk.items("partitions");
            for partition in &partitions {
                self.partition(partition);
            }
            self.numbers_and_labels(&partitions);
            self.overlaps(&partitions);
            self.removed_beside_automatic(&partitions);
        }
    }

    fn partition(&mut self, at: &At<'_>) {
        let number = at.number("number").unwrap_or(0);
        if number < 0 {
            self.storage(
                format!("{number} is no number of a partition"),
                &at.place_of("number"),
            );
        }
        if number == 0 {
            if at.filled("label").is_none() {
                self.storage("a partition needs a number from 1, or a label", at);
            }
            if self
                .options
                .release
                .is_some_and(|major| NUMBER_ZERO_FAILS.contains(&major))
            {
                self.add(Finding::new(code::IGNITION_PARTITION_ZERO), at);
            }
        }
        if let Some(label) = at.text("label") {
            let place = at.place_of("label");
            if label.len() > PARTITION_LABEL_MAX {
                let why = format!(
                    "the label has {} bytes: at most {PARTITION_LABEL_MAX}",
                    label.len()
                );
                self.storage(why, &place);
            }
            if label.contains(':') {
                let why = "the label has a colon, at which it would be cut off";
                self.storage(why, &place);
            }
        }
        for name in ["guid", "typeGuid"] {
            if at.filled(name).is_some_and(|guid| !is_guid(guid)) {
                let why = "a GUID is written as 01234567-89AB-CDEF-EDCB-A98765432101";
                self.storage(why, &at.place_of(name));
            }
        }
        for name in ["startMiB", "sizeMiB"] {
            if at.number(name).is_some_and(|number| number < 0) {
                self.storage("a number of MiB cannot be negative", &at.place_of(name));
            }
        }
        let others = ["label", "typeGuid", "guid", "startMiB", "sizeMiB"];
        if at.flag("shouldExist") == Some(false)
            && let Some(other) = others.iter().find(|name| at.field(name).is_some())
        {
            let why = "a partition that should not exist has nothing but a number";
            self.storage(why, &at.place_of(other));
        }
    }

    fn numbers_and_labels(&mut self, partitions: &[At<'_>]) {
        let numbers: Vec<(String, At<'_>)> = partitions
            .iter()
            .filter_map(|at| Some((at.number("number")?, at)))
            .filter(|(number, _)| *number != 0)
            .map(|(number, at)| (format!("partition {number}"), at.clone()))
            .collect();
        self.unique(numbers.iter().map(|(name, at)| (name.as_str(), at.clone())));
        self.unique_by(partitions, "label");
    }

    /// Partitions whose start is given share no room, as far as their sizes are known.
    fn overlaps(&mut self, partitions: &[At<'_>]) {
        let mut placed: Vec<(i64, i64, &At<'_>)> = partitions
            .iter()
            .filter_map(|at| {
                let start = at.number("startMiB").filter(|start| *start > 0)?;
                let size = at.number("sizeMiB").unwrap_or(0).max(1);
                Some((start, start.saturating_add(size), at))
            })
            .collect();
        placed.sort_by_key(|(start, _, _)| *start);
        let mut end_before = 0;
        for (start, end, at) in placed {
            if start < end_before {
                self.storage("the partition overlaps another one", at);
            }
            end_before = end_before.max(end);
        }
    }

    /// Whether a partition may be removed while others take what number is free.
    fn removed_beside_automatic(&mut self, partitions: &[At<'_>]) {
        let removed = partitions
            .iter()
            .find(|at| at.flag("shouldExist") == Some(false));
        let is_automatic = |at: &At<'_>| at.number("number").unwrap_or(0) == 0;
        if let Some(removed) = removed
            && partitions.iter().any(is_automatic)
        {
            let why = "a partition is removed on a disk where another one has no number";
            self.storage(why, removed);
        }
    }

    /// Checks filesystems.
    pub(super) fn filesystems(&mut self, root: &At<'_>) {
        let filesystems = root.items_below("storage", "filesystems");
        self.unique_by(&filesystems, "device");
        for at in &filesystems {
            self.device(at);
            if let Some(path) = at.filled("path") {
                self.path(&at.place_of("path"), path);
            }
            self.format(at);
        }
    }

    fn format(&mut self, at: &At<'_>) {
        let Some(format) = at.filled("format") else {
            let needs = ["path", "label", "uuid"]
                .iter()
                .any(|name| at.filled(name).is_some())
                || !at.items("options").is_empty()
                || !at.items("mountOptions").is_empty()
                || at.is_true("wipeFilesystem");
            if needs {
                let why = "format is missing, which all else of a filesystem but its device needs";
                self.storage(why, &at.place_of("format"));
            }
            return;
        };
        let known = FORMATS.iter().find(|(name, _)| *name == format);
        let Some((_, label_max)) = known.filter(|_| format != NONE || self.spec >= 3) else {
            let names: Vec<&str> = FORMATS
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| *name != NONE || self.spec >= 3)
                .collect();
            let why = format!(
                "the format '{}' is not known: there are {}",
                format.escape_debug(),
                names.join(", ")
            );
            return self.storage(why, &at.place_of("format"));
        };
        if let (Some(label), Some(max)) = (at.text("label"), label_max)
            && label.len() > *max
        {
            let why = format!(
                "the label has {} bytes, where {format} has at most {max}",
                label.len()
            );
            self.storage(why, &at.place_of("label"));
        }
    }

    /// Checks RAID arrays.
    pub(super) fn raid(&mut self, root: &At<'_>) {
        let arrays = root.items_below("storage", "raid");
        self.unique_by(&arrays, "name");
        for at in &arrays {
            let level = at.filled("level").unwrap_or_default();
            let has_no_spares = LEVELS_WITHOUT_SPARES.contains(&level);
            let place = at.place_of("level");
            if level.is_empty() {
                self.storage("level is missing", &place);
            } else if !has_no_spares && !LEVELS.contains(&level) {
                let why = format!("the RAID level '{}' is not known", level.escape_debug());
                self.storage(why, &place);
            }
            if has_no_spares && at.number("spares").unwrap_or(0) != 0 {
                self.storage(format!("{level} has no spares"), &at.place_of("spares"));
            }
            let devices = at.items("devices");
            if devices.is_empty() {
                self.storage("devices are missing", &at.place_of("devices"));
            }
            for device in &devices {
                self.path(device, device.as_text().unwrap_or_default());
            }
            self.unique_texts(&devices);
        }
    }

    /// Checks LUKS volumes.
    pub(super) fn luks(&mut self, root: &At<'_>) {
        let volumes = root.items_below("storage", "luks");
        self.unique_by(&volumes, "name");
        for at in &volumes {
            let name = at.text("name").unwrap_or_default();
            if name.contains('/') {
                self.storage(
                    "the name of a volume cannot have a slash",
                    &at.place_of("name"),
                );
            }
            self.device(at);
            if let Some(label) = at
                .text("label")
                .filter(|label| label.len() > LUKS_LABEL_MAX)
            {
                let why = format!(
                    "the label has {} bytes: at most {LUKS_LABEL_MAX}",
                    label.len()
                );
                self.storage(why, &at.place_of("label"));
            }
            if let Some(key) = at.field("keyFile") {
                self.resource(&key);
            }
            for name in ["clevis", "cex"] {
                // What Butane allows is there.
                if let Some(place) = at.field(name).filter(|_| !self.is_butane) {
                    let finding = Finding::new(code::IGNITION_CLEVIS);
                    self.add(finding.with("key", name), &place);
                }
            }
            if let Some(clevis) = at.field("clevis") {
                self.clevis(&clevis);
            }
        }
    }

    fn clevis(&mut self, at: &At<'_>) {
        for tang in at.items("tang") {
            let url = tang.text("url").unwrap_or_default().to_ascii_lowercase();
            if !url.starts_with("http://") && !url.starts_with("https://") {
                let why = "the URL of a Tang server begins with http:// or https://";
                self.storage(why, &tang.place_of("url"));
            }
            if tang.filled("thumbprint").is_none() {
                self.storage("thumbprint is missing", &tang.place_of("thumbprint"));
            }
        }
        let Some(custom) = at.field("custom") else {
            return;
        };
        let pin = custom.filled("pin");
        let config = custom.filled("config");
        if pin.is_none() && config.is_none() {
            return;
        }
        if at.is_true("tpm2") || !at.items("tang").is_empty() || at.number("threshold").is_some() {
            self.storage("custom goes with no other key of clevis", &custom);
        }
        if !pin.is_some_and(|pin| PINS.contains(&pin)) {
            let why = format!("a pin is one of {}", PINS.join(", "));
            self.storage(why, &custom.place_of("pin"));
        }
        if config.is_none() {
            self.storage("config is missing", &custom.place_of("config"));
        }
    }
}

/// Eight, four, four, four and twelve hexadecimal digits.
fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
