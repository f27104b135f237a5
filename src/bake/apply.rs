//! Carries out a plan on a copy-on-write overlay over the image.

use std::path::PathBuf;
use std::sync::Arc;

use crate::block::{BlockDevice, Overlay, OverlayOptions, Window};
use crate::error::{Result, ResultExt};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, Attributes, FileSystemMut, FileType, FsPath};
use crate::progress::Progress;

use super::host;
use super::plan::{Action, Change, Plan};

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
    let total = plan.changes.iter().map(|change| change.bytes).sum();
    progress.start("editing the partitions", total);
    for space in &plan.space {
        let changes = plan.changes.iter().filter(|change| change.partition == space.partition);
        edit(disk, &overlay, space.partition, changes, plan, scratch, progress)
            .at(|| disk.describe(space.partition.into()))?;
    }
    progress.finish();
    Ok(overlay)
}

fn edit<'a>(
    disk: &Disk,
    overlay: &Arc<Overlay>,
    partition: Designator,
    changes: impl Iterator<Item = &'a Change>,
    plan: &Plan,
    scratch: &Scratch,
    progress: &dyn Progress,
) -> Result<()> {
    let partition = disk.partition(partition.into())?;
    let (start, len) = (partition.offset(), partition.size());
    let source: Arc<dyn BlockDevice> = Arc::new(Window::new(disk.device(), start, len)?);
    let target = Arc::new(Window::new(Arc::clone(overlay), start, len)?);
    let mut fs = fs::edit(source, target, &scratch.temp_dir)?;
    for change in changes {
        carry_out(&mut *fs, change, plan).at(|| change.path.to_string())?;
        progress.advance(change.bytes);
    }
    fs.commit()
}

fn carry_out(fs: &mut dyn FileSystemMut, change: &Change, plan: &Plan) -> Result<()> {
    let attributes = Attributes { mode: change.mode, uid: change.uid, gid: change.gid, mtime: plan.timestamp };
    let path = &change.path;
    match &change.action {
        Action::Remove => remove_all(fs, path),
        Action::CreateDir => fs.create_dir(path, &attributes),
        Action::Symlink { target } => {
            if change.replaces {
                fs.remove(path)?;
            }
            fs.symlink(path, target.as_bytes(), &attributes)
        }
        Action::WriteFile { source } => {
            if change.replaces {
                let old = fs.metadata(path)?;
                // Other names of the old file keep the old content.
                if old.file_type != FileType::File || old.nlink > 1 {
                    fs.remove(path)?;
                }
            }
            let mut content = host::open(source)?;
            fs.write_file(path, &attributes, change.bytes, &mut content).at(|| host::shown(source))
        }
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
