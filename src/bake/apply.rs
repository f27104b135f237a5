//! Carries out a plan on a copy-on-write overlay over the image.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::archive;
use crate::block::{BlockDevice, Overlay, OverlayOptions, Window};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, Attributes, EditOptions, FileSystemMut, FileType, FsPath, Metadata};
use crate::progress::Progress;

use super::host;
use super::plan::{Action, Change, Plan, Source};
use super::root_size::Resize;

/// Where an overlay keeps what is changed.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// Folder for unlinked temporary files.
    pub temp_dir: PathBuf,
    /// Bytes of changes kept in memory before they go to a temporary file.
    pub memory_budget: u64,
}

/// Carries out `plan` on an overlay over `disk`, which itself is never written, and returns the overlay.
///
/// The plan must come from the same disk. A host file that has changed its size since is an error.
pub fn apply(disk: &Disk, plan: &Plan, scratch: &Scratch, progress: &dyn Progress) -> Result<Arc<Overlay>> {
    let options = OverlayOptions { memory_budget: scratch.memory_budget, temp_dir: scratch.temp_dir.clone() };
    let overlay = Arc::new(Overlay::new(disk.device(), options)?);
    apply_to(&overlay, disk, plan, scratch, progress)?;
    Ok(overlay)
}

/// Carries out `plan` on `overlay`, which must hold what `disk` holds and not be the device that `disk` reads: some
/// filesystems are built anew from the old one. So several forks of one overlay can be changed each in its own way.
pub fn apply_to(
    overlay: &Arc<Overlay>,
    disk: &Disk,
    plan: &Plan,
    scratch: &Scratch,
    progress: &dyn Progress,
) -> Result<()> {
    let total = plan.changes.iter().map(|change| change.bytes).fold(0, u64::saturating_add);
    progress.start("editing the partitions", total);
    let mut partitions: BTreeSet<Designator> = plan.space.iter().map(|space| space.partition).collect();
    if let Some(resize) = &plan.resize {
        grow_disk(disk, overlay, resize).at(|| disk.name().to_owned())?;
        if resize.root_bytes > resize.root_bytes_before {
            partitions.insert(Designator::Root);
        }
    }
    for partition in partitions {
        edit(disk, overlay, partition, plan, scratch, progress).at(|| disk.describe(partition.into()))?;
    }
    progress.finish();
    Ok(())
}

/// Makes the disk and ROOT's entry in the partition table larger.
fn grow_disk(disk: &Disk, overlay: &Overlay, resize: &Resize) -> Result<()> {
    overlay.grow(resize.disk_bytes)?;
    let mut table = disk.table().clone();
    table.grow(resize.disk_bytes)?;
    table.resize(disk.partition(Designator::Root.into())?.number, resize.root_bytes)?;
    table.write(overlay)
}

fn edit(
    disk: &Disk,
    overlay: &Arc<Overlay>,
    designator: Designator,
    plan: &Plan,
    scratch: &Scratch,
    progress: &dyn Progress,
) -> Result<()> {
    let partition = disk.partition(designator.into())?;
    let resize = plan.resize.filter(|_| designator == Designator::Root);
    let new_size = resize.map_or(partition.size(), |resize| resize.root_bytes);
    let source: Arc<dyn BlockDevice> = Arc::new(Window::new(disk.device(), partition.offset(), partition.size())?);
    let target = Arc::new(Window::new(Arc::clone(overlay), partition.offset(), new_size)?);
    let grow = new_size != partition.size();
    let options = EditOptions { no_replay: plan.no_replay, grow, ..EditOptions::new(&scratch.temp_dir) };
    let mut fs = fs::edit(source, target, &options)?;
    for change in plan.changes.iter().filter(|change| change.partition == designator) {
        carry_out(&mut *fs, change, plan, progress).at(|| change.path.to_string())?;
    }
    fs.commit()
}

/// Carries out one change. What is there already counts as it is now: an archive may have brought it.
fn carry_out(fs: &mut dyn FileSystemMut, change: &Change, plan: &Plan, progress: &dyn Progress) -> Result<()> {
    let attributes = Attributes { mode: change.mode, uid: change.uid, gid: change.gid, mtime: plan.timestamp };
    let path = &change.path;
    match &change.action {
        Action::Remove => remove_all(fs, path),
        Action::Unpack { source, options, .. } => {
            let archive = host::open(source)?;
            let unpacked = archive::inject(fs, archive, path, options, progress).at(|| host::shown(source))?;
            unpacked.warnings.iter().for_each(|warning| progress.warn(&format!("{}: {warning}", host::shown(source))));
            Ok(())
        }
        Action::CreateDir if old(fs, path)?.is_some_and(|old| old.file_type == FileType::Directory) => Ok(()),
        Action::CreateDir => fs.create_dir(path, &attributes),
        Action::Symlink { target } => {
            if old(fs, path)?.is_some() {
                fs.remove(path)?;
            }
            fs.symlink(path, target.as_bytes(), &attributes)
        }
        Action::WriteFile { source } => {
            // Other names of the old file keep the old content.
            if old(fs, path)?.is_some_and(|old| old.file_type != FileType::File || old.nlink > 1) {
                fs.remove(path)?;
            }
            match source {
                Source::Host(file) => {
                    let mut content = host::open(file)?;
                    fs.write_file(path, &attributes, change.bytes, &mut content).at(|| host::shown(file))?;
                }
                Source::Text(text) => fs.write_file(path, &attributes, change.bytes, &mut text.as_bytes())?,
                Source::Base64(bytes) => fs.write_file(path, &attributes, change.bytes, &mut bytes.as_slice())?,
            }
            progress.advance(change.bytes);
            Ok(())
        }
    }
}

fn old(fs: &dyn FileSystemMut, path: &FsPath) -> Result<Option<Metadata>> {
    match fs.metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an entry and all below it, the deepest first.
fn remove_all(fs: &mut dyn FileSystemMut, top: &FsPath) -> Result<()> {
    let mut found = Vec::new();
    fs::walk(fs.as_read(), top, &mut |entry| {
        found.push(entry.path);
        Ok(())
    })?;
    found.iter().rev().try_for_each(|path| fs.remove(path))
}
