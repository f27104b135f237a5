//! The editors of a disk's partitions: opened when they are needed, read and changed through here, finished together.

use std::sync::Arc;

use super::Bench;
use super::room::{Asked, Editor};
use crate::bake::edits::Edits;
use crate::bake::plan::Space;
use crate::block::{BlockDevice, Window};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::{Designator, FRESH_DISK_GUID, FRESH_USR_ATTRIBUTES, PartitionRef};
use crate::fs::{self, ByPath, EditOptions, FileSystemMut, FileType, FsPath, Metadata};
use crate::partition::PartitionTable;

/// The partition of the release that an image comes with.
const FIRST_USR: &str = "USR-A";

impl Bench<'_> {
    /// Makes the disk and ROOT's entry in the partition table larger; the filesystem grows when it is opened.
    pub(super) fn grow(&mut self) -> Result<()> {
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

    /// Makes the table say what that of an image that was never booted says.
    pub(super) fn reset_table(&mut self, edits: &Edits) -> Result<()> {
        if !edits.fresh_table {
            return Ok(());
        }
        let reset = || {
            let mut table = PartitionTable::read(&self.overlay)?;
            table.set_disk_guid(FRESH_DISK_GUID)?;
            let usr = PartitionRef::Label(FIRST_USR.to_owned());
            if let Ok(usr) = self.disk.partition(usr) {
                table.set_attributes(usr.number, FRESH_USR_ATTRIBUTES)?;
            }
            table.write(&self.overlay)
        };
        reset().at(|| self.disk.name().to_owned())?;
        self.findings.push(Finding::new(code::TABLE_RESET));
        Ok(())
    }

    pub(super) fn editor(&mut self, designator: Designator) -> Result<&mut Editor> {
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
    pub(super) fn noting_full(&mut self, partition: Designator, error: Error) -> Error {
        if error.kind() == ErrorKind::NoSpace {
            self.full = Some(partition);
        }
        error
    }

    /// Changes `path` on a partition.
    pub(super) fn edit<T>(
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
    pub(in crate::bake::prepare) fn is_edited(&self, partition: Designator) -> bool {
        self.editors.contains_key(&partition)
    }

    /// The filesystem of a partition with the changes made so far.
    pub(in crate::bake::prepare) fn filesystem(
        &mut self,
        partition: Designator,
    ) -> Result<&dyn fs::FileSystem> {
        Ok(self.editor(partition)?.fs.as_read())
    }

    /// What is at `path` now.
    pub(in crate::bake::prepare) fn metadata(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<Option<Metadata>> {
        let found = self.filesystem(partition)?.find_metadata(path);
        found.at(|| self.disk.describe(partition.into()))
    }

    /// The type of what is at `path` now.
    pub(in crate::bake::prepare) fn type_at(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<Option<FileType>> {
        Ok(self
            .metadata(partition, path)?
            .map(|metadata| metadata.file_type))
    }

    /// Where `path` really lies: symlinks on the way to it are followed, inside the image only.
    pub(in crate::bake::prepare) fn locate(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<FsPath> {
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

    /// Counts what is to be put on a partition, for the message where it does not fit.
    pub(in crate::bake::prepare) fn asked(
        &mut self,
        partition: Designator,
        bytes: u64,
        what: &str,
    ) -> Result<()> {
        self.editor(partition)?.asked.add(bytes, what);
        Ok(())
    }

    /// Finishes all filesystems and tells what room they had and have.
    pub(super) fn commit(&mut self) -> Result<Vec<Space>> {
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
}
