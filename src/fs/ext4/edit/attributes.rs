//! Extended attributes of an inode: kept in it as far as they fit, the rest in one block.

use super::super::inode::Inode;
use super::super::space::{Goal, Run};
use super::super::{Ext4, features, xattr};
use crate::block::BlockDeviceMut;
use crate::error::{Error, Result};
use crate::fs::FsPath;

impl<D: BlockDeviceMut> Ext4<D> {
    /// Changes the attributes of the inode at `path`.
    pub(super) fn change_attributes(
        &mut self,
        path: &FsPath,
        change: impl FnOnce(&mut Vec<xattr::Attribute>) -> Result<()>,
    ) -> Result<()> {
        let inode = self.inode_at(path)?;
        let mut attributes = self.attributes(&inode)?;
        change(&mut attributes)?;
        self.store_attributes(inode, attributes)
    }

    fn store_attributes(&mut self, inode: Inode, attributes: Vec<xattr::Attribute>) -> Result<()> {
        let area = inode.xattr_area().len();
        let (inside, outside) = xattr::divide(attributes, area, self.superblock.block_bytes())?;
        if !outside.is_empty() && inode.file_acl == 0 {
            self.check_space(1, 0, 0)?;
        }
        let blocks = inode
            .raw
            .blocks(&self.superblock)
            .saturating_sub(u64::from(inode.file_acl != 0));
        if inode.file_acl != 0 {
            let held = Run {
                start: inode.file_acl,
                len: 1,
            };
            self.space.check_held(&self.store, &self.superblock, held)?;
        }
        self.need_compat_feature(features::COMPAT_EXT_ATTR)?;
        let number = self.store_block(&inode, &outside)?;
        let start = inode.xattr_start();
        let mut raw = inode.raw;
        if let Some(start) = start {
            xattr::write_area(&mut raw.bytes_mut()[start..], &inside)?;
        }
        raw.set_file_acl(number);
        raw.set_blocks(&self.superblock, blocks + u64::from(number != 0))?;
        self.stage(inode.ino, raw)
    }

    /// Writes the block of attributes of an inode, over the old one where nobody shares it; returns its number, 0 for
    /// none.
    fn store_block(&mut self, inode: &Inode, attributes: &[xattr::Attribute]) -> Result<u64> {
        let shared = match self.xattr_block(inode)? {
            Some(block) => {
                xattr::parse_block(&self.superblock, &block, inode.file_acl, &mut Vec::new())? > 1
            }
            None => false,
        };
        if attributes.is_empty() || shared {
            self.release_attribute_block(inode)?;
        }
        if attributes.is_empty() {
            return Ok(0);
        }
        let number = if inode.file_acl == 0 || shared {
            let goal = Goal {
                block: self.group_block(inode.ino),
                total: 1,
            };
            self.space
                .take(&self.store, &self.superblock, goal, 1)?
                .start
        } else {
            inode.file_acl
        };
        let block = xattr::write_block(&self.superblock, number, attributes)?;
        self.editor()?.changes += 1;
        self.store
            .write_at(number * u64::from(self.superblock.block_size), &block)?;
        Ok(number)
    }

    /// Lets go of the block of attributes of an inode: frees it, or counts one inode less.
    pub(super) fn release_attribute_block(&mut self, inode: &Inode) -> Result<()> {
        let Some(mut block) = self.xattr_block(inode)? else {
            return Ok(());
        };
        let number = inode.file_acl;
        let count = xattr::parse_block(&self.superblock, &block, number, &mut Vec::new())?;
        self.space.check_held(
            &self.store,
            &self.superblock,
            Run {
                start: number,
                len: 1,
            },
        )?;
        self.editor()?.changes += 1;
        if count == 1 {
            return self.space.release(
                &self.store,
                &self.superblock,
                Run {
                    start: number,
                    len: 1,
                },
            );
        }
        xattr::set_refcount(&self.superblock, number, &mut block, count - 1)?;
        self.store
            .write_at(number * u64::from(self.superblock.block_size), &block)
    }

    /// Sets a bit of `s_feature_compat`, as Linux does when a feature is first used.
    fn need_compat_feature(&mut self, bit: u32) -> Result<()> {
        if !self.superblock.has_compat(bit) {
            self.superblock.feature_compat |= bit;
            self.editor()?.superblock_dirty = true;
        }
        Ok(())
    }

    /// Sets a bit of `s_feature_ro_compat`.
    pub(super) fn need_ro_feature(&mut self, bit: u32) -> Result<()> {
        if !self.superblock.has_ro(bit) {
            self.superblock.feature_ro_compat |= bit;
            self.editor()?.superblock_dirty = true;
        }
        Ok(())
    }

    /// Refuses inodes whose attributes lie in other inodes, which would have to be freed, and are counted, with them.
    pub(super) fn check_removable(&self, inode: &Inode) -> Result<()> {
        let outside = self
            .attributes(inode)?
            .iter()
            .any(|one| matches!(one.value, xattr::Value::Inode(..)));
        if !outside {
            return Ok(());
        }
        Err(Error::unsupported(
            "an inode whose extended attribute lies in another inode (ea_inode) can be read but not changed",
        ))
    }
}
