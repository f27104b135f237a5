//! Content of regular files: whole blocks one behind the other, then a tail in a shared fragment block or in a short block.

use super::inode::FilePart;
use super::volume::{DataBlock, Volume};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::{FileRead, check_within};

/// Most blocks of one file: 16 Mi, or 2 TiB of 128 KiB blocks. Bounds the list of sizes to 64 MiB.
const BLOCKS_MAX: u64 = 1 << 24;
/// Every so many blocks the place on the device is noted, so that a block is found in few steps.
const MARK_EVERY: usize = 256;

/// An open file.
#[derive(Debug)]
pub(super) struct File<'a, D> {
    volume: &'a Volume<D>,
    size: u64,
    /// Sizes as stored; 0 is a hole.
    sizes: Vec<u32>,
    /// Where every [`MARK_EVERY`]th block begins.
    marks: Vec<u64>,
    fragment: Option<(u32, u32)>,
}

impl<'a, D: BlockDevice> File<'a, D> {
    /// Reads the list of block sizes. Memory grows only as the list is found to exist.
    pub fn open(volume: &'a Volume<D>, part: &FilePart) -> Result<Self> {
        let superblock = &volume.superblock;
        let block_size = u64::from(superblock.block_size);
        let count = match part.fragment {
            Some(_) => part.file_size / block_size,
            None => part.file_size.div_ceil(block_size),
        };
        if count > BLOCKS_MAX {
            return Err(Error::unsupported(format!(
                "a file of {} bytes in {count} blocks, at most {BLOCKS_MAX} blocks are read",
                part.file_size
            ))
            .because(Reason::Limit));
        }
        let mut meta = volume.meta(part.block_list, superblock.directory_table_start);
        let mut file = Self {
            volume,
            size: part.file_size,
            sizes: Vec::new(),
            marks: Vec::new(),
            fragment: part.fragment,
        };
        let mut start = part.start_block;
        for index in 0..to_usize(count)? {
            let block = DataBlock {
                start,
                size: u32::from_le_bytes(meta.array()?),
            };
            if index % MARK_EVERY == 0 {
                file.marks.push(start);
            }
            file.sizes.push(block.size);
            start = start
                .checked_add(block.packed_bytes(superblock.block_size)?.into())
                .ok_or_else(|| {
                    Error::corrupt(format!(
                        "block {index} lies beyond the largest possible offset"
                    ))
                })?;
        }
        Ok(file)
    }

    /// Block `index`, or `None` for a hole.
    fn block(&self, index: usize) -> Result<Option<DataBlock>> {
        let size = self.sizes[index];
        if size == 0 {
            return Ok(None);
        }
        let block_size = self.volume.superblock.block_size;
        let mark = index / MARK_EVERY;
        let mut start = self.marks[mark];
        for &size in &self.sizes[mark * MARK_EVERY..index] {
            start += u64::from(DataBlock { start, size }.packed_bytes(block_size)?);
        }
        Ok(Some(DataBlock { start, size }))
    }

    /// Reads within one block: `buf` lies at byte `skip` of block `index`, which holds `len` bytes.
    fn read_in_block(&self, index: usize, skip: usize, len: usize, buf: &mut [u8]) -> Result<()> {
        if index >= self.sizes.len() {
            return self.read_in_fragment(skip, len, buf);
        }
        let Some(block) = self.block(index)? else {
            buf.fill(0);
            return Ok(());
        };
        if block.is_stored() {
            check_len(
                block,
                len,
                to_usize(
                    block
                        .packed_bytes(self.volume.superblock.block_size)?
                        .into(),
                )?,
            )?;
            return self
                .volume
                .read(block.start.saturating_add(to_u64(skip)), buf);
        }
        if buf.len() == len {
            return check_len(block, len, self.volume.read_data(block, buf)?);
        }
        let content = self.volume.cached_data(block)?;
        check_len(block, len, content.len())?;
        buf.copy_from_slice(&content[skip..skip + buf.len()]);
        Ok(())
    }

    fn read_in_fragment(&self, skip: usize, len: usize, buf: &mut [u8]) -> Result<()> {
        let (index, offset) = self
            .fragment
            .ok_or_else(|| Error::internal("a file's last block is missing"))?;
        let block = self.volume.fragment(index)?;
        let content = self.volume.cached_data(block)?;
        let offset = to_usize(offset.into())?;
        let tail = content.get(offset..offset + len).ok_or_else(|| {
            Error::corrupt(format!(
                "bytes {offset} to {} of fragment {index}, which holds {}",
                offset + len,
                content.len()
            ))
        })?;
        buf.copy_from_slice(&tail[skip..skip + buf.len()]);
        Ok(())
    }
}

fn check_len(block: DataBlock, wanted: usize, actual: usize) -> Result<()> {
    if actual == wanted {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "data block at {} holds {actual} bytes instead of {wanted}",
        block.start
    )))
}

impl<D: BlockDevice> FileRead for File<'_, D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, mut buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        let block_size = u64::from(self.volume.superblock.block_size);
        let mut offset = offset;
        while !buf.is_empty() {
            let index = offset / block_size;
            let len = to_usize(block_size.min(self.size - index * block_size))?;
            let skip = to_usize(offset % block_size)?;
            let (now, later) = buf.split_at_mut((len - skip).min(buf.len()));
            self.read_in_block(to_usize(index)?, skip, len, now)?;
            offset += to_u64(now.len());
            buf = later;
        }
        Ok(())
    }
}
