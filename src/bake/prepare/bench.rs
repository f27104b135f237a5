//! A disk on the bench: changes are carried out on an overlay by the editors of its filesystems, whose own accounts say
//! what there is room for.

mod applied;
mod editors;
mod entries;
mod room;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::edits::{Edits, SysextSpec};
use super::super::plan::{Change, Plan, Resize, Space};
use super::super::request::{Context, Policy, at_origin};
use super::lasting::Lasting;
use super::payload::OemChange;
use super::trusted::Trusted;
use crate::block::{Inputs, Overlay};
use crate::error::{Error, Result, ResultExt, refuse_findings};
use crate::finding::{Finding, code};
use crate::flatcar::sysext::SysextInfo;
use crate::flatcar::{Designator, Disk, OsRelease};
use crate::fs::{FileType, FsPath, Timestamp};

pub(super) use entries::{Content, NewFile};
use room::Editor;
pub(super) use room::Failure;

/// Folders of ROOT that the running system mounts something over.
const HIDDEN_ON_ROOT: [&[u8]; 8] = [
    b"usr", b"oem", b"boot", b"dev", b"proc", b"sys", b"run", b"tmp",
];

/// What all benches of a run share.
pub(in crate::bake) struct Run<'a> {
    pub(super) context: &'a Context<'a>,
    pub(in crate::bake) inputs: Inputs,
    pub(super) release: Option<OsRelease>,
    /// The time of everything new.
    pub(super) timestamp: Timestamp,
    pub(super) policy: Policy,
}

impl Run<'_> {
    /// The first number of the image's release.
    pub(super) fn major(&self) -> Option<u64> {
        self.release.as_ref()?.major()
    }
}

/// What is done to one disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) edits: &'a Edits,
    /// What becomes of the vendor's files on OEM.
    pub(super) oem: &'a OemChange,
    /// Sysexts of this run that are on the disk already.
    pub(super) beside: &'a [SysextSpec],
}

/// A disk while it is changed.
pub(super) struct Bench<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) disk: &'a Disk,
    overlay: Arc<Overlay>,
    resize: Option<Resize>,
    editors: BTreeMap<Designator, Editor>,
    pub(super) changes: Vec<Change>,
    pub(super) findings: Vec<Finding>,
    /// The path of every entry that was put in, as it was asked for, by what its filesystem takes it for.
    written: BTreeMap<(Designator, FsPath), FsPath>,
    /// Folders of ROOT about which a finding speaks already.
    hidden: BTreeSet<Vec<u8>>,
    /// What was given to the user core, as nobody said whose it is.
    pub(super) of_core: BTreeSet<FsPath>,
    /// Sysexts that were installed with a file for their updates.
    pub(super) updated: BTreeSet<String>,
    /// What is known of sysexts, by the names they are merged by.
    pub(super) sysexts: BTreeMap<String, SysextInfo>,
    /// Certificates that are to be put in.
    pub(super) trusted: Vec<Trusted>,
    /// What Ignition is to make on ROOT whenever it runs.
    pub(super) lasting: Vec<Lasting>,
    full: Option<Designator>,
}

impl<'a> Bench<'a> {
    /// Carries `work` out on `overlay`, which holds what `disk` holds and is not the device that `disk` reads: some
    /// filesystems are built anew from the old one.
    pub(super) fn carry_out(
        run: &'a Run<'a>,
        disk: &'a Disk,
        overlay: &Arc<Overlay>,
        resize: Option<Resize>,
        work: Work<'_>,
    ) -> Result<Plan, Failure> {
        let mut bench = Self {
            run,
            disk,
            overlay: Arc::clone(overlay),
            resize,
            editors: BTreeMap::new(),
            changes: Vec::new(),
            findings: Vec::new(),
            written: BTreeMap::new(),
            hidden: BTreeSet::new(),
            of_core: BTreeSet::new(),
            updated: BTreeSet::new(),
            sysexts: BTreeMap::new(),
            trusted: Vec::new(),
            lasting: Vec::new(),
            full: None,
        };
        match bench.work(work) {
            Ok(space) => Ok(Plan {
                changes: bench.changes,
                resize: bench.resize,
                space,
                findings: bench.findings,
            }),
            Err(error) => Err(bench.failure(error)),
        }
    }

    fn work(&mut self, work: Work<'_>) -> Result<Vec<Space>> {
        self.examine(work)?;
        self.stop_at_findings()?;
        self.grow()?;
        self.reset_table(work.edits)?;
        for place in &work.edits.removals {
            self.remove(place)?;
        }
        self.apply_ignition(work.edits)?;
        self.oem_change(work)?;
        for archive in &work.edits.archives {
            self.archive(archive)?;
        }
        self.put_trusted()?;
        self.install_sysexts(work.edits)?;
        self.run_updates(work.edits)?;
        self.put_files(work.edits)?;
        self.set_updates(&work.edits.settings)?;
        self.enable_sysexts(work.edits)?;
        self.put_configs(work.edits)?;
        self.write_lasting()?;
        self.kernel_args(&work.edits.kernel_args, &work.edits.removed_kernel_args)?;
        self.set_boot(work.edits)?;
        self.make_links(work.edits)?;
        self.see_owned_paths()?;
        self.see_owners();
        self.see_updates(work.edits)?;
        self.see_booted(work.edits)?;
        self.stop_at_findings()?;
        self.commit()
    }

    /// What went wrong; where a partition was too small, with the numbers.
    fn failure(&self, error: Error) -> Failure {
        let root = self.editors.get(&Designator::Root);
        let full = self
            .full
            .and_then(|full| Some((full, self.editors.get(&full)?)));
        let error = match full {
            Some((full, editor)) => editor.no_space(full, self.disk.describe(full.into()), error),
            None => error,
        };
        Failure {
            error,
            full: self.full,
            asked_on_root: root.map_or(0, |editor| editor.asked.bytes),
        }
    }

    /// What can be told to be wrong from the request and its inputs alone, before anything is changed.
    fn examine(&mut self, work: Work<'_>) -> Result<()> {
        let edits = work.edits;
        self.read_trusted(edits)?;
        for sysext in &edits.merged_sysexts() {
            let checked = self.check_sysext(&sysext.name, &sysext.file, "sysext");
            checked
                .at(|| format!("sysext {}", sysext.name))
                .map_err(|error| at_origin(error, sysext.origin.as_ref()))?;
        }
        self.compare_sysexts(edits, work.beside)?;
        for file in &edits.files {
            self.see_path(file.partition, &file.path, FileType::File);
        }
        for link in &edits.links {
            self.see_path(Designator::Root, &link.path, FileType::Symlink);
        }
        self.check_configs(edits)
    }

    /// Records what is wrong with a path whatever is put there.
    pub(super) fn see_path(&mut self, partition: Designator, path: &FsPath, new: FileType) {
        match partition {
            Designator::Root => self.see_hidden(path, new),
            Designator::Oem => self.see_never_read(path),
            _ => {}
        }
    }

    /// A new entry in a folder of ROOT that the running system mounts something over.
    pub(super) fn see_hidden(&mut self, path: &FsPath, new: FileType) {
        let Some(top) = path.components().next() else {
            return;
        };
        let is_mount_point = new == FileType::Directory && path.components().count() == 1;
        if HIDDEN_ON_ROOT.contains(&top) && !is_mount_point && self.hidden.insert(top.to_owned()) {
            let top = String::from_utf8_lossy(top).into_owned();
            let finding = Finding::new(code::HIDDEN_BY_MOUNT)
                .with("path", path)
                .with("top", top);
            self.findings.push(finding.at(Designator::Root.to_string()));
        }
    }

    /// An error with all findings that stop the run, unless it is forced.
    fn stop_at_findings(&mut self) -> Result<()> {
        stop_at(&mut self.findings, self.run.policy)
    }
}

/// An error with all of `findings` that stop the run, unless it is forced: then they are lifted.
pub(super) fn stop_at(findings: &mut Vec<Finding>, policy: Policy) -> Result<()> {
    if policy.force {
        *findings = std::mem::take(findings)
            .into_iter()
            .map(Finding::lifted)
            .collect();
    }
    refuse_findings(findings)
}
