//! Turns options into a plan: reads the image and the host's files, decides, checks, writes nothing.

mod oem;
mod payload;
mod sysext;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::archive;
use crate::bytes::to_u64;
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::{Designator, Disk, OsRelease};
use crate::fs::{self, FileSystem, FileType, FsPath, Timestamp};

use super::host::{self, HostEntry};
use super::options::{ArchiveSpec, BakeOptions, FileRole, FileSource, FileSpec, LinkSpec, Place};
use super::plan::{Action, Change, Plan, Source};
use super::root_size;
use super::tree::Tree;

/// Folders of ROOT that the running system mounts something over.
const HIDDEN_ON_ROOT: [&[u8]; 8] = [b"usr", b"oem", b"boot", b"dev", b"proc", b"sys", b"run", b"tmp"];

/// Reads the image and the host's files and decides what to change. Nothing is written.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for findings (all of them in one message) unless `options.force`,
/// [`crate::ErrorKind::NoSpace`] with the numbers where the changes do not fit.
pub fn plan(disk: &Disk, options: &BakeOptions) -> Result<Plan> {
    let mut warnings = disk.warnings();
    // Only sysexts need the release: an unreadable USR must not stop other edits.
    let release = disk.os_release().unwrap_or_else(|error| {
        warnings.push(format!("the release is not known: {error}"));
        None
    });
    let mut planner = Planner {
        disk,
        release,
        trees: BTreeMap::new(),
        changes: Vec::new(),
        hidden: BTreeSet::new(),
        faults: Vec::new(),
        warnings,
    };
    for place in &options.removals {
        planner.remove(place)?;
    }
    planner.oem_change(options)?;
    for archive in &options.archives {
        planner.archive(archive)?;
    }
    planner.sysexts(options)?;
    for file in &options.files {
        planner.file(file)?;
    }
    planner.kernel_args(&options.kernel_args, &options.removed_kernel_args)?;
    for link in &options.links {
        let why = || format!("--root-link {}:{}", link.target, link.path);
        let why = link.origin.clone().unwrap_or_else(why);
        planner.link(Designator::Root, link, why)?;
    }
    planner.finish(options)
}

struct Planner<'a> {
    disk: &'a Disk,
    release: Option<OsRelease>,
    trees: BTreeMap<Designator, Tree>,
    changes: Vec<Change>,
    /// Folders of ROOT about which a finding speaks already.
    hidden: BTreeSet<Vec<u8>>,
    /// Findings that stop the bake unless it is forced.
    faults: Vec<String>,
    warnings: Vec<String>,
}

impl Planner<'_> {
    fn finish(mut self, options: &BakeOptions) -> Result<Plan> {
        if options.force {
            self.warnings.append(&mut self.faults);
        }
        if !self.faults.is_empty() {
            let message = match self.faults.as_slice() {
                [fault] => fault.clone(),
                faults => format!("{} findings:\n  - {}", faults.len(), faults.join("\n  - ")),
            };
            return Err(
                Error::invalid(message).with_hint("mend what is named above, or bake it all the same with --force")
            );
        }
        let mut space = self.trees.values().map(Tree::space).collect::<Result<Vec<_>>>()?;
        let on_root = space.iter().find(|space| space.partition == Designator::Root);
        let resize = root_size::resize(self.disk, options, on_root)?;
        for space in &mut space {
            if space.partition != Designator::Root {
                space.check().at(|| self.disk.name().to_owned())?;
                continue;
            }
            if let Some(resize) = &resize {
                *space = space.grown(resize);
            }
            space.check_root(self.disk).at(|| self.disk.name().to_owned())?;
        }
        let timestamp = match options.timestamp {
            Some(time) => time,
            None => newest_time(self.disk)?,
        };
        Ok(Plan {
            image: self.disk.name().to_owned(),
            release: self.release.as_ref().and_then(|release| release.version().map(str::to_owned)),
            timestamp,
            changes: self.changes,
            resize,
            no_replay: options.no_replay,
            space,
            warnings: self.warnings,
        })
    }

    fn tree(&mut self, partition: Designator) -> Result<&mut Tree> {
        match self.trees.entry(partition) {
            Entry::Occupied(tree) => Ok(tree.into_mut()),
            Entry::Vacant(slot) => {
                let fs = self.disk.filesystem(partition.into())?;
                fs::check_editable(fs.kind()).at(|| self.disk.describe(partition.into()))?;
                Ok(slot.insert(Tree::new(partition, fs).at(|| partition.to_string())?))
            }
        }
    }

    fn remove(&mut self, place: &Place) -> Result<()> {
        let tree = self.tree(place.partition)?;
        let path = tree.locate(&place.path)?;
        if path.is_root() {
            return Err(
                Error::invalid("the top folder of a partition cannot be removed").at(place.partition.to_string())
            );
        }
        if tree.type_at(&path)?.is_none() {
            return Err(Error::not_found(format!("{path} is to be removed, but there is no such entry"))
                .at(place.partition.to_string())
                .with_hint(format!("see what is there: flatbake ls IMG {}:/", place.partition)));
        }
        tree.remove(&path)?;
        self.push(place.partition, path, Action::Remove, format!("--remove {}:{}", place.partition, place.path));
        Ok(())
    }

    /// Records a change; attributes and size come after, where they differ from a link's or a removal's.
    fn push(&mut self, partition: Designator, path: FsPath, action: Action, why: String) -> &mut Change {
        self.changes.push(Change {
            partition,
            path,
            action,
            replaces: false,
            mode: 0o777,
            uid: 0,
            gid: 0,
            bytes: 0,
            why,
        });
        self.changes.last_mut().expect("one was just pushed")
    }

    /// Makes the missing folders above `path`, and tells whether an entry is replaced at `path` itself.
    fn prepare(&mut self, partition: Designator, path: &FsPath, new: FileType, why: &str) -> Result<bool> {
        if partition == Designator::Root {
            self.hidden(path, new);
        }
        let mut missing = Vec::new();
        let tree = self.tree(partition)?;
        let mut above = path.parent();
        while let Some(folder) = above {
            if tree.type_at(&folder)?.is_some() {
                break;
            }
            above = folder.parent();
            missing.push(folder);
        }
        for folder in missing.into_iter().rev() {
            self.tree(partition)?.add(&folder, FileType::Directory, 0)?;
            self.push(partition, folder, Action::CreateDir, why.to_owned()).mode = 0o755;
        }
        match self.tree(partition)?.type_at(path)? {
            None => Ok(false),
            Some(FileType::Directory) if new != FileType::Directory => {
                Err(Error::invalid(format!("{path} is a directory in the image and cannot be replaced by a file"))
                    .at(partition.to_string())
                    .with_hint(format!("give a path inside it, or remove it with --remove {partition}:{path}")))
            }
            Some(_) => Ok(true),
        }
    }

    /// A new entry in a folder of ROOT that the running system mounts something over.
    fn hidden(&mut self, path: &FsPath, new: FileType) {
        let Some(top) = path.components().next() else { return };
        let mount_point = new == FileType::Directory && path.components().count() == 1;
        if HIDDEN_ON_ROOT.contains(&top) && !mount_point && self.hidden.insert(top.to_owned()) {
            let top = String::from_utf8_lossy(top);
            let instead = match &*top {
                "usr" => "ship files for /usr in a sysext",
                "oem" => "use --oem-file",
                "boot" => "use --boot-file",
                _ => "write it at boot, for example with tmpfiles.d",
            };
            self.faults.push(format!(
                "root:{path} would never be seen: the running system mounts another filesystem over /{top} ({instead})"
            ));
        }
    }

    fn archive(&mut self, spec: &ArchiveSpec) -> Result<()> {
        let name = host::shown(&spec.source);
        let why = format!("--{}-tar {name}", spec.partition);
        let scanned = archive::scan(host::open(&spec.source)?, &spec.dest, &spec.options);
        let scanned = scanned.at(|| name.clone())?;
        if spec.partition == Designator::Root {
            let below_root = if spec.dest.is_root() { &scanned.top_level } else { std::slice::from_ref(&spec.dest) };
            below_root.iter().for_each(|path| self.hidden(path, FileType::File));
        }
        self.warnings.extend(scanned.warnings.iter().map(|warning| format!("{name}: {warning}")));
        self.tree(spec.partition)?.add_archive(&scanned)?;
        let entries = scanned.entries - scanned.skipped;
        let action = Action::Unpack { source: spec.source.clone(), entries, options: spec.options.clone() };
        let change = self.push(spec.partition, spec.dest.clone(), action, why);
        (change.mode, change.bytes) = (0o755, scanned.content_bytes);
        Ok(())
    }

    fn file(&mut self, spec: &FileSpec) -> Result<()> {
        let why = spec.origin.clone().unwrap_or_else(|| flag(spec));
        match spec.role {
            FileRole::Ignition => self.ignition(spec, &why).at(|| why.clone())?,
            FileRole::GrubCfg => self.grub_cfg(spec, &why)?,
            FileRole::Plain => {}
        }
        if spec.partition == Designator::Oem {
            self.dead_on_oem(&spec.path);
        }
        let top = self.tree(spec.partition)?.locate(&spec.path)?;
        let added = match &spec.source {
            FileSource::Inline(content) => self.host_entry(spec, top, &HostEntry::inline(to_u64(content.len())), &why),
            FileSource::Host(source) => host::walk(source, &mut |entry| {
                let mut path = top.clone();
                for name in &entry.below {
                    path = path.join(name).at(|| host::shown(&entry.source))?;
                }
                self.host_entry(spec, path, entry, &why)
            }),
        };
        added.at(|| why.clone())
    }

    fn host_entry(&mut self, spec: &FileSpec, path: FsPath, entry: &HostEntry, why: &str) -> Result<()> {
        let (partition, file_type) = (spec.partition, entry.file_type);
        if path.is_root() {
            return match file_type {
                FileType::Directory => Ok(()),
                _ => Err(Error::invalid("a file cannot take the place of the top folder")
                    .with_hint("give the whole path that the file shall have in the image")),
            };
        }
        let replaces = self.prepare(partition, &path, file_type, why)?;
        if file_type == FileType::Directory && replaces {
            return match self.tree(partition)?.type_at(&path)? {
                Some(FileType::Directory) => Ok(()),
                _ => Err(Error::invalid(format!("{path} is not a directory, so a folder cannot take its place"))
                    .at(partition.to_string())
                    .with_hint(format!("remove it with --remove {partition}:{path}, or give another path"))),
            };
        }
        self.written_twice(partition, &path, why)?;
        self.tree(partition)?.add(&path, file_type, entry.bytes)?;
        let action = match file_type {
            FileType::Directory => Action::CreateDir,
            FileType::Symlink => Action::Symlink { target: entry.target.clone() },
            _ => Action::WriteFile {
                source: match &spec.source {
                    FileSource::Host(_) => Source::Host(entry.source.clone()),
                    FileSource::Inline(content) => Source::inline(content),
                },
            },
        };
        let change = self.push(partition, path, action, why.to_owned());
        change.replaces = replaces;
        change.bytes = if file_type == FileType::File { entry.bytes } else { 0 };
        (change.uid, change.gid) = spec.owner;
        if file_type != FileType::Symlink {
            // A mode that is given is meant for files; folders above them must stay open.
            let given = spec.mode.filter(|_| file_type == FileType::File);
            change.mode = given.unwrap_or(if entry.executable { 0o755 } else { 0o644 });
        }
        Ok(())
    }

    /// The later of two entries for one path stays, which is told; two names that FAT takes for one are an error.
    fn written_twice(&mut self, partition: Designator, path: &FsPath, why: &str) -> Result<()> {
        match self.tree(partition)?.planned_as(path) {
            Some(other) if other != path => {
                Err(Error::invalid(format!("{other} and {path} differ only in case, which FAT takes for one name"))
                    .at(partition.to_string())
                    .with_hint("rename one of them"))
            }
            Some(_) => {
                self.warnings.push(format!("{partition}:{path} is written more than once: that of {why} stays"));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn link(&mut self, partition: Designator, link: &LinkSpec, why: String) -> Result<()> {
        let path = self.tree(partition)?.locate(&link.path)?;
        let replaces = self.prepare(partition, &path, FileType::Symlink, &why)?;
        self.written_twice(partition, &path, &why)?;
        self.tree(partition)?.add(&path, FileType::Symlink, to_u64(link.target.len()))?;
        self.push(partition, path, Action::Symlink { target: link.target.clone() }, why).replaces = replaces;
        Ok(())
    }

    /// Copies one file, readable by everyone and executable by no one, as sysexts and their configs are.
    fn copy(&mut self, source: &Path, partition: Designator, path: FsPath, why: &str) -> Result<()> {
        let spec = FileSpec { mode: Some(0o644), ..FileSpec::new(source, partition, path) };
        let path = self.tree(partition)?.locate(&spec.path)?;
        let entry = host::file(source)?;
        self.host_entry(&spec, path, &entry, why)
    }

    /// The first number of the image's release.
    fn major(&self) -> Option<u64> {
        self.release.as_ref()?.major()
    }
}

/// The flag of the command line that asks for a file.
fn flag(spec: &FileSpec) -> String {
    match (spec.role, &spec.source) {
        (FileRole::GrubCfg, _) => "--grub-cfg".to_owned(),
        (FileRole::Ignition, _) if spec.path.as_bytes() == b"/config.ign" => "--config-ign".to_owned(),
        (FileRole::Ignition, _) => "--base-ign".to_owned(),
        (FileRole::Plain, FileSource::Host(source)) => {
            format!("--{}-file {}:{}", spec.partition, host::shown(source), spec.path)
        }
        (FileRole::Plain, FileSource::Inline(_)) => format!("content of {}:{}", spec.partition, spec.path),
    }
}

/// The newest time that the base image shows: that of the top folders of OEM and ROOT and of os-release.
fn newest_time(disk: &Disk) -> Result<Timestamp> {
    let places = [(Designator::Oem, "/"), (Designator::Root, "/"), (Designator::Usr, "/lib/os-release")];
    let time = |(partition, path): (Designator, &str)| -> Option<Timestamp> {
        let fs: Box<dyn FileSystem> = disk.filesystem(partition.into()).ok()?;
        Some(fs.metadata(&FsPath::new(path).ok()?).ok()?.mtime)
    };
    // A partition that cannot be read shows no time; whether it must be readable is not decided here.
    let newest = places.into_iter().filter_map(time).max().unwrap_or_default();
    Ok(Timestamp { secs: newest.secs.max(0), nanos: 0 })
}
