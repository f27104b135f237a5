//! What the running system does to what is baked: paths that it replaces at boot, and configs that it will not read.

use super::super::edits::Edits;
use super::bench::Bench;
use crate::error::{ErrorKind, Result};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::fs::{self, FileSystem, FileType, FsPath};

/// Links that systemd-tmpfiles makes on ROOT in the place of whatever is there.
const REPLACED: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];
/// Links to folders of /run that it makes only where nothing is, with those folders.
const SPLIT: [(&str, &str); 2] = [("/var/run", "/run"), ("/var/lock", "/run/lock")];
const FIRST_BOOT: &str = "/flatcar/first_boot";
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
        for path in REPLACED {
            if let Some(found) = self.new_at(path)? {
                self.tell_on_root(Finding::new(code::PATH_REPLACED).with("path", found).with("top", path));
            }
        }
        for (path, by) in SPLIT {
            if let Some(found) = self.new_at(path)? {
                let finding = Finding::new(code::PATH_SPLIT).with("path", found).with("top", path);
                self.tell_on_root(finding.with("by", by));
            }
        }
        Ok(())
    }

    fn tell_on_root(&mut self, finding: Finding) {
        self.findings.push(finding.at(Designator::Root.to_string()));
    }

    /// What is at or below `path` of ROOT and was not when the work began, where it is no link.
    fn new_at(&mut self, path: &str) -> Result<Option<FsPath>> {
        let path = FsPath::new(path)?;
        match self.type_at(Designator::Root, &path)? {
            None | Some(FileType::Symlink) => return Ok(None),
            Some(_) => {}
        }
        let before = self.disk.filesystem(Designator::Root.into()).ok();
        let is_old = |path: &FsPath| before.as_ref().is_some_and(|fs| fs::exists(&**fs, path).unwrap_or(false));
        first_new(self.filesystem(Designator::Root)?, &path, &is_old)
    }

    /// Says where a config that is baked would not be carried out, or only in part, as the base was booted before.
    pub(super) fn see_booted(&mut self, edits: &Edits) -> Result<()> {
        if edits.config_ign.is_none() && edits.base_ign.is_none() {
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
                false => fs::read_file(&*self.disk.filesystem(Designator::Root.into())?, &path, MACHINE_ID_MAX),
            };
            let is_machine = |content: Vec<u8>| !NO_MACHINE.contains(&String::from_utf8_lossy(&content).trim());
            if content.map_or(true, is_machine) {
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
        let Ok(fs) = self.disk.filesystem(partition.into()) else { return Ok(None) };
        Ok(fs::exists(&*fs, &path).ok())
    }
}

/// The first entry at or below `top` that is not old: a folder only where nothing in it is new.
fn first_new(fs: &dyn FileSystem, top: &FsPath, is_old: &dyn Fn(&FsPath) -> bool) -> Result<Option<FsPath>> {
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
        Err(crate::error::Error::new(ErrorKind::Cancelled, "the first is enough"))
    });
    match walked {
        Err(error) if found.is_none() => Err(error),
        _ => Ok(found.or(folder)),
    }
}
