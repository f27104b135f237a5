//! Commit: directories are laid out, then inodes, bitmaps, descriptors and at last the superblock are written.

use super::super::extent::{self, Extent};
use super::super::htree::Writer;
use super::super::inode::Inode;
use super::super::raw_inode::{FLAG_INDEX, FLAG_INLINE_DATA, RawInode};
use super::super::space::{Goal, Run};
use super::super::superblock::SUPERBLOCK_OFFSET;
use super::super::{Ext4, xattr};
use super::{Directory, LINKS_MAX};
use crate::block::BlockDeviceMut;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// Bytes of inode tables written at a time.
const TABLE_CHUNK: usize = 1 << 20;

impl<D: BlockDeviceMut> Ext4<D> {
    pub(in super::super) fn write_everything(&mut self) -> Result<()> {
        let directories = std::mem::take(&mut self.editor()?.directories);
        self.editor()?.pending = 0;
        for (ino, directory) in directories.iter().filter(|(_, directory)| directory.dirty) {
            self.write_directory(*ino, directory)?;
        }
        self.write_inodes()?;
        let changed = !self.space.dirty.is_empty() || self.editor()?.superblock_dirty;
        self.space.store(&self.store, &self.superblock)?;
        if changed {
            self.write_superblock()?;
        }
        self.editor()?.superblock_dirty = false;
        Ok(())
    }

    /// Lays out a directory in the blocks it has, more or fewer.
    fn write_directory(&mut self, ino: u32, directory: &Directory) -> Result<()> {
        let inode = self.inode(ino)?;
        let writer = Writer {
            superblock: &self.superblock,
            seed: inode.seed(&self.superblock),
            ino,
            parent: directory.parent,
        };
        let (bytes, indexed) = writer.write(&directory.names())?;
        if indexed {
            self.superblock.settle_hash_sign();
        }
        let size = to_u64(self.superblock.block_bytes());
        let mapping = self.mapping(&inode)?;
        for &node in &mapping.nodes {
            self.space.release(
                &self.store,
                &self.superblock,
                Run {
                    start: node,
                    len: 1,
                },
            )?;
        }
        let extents = self.resize(ino, &mapping.extents, to_u64(bytes.len()) / size)?;
        for extent in &extents {
            let from = extent.logical * size;
            let until = (extent.logical + extent.len) * size;
            self.store.write_at(
                extent.physical * size,
                &bytes[to_usize(from)?..to_usize(until)?],
            )?;
        }
        let mut raw = self.without_inline_data(inode)?;
        raw.set_size(to_u64(bytes.len()));
        let (set, clear) = if indexed {
            (FLAG_INDEX, 0)
        } else {
            (0, FLAG_INDEX)
        };
        raw.change_flags(set, clear);
        self.set_mapping(ino, &mut raw, &extents)?;
        // From 65,000 on they are not counted, and 1 says so.
        let links = directory.subdirs + 2;
        let counted = u16::try_from(links).ok().filter(|_| links < LINKS_MAX);
        raw.set_links_count(counted.unwrap_or(1));
        self.stage(ino, raw)
    }

    /// `count` blocks for a directory: those it has, in order, then new ones; what is too many is freed.
    fn resize(&mut self, ino: u32, old: &[Extent], count: u64) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut have = 0;
        for extent in old {
            let keep = extent.len.min(count - have);
            if keep > 0 {
                let kept = Extent {
                    logical: have,
                    len: keep,
                    physical: extent.physical,
                    written: true,
                };
                extent::push(&mut extents, kept);
                have += keep;
            }
            if keep < extent.len {
                let rest = Run {
                    start: extent.physical + keep,
                    len: extent.len - keep,
                };
                self.space.release(&self.store, &self.superblock, rest)?;
            }
        }
        while have < count {
            let goal = extents
                .last()
                .map_or_else(|| self.group_block(ino), |last| last.physical + last.len);
            let goal = Goal {
                block: goal,
                total: count - have,
            };
            let run = self
                .space
                .take(&self.store, &self.superblock, goal, count - have)?;
            extent::push(
                &mut extents,
                Extent {
                    logical: have,
                    len: run.len,
                    physical: run.start,
                    written: true,
                },
            );
            have += run.len;
        }
        Ok(extents)
    }

    /// The bytes of a directory's inode, made ready for blocks.
    fn without_inline_data(&mut self, inode: Inode) -> Result<RawInode<Vec<u8>>> {
        if !inode.is_inline() {
            return Ok(inode.raw);
        }
        let mut inside = Vec::new();
        xattr::parse_area(inode.xattr_area(), &mut inside)?;
        inside.retain(|attribute| !attribute.is_inline_data());
        let start = inode
            .xattr_start()
            .ok_or_else(|| Error::internal("inline data needs room in the inode"))?;
        let mut raw = inode.raw;
        xattr::write_area(&mut raw.bytes_mut()[start..], &inside)?;
        raw.change_flags(0, FLAG_INLINE_DATA);
        Ok(raw)
    }

    /// Writes the inodes that changed, neighbours together.
    pub(super) fn write_inodes(&mut self) -> Result<()> {
        let inodes = std::mem::take(&mut self.editor()?.inodes);
        let size = usize::from(self.superblock.inode_size);
        let mut chunk: Vec<u8> = Vec::new();
        let mut start = 0;
        for (ino, mut raw) in inodes {
            if !raw.is_unused() {
                raw.seal(&self.superblock, ino);
            }
            let offset = self.inode_offset(ino)?;
            if !chunk.is_empty()
                && (start + to_u64(chunk.len()) != offset || chunk.len() + size > TABLE_CHUNK)
            {
                self.store.write_at(start, &chunk)?;
                chunk.clear();
            }
            if chunk.is_empty() {
                start = offset;
            }
            chunk.extend(raw.into_inner());
        }
        if !chunk.is_empty() {
            self.store.write_at(start, &chunk)?;
        }
        Ok(())
    }

    /// Writes what edits change in the superblock: counts and features.
    pub(in super::super) fn write_superblock(&mut self) -> Result<()> {
        let superblock = &mut self.superblock;
        superblock.free.blocks = self.space.free_blocks();
        superblock.free.inodes = self.space.free_inodes();
        superblock.store();
        self.store
            .write_at(SUPERBLOCK_OFFSET, superblock.on_disk.bytes())
    }
}
