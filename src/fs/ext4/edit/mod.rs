//! Editing: requests are checked, changes gathered in memory, and everything written once at commit.
//!
//! ```text
//!   request ─▶ checks: path, attributes, space ─▶ names (directory.rs), inodes, bitmaps in memory ─▶ commit.rs
//!                                             └─▶ content, at once, to blocks that were free        (content.rs)
//! ```

mod attributes;
mod commit;
mod content;
mod remove;
mod requests;

use std::collections::BTreeMap;

use super::directory::Directory;
use super::inode::Inode;
use super::map::Mapping;
use super::raw_inode::RawInode;
use super::read::check_entry_count;
use super::space::Run;
use super::superblock::ensure;
use super::time::{self, Time};
use super::{Ext4, features, htree, inline};
use crate::block::BlockDeviceMut;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::{Attributes, FileType, FsPath, Timestamp};

/// Most names of a file, and most links of a directory that are counted (`EXT4_LINK_MAX`).
const LINKS_MAX: u32 = 65_000;

/// Memory for inodes that were changed and are not written yet.
pub(super) const INODES_BYTES_MAX: usize = 64 << 20;
/// What an inode takes in memory besides its bytes.
pub(super) const INODE_OVERHEAD: usize = 64;

/// What was edited and is not written yet.
#[derive(Debug, Default)]
pub(super) struct Editor {
    /// Inodes with changes, their checksums not yet made.
    pub inodes: BTreeMap<u32, RawInode<Vec<u8>>>,
    /// Directories whose names may have changed.
    pub directories: BTreeMap<u32, Directory>,
    /// The directory of the last entry: the next is often in the same one.
    last_parent: Option<(FsPath, u32)>,
    /// Blocks that directories need at commit at most.
    pending: u64,
    /// Counts changes.
    changes: u64,
    /// Whether an edit failed half-way.
    failed: bool,
    /// Whether the superblock must be written although no group changed.
    superblock_dirty: bool,
}

impl Editor {
    /// Has the superblock written at commit, whatever else changes.
    pub(super) fn need_superblock(&mut self) {
        self.superblock_dirty = true;
    }

    /// Blocks set aside for directories.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }
}

/// An inode just made, its name already in place.
struct Created {
    ino: u32,
    raw: RawInode<Vec<u8>>,
    /// The directory's inode.
    parent: u32,
}

/// A name to be put into, or taken from, a directory.
struct Place<'a> {
    /// The directory's inode.
    parent: u32,
    name: &'a [u8],
    /// The inode that has the name now.
    existing: Option<Inode>,
}

impl<D: BlockDeviceMut> Ext4<D> {
    /// Notes whether something is half-written, so that nothing can be committed.
    pub(super) fn set_failed(&mut self, failed: bool) -> Result<()> {
        self.editor()?.failed = failed;
        Ok(())
    }

    fn editor(&mut self) -> Result<&mut Editor> {
        self.editor
            .as_mut()
            .ok_or_else(|| Error::invalid("the filesystem was opened for reading only"))
    }

    /// Keeps an inode's new bytes until commit.
    pub(super) fn stage(&mut self, ino: u32, raw: RawInode<Vec<u8>>) -> Result<()> {
        if !self.editor()?.inodes.contains_key(&ino) {
            self.space
                .check_inode_used(&self.store, &self.superblock, ino)?;
        }
        let editor = self.editor()?;
        editor.changes += 1;
        editor.inodes.insert(ino, raw);
        if self.editor()?.inodes.len() > self.inodes_max {
            self.write_inodes()?;
        }
        Ok(())
    }

    /// The inode at `path`, which the next entry is likely to lie in too.
    fn parent(&mut self, path: FsPath) -> Result<Inode> {
        if let Some((known, ino)) = &self.editor()?.last_parent
            && *known == path
        {
            let ino = *ino;
            return self.inode(ino);
        }
        let inode = self.inode_at(&path)?;
        self.editor()?.last_parent = Some((path, inode.ino));
        Ok(inode)
    }

    /// Forgets where the last entry lay, as directories are about to come to lie elsewhere.
    fn forget_parent(&mut self) -> Result<()> {
        self.editor()?.last_parent = None;
        Ok(())
    }

    /// The directory of `path` and what has its name now.
    fn place<'p>(&mut self, path: &'p FsPath) -> Result<Place<'p>> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(Error::internal("the root directory is refused before"));
        };
        let parent = self.parent(parent)?;
        if parent.file_type != FileType::Directory {
            return Err(
                Error::invalid("the parent is not a directory").because(Reason::NotADirectory)
            );
        }
        let existing = self
            .find_name(&parent, name)?
            .map(|ino| self.named_inode(ino))
            .transpose()?;
        Ok(Place {
            parent: parent.ino,
            name,
            existing,
        })
    }

    /// A place where nothing is yet.
    fn new_place<'p>(&mut self, path: &'p FsPath) -> Result<Place<'p>> {
        let place = self.place(path)?;
        match place.existing {
            Some(_) => Err(Error::invalid("already exists")
                .because(Reason::Exists)
                .with_hint("remove it first, or choose another path")),
            None => Ok(place),
        }
    }

    /// A place where something is.
    fn old_place<'p>(&mut self, path: &'p FsPath) -> Result<(Place<'p>, Inode)> {
        let mut place = self.place(path)?;
        let existing = place
            .existing
            .take()
            .ok_or_else(|| Error::not_found("no such file or directory"))?;
        Ok((place, existing))
    }

    fn check_time(&self, attributes: &Attributes) -> Result<()> {
        time::check(self.superblock.inode_size, attributes.mtime)
    }

    /// A directory's names in memory, read when first asked for.
    fn directory(&mut self, ino: u32) -> Result<&mut Directory> {
        if !self.editor()?.directories.contains_key(&ino) {
            let inode = self.inode(ino)?;
            let mapping = self.mapping(&inode)?;
            for extent in &mapping.extents {
                let held = Run {
                    start: extent.physical,
                    len: extent.len,
                };
                self.space.check_held(&self.store, &self.superblock, held)?;
            }
            let directory = self.load_directory(&inode, &mapping)?;
            self.editor()?.directories.insert(ino, directory);
        }
        let directory = self.editor()?.directories.get_mut(&ino);
        directory.ok_or_else(|| Error::internal("the directory was just loaded"))
    }

    fn load_directory(&self, inode: &Inode, mapping: &Mapping) -> Result<Directory> {
        let ino = inode.ino;
        let blocks = mapping.extents.iter().map(|extent| extent.len).sum();
        let mut parent = if inode.is_inline() {
            Some(inline::parent(inode)?)
        } else {
            None
        };
        let mut directory = Directory::new(0, blocks);
        let typed = self.superblock.has_incompat(features::INCOMPAT_FILETYPE);
        self.for_each_record(inode, &mut |record| {
            match record.name {
                b"." => ensure(record.ino == ino, || {
                    format!("directory inode {ino} names another one '.'")
                })?,
                b".." => parent = Some(record.ino),
                name => {
                    check_entry_count(directory.len())?;
                    let is_dir = match (typed, FileType::from_entry_code(record.file_type)) {
                        (true, Some(file_type)) => file_type == FileType::Directory,
                        _ => self.inode(record.ino)?.file_type == FileType::Directory,
                    };
                    directory.subdirs += u32::from(is_dir);
                    ensure(directory.insert(name, record.ino, record.file_type), || {
                        format!(
                            "directory inode {ino} has the name '{}' twice",
                            String::from_utf8_lossy(name)
                        )
                    })?;
                }
            }
            Ok(true)
        })?;
        directory.parent =
            parent.ok_or_else(|| Error::corrupt(format!("directory inode {ino} has no '..'")))?;
        Ok(directory)
    }

    /// Refuses what cannot fit before anything is written: blocks and inodes beyond those that `freed` gives back.
    fn check_space(&self, blocks: u64, freed: u64, inodes: u32) -> Result<()> {
        let usable = self.usable_blocks().saturating_add(freed);
        let free_inodes = self.space.free_inodes();
        if blocks <= usable && inodes <= free_inodes {
            return Ok(());
        }
        let bytes = u64::from(self.superblock.block_size);
        Err(Error::no_space(format!(
            "{} bytes and {inodes} inodes are needed, {} bytes and {free_inodes} inodes are free",
            blocks.saturating_mul(bytes),
            usable * bytes,
        ))
        .with_hint("use a larger partition, or bake less into it"))
    }

    /// Blocks that a directory needs for one more name, beyond those counted already; an error where it is full.
    fn growth(&mut self, parent: u32, name: &[u8]) -> Result<u64> {
        check_entry_count(self.directory(parent)?.len())?;
        let directory = self
            .editor
            .as_ref()
            .and_then(|editor| editor.directories.get(&parent));
        Ok(directory.map_or(0, |directory| {
            directory
                .growth(&self.superblock, htree::record_len(name.len()))
                .saturating_sub(directory.counted)
        }))
    }

    /// Changes a directory's names, counting what it needs at commit.
    fn change_directory<T>(
        &mut self,
        ino: u32,
        change: impl FnOnce(&mut Directory) -> T,
    ) -> Result<T> {
        self.directory(ino)?;
        if self.superblock.has_incompat(features::INCOMPAT_EA_INODE) {
            // Its count of blocks, which changes with it, also counts those of the other inode.
            self.check_removable(&self.inode(ino)?)?;
        }
        let missing = || Error::internal("the directory was just loaded");
        let editor = self.editor.as_mut().ok_or_else(missing)?;
        let directory = editor.directories.get_mut(&ino).ok_or_else(missing)?;
        let result = change(directory);
        directory.dirty = true;
        let needed = directory.growth(&self.superblock, 0);
        editor.pending = (editor.pending + needed).saturating_sub(directory.counted);
        directory.counted = needed;
        editor.changes += 1;
        Ok(result)
    }

    /// Takes over a directory that was just made.
    pub(super) fn add_directory(&mut self, ino: u32, directory: Directory) -> Result<()> {
        self.editor()?.directories.insert(ino, directory);
        self.change_directory(ino, |_| ())
    }

    /// Puts a name into a directory.
    fn add_name(&mut self, place: &Place<'_>, ino: u32, file_type: FileType) -> Result<()> {
        let code = self.type_code(file_type);
        let added = self.change_directory(place.parent, |directory| {
            directory.subdirs += u32::from(file_type == FileType::Directory);
            directory.insert(place.name, ino, code)
        })?;
        if added {
            Ok(())
        } else {
            Err(Error::internal("the name was free when it was checked"))
        }
    }

    /// Takes a name out of a directory.
    fn take_name(&mut self, place: &Place<'_>, file_type: FileType) -> Result<()> {
        self.change_directory(place.parent, |directory| {
            directory.subdirs = directory
                .subdirs
                .saturating_sub(u32::from(file_type == FileType::Directory));
            directory.remove(place.name);
        })
    }

    fn type_code(&self, file_type: FileType) -> u8 {
        if self.superblock.has_incompat(features::INCOMPAT_FILETYPE) {
            file_type.entry_code()
        } else {
            0
        }
    }

    /// Refuses another directory in `parent` where its links cannot be counted.
    fn check_subdirs(&mut self, parent: u32) -> Result<()> {
        let uncounted = self.superblock.has_ro(features::RO_COMPAT_DIR_NLINK);
        if self.directory(parent)?.subdirs + 3 < LINKS_MAX || uncounted {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "more than {} directories in one need the feature dir_nlink",
            LINKS_MAX - 3
        ))
        .because(Reason::Feature))
    }

    /// Makes a new inode with a name; `blocks` are what it will need beyond.
    fn create(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        attributes: &Attributes,
        blocks: u64,
    ) -> Result<Created> {
        self.check_time(attributes)?;
        let place = self.new_place(path)?;
        let is_dir = file_type == FileType::Directory;
        if is_dir {
            self.check_subdirs(place.parent)?;
        }
        let growth = self.growth(place.parent, place.name)?;
        self.check_space(blocks + growth, 0, 1)?;
        let goal = (place.parent - 1) / self.superblock.inodes_per_group;
        let ino = self
            .space
            .take_inode(&self.store, &self.superblock, goal, is_dir)?;
        self.editor()?.changes += 1;
        let mut raw = RawInode::new(&self.superblock, file_type)?;
        set_attributes(&mut raw, attributes);
        self.add_name(&place, ino, file_type)?;
        Ok(Created {
            ino,
            raw,
            parent: place.parent,
        })
    }

    /// Runs an edit of `path`; one that fails after its first change leaves the filesystem unfit for commit.
    fn edit<T>(&mut self, path: &FsPath, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let editor = self.editor()?;
        let before = editor.changes;
        if editor.failed {
            return Err(Error::invalid("an earlier edit failed half-way")
                .with_hint("start again from the base image"));
        }
        let result = body(self);
        let editor = self.editor()?;
        if result.is_err() && editor.changes != before {
            editor.failed = true;
        }
        result.at(|| path.to_string())
    }
}

/// Owner, permissions and all four times.
pub(super) fn set_attributes(raw: &mut RawInode<Vec<u8>>, attributes: &Attributes) {
    raw.set_permissions(attributes.mode);
    raw.set_uid(attributes.uid);
    raw.set_gid(attributes.gid);
    set_all_times(raw, attributes.mtime);
}

fn set_all_times(raw: &mut RawInode<Vec<u8>>, stamp: Timestamp) {
    for which in Time::ALL {
        time::set(raw, which, stamp);
    }
}
