//! A partition as it will be: what the image holds, with the changes planned so far.

use std::collections::BTreeMap;

use crate::archive::TarPlan;
use crate::bytes::{align_up, to_u64};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::flatcar::Designator;
use crate::fs::{self, FileSystem, FileType, FsKind, FsPath, fat};

use super::plan::Space;

/// Bytes of one entry in a directory besides its name (ext4: 8 and padding to 4; btrfs needs more, but budgets itself).
const DIR_ENTRY_BYTES: u64 = 12;
/// A FAT directory entry, of which a long name takes one for every 13 characters and one more.
const FAT_ENTRY_BYTES: u64 = 32;
/// Content that one extent of ext4 covers at most; four extents lie in the inode, more take blocks of their own.
const EXT4_EXTENT_BYTES: u64 = 128 << 20;

/// What a path will be: an entry of a type, or nothing any more.
struct Planned {
    /// The path as it was asked for.
    path: FsPath,
    file_type: Option<FileType>,
}

/// A partition's filesystem with the changes planned so far.
pub(super) struct Tree {
    pub(super) partition: Designator,
    pub(super) fs: Box<dyn FileSystem>,
    /// What is planned, by [`Tree::key`].
    planned: BTreeMap<FsPath, Planned>,
    block_bytes: u64,
    needed_bytes: u64,
    needed_inodes: u64,
    freed_bytes: u64,
    freed_inodes: u64,
    /// Bytes of new entries by directory.
    entries: BTreeMap<FsPath, u64>,
}

impl Tree {
    pub(super) fn new(partition: Designator, fs: Box<dyn FileSystem>) -> Result<Self> {
        let block_bytes = fs.capacity()?.block_bytes.max(1);
        Ok(Self {
            partition,
            fs,
            planned: BTreeMap::new(),
            block_bytes,
            needed_bytes: 0,
            needed_inodes: 0,
            freed_bytes: 0,
            freed_inodes: 0,
            entries: BTreeMap::new(),
        })
    }

    /// What tells entries apart: on FAT, names that differ only in case name the same entry.
    fn key(&self, path: &FsPath) -> FsPath {
        let folded = match std::str::from_utf8(path.as_bytes()) {
            Ok(text) if self.fs.kind() == FsKind::Fat => FsPath::new(text.to_lowercase()).ok(),
            _ => None,
        };
        folded.unwrap_or_else(|| path.clone())
    }

    /// The type of what will be at `path` after the changes so far.
    pub(super) fn type_at(&self, path: &FsPath) -> Result<Option<FileType>> {
        let key = self.key(path);
        let mut ancestor = Some(key.clone());
        while let Some(at) = ancestor {
            match self.planned.get(&at) {
                Some(planned) if at == key => return Ok(planned.file_type),
                Some(Planned { file_type: None, .. }) => return Ok(None),
                _ => ancestor = at.parent(),
            }
        }
        match self.fs.metadata(path) {
            Ok(metadata) => Ok(Some(metadata.file_type)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.at(self.partition.to_string())),
        }
    }

    /// The path of an entry that this bake already puts at `path`, as it was asked for.
    pub(super) fn planned_as(&self, path: &FsPath) -> Option<&FsPath> {
        self.planned.get(&self.key(path)).filter(|planned| planned.file_type.is_some()).map(|planned| &planned.path)
    }

    /// Where `path` really lies: symlinks of the image on the way to it are followed, inside the image only.
    pub(super) fn locate(&self, path: &FsPath) -> Result<FsPath> {
        let Some(name) = path.name() else { return Ok(path.clone()) };
        let mut at = FsPath::root();
        for component in path.parent().unwrap_or_else(FsPath::root).components() {
            at = at.join(component)?;
            match self.type_at(&at)? {
                Some(FileType::Symlink) if self.planned_as(&at).is_some() => {
                    return Err(Error::invalid(format!("{path} lies behind {at}, a symlink that this bake makes"))
                        .with_hint("give the path with the symlink's target in its place"));
                }
                Some(FileType::Symlink) => {
                    at = fs::resolve(&*self.fs, &at).at(|| self.partition.to_string())?;
                    if self.type_at(&at)? != Some(FileType::Directory) {
                        return Err(Error::invalid(format!(
                            "{path} lies behind a symlink to {at}, which is no directory"
                        )));
                    }
                }
                Some(FileType::Directory) | None => {}
                Some(_) => return Err(Error::invalid(format!("{at} is not a directory, so nothing can lie below it"))),
            }
        }
        at.join(name)
    }

    /// Plans an entry of `bytes` content at `path`.
    pub(super) fn add(&mut self, path: &FsPath, file_type: FileType, bytes: u64) -> Result<()> {
        if self.fs.kind() == FsKind::Fat {
            fits_fat(path, file_type).at(|| self.partition.to_string())?;
        }
        self.planned.insert(self.key(path), Planned { path: path.clone(), file_type: Some(file_type) });
        self.needed_inodes += 1;
        let content = match file_type {
            FileType::Directory => self.block_bytes,
            // A short target lies in the inode itself.
            FileType::Symlink if bytes < 60 => 0,
            _ => bytes,
        };
        let extent_blocks = match self.fs.kind() {
            FsKind::Ext4 if bytes > 4 * EXT4_EXTENT_BYTES => 1 + bytes / EXT4_EXTENT_BYTES / 300,
            _ => 0,
        };
        let blocks = align_up(content, self.block_bytes).and_then(|n| n.checked_add(extent_blocks * self.block_bytes));
        let needed = blocks.and_then(|bytes| self.needed_bytes.checked_add(bytes));
        self.needed_bytes = needed.ok_or_else(|| Error::invalid(format!("{bytes} bytes for {path} are too many")))?;
        if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
            let name = to_u64(name.len());
            let entry =
                if self.fs.kind() == FsKind::Fat { FAT_ENTRY_BYTES * (2 + name / 13) } else { DIR_ENTRY_BYTES + name };
            *self.entries.entry(parent).or_default() += entry;
        }
        Ok(())
    }

    /// Plans all that an archive brings.
    pub(super) fn add_archive(&mut self, plan: &TarPlan) -> Result<()> {
        let too_many = || Error::invalid("the archive claims more bytes than any filesystem holds");
        let mut bytes = plan.allocated_bytes.checked_add(plan.target_bytes).ok_or_else(too_many)?;
        bytes = bytes.checked_add(plan.xattr_bytes).ok_or_else(too_many)?;
        // Content is counted in blocks of 4 KiB, which are larger here.
        let rounding = self.block_bytes.saturating_sub(4096).saturating_mul(plan.files);
        self.needed_bytes =
            self.needed_bytes.checked_add(bytes).and_then(|sum| sum.checked_add(rounding)).ok_or_else(too_many)?;
        self.needed_inodes = self.needed_inodes.saturating_add(plan.inodes);
        for (folder, inside) in &plan.directories {
            if self.type_at(folder)?.is_none() {
                self.needed_bytes = self.needed_bytes.saturating_add(self.block_bytes);
            }
            let entries = match self.fs.kind() {
                FsKind::Fat => FAT_ENTRY_BYTES.saturating_mul(inside.entries * 2 + inside.name_bytes / 13),
                _ => inside.entries.saturating_mul(DIR_ENTRY_BYTES).saturating_add(inside.name_bytes),
            };
            let sum = self.entries.entry(folder.clone()).or_default();
            *sum = sum.saturating_add(entries);
        }
        Ok(())
    }

    /// Plans that `path` goes, with all below it.
    pub(super) fn remove(&mut self, path: &FsPath) -> Result<()> {
        let (block_bytes, mut bytes, mut inodes) = (self.block_bytes, 0u64, 0u64);
        fs::walk(&*self.fs, path, &mut |entry| {
            let there = self.type_at(&entry.path)?.is_some();
            if there && (entry.metadata.file_type == FileType::Directory || entry.metadata.nlink <= 1) {
                inodes += 1;
                bytes = bytes.saturating_add(align_up(entry.metadata.size, block_bytes).unwrap_or(0));
            }
            Ok(())
        })
        .at(|| self.partition.to_string())?;
        self.freed_bytes = self.freed_bytes.saturating_add(bytes);
        self.freed_inodes += inodes;
        let key = self.key(path);
        self.planned.retain(|planned, _| !planned.starts_with(&key));
        self.planned.insert(key, Planned { path: path.clone(), file_type: None });
        Ok(())
    }

    /// Room needed and free.
    pub(super) fn space(&self) -> Result<Space> {
        let capacity = self.fs.capacity()?;
        let folders = self.entries.values().map(|bytes| bytes / self.block_bytes * self.block_bytes);
        let folders = folders.fold(0, u64::saturating_add);
        let used = capacity.total_bytes.saturating_sub(capacity.free_bytes);
        Ok(Space {
            partition: self.partition,
            filesystem: self.fs.kind(),
            needed_bytes: self.needed_bytes.saturating_add(folders),
            free_bytes: capacity.free_bytes.saturating_add(self.freed_bytes.min(used)),
            needed_inodes: self.needed_inodes,
            free_inodes: capacity.inodes.map(|(_, free)| free.saturating_add(self.freed_inodes)),
        })
    }
}

/// What FAT cannot hold is refused by the plan already.
fn fits_fat(path: &FsPath, file_type: FileType) -> Result<()> {
    if file_type == FileType::Symlink {
        return Err(Error::unsupported(format!("{path} is a symlink, which FAT cannot hold"))
            .with_hint("put a copy of the file in its place"));
    }
    fat::check_name(path)
}
