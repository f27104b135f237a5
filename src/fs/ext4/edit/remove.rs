//! Removing and moving entries, and freeing what nothing names any more.

use super::super::Ext4;
use super::super::inode::Inode;
use super::super::map::Mapping;
use super::super::raw_inode::RawInode;
use super::super::space::Run;
use super::Place;
use crate::block::BlockDeviceMut;
use crate::error::{Error, Reason, Result};
use crate::fs::{FileType, FsPath};

impl<D: BlockDeviceMut> Ext4<D> {
    /// Removes a name and, with the last one, the inode.
    pub(super) fn remove_entry(&mut self, place: &Place<'_>, old: &Inode) -> Result<()> {
        if old.file_type == FileType::Directory {
            if self.has_entries(old)? {
                return Err(Error::invalid("the directory is not empty")
                    .because(Reason::NotEmpty)
                    .with_hint("remove its entries first"));
            }
            self.forget_parent()?;
        }
        self.check_removable(old)?;
        // Loaded before anything changes, for it may be damaged.
        self.directory(place.parent)?;
        self.drop_link(old)?;
        self.take_name(place, old.file_type)
    }

    /// Takes one name away from an inode.
    fn drop_link(&mut self, old: &Inode) -> Result<()> {
        let is_dir = old.file_type == FileType::Directory;
        if !is_dir && old.links > 1 {
            let mut raw = old.raw.clone();
            raw.set_links_count(old.links - 1);
            return self.stage(old.ino, raw);
        }
        self.free_inode(old)
    }

    /// Frees an inode and all that is its own.
    pub(in super::super) fn free_inode(&mut self, old: &Inode) -> Result<()> {
        let is_dir = old.file_type == FileType::Directory;
        self.space
            .check_inode_used(&self.store, &self.superblock, old.ino)?;
        self.release_content(old)?;
        if is_dir {
            let editor = self.editor()?;
            if let Some(directory) = editor.directories.remove(&old.ino) {
                editor.pending = editor.pending.saturating_sub(directory.counted);
            }
        }
        self.space
            .release_inode(&self.store, &self.superblock, old.ino, is_dir)?;
        // All zero is how an inode looks that was never used; a time of deletion would need a clock.
        let unused = RawInode::over(vec![0; old.raw.bytes().len()])?;
        let editor = self.editor()?;
        editor.changes += 1;
        editor.inodes.insert(old.ino, unused);
        Ok(())
    }

    /// Frees the blocks of an inode: content, tree and attributes.
    pub(super) fn release_content(&mut self, inode: &Inode) -> Result<()> {
        let mapping = self.mapping(inode)?;
        self.editor()?.changes += 1;
        self.release_mapping(&mapping)?;
        self.release_attribute_block(inode)
    }

    fn release_mapping(&mut self, mapping: &Mapping) -> Result<()> {
        let content = mapping.extents.iter().map(|extent| Run {
            start: extent.physical,
            len: extent.len,
        });
        let nodes = mapping.nodes.iter().map(|&start| Run { start, len: 1 });
        for run in content.chain(nodes) {
            self.space.release(&self.store, &self.superblock, run)?;
        }
        Ok(())
    }

    /// Moves an entry, over an existing one where neither is a directory.
    pub(super) fn move_entry(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        let (source, moved) = self.old_place(from)?;
        let target = self.place(to)?;
        if to.starts_with(from) {
            return Err(Error::invalid(format!(
                "cannot be moved to {to}, which lies inside it"
            )));
        }
        let is_dir = moved.file_type == FileType::Directory;
        if let Some(existing) = &target.existing {
            if existing.ino == moved.ino && !is_dir {
                return self.remove_entry(&source, &moved);
            }
            if existing.file_type == FileType::Directory || is_dir {
                return Err(Error::invalid(format!(
                    "{to} exists, and one of the two is a directory"
                ))
                .because(Reason::Exists));
            }
            self.check_removable(existing)?;
        }
        // Loaded before anything changes, for they may be damaged.
        self.directory(source.parent)?;
        let growth = self.growth(target.parent, target.name)?;
        if target.existing.is_none() {
            self.check_space(growth, 0, 0)?;
        }
        if is_dir && source.parent != target.parent {
            self.check_subdirs(target.parent)?;
            self.directory(moved.ino)?;
        }
        self.forget_parent()?;
        self.take_name(&source, moved.file_type)?;
        match &target.existing {
            Some(existing) => {
                let code = self.type_code(moved.file_type);
                self.change_directory(target.parent, |directory| {
                    directory.replace(target.name, moved.ino, code)
                })?;
                self.drop_link(existing)?;
            }
            None => self.add_name(&target, moved.ino, moved.file_type)?,
        }
        if is_dir && source.parent != target.parent {
            self.change_directory(moved.ino, |directory| directory.parent = target.parent)?;
        }
        Ok(())
    }
}
