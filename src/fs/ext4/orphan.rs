//! Inodes that a running system had not finished with: deleted while open, or being truncated.
//!
//! ```text
//!   s_last_orphan ─▶ inode ─ i_dtime ─▶ inode ─ i_dtime ─▶ 0            the list
//!   s_orphan_file_inum ─▶ block: inode │ 0 │ inode │ … │ magic, checksum   the orphan file
//! ```
//!
//! Those without a name are freed; those with one are cut to their size.

use super::edit::Editor;
use super::extent::Extent;
use super::features;
use super::inode::Inode;
use super::raw_inode::RawInode;
use super::space::Run;
use super::superblock::ensure;
use super::{Ext4, checksum};
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::{Order, in_a_row, structure, to_u64, to_usize};
use crate::error::{Result, ResultExt};
use crate::fs::FileType;

/// `EXT4_ORPHAN_BLOCK_MAGIC`
const MAGIC: u32 = 0x0B10_CA04;
structure! {
    /// The end of a block of the orphan file (`struct ext4_orphan_block_tail`); inode numbers stand in front.
    struct Tail: "block of the orphan file", Little, 8 {
        /// [`MAGIC`].
        0 => ob_magic: u32,
        /// CRC32C of the block's number and of what is before the tail.
        4 => ob_checksum / set_checksum: u32,
    }
}

/// Bytes of the tail.
const TAIL: usize = Tail::<&[u8]>::SIZE;
/// Largest orphan file in blocks; Linux makes 512 at most.
const FILE_BLOCKS_MAX: u64 = 4096;

impl<D: BlockDeviceMut> Ext4<D> {
    /// Finishes what a running system left undone behind its journal, and writes it.
    pub(super) fn finish_orphans(&mut self) -> Result<()> {
        self.finish_list().at(|| "list of deleted open files")?;
        if self.superblock.has_ro(features::RO_COMPAT_ORPHAN_PRESENT) {
            self.finish_file().at(|| "orphan file")?;
        }
        self.superblock.last_orphan = 0;
        self.superblock.feature_incompat &= !features::INCOMPAT_RECOVER;
        self.superblock.feature_ro_compat &= !features::RO_COMPAT_ORPHAN_PRESENT;
        self.editor
            .get_or_insert_with(Editor::default)
            .need_superblock();
        self.write_everything()
    }

    fn finish_list(&mut self) -> Result<()> {
        let mut next = self.superblock.last_orphan;
        let mut met = 0;
        while next != 0 {
            met += 1;
            ensure(met <= self.superblock.inodes_count, || {
                format!("it comes back to inode {next}")
            })?;
            let after = self.raw_inode(next)?.i_dtime();
            self.finish_inode(next)?;
            next = after;
        }
        Ok(())
    }

    fn finish_file(&mut self) -> Result<()> {
        let file = self.inode(self.superblock.orphan_file_inum)?;
        let mapping = self.mapping(&file)?;
        let blocks: Vec<u64> = mapping
            .extents
            .iter()
            .flat_map(|run| run.physical..run.physical + run.len)
            .collect();
        ensure(to_u64(blocks.len()) <= FILE_BLOCKS_MAX, || {
            format!("it has {} blocks", blocks.len())
        })?;
        for number in blocks {
            let offset = number * u64::from(self.superblock.block_size);
            let mut block = vec![0; self.superblock.block_bytes()];
            self.space.check_held(
                &self.store,
                &self.superblock,
                Run {
                    start: number,
                    len: 1,
                },
            )?;
            self.store.read_at(offset, &mut block)?;
            let seed = file.seed(&self.superblock);
            let end = block.len() - TAIL;
            let tail = Tail::at(&block, end)?;
            ensure(tail.ob_magic() == MAGIC, || {
                format!("block {number} has no magic")
            })?;
            let right = !self.superblock.has_checksums()
                || tail.ob_checksum() == block_checksum(seed, number, &block);
            ensure(right, || {
                format!("the checksum of block {number} does not match")
            })?;
            for ino in in_a_row(&block[..end], Order::Little) {
                if ino != 0 {
                    self.finish_inode(ino)?;
                }
            }
            block[..end].fill(0);
            if self.superblock.has_checksums() {
                let crc = block_checksum(seed, number, &block);
                Tail::over(&mut block[end..])?.set_checksum(crc);
            }
            self.store.write_at(offset, &block)?;
        }
        Ok(())
    }

    fn finish_inode(&mut self, ino: u32) -> Result<()> {
        ensure(!self.superblock.is_special(ino), || {
            format!("inode {ino} is kept for the filesystem itself")
        })?;
        let inode = Inode::parse_any(ino, self.raw_inode(ino)?).at(|| format!("inode {ino}"))?;
        if inode.links == 0 {
            return self.free_inode(&inode);
        }
        let mut raw = if inode.file_type == FileType::File && inode.has_blocks() {
            self.cut(&inode)?
        } else {
            inode.raw
        };
        raw.set_dtime(0);
        self.stage(ino, raw)
    }

    /// Frees what a file has beyond its size; returns the bytes of its inode.
    fn cut(&mut self, inode: &Inode) -> Result<RawInode<Vec<u8>>> {
        let mapping = self.mapping(inode)?;
        let size = u64::from(self.superblock.block_size);
        let blocks = inode.size.div_ceil(size);
        let mut raw = inode.raw.clone();
        if mapping
            .extents
            .last()
            .is_none_or(|last| last.logical + last.len <= blocks)
        {
            return Ok(raw);
        }
        let mut kept = Vec::new();
        for extent in mapping.extents {
            let len = extent.len.min(blocks.saturating_sub(extent.logical));
            if len > 0 {
                kept.push(Extent { len, ..extent });
            }
            if len < extent.len {
                let rest = Run {
                    start: extent.physical + len,
                    len: extent.len - len,
                };
                self.space.release(&self.store, &self.superblock, rest)?;
            }
        }
        for start in mapping.nodes {
            self.space
                .release(&self.store, &self.superblock, Run { start, len: 1 })?;
        }
        self.clear_tail(&kept, inode.size)?;
        self.set_mapping(inode.ino, &mut raw, &kept)?;
        Ok(raw)
    }

    /// Zeroes the rest of a file's last block.
    fn clear_tail(&mut self, extents: &[Extent], end: u64) -> Result<()> {
        let size = u64::from(self.superblock.block_size);
        let within = end % size;
        let last = extents
            .last()
            .filter(|last| last.written && (last.logical + last.len) * size > end);
        match last {
            Some(last) if within > 0 => {
                let block = last.physical + last.len - 1;
                self.space.check_held(
                    &self.store,
                    &self.superblock,
                    Run {
                        start: block,
                        len: 1,
                    },
                )?;
                self.store
                    .write_at(block * size + within, &vec![0; to_usize(size - within)?])
            }
            _ => Ok(()),
        }
    }
}

/// The checksum of block `number` of the orphan file, whose seed is the inode's.
fn block_checksum(seed: u32, number: u64, block: &[u8]) -> u32 {
    checksum::crc32c(
        checksum::crc32c(seed, &number.to_le_bytes()),
        &block[..block.len() - TAIL],
    )
}
