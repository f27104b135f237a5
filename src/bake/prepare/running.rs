//! What the running system does to what is baked: paths that it replaces at boot, and configs that it will not read.

use std::collections::BTreeSet;

use super::super::edits::{Edits, Place};
use super::super::request::Request;
use super::bench::Bench;
use super::generalize::see_traces;
use super::oem::CONFIG_IGN;
use crate::error::{ErrorKind, Result};
use crate::finding::{Few, Finding, code};
use crate::flatcar::doctor::FIRST_BOOT;
use crate::flatcar::tmpfiles::{self, Effect, Rule};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};

/// Links that systemd-tmpfiles makes on ROOT in the place of whatever is there, whatever the image at hand says.
const REPLACED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];
/// Links to folders of /run that it makes only where nothing is, with those folders.
const SPLIT: [(&str, &str); 2] = [("/var/run", "../run"), ("/var/lock", "../run/lock")];
/// Largest file of systemd-tmpfiles that is read; real ones have some lines.
const TMPFILES_MAX: u64 = 1 << 20;
const MACHINE_ID: &str = "/etc/machine-id";
/// More than a machine ID has with its line feed.
const MACHINE_ID_MAX: u64 = 4096;
/// What the file may hold without being a machine's: systemd's own word, and Flatcar's old stand-in.
const NO_MACHINE: [&str; 3] = ["", "uninitialized", "42000000000000000000000000000042"];

impl Bench<'_> {
    /// Whatever was put where the system has links of its own, by files, links and archives alike.
    pub(super) fn see_owned_paths(&mut self) -> Result<()> {
        if !self.is_edited(Designator::Root) {
            return Ok(());
        }
        let replaced = REPLACED.map(|path| Rule {
            path: path.to_owned(),
            effect: Effect::Replaced,
            target: None,
        });
        let split = SPLIT.map(|(path, by)| {
            let target = Some(by.to_owned());
            Rule {
                path: path.to_owned(),
                effect: Effect::Split,
                target,
            }
        });
        let mut seen = BTreeSet::new();
        for rule in replaced.into_iter().chain(split).chain(self.boot_rules()?) {
            if seen.insert(rule.path.clone()) {
                self.see_rule(&rule)?;
            }
        }
        Ok(())
    }

    /// What was put where a rule says that something happens at boot.
    fn see_rule(&mut self, rule: &Rule) -> Result<()> {
        for top in self.places_of(rule)? {
            let Some(found) = self.new_at(&top, rule.target.as_deref())? else {
                continue;
            };
            let finding = match rule.effect {
                Effect::Replaced => Finding::new(code::PATH_REPLACED)
                    .with("path", found)
                    .with("top", top),
                Effect::Split => {
                    let by = format!(
                        "/{}",
                        rule.target
                            .as_deref()
                            .unwrap_or_default()
                            .trim_start_matches(['.', '/'])
                    );
                    Finding::new(code::PATH_SPLIT)
                        .with("path", found)
                        .with("top", top)
                        .with("by", by)
                }
                Effect::Emptied if found == top => continue,
                Effect::Removed | Effect::Emptied => {
                    Finding::new(code::PATH_REMOVED).with("path", found)
                }
            };
            self.tell_on_root(finding);
        }
        Ok(())
    }

    /// The rules of the image's tmpfiles.d: those of USR, where ROOT has no file of their name, and those of ROOT.
    fn boot_rules(&mut self) -> Result<Vec<Rule>> {
        let root = self.filesystem(Designator::Root)?;
        let own = config_names(root, "/etc/tmpfiles.d");
        let mut rules = rules_of(root, &own);
        if let Ok(usr) = self.disk.filesystem(Designator::Usr.into()) {
            let is_free = |path: &FsPath| own.iter().all(|own| own.name() != path.name());
            let names = config_names(&*usr, "/lib/tmpfiles.d")
                .into_iter()
                .filter(is_free)
                .collect::<Vec<_>>();
            rules.extend(rules_of(&*usr, &names));
        }
        Ok(rules)
    }

    /// The entries of ROOT that a rule means.
    fn places_of(&mut self, rule: &Rule) -> Result<Vec<FsPath>> {
        let Ok(path) = FsPath::new(&rule.path) else {
            return Ok(Vec::new());
        };
        if rule.effect != Effect::Removed {
            return Ok(vec![path]);
        }
        let root = self.filesystem(Designator::Root)?;
        let mut places = vec![FsPath::root()];
        for pattern in path.components() {
            let mut next = Vec::new();
            for place in places {
                if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                    next.push(place.join(pattern)?);
                    continue;
                }
                // What is no folder has nothing in it.
                for entry in root.entries_at(&place).unwrap_or_default() {
                    if tmpfiles::name_fits(pattern, &entry.name) {
                        next.push(place.join(&entry.name)?);
                    }
                }
            }
            places = next;
        }
        Ok(places)
    }

    /// What was given to the user core because nothing else was said.
    pub(super) fn see_owners(&mut self) {
        let paths: Few = std::mem::take(&mut self.of_core).into_iter().collect();
        if !paths.is_empty() {
            self.tell_on_root(Finding::new(code::OWNER_CORE).with("paths", paths));
        }
    }

    fn tell_on_root(&mut self, finding: Finding) {
        self.findings.push(finding.at(Designator::Root.to_string()));
    }

    /// What is at or below `path` of ROOT and was not when the work began, where it is no link, or not the one that leads to
    /// `target`.
    fn new_at(&mut self, path: &FsPath, target: Option<&str>) -> Result<Option<FsPath>> {
        match self.type_at(Designator::Root, path)? {
            None => return Ok(None),
            Some(FileType::Symlink) => {
                let own = self.filesystem(Designator::Root)?.read_link_at(path)?;
                if target.is_none_or(|target| own == target.as_bytes()) {
                    return Ok(None);
                }
            }
            Some(_) => {}
        }
        let before = self.disk.filesystem(Designator::Root.into()).ok();
        let is_old = |path: &FsPath| {
            before
                .as_ref()
                .is_some_and(|fs| fs::exists(&**fs, path).unwrap_or(false))
        };
        first_new(self.filesystem(Designator::Root)?, path, &is_old)
    }

    /// Says where a config that is baked would not be carried out, or only in part, as the base was booted before.
    pub(super) fn see_booted(&mut self, edits: &Edits) -> Result<()> {
        let is_for_ignition =
            edits.config_ign.is_some() || edits.base_ign.is_some() || edits.settings.survive_reset;
        if !is_for_ignition {
            return Ok(());
        }
        if self.lies_at(Designator::Boot, FIRST_BOOT)? == Some(false) {
            let finding = Finding::new(code::IGNITION_NOT_RUN).with("path", FIRST_BOOT);
            self.findings.push(finding.at(Designator::Boot.to_string()));
        }
        if self.lies_at(Designator::Root, MACHINE_ID)? == Some(true) {
            let path = FsPath::new(MACHINE_ID)?;
            let content = match self.is_edited(Designator::Root) {
                true => fs::read_file(self.filesystem(Designator::Root)?, &path, MACHINE_ID_MAX),
                false => fs::read_file(
                    &*self.disk.filesystem(Designator::Root.into())?,
                    &path,
                    MACHINE_ID_MAX,
                ),
            };
            if is_of_machine(content) {
                self.tell_on_root(Finding::new(code::MACHINE_ID_LEFT).with("path", MACHINE_ID));
            }
        }
        Ok(())
    }

    /// Whether there is an entry at `path` now; `None` where the partition cannot be read.
    fn lies_at(&mut self, partition: Designator, path: &str) -> Result<Option<bool>> {
        let path = FsPath::new(path)?;
        if self.is_edited(partition) {
            return Ok(Some(self.type_at(partition, &path)?.is_some()));
        }
        let Ok(fs) = self.disk.filesystem(partition.into()) else {
            return Ok(None);
        };
        Ok(fs::exists(&*fs, &path).ok())
    }
}

/// What shows that the base was booted before, and an own config of its that stays: told whatever is baked into it, unless
/// the changes of `request` mend it, or tell it themselves.
pub(super) fn see_base(request: &Request, disk: &Disk) -> Result<Vec<Finding>> {
    let edits = &request.edits;
    let all =
        || std::iter::once(edits).chain(request.variants.iter().map(|variant| &variant.edits));
    let is_changed = !request.vendors.is_empty() || all().any(|edits| *edits != Edits::new());
    if !is_changed {
        return Ok(Vec::new());
    }
    let is_there = |partition: Designator, path: &str| -> Result<Option<bool>> {
        let Ok(fs) = disk.filesystem(partition.into()) else {
            return Ok(None);
        };
        Ok(fs::exists(&*fs, &FsPath::new(path)?).ok())
    };
    let is_removed = |partition, path: &str| {
        let is_it = |place: &Place| place.partition == partition && place.path.to_string() == path;
        edits.removals.iter().any(is_it)
    };
    let is_put = |partition, path: &str| {
        edits
            .files
            .iter()
            .any(|file| file.partition == partition && file.path.to_string() == path)
    };
    let mut findings: Vec<Finding> = see_traces(edits, disk).into_iter().collect();
    let is_own = edits.config_ign.is_some()
        || is_removed(Designator::Oem, CONFIG_IGN)
        || is_put(Designator::Oem, CONFIG_IGN);
    if !is_own && is_there(Designator::Oem, CONFIG_IGN)? == Some(true) {
        findings.push(
            Finding::new(code::CONFIG_KEPT)
                .with("path", CONFIG_IGN)
                .at(Designator::Oem.to_string()),
        );
    }
    Ok(findings)
}

/// Whether what a machine ID's file holds, if it can be read, is one.
fn is_of_machine(content: Result<Vec<u8>>) -> bool {
    content.map_or(true, |content| {
        !NO_MACHINE.contains(&String::from_utf8_lossy(&content).trim())
    })
}

/// The files of systemd-tmpfiles in a folder.
fn config_names(fs: &dyn FileSystem, folder: &str) -> Vec<FsPath> {
    let Ok(folder) = FsPath::new(folder).and_then(|folder| fs::resolve(fs, &folder)) else {
        return Vec::new();
    };
    let entries = fs.entries_at(&folder).unwrap_or_default();
    let names = entries
        .into_iter()
        .filter(|entry| entry.name.ends_with(b".conf"));
    names
        .filter_map(|entry| folder.join(&entry.name).ok())
        .collect()
}

/// The rules of these files; one that cannot be read, such as a link to /dev/null, has none.
fn rules_of(fs: &dyn FileSystem, files: &[FsPath]) -> Vec<Rule> {
    let text = |path: &FsPath| {
        let path = fs::resolve(fs, path).ok()?;
        String::from_utf8(fs::read_file(fs, &path, TMPFILES_MAX).ok()?).ok()
    };
    files
        .iter()
        .filter_map(text)
        .flat_map(|text| tmpfiles::rules(&text))
        .collect()
}

/// The first entry at or below `top` that is not old: a folder only where nothing in it is new.
fn first_new(
    fs: &dyn FileSystem,
    top: &FsPath,
    is_old: &dyn Fn(&FsPath) -> bool,
) -> Result<Option<FsPath>> {
    let mut found = None;
    let mut folder = None;
    let walked = fs::walk(fs, top, &mut |entry| {
        if is_old(&entry.path) {
            return Ok(());
        }
        if entry.metadata.file_type == FileType::Directory {
            folder.get_or_insert(entry.path);
            return Ok(());
        }
        found = Some(entry.path);
        Err(crate::error::Error::new(
            ErrorKind::Cancelled,
            "the first is enough",
        ))
    });
    match walked {
        Err(error) if found.is_none() => Err(error),
        _ => Ok(found.or(folder)),
    }
}
