//! Files of chunks: a table behind the inode says where each chunk lies.
//!
//! ```text
//!   inode │ attributes │ pad │ blkaddr u32 …                    or │ startblk_hi u16 │ device_id u16 │ startblk_lo u32 …
//! ```

use super::content::{Extent, Place};
use super::inode::Inode;
use super::volume::Volume;
use crate::block::BlockDevice;
use crate::bytes::structure;
use crate::error::{Error, Reason, Result, ResultExt};

/// Base-2 logarithm of how many blocks make a chunk (`EROFS_CHUNK_FORMAT_BLKBITS_MASK`).
const FORMAT_BITS: u32 = 0x1f;
/// Entries have 8 bytes instead of 4 (`EROFS_CHUNK_FORMAT_INDEXES`).
pub(super) const FORMAT_INDEXES: u32 = 0x20;
/// A chunk of zeroes (`EROFS_NULL_ADDR`).
pub(super) const HOLE: u32 = u32::MAX;

structure! {
    /// `struct erofs_inode_chunk_index`
    pub(super) struct Index: "chunk index", Little, 8 {
        /// On which of several devices the chunk lies.
        2 => device_id: u16,
        /// The first block, or [`HOLE`].
        4 => startblk_lo / set_startblk_lo: u32,
    }
}

/// The table of a file.
#[derive(Debug)]
pub(super) struct Chunks {
    size: u64,
    /// Base-2 logarithm of the bytes of a chunk.
    chunk_bits: u32,
    table: u64,
    has_indexes: bool,
}

impl Chunks {
    pub fn of<D: BlockDevice>(volume: &Volume<D>, inode: &Inode) -> Result<Self> {
        let format = inode.i_u & 0xffff;
        if format & !(FORMAT_BITS | FORMAT_INDEXES) != 0 {
            return Err(Error::unsupported(format!(
                "chunks in the format {format:#x}, at most 0x3f is known"
            ))
            .because(Reason::Feature));
        }
        let has_indexes = format & FORMAT_INDEXES != 0;
        let entry_bytes = if has_indexes { 8 } else { 4 };
        Ok(Self {
            size: inode.size,
            chunk_bits: u32::from(volume.superblock.block_bits) + (format & FORMAT_BITS),
            table: inode.end().next_multiple_of(entry_bytes),
            has_indexes,
        })
    }

    /// The chunk that covers `offset`.
    pub fn extent<D: BlockDevice>(&self, volume: &Volume<D>, offset: u64) -> Result<Extent> {
        let number = offset >> self.chunk_bits;
        let start = number << self.chunk_bits;
        let block = self
            .block(volume, number)
            .at(|| format!("chunk {number}"))?;
        let place = match block {
            HOLE => Place::Hole,
            block => Place::Device(u64::from(block) << volume.superblock.block_bits),
        };
        Ok(Extent {
            start,
            len: (1 << self.chunk_bits).min(self.size - start),
            place,
        })
    }

    fn block<D: BlockDevice>(&self, volume: &Volume<D>, number: u64) -> Result<u32> {
        if self.has_indexes {
            let index = Index::over(volume.meta::<8>(self.table + number * 8)?)?;
            return Ok(index.startblk_lo());
        }
        Ok(u32::from_le_bytes(volume.meta(self.table + number * 4)?))
    }
}
