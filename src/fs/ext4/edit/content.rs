//! File content: streamed to free blocks in large writes, blocks of zeroes left out.

use super::super::extent::{self, Extent};
use super::super::inode::Inode;
use super::super::raw_inode::RawInode;
use super::super::space::Goal;
use super::super::superblock::Superblock;
use super::super::{Ext4, features, layout, map};
use super::Created;
use crate::block::BlockDeviceMut;
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::{Attributes, FileContent, FileType, FsPath};

/// Bytes of content in memory at a time.
const CHUNK: u64 = 1 << 20;
/// Largest file (`EXT4_MAX_LOGICAL_BLOCK`: the last block number of 32 bits stays unused).
pub(super) const BLOCKS_MAX: u64 = (1 << 32) - 1;
/// Flags that an overwritten file keeps: those that users set (`chattr`), the lowest eight bits.
const FLAGS_KEPT: u32 = 0xF9;
/// First size that needs the feature large_file.
const LARGE_FILE: u64 = 1 << 31;

impl<D: BlockDeviceMut> Ext4<D> {
    /// Creates or overwrites a regular file.
    pub(super) fn put_file(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        self.check_time(attributes)?;
        let block_bytes = u64::from(self.superblock.block_size);
        let span = content.size().div_ceil(block_bytes);
        let blocks = content.blocks(block_bytes);
        let Some(old) = self.place(path)?.existing else {
            let needed = blocks + self.nodes_needed(span, blocks, content.stretches())?;
            let Created { ino, raw, .. } = self.create(path, FileType::File, attributes, needed)?;
            return self.fill(ino, raw, content);
        };
        if old.file_type != FileType::File {
            return Err(Error::invalid("exists and is not a regular file").because(Reason::Exists));
        }
        self.check_removable(&old)?;
        let mapping = self.mapping(&old)?;
        let needed = blocks
            + self.nodes_needed(
                span,
                blocks,
                content.stretches() + to_u64(mapping.extents.len()),
            )?;
        self.check_space(needed, mapping.blocks(), 0)?;
        self.release_content(&old)?;
        let raw = emptied(&self.superblock, &old, attributes)?;
        self.fill(old.ino, raw, content)
    }

    /// Blocks of a tree for `blocks` blocks in a file of `span`, at most; `more` pieces come from elsewhere
    /// than free space.
    fn nodes_needed(&mut self, span: u64, blocks: u64, more: u64) -> Result<u64> {
        let worst = map::nodes_needed(&self.superblock, span, blocks, blocks);
        if worst == 0 || blocks + worst <= self.usable_blocks() {
            return Ok(worst);
        }
        // Nearly full: no file has more pieces than free space has, but for those that are longer than an extent, and
        // those that its own holes make.
        let runs = self
            .space
            .count_runs(&self.store, &self.superblock, blocks)?;
        let groups = blocks / u64::from(self.superblock.blocks_per_group / 2) + 1;
        Ok(map::nodes_needed(
            &self.superblock,
            span,
            blocks,
            blocks.min(runs + more + groups),
        ))
    }

    /// Streams `content` into an inode that has none and keeps it.
    pub(super) fn fill(
        &mut self,
        ino: u32,
        mut raw: RawInode<Vec<u8>>,
        mut content: FileContent<'_>,
    ) -> Result<()> {
        let size = content.size();
        let extents = self.stream(ino, &mut content)?;
        content.finish()?;
        raw.set_size(size);
        if size >= LARGE_FILE {
            self.need_ro_feature(features::RO_COMPAT_LARGE_FILE)?;
        }
        self.set_mapping(ino, &mut raw, &extents)?;
        self.stage(ino, raw)
    }

    /// Writes the tree of `extents` and counts the blocks.
    pub(in super::super) fn set_mapping(
        &mut self,
        ino: u32,
        raw: &mut RawInode<Vec<u8>>,
        extents: &[Extent],
    ) -> Result<()> {
        let goal = extents
            .last()
            .map_or_else(|| self.group_block(ino), |last| last.physical + last.len);
        let seed = Inode::parse_any(ino, raw.clone())?.seed(&self.superblock);
        let target = map::Target {
            device: &self.store,
            superblock: &self.superblock,
            space: &mut self.space,
            goal,
        };
        let nodes = map::write(target, raw, seed, extents)?;
        let mapping = map::Mapping {
            extents: extents.to_vec(),
            nodes,
        };
        let attribute_block = u64::from(raw.file_acl() != 0);
        raw.set_blocks(&self.superblock, mapping.blocks() + attribute_block)
    }

    /// The first block of an inode's group.
    pub(super) fn group_block(&self, ino: u32) -> u64 {
        layout::group_start(
            &self.superblock,
            (ino - 1) / self.superblock.inodes_per_group,
        )
    }

    fn stream(&mut self, ino: u32, content: &mut FileContent<'_>) -> Result<Vec<Extent>> {
        let size = content.size();
        let block = self.superblock.block_bytes();
        let mut extents = Vec::new();
        let mut goal = Goal {
            block: self.group_block(ino),
            total: content.blocks(to_u64(block)),
        };
        let most = size.min(CHUNK).next_multiple_of(to_u64(block));
        let mut chunk = vec![0; to_usize(most)?];
        loop {
            content.skip(to_u64(block));
            let at = content.position();
            let len = to_usize((size - at).min(to_u64(chunk.len())))?;
            if len == 0 {
                return Ok(extents);
            }
            content.fill(&mut chunk[..len])?;
            let whole = len.next_multiple_of(block);
            chunk[len..whole].fill(0);
            self.put_chunk(&chunk[..whole], at / to_u64(block), &mut goal, &mut extents)?;
        }
    }

    /// Writes the blocks of a chunk that are not zero.
    fn put_chunk(
        &mut self,
        chunk: &[u8],
        logical: u64,
        goal: &mut Goal,
        extents: &mut Vec<Extent>,
    ) -> Result<()> {
        let size = self.superblock.block_bytes();
        let blocks = chunk.len() / size;
        let is_hole = |index: usize| is_zero(&chunk[index * size..(index + 1) * size]);
        let mut at = 0;
        while at < blocks {
            if is_hole(at) {
                at += 1;
                goal.total = goal.total.saturating_sub(1);
                continue;
            }
            let end = (at + 1..blocks)
                .find(|index| is_hole(*index))
                .unwrap_or(blocks);
            while at < end {
                let run =
                    self.space
                        .take(&self.store, &self.superblock, *goal, to_u64(end - at))?;
                let next = at + to_usize(run.len)?;
                self.store
                    .write_at(run.start * to_u64(size), &chunk[at * size..next * size])?;
                let piece = Extent {
                    logical: logical + to_u64(at),
                    len: run.len,
                    physical: run.start,
                    written: true,
                };
                extent::push(extents, piece);
                *goal = Goal {
                    block: run.start + run.len,
                    total: goal.total.saturating_sub(run.len).max(1),
                };
                at = next;
            }
        }
        Ok(())
    }
}

/// The inode of a file to be overwritten: only its links, generation and the flags set by users are kept.
fn emptied(
    superblock: &Superblock,
    old: &Inode,
    attributes: &Attributes,
) -> Result<RawInode<Vec<u8>>> {
    let mut raw = RawInode::new(superblock, FileType::File)?;
    super::set_attributes(&mut raw, attributes);
    raw.set_links_count(old.links);
    raw.set_generation(old.generation);
    raw.set_flags(old.raw.i_flags() & FLAGS_KEPT);
    Ok(raw)
}
