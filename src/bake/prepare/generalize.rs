//! What a machine left on the base goes: the doctor's remedies as edits of the request, carried out like all others.

use std::collections::BTreeSet;

use super::super::edits::{Edits, FileSpec, Place};
use super::super::request::{Generalize, Request};
use crate::error::{Result, ResultExt};
use crate::finding::{Few, Finding, code};
use crate::flatcar::doctor::{self, FIRST_BOOT, Remedy, Symptom};
use crate::flatcar::{Designator, Disk};
use crate::fs::{ByPath, FileSystem, FsPath};

/// What the flag of the first boot holds; only that it is there matters.
const FLAG: &str = "Ignition runs at the next boot.\n";
/// The first release whose ROOT is empty when it is released: a folder there that holds nothing else is a trace, too.
const EMPTY_ROOT_SINCE: u64 = 3535;

impl Request {
    /// This request with edits that take away what a machine left on `disk`, where that is asked for.
    pub(super) fn generalized(&self, disk: &Disk) -> Result<Self> {
        let mut request = self.clone();
        if self.generalize == Generalize::Nothing {
            return Ok(request);
        }
        let edits = &mut request.edits;
        let mut removed: BTreeSet<Place> = BTreeSet::new();
        for symptom in doctor::traces(disk)?.symptoms {
            match symptom.remedy {
                Remedy::Remove(partition, path) => {
                    removed.insert(Place { partition, path });
                }
                Remedy::RemoveAccount(partition, path)
                    if self.generalize == Generalize::TracesAndAccounts =>
                {
                    removed.insert(Place { partition, path });
                }
                Remedy::WriteFirstBoot => add_flag(edits)?,
                Remedy::RemoveKernelArg(argument) => edits.removed_kernel_args.push(argument),
                Remedy::ResetTable => edits.fresh_table = true,
                Remedy::RemoveAccount(..) | Remedy::None => {}
            }
        }
        let release = disk.os_release().ok().flatten();
        let major = release.and_then(|release| release.major());
        if major.is_none_or(|major| major >= EMPTY_ROOT_SINCE)
            && let Ok(root) = disk.filesystem(Designator::Root.into())
        {
            with_folders(&*root, &mut removed).at(|| disk.describe(Designator::Root.into()))?;
        }
        let asked = edits.removals.clone();
        let is_below = |place: &Place, other: &Place| {
            place.partition == other.partition && place.path.starts_with(&other.path)
        };
        let all = removed.clone();
        let is_extra = |place: &Place| {
            !asked.iter().any(|other| is_below(place, other))
                && !all
                    .iter()
                    .any(|other| other != place && is_below(place, other))
        };
        edits
            .removals
            .extend(removed.into_iter().filter(|place| is_extra(place)));
        Ok(request)
    }
}

/// The flag of the first boot, unless the request brings it itself.
fn add_flag(edits: &mut Edits) -> Result<()> {
    let path = FsPath::new(FIRST_BOOT)?;
    let is_it = |file: &FileSpec| file.partition == Designator::Boot && file.path == path;
    if !edits.files.iter().any(is_it) {
        edits
            .files
            .push(FileSpec::inline(FLAG, Designator::Boot, path));
    }
    Ok(())
}

/// Adds the folders of ROOT that hold nothing but what goes.
fn with_folders(root: &dyn FileSystem, removed: &mut BTreeSet<Place>) -> Result<()> {
    let mut todo: Vec<FsPath> = removed
        .iter()
        .filter(|place| place.partition == Designator::Root)
        .map(|place| place.path.clone())
        .collect();
    while let Some(path) = todo.pop() {
        let Some(parent) = path.parent().filter(|parent| !parent.is_root()) else {
            continue;
        };
        let mut goes = true;
        for entry in root.entries_at(&parent)? {
            goes &= removed.contains(&Place {
                partition: Designator::Root,
                path: parent.join(&entry.name)?,
            });
        }
        let folder = Place {
            partition: Designator::Root,
            path: parent.clone(),
        };
        if goes && removed.insert(folder) {
            todo.push(parent);
        }
    }
    Ok(())
}

/// Whether the changes of a request take a symptom away.
fn is_mended(symptom: &Symptom, edits: &Edits) -> bool {
    let is_put = |partition: Designator, path: &FsPath| {
        edits
            .files
            .iter()
            .any(|file| file.partition == partition && file.path == *path)
    };
    match &symptom.remedy {
        Remedy::Remove(partition, path) | Remedy::RemoveAccount(partition, path) => {
            let takes =
                |place: &Place| place.partition == *partition && path.starts_with(&place.path);
            edits.removals.iter().any(takes) || is_put(*partition, path)
        }
        Remedy::WriteFirstBoot => {
            FsPath::new(FIRST_BOOT).is_ok_and(|path| is_put(Designator::Boot, &path))
        }
        Remedy::ResetTable => edits.fresh_table,
        Remedy::RemoveKernelArg(_) | Remedy::None => false,
    }
}

/// Says that a machine ran from the base, where what proves it stays there with these changes.
pub(super) fn see_traces(edits: &Edits, disk: &Disk) -> Option<Finding> {
    // A partition that is damaged keeps nobody from changing the others: who edits it tells.
    let diagnosis = doctor::traces(disk).unwrap_or_default();
    let mut signs = Few::default();
    let proofs = diagnosis.symptoms.iter().filter(|symptom| symptom.is_proof);
    for symptom in proofs.filter(|symptom| !is_mended(symptom, edits)) {
        match &symptom.remedy {
            Remedy::WriteFirstBoot => {
                signs.add(format!("{}:{FIRST_BOOT} is missing", Designator::Boot));
            }
            Remedy::Remove(partition, path) => signs.add(format!("{partition}:{path} is there")),
            _ => signs.add(&symptom.finding),
        }
    }
    (!signs.is_empty()).then(|| Finding::new(code::BASE_BOOTED).with("signs", signs))
}
