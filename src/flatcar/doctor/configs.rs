//! The configs on OEM: what a run of Ignition wrote by them, and whether the next one would stop.

use super::rows::{FIRST_BOOT, IGNITION_RESULT};
use super::{Remedy, Sign, Symptom};
use crate::error::{Result, ResultExt};
use crate::finding::{Finding, Severity, code};
use crate::flatcar::ignition::run::{self, Change, What};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};

/// Entries that are told at most.
const TOLD_MAX: usize = 100;
/// Largest file that is compared.
const FILE_MAX: u64 = 16 << 20;

/// Files and links on ROOT that are as the configs make them, where Ignition ran: it would stop at those, unless they have
/// `overwrite`. Entries that `known` tells of are not told again, and stay where these do.
pub(super) fn written(disk: &Disk, known: &[Symptom]) -> Result<Vec<Symptom>> {
    let Ok(root) = disk.filesystem(Designator::Root.into()) else {
        return Ok(Vec::new());
    };
    let place = || disk.describe(Designator::Root.into());
    let has_result = fs::exists(&*root, &FsPath::new(IGNITION_RESULT)?).at(place)?;
    if !has_result && is_first_boot(disk)? != Some(false) {
        return Ok(Vec::new());
    }
    // What cannot be rehearsed does not hide the other traces.
    let Ok(Some(written)) = run::written(disk) else {
        return Ok(Vec::new());
    };
    let mut symptoms = Vec::new();
    for change in &written.changes {
        let Ok(path) = FsPath::new(&change.path) else {
            continue;
        };
        let is_known = known.iter().any(|symptom| covers(symptom, &path));
        if is_known || symptoms.len() == TOLD_MAX || !is_so(&*root, &path, change).at(place)? {
            continue;
        }
        let finding = Finding::new(code::IGNITION_WROTE)
            .with("path", &path)
            .with("config", written.configs.join(" and "))
            .at(Designator::Root.to_string());
        let remedy = Remedy::Remove(Designator::Root, path);
        symptoms.push(Symptom::new(Sign::Booted, finding).with(remedy));
    }
    Ok(symptoms)
}

/// Whether a symptom is that of an entry, or of a folder that it is in.
fn covers(symptom: &Symptom, path: &FsPath) -> bool {
    match &symptom.remedy {
        Remedy::Remove(Designator::Root, other)
        | Remedy::RemoveAccount(Designator::Root, other) => path.starts_with(other),
        _ => false,
    }
}

/// Whether what a config makes is on ROOT.
fn is_so(root: &dyn FileSystem, path: &FsPath, change: &Change) -> Result<bool> {
    if change.what == What::Removed || !fs::exists(root, path)? {
        return Ok(false);
    }
    let metadata = root.metadata_at(path)?;
    if let Some(target) = &change.target {
        let is_link = metadata.file_type == FileType::Symlink;
        return Ok(is_link && root.read_link_at(path)? == target.as_bytes());
    }
    let Some(content) = &change.content else {
        return Ok(false);
    };
    let is_file = metadata.file_type == FileType::File && Some(metadata.size) == change.size;
    Ok(is_file && metadata.size <= FILE_MAX && fs::read_file(root, path, FILE_MAX)? == **content)
}

/// What a rehearsal of the first boot finds, where one is still to come.
pub(super) fn rehearsed(disk: &Disk) -> Result<Vec<Symptom>> {
    if is_first_boot(disk)? != Some(true) {
        return Ok(Vec::new());
    }
    let symptom = |finding: Finding| {
        let sign = match finding.severity() {
            Severity::Note => Sign::Note,
            _ => Sign::Unfit,
        };
        Symptom::new(sign, finding)
    };
    let findings = run::findings_of_own(disk)?;
    Ok(findings.into_iter().map(symptom).collect())
}

/// Whether Ignition runs at the next boot; `None` where the boot partition cannot be read.
fn is_first_boot(disk: &Disk) -> Result<Option<bool>> {
    let Ok(esp) = disk.filesystem(Designator::Boot.into()) else {
        return Ok(None);
    };
    let place = || disk.describe(Designator::Boot.into());
    fs::exists(&*esp, &FsPath::new(FIRST_BOOT)?)
        .map(Some)
        .at(place)
}
