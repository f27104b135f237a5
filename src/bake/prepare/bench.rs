//! A disk on the bench: changes are carried out on an overlay by the editors of its filesystems, whose own accounts say
//! what there is room for.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::edits::{Edits, SysextSpec};
use super::super::plan::{Action, Change, Plan, Resize, Source, Space};
use super::super::request::{Context, Policy, at_origin};
use super::payload::OemChange;
use crate::block::{BlockDevice, Inputs, Overlay, Window};
use crate::bytes::{ByteSize, hex};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::sysext::SysextInfo;
use crate::flatcar::{Designator, Disk, OsRelease};
use crate::fs::{
    self, Attributes, ByPath, Capacity, EditOptions, FileSystemMut, FileType, FsKind, FsPath,
    Metadata, Timestamp,
};

/// The home of Flatcar's one user with a login, as names, and its numbers; root's.
const CORE_HOME: [&[u8]; 2] = [b"home", b"core"];
const CORE_USER: (u32, u32) = (500, 500);
const ROOT_USER: (u32, u32) = (0, 0);
/// Folders of ROOT that the running system mounts something over.
const HIDDEN_ON_ROOT: [&[u8]; 8] = [
    b"usr", b"oem", b"boot", b"dev", b"proc", b"sys", b"run", b"tmp",
];
/// Most of what takes room that one message names.
const LARGEST_SHOWN: usize = 3;

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

/// Why a bench gave up.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The partition that was too small.
    pub(super) full: Option<Designator>,
    /// Bytes that were asked to be put on ROOT until then.
    pub(super) asked_on_root: u64,
}

/// The editor of one partition.
struct Editor {
    fs: Box<dyn FileSystemMut>,
    before: Capacity,
    asked: Asked,
}

/// What was asked to be put on a partition.
#[derive(Default)]
struct Asked {
    bytes: u64,
    entries: u64,
    /// Size and name of what is largest, the largest first.
    largest: Vec<(u64, String)>,
}

impl Asked {
    fn add(&mut self, bytes: u64, what: &str) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries += 1;
        let at = self.largest.partition_point(|(other, _)| *other >= bytes);
        if bytes > 0 && at < LARGEST_SHOWN {
            self.largest.insert(at, (bytes, what.to_owned()));
            self.largest.truncate(LARGEST_SHOWN);
        }
    }
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
        for place in &work.edits.removals {
            self.remove(place)?;
        }
        self.oem_change(work)?;
        for archive in &work.edits.archives {
            self.archive(archive)?;
        }
        self.install_sysexts(work.edits)?;
        self.run_updates(work.edits)?;
        self.put_files(work.edits)?;
        self.enable_sysexts(work.edits)?;
        self.put_configs(work.edits)?;
        self.kernel_args(&work.edits.kernel_args, &work.edits.removed_kernel_args)?;
        self.make_links(work.edits)?;
        self.see_owned_paths()?;
        self.see_owners();
        self.see_updates()?;
        self.see_booted(work.edits)?;
        self.stop_at_findings()?;
        self.commit()
    }

    /// What can be told to be wrong from the request and its inputs alone, before anything is changed.
    fn examine(&mut self, work: Work<'_>) -> Result<()> {
        let edits = work.edits;
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

    /// Makes the disk and ROOT's entry in the partition table larger; the filesystem grows when it is opened.
    fn grow(&mut self) -> Result<()> {
        let Some(resize) = self.resize else {
            return Ok(());
        };
        let grown = || {
            self.overlay.grow(resize.disk_bytes)?;
            let mut table = self.disk.table().clone();
            table.grow(resize.disk_bytes)?;
            table.resize(
                self.disk.partition(Designator::Root.into())?.number,
                resize.root_bytes,
            )?;
            table.write(&self.overlay)
        };
        grown().at(|| self.disk.name().to_owned())?;
        if resize.root_bytes > resize.root_bytes_before {
            self.editor(Designator::Root)?;
        }
        Ok(())
    }

    fn editor(&mut self, designator: Designator) -> Result<&mut Editor> {
        if !self.editors.contains_key(&designator) {
            let opened = self
                .open(designator)
                .at(|| self.disk.describe(designator.into()));
            let editor = opened.map_err(|error| self.noting_full(designator, error))?;
            self.editors.insert(designator, editor);
        }
        self.editors
            .get_mut(&designator)
            .ok_or_else(|| Error::internal("an editor that was just opened is gone"))
    }

    fn open(&self, designator: Designator) -> Result<Editor> {
        let partition = self.disk.partition(designator.into())?;
        let resize = self.resize.filter(|_| designator == Designator::Root);
        let size = resize.map_or(partition.size(), |resize| resize.root_bytes);
        let source: Arc<dyn BlockDevice> = Arc::new(Window::of_image(
            self.disk.device(),
            partition.offset(),
            partition.size(),
        )?);
        let target = Arc::new(Window::of_image(
            Arc::clone(&self.overlay),
            partition.offset(),
            size,
        )?);
        let options = EditOptions {
            no_replay: self.run.policy.no_replay,
            grow: size != partition.size(),
            ..EditOptions::new(&self.run.context.temp_dir)
        };
        let fs = fs::edit(source, target, &options)?;
        let before = fs.capacity()?;
        Ok(Editor {
            fs,
            before,
            asked: Asked::default(),
        })
    }

    /// Remembers that a partition is full, where that is what the error says.
    fn noting_full(&mut self, partition: Designator, error: Error) -> Error {
        if error.kind() == ErrorKind::NoSpace {
            self.full = Some(partition);
        }
        error
    }

    /// Changes `path` on a partition.
    fn edit<T>(
        &mut self,
        partition: Designator,
        path: &FsPath,
        change: impl FnOnce(&mut dyn FileSystemMut) -> Result<T>,
    ) -> Result<T> {
        self.run.context.cancel.check()?;
        let changed = change(&mut *self.editor(partition)?.fs);
        changed
            .at(|| path.to_string())
            .at(|| self.disk.describe(partition.into()))
            .map_err(|error| self.noting_full(partition, error))
    }

    /// Whether a partition was opened to be changed.
    pub(super) fn is_edited(&self, partition: Designator) -> bool {
        self.editors.contains_key(&partition)
    }

    /// The filesystem of a partition with the changes made so far.
    pub(super) fn filesystem(&mut self, partition: Designator) -> Result<&dyn fs::FileSystem> {
        Ok(self.editor(partition)?.fs.as_read())
    }

    /// What is at `path` now.
    pub(super) fn metadata(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<Option<Metadata>> {
        let found = self.filesystem(partition)?.find_metadata(path);
        found.at(|| self.disk.describe(partition.into()))
    }

    /// The type of what is at `path` now.
    pub(super) fn type_at(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<Option<FileType>> {
        Ok(self
            .metadata(partition, path)?
            .map(|metadata| metadata.file_type))
    }

    /// Where `path` really lies: symlinks on the way to it are followed, inside the image only.
    pub(super) fn locate(&mut self, partition: Designator, path: &FsPath) -> Result<FsPath> {
        let Some(name) = path.name() else {
            return Ok(path.clone());
        };
        let mut at = FsPath::root();
        for component in path.parent().unwrap_or_else(FsPath::root).components() {
            at = at.join(component)?;
            match self.type_at(partition, &at)? {
                Some(FileType::Symlink) => {
                    let link = at.clone();
                    at = fs::resolve(self.filesystem(partition)?, &link)
                        .at(|| partition.to_string())?;
                    match self.type_at(partition, &at)? {
                        Some(FileType::Directory) => {}
                        _ => {
                            let message = format!(
                                "{path} lies behind {link}, a symlink to {at}, which is no directory"
                            );
                            return Err(Error::invalid(message).at(partition.to_string()));
                        }
                    }
                }
                Some(FileType::Directory) | None => {}
                Some(_) => {
                    return Err(Error::invalid(format!(
                        "{at} is not a directory, so nothing can lie below it"
                    ))
                    .because(Reason::NotADirectory)
                    .at(partition.to_string()));
                }
            }
        }
        at.join(name)
    }

    /// What tells entries apart: on FAT, names that differ only in case name the same entry.
    fn key(&mut self, partition: Designator, path: &FsPath) -> Result<(Designator, FsPath)> {
        let is_fat = self.filesystem(partition)?.kind() == FsKind::Fat;
        let folded = match std::str::from_utf8(path.as_bytes()) {
            Ok(text) if is_fat => FsPath::new(text.to_lowercase()).ok(),
            _ => None,
        };
        Ok((partition, folded.unwrap_or_else(|| path.clone())))
    }

    /// Whether this work put an entry at `path`.
    pub(super) fn is_written(&mut self, partition: Designator, path: &FsPath) -> Result<bool> {
        let key = self.key(partition, path)?;
        Ok(self.written.contains_key(&key))
    }

    /// Forgets that this work put an entry at `path`, which is about to be changed by it.
    pub(super) fn forget_written(&mut self, partition: Designator, path: &FsPath) -> Result<()> {
        let key = self.key(partition, path)?;
        self.written.remove(&key);
        self.forget_changes(partition, path);
        Ok(())
    }

    /// Takes what was put at `path` out of the plan, which shows what is there in the end; removals stay.
    fn forget_changes(&mut self, partition: Designator, path: &FsPath) {
        self.changes.retain(|change| {
            (change.partition, &change.path) != (partition, path) || change.action == Action::Remove
        });
    }

    /// The later of two entries for one path stays, which is told; two names that FAT takes for one are an error.
    fn note_written(&mut self, partition: Designator, path: &FsPath, why: &str) -> Result<()> {
        let key = self.key(partition, path)?;
        match self.written.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(path.clone());
                Ok(())
            }
            Entry::Occupied(other) if other.get() != path => {
                let other = other.get();
                Err(Error::invalid(format!(
                    "{other} and {path} differ only in case, which FAT takes for one name"
                ))
                .at(partition.to_string())
                .with_hint("rename one of them"))
            }
            Entry::Occupied(_) => {
                let finding = Finding::new(code::WRITTEN_TWICE)
                    .with("path", path)
                    .with("by", why);
                self.findings.push(finding.at(partition.to_string()));
                self.forget_changes(partition, path);
                Ok(())
            }
        }
    }

    /// Makes the missing folders above `path`, and tells what is at `path` itself.
    pub(super) fn make_way(
        &mut self,
        partition: Designator,
        path: &FsPath,
        new: FileType,
        why: &str,
    ) -> Result<Option<Metadata>> {
        self.see_path(partition, path, new);
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(folder) = above {
            if self.type_at(partition, &folder)?.is_some() {
                break;
            }
            above = folder.parent();
            missing.push(folder);
        }
        for folder in missing.into_iter().rev() {
            self.make_folder(partition, &folder, None, why)?;
        }
        let old = self.metadata(partition, path)?;
        if old
            .as_ref()
            .is_some_and(|old| old.file_type == FileType::Directory)
            && new != FileType::Directory
        {
            return Err(Error::invalid(format!(
                "{path} is a directory in the image and cannot be replaced by a file"
            ))
            .because(Reason::IsADirectory)
            .at(partition.to_string())
            .with_hint("give a path inside it, or remove it first"));
        }
        Ok(old)
    }

    /// Whose an entry is about which nothing else is said.
    fn usual_owner(&mut self, partition: Designator, path: &FsPath) -> (u32, u32) {
        if partition != Designator::Root || !path.components().take(2).eq(CORE_HOME) {
            return ROOT_USER;
        }
        self.of_core.insert(path.clone());
        CORE_USER
    }

    /// Makes a folder at a path where nothing is.
    pub(super) fn make_folder(
        &mut self,
        partition: Designator,
        path: &FsPath,
        owner: Option<(u32, u32)>,
        why: &str,
    ) -> Result<()> {
        let mut change = change(partition, path, Action::CreateDir, why);
        change.mode = 0o755;
        (change.uid, change.gid) = owner.unwrap_or_else(|| self.usual_owner(partition, path));
        let attributes = self.attributes(&change);
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| fs.create_dir(path, &attributes))?;
        self.changes.push(change);
        Ok(())
    }

    /// Makes a symlink, in the place of what is there and is no folder.
    pub(super) fn make_symlink(
        &mut self,
        partition: Designator,
        path: &FsPath,
        target: &str,
        why: &str,
    ) -> Result<()> {
        let old = self.make_way(partition, path, FileType::Symlink, why)?;
        self.note_written(partition, path, why)?;
        let mut change = change(
            partition,
            path,
            Action::Symlink {
                target: target.to_owned(),
            },
            why,
        );
        change.replaces = old.is_some();
        (change.uid, change.gid) = self.usual_owner(partition, path);
        let attributes = self.attributes(&change);
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| {
            if old.is_some() {
                fs.remove(path)?;
            }
            fs.symlink(path, target.as_bytes(), &attributes)
        })?;
        self.changes.push(change);
        Ok(())
    }

    /// Writes a file, in the place of what is there and is no folder.
    pub(super) fn write_file(&mut self, new: NewFile<'_>) -> Result<()> {
        let NewFile {
            partition,
            path,
            content,
            mode,
            owner,
            why,
        } = new;
        let old = self.make_way(partition, path, FileType::File, why)?;
        self.note_written(partition, path, why)?;
        let source = match content {
            Content::Host(file, _) => Source::Host(file.to_owned()),
            Content::Bytes(bytes) => Source::Inline(hex(&Sha256::digest(bytes))),
        };
        let mut change = change(partition, path, Action::WriteFile { source }, why);
        change.replaces = old.is_some();
        change.mode = mode;
        (change.uid, change.gid) = owner.unwrap_or_else(|| self.usual_owner(partition, path));
        let attributes = self.attributes(&change);
        // Other names of the old file keep the old content.
        let in_the_way = old.is_some_and(|old| old.file_type != FileType::File || old.nlink > 1);
        change.bytes = match content {
            Content::Bytes(bytes) => crate::bytes::to_u64(bytes.len()),
            Content::Host(_, bytes) => bytes,
        };
        self.asked(partition, change.bytes, why)?;
        match content {
            Content::Bytes(bytes) => self.edit(partition, path, |fs| {
                replace(
                    fs,
                    path,
                    in_the_way,
                    &attributes,
                    change.bytes,
                    &mut &*bytes,
                )
            })?,
            Content::Host(file, bytes) => {
                let mut reader = self.run.inputs.reader("file", file)?;
                if reader.bytes() != bytes {
                    return Err(Error::invalid("the file was changed while it was read")
                        .at(crate::block::shown(file)));
                }
                self.edit(partition, path, |fs| {
                    replace(fs, path, in_the_way, &attributes, bytes, &mut reader)
                })
                .at(|| crate::block::shown(file))?;
                reader.finish()?;
            }
        }
        self.run.context.progress.advance(change.bytes);
        self.changes.push(change);
        Ok(())
    }

    fn attributes(&self, change: &Change) -> Attributes {
        Attributes {
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            mtime: self.run.timestamp,
        }
    }

    /// Counts what is to be put on a partition, for the message where it does not fit.
    pub(super) fn asked(&mut self, partition: Designator, bytes: u64, what: &str) -> Result<()> {
        self.editor(partition)?.asked.add(bytes, what);
        Ok(())
    }

    fn remove(&mut self, place: &super::super::edits::Place) -> Result<()> {
        let partition = place.partition;
        let path = self.locate(partition, &place.path)?;
        if path.is_root() {
            return Err(
                Error::invalid("the top folder of a partition cannot be removed")
                    .at(partition.to_string()),
            );
        }
        if self.type_at(partition, &path)?.is_none() {
            return Err(Error::not_found(format!(
                "{path} is to be removed, but there is no such entry"
            ))
            .at(partition.to_string())
            .with_hint(format!("see what is there: flatbake ls IMG {partition}:/")));
        }
        self.remove_all(
            partition,
            &path,
            &format!("removal of {partition}:{}", place.path),
        )
    }

    /// Removes an entry and all below it.
    pub(super) fn remove_all(
        &mut self,
        partition: Designator,
        path: &FsPath,
        why: &str,
    ) -> Result<()> {
        self.edit(partition, path, |fs| {
            let mut found = Vec::new();
            fs::walk(fs.as_read(), path, &mut |entry| {
                found.push(entry.path);
                Ok(())
            })?;
            // The deepest first.
            found.iter().rev().try_for_each(|path| fs.remove(path))
        })?;
        self.changes
            .push(change(partition, path, Action::Remove, why));
        Ok(())
    }

    fn archive(&mut self, spec: &super::super::edits::ArchiveSpec) -> Result<()> {
        let name = crate::block::shown(&spec.source);
        let why = spec
            .origin
            .clone()
            .unwrap_or_else(|| format!("archive {name}"));
        let mut reader = self.run.inputs.reader("archive", &spec.source)?;
        self.asked(spec.partition, 0, &why)?;
        if spec.partition == Designator::Root && !spec.dest.is_root() {
            self.see_hidden(&spec.dest, FileType::File);
        }
        let dest = &spec.dest;
        let progress = self.run.context.progress;
        let unpacked = self.edit(spec.partition, dest, |fs| {
            crate::archive::inject(fs, &mut reader, dest, &spec.options, progress)
                .at(|| name.clone())
        })?;
        reader.finish()?;
        if spec.partition == Designator::Root {
            unpacked
                .top_level
                .iter()
                .for_each(|path| self.see_hidden(path, FileType::File));
        }
        self.findings.extend(
            unpacked
                .findings
                .into_iter()
                .map(|finding| finding.at(name.clone())),
        );
        let entries = unpacked.entries - unpacked.skipped;
        let action = Action::Unpack {
            source: spec.source.clone(),
            entries,
        };
        let mut change = change(spec.partition, dest, action, &why);
        (change.mode, change.bytes) = (0o755, unpacked.content_bytes);
        self.changes.push(change);
        Ok(())
    }

    /// Finishes all filesystems and tells what room they had and have.
    fn commit(&mut self) -> Result<Vec<Space>> {
        let partitions: Vec<Designator> = self.editors.keys().copied().collect();
        let mut all = Vec::new();
        for partition in partitions {
            let editor = self.editor(partition)?;
            let filesystem = editor.fs.kind();
            let before = editor.before;
            let finished = editor.fs.commit().and_then(|()| editor.fs.capacity());
            let after = finished
                .at(|| self.disk.describe(partition.into()))
                .map_err(|error| self.noting_full(partition, error))?;
            all.push(Space {
                partition,
                filesystem,
                total_bytes: after.total_bytes,
                free_bytes: (before.free_bytes, after.free_bytes),
                free_inodes: before
                    .inodes
                    .zip(after.inodes)
                    .map(|((_, before), (_, after))| (before, after)),
            });
        }
        Ok(all)
    }

    /// What went wrong; where a partition was too small, with the numbers.
    fn failure(&self, error: Error) -> Failure {
        let asked = |partition| {
            self.editors
                .get(&partition)
                .map(|editor: &Editor| &editor.asked)
        };
        let asked_on_root = asked(Designator::Root).map_or(0, |asked| asked.bytes);
        let Some((full, editor)) = self
            .full
            .and_then(|full| Some((full, self.editors.get(&full)?)))
        else {
            return Failure {
                error,
                full: self.full,
                asked_on_root,
            };
        };
        let asked = &editor.asked;
        let before = &editor.before;
        let needed = ByteSize(asked.bytes);
        let free = ByteSize(before.free_bytes);
        let total = ByteSize(before.total_bytes);
        let mut message = format!(
            "what is put there does not fit: at least {needed} ({} bytes) of content",
            asked.bytes
        );
        message.push_str(&format!(
            " in {} entries, and {free} of {total} were free",
            asked.entries
        ));
        if let Some((inodes, free)) = before.inodes {
            message.push_str(&format!(", with {free} of {inodes} inodes"));
        }
        let largest: Vec<String> = asked
            .largest
            .iter()
            .map(|(bytes, what)| format!("{what} ({})", ByteSize(*bytes)))
            .collect();
        if !largest.is_empty() {
            message.push_str(&format!("; the largest: {}", largest.join(", ")));
        }
        let hint = match full {
            Designator::Root => "remove something, or let ROOT grow",
            Designator::Oem => "put sysexts and large files on ROOT instead of OEM",
            _ => "put less there, or remove something",
        };
        let mut error = Error::no_space(message)
            .with_source(error)
            .with_hint(hint)
            .at(self.disk.describe(full.into()));
        if full == Designator::Root {
            error = error.with_setting("root_size");
        }
        Failure {
            error,
            full: Some(full),
            asked_on_root,
        }
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
    let stops: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.stops())
        .cloned()
        .collect();
    let message = match stops.as_slice() {
        [] => return Ok(()),
        [finding] => finding.to_string(),
        findings => {
            let each = findings.iter().map(|finding| format!("\n  - {finding}"));
            format!("{} findings:{}", findings.len(), each.collect::<String>())
        }
    };
    Err(Error::invalid(message).with_findings(stops))
}

/// A file to write.
pub(super) struct NewFile<'a> {
    pub(super) partition: Designator,
    pub(super) path: &'a FsPath,
    pub(super) content: Content<'a>,
    pub(super) mode: u32,
    /// `None` for what is usual there.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) why: &'a str,
}

/// What a file gets.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    /// That of a host file of this many bytes.
    Host(&'a std::path::Path, u64),
    /// These bytes.
    Bytes(&'a [u8]),
}

/// Writes a file where `in_the_way` tells whether what is there must go first.
fn replace(
    fs: &mut dyn FileSystemMut,
    path: &FsPath,
    in_the_way: bool,
    attributes: &Attributes,
    bytes: u64,
    content: &mut dyn std::io::Read,
) -> Result<()> {
    if in_the_way {
        fs.remove(path)?;
    }
    fs.write_file(path, attributes, bytes, content)
}

/// A change as it is for links and removals; attributes and size come after, where they differ.
fn change(partition: Designator, path: &FsPath, action: Action, why: &str) -> Change {
    Change {
        partition,
        path: path.clone(),
        action,
        replaces: false,
        mode: 0o777,
        uid: 0,
        gid: 0,
        bytes: 0,
        why: why.to_owned(),
    }
}
