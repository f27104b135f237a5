//! Files, directories and links: paths, owners, modes, and what cannot be beside what.

use std::collections::{HashMap, HashSet};

use crate::document::Position;
use crate::finding::{Finding, code};

use super::at::At;
use super::check::Checker;
use super::findings::because;
use super::mode;

/// Folder of units that belong to a machine.
const UNITS: &str = "/etc/systemd/system";
/// What of /usr can be written to: OEM was mounted there once.
const USR_OEM: &str = "/usr/share/oem";
/// Longest path in bytes (`PATH_MAX` without the zero behind it).
const PATH_LEN_MAX: usize = 4095;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Link,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Link => "a link",
        }
    }
}

/// An entry that the config makes.
struct Entry<'a> {
    kind: Kind,
    path: &'a str,
    at: At<'a>,
}

impl Checker<'_, '_> {
    /// Checks everything that is put into filesystems by its path.
    pub(super) fn nodes(&mut self, root: &At<'_>) {
        let mut entries = Vec::new();
        for (list, kind) in [
            ("directories", Kind::Directory),
            ("files", Kind::File),
            ("links", Kind::Link),
        ] {
            for at in root.items_below("storage", list) {
                let path = at.text("path").unwrap_or_default();
                entries.push(Entry { kind, path, at });
            }
        }
        for entry in &entries {
            self.node(entry);
            match entry.kind {
                Kind::File => self.file(&entry.at),
                Kind::Directory => self.mode(&entry.at, true),
                Kind::Link => self.link(&entry.at),
            }
        }
        self.conflicts(&entries);
        self.unit_files(root, &entries);
        self.below_usr(root, &entries);
    }

    fn node(&mut self, entry: &Entry<'_>) {
        let at = &entry.at;
        self.path(&at.place_of("path"), entry.path);
        for name in ["user", "group"] {
            let Some(owner) = at.field(name) else {
                continue;
            };
            if owner.number("id").is_some() && owner.filled("name").is_some() {
                self.add(Finding::new(code::IGNITION_OWNER), &owner);
            }
        }
    }

    /// An absolute path in its simplest form.
    pub(super) fn path(&mut self, at: &At<'_>, path: &str) {
        let why = match path {
            "" => "is no path: none is given",
            path if path.len() > PATH_LEN_MAX => "is longer than 4095 bytes",
            path if !path.starts_with('/') => "does not begin with a slash",
            path if !is_clean(path) => {
                "is not in its simplest form, without //, /./, /../ and a slash at its end"
            }
            path if path.contains('\0') => "has a zero byte",
            _ => return,
        };
        let shown: String = path.chars().take(200).collect();
        let finding = because(code::IGNITION_PATH, why);
        self.add(finding.with("path", shown.escape_debug()), at);
    }

    fn file(&mut self, at: &At<'_>) {
        self.mode(at, false);
        let contents = at.field("contents");
        let has_source = contents
            .as_ref()
            .is_some_and(|contents| contents.text("source").is_some());
        if at.is_true("overwrite") && !has_source {
            let place = at.place_of("overwrite");
            self.add(Finding::new(code::IGNITION_OVERWRITE), &place);
        }
        if let Some(contents) = contents {
            self.resource(&contents);
        }
        for appended in at.items("append") {
            self.resource(&appended);
        }
    }

    fn mode(&mut self, at: &At<'_>, is_directory: bool) {
        let Some(mode) = at.number("mode") else {
            return;
        };
        let place = at.place_of("mode");
        if !(0..=mode::ALL).contains(&mode) {
            let finding = Finding::new(code::IGNITION_MODE).with("mode", mode);
            return self.add(finding, &place);
        }
        let octal = format!("{mode:04o}");
        if let Some(meant) = mode::meant_as_octal(mode, is_directory) {
            let finding = Finding::new(code::IGNITION_MODE_DECIMAL)
                .with("mode", mode)
                .with("octal", octal)
                .with("meant", format!("{meant:04o} ({meant})"));
            self.add(finding, &place);
        } else if mode & mode::SPECIAL != 0 && self.spec < 6 {
            let finding = Finding::new(code::IGNITION_MODE_SPECIAL);
            self.add(finding.with("octal", octal), &place);
        }
    }

    fn link(&mut self, at: &At<'_>) {
        if at.filled("target").is_none() {
            let place = at.place_of("target");
            self.add(
                because(code::IGNITION_LINK, "a link needs a target"),
                &place,
            );
        }
    }

    /// One path twice, and paths below what is no directory.
    fn conflicts(&mut self, entries: &[Entry<'_>]) {
        let mut known: HashMap<&str, (Kind, Position)> = HashMap::new();
        for entry in entries {
            if entry.path.is_empty() || entry.path.len() > PATH_LEN_MAX {
                continue;
            }
            match known.get(entry.path) {
                Some((_, first)) => self.duplicate(entry.path, *first, &entry.at),
                None => {
                    let place = (entry.kind, entry.at.position());
                    known.insert(entry.path, place);
                }
            }
        }
        for entry in entries {
            if entry.path.len() > PATH_LEN_MAX {
                continue;
            }
            let above = parents(entry.path).find_map(|parent| {
                let (kind, _) = known.get(parent)?;
                (*kind != Kind::Directory).then_some((parent, *kind))
            });
            if let Some((parent, kind)) = above {
                let finding = Finding::new(code::IGNITION_BELOW)
                    .with("path", entry.path.escape_debug())
                    .with("other", parent.escape_debug())
                    .with("what", kind.word());
                self.add(finding, &entry.at);
            }
            self.hard_link(entry, &known);
        }
    }

    fn hard_link(&mut self, entry: &Entry<'_>, known: &HashMap<&str, (Kind, Position)>) {
        if entry.kind != Kind::Link || !entry.at.is_true("hard") {
            return;
        }
        let target = entry.at.text("target").unwrap_or_default();
        if known
            .get(target)
            .is_some_and(|(kind, _)| *kind == Kind::Directory)
        {
            let why = format!(
                "a hard link cannot name {}, which is a directory",
                target.escape_debug()
            );
            self.add(because(code::IGNITION_LINK, why), &entry.at);
        }
    }

    /// Files where this config has units and drop-ins.
    fn unit_files(&mut self, root: &At<'_>, entries: &[Entry<'_>]) {
        let mut taken: HashMap<String, String> = HashMap::new();
        for unit in root.items_below("systemd", "units") {
            let name = unit.text("name").unwrap_or_default();
            if unit.filled("contents").is_some() {
                taken.insert(format!("{UNITS}/{name}"), format!("the unit {name}"));
            }
            for dropin in unit.items("dropins") {
                let file = dropin.text("name").unwrap_or_default();
                if dropin.filled("contents").is_some() {
                    let path = format!("{UNITS}/{name}.d/{file}");
                    taken.insert(path, format!("the drop-in {file} of {name}"));
                }
            }
        }
        for entry in entries {
            if let Some(unit) = taken.get(entry.path) {
                let finding = Finding::new(code::IGNITION_UNIT_TAKEN)
                    .with("path", entry.path.escape_debug())
                    .with("unit", unit.escape_debug());
                self.add(finding, &entry.at);
            }
        }
    }

    /// What lies on /usr, unless the config mounts something there.
    fn below_usr(&mut self, root: &At<'_>, entries: &[Entry<'_>]) {
        let filesystems = root.items_below("storage", "filesystems");
        let mounted: HashSet<&str> = filesystems
            .iter()
            .filter_map(|at| at.filled("path"))
            .chain([USR_OEM])
            .collect();
        for entry in entries {
            let path = entry.path;
            if path.len() > PATH_LEN_MAX || !is_below(path, "/usr") {
                continue;
            }
            let is_mounted = mounted.contains(path) || parents(path).any(|up| mounted.contains(up));
            if !is_mounted {
                let finding = Finding::new(code::IGNITION_USR);
                self.add(
                    finding.with("path", path.escape_debug()),
                    &entry.at.place_of("path"),
                );
            }
        }
    }
}

/// Whether `path` is `top` or below it.
fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All folders above a path but `/`, the nearest first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices()
        .rev()
        .filter(|(at, c)| *c == '/' && *at > 0)
        .map(|(at, _)| &path[..at])
}

/// Whether an absolute path is in its simplest form.
pub(in crate::flatcar) fn is_clean(path: &str) -> bool {
    path == "/"
        || path
            .split('/')
            .skip(1)
            .all(|name| !matches!(name, "" | "." | ".."))
}
