//! Formats with one table that says for each block of the disk where it lies in the file: VHD, VHDX, VDI, Parallels.

use std::sync::Arc;

use super::mapped::{Map, Mapped, Piece, check_size};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result, ResultExt};

/// A block that is stored nowhere and reads as zeroes.
pub(super) const ABSENT: u64 = u64::MAX;

/// The largest table in bytes: 64 TiB in the blocks of 32 MiB that VHDX has by default take 16 MiB.
const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Beyond this no file has bytes; a block's end still fits into 64 bits.
const MAX_PLACE: u64 = i64::MAX.unsigned_abs();

/// Reads a table of `entries` entries of `entry_bytes` at `offset`, after checking that the file can hold it.
pub(super) fn read_table(
    file: &dyn BlockDevice,
    offset: u64,
    entries: u64,
    entry_bytes: u64,
) -> Result<Vec<u8>> {
    let len = entries.saturating_mul(entry_bytes);
    if offset.checked_add(len).is_none_or(|end| end > file.size()) {
        let size = file.size();
        return Err(Error::corrupt(format!(
            "the block table, {len} bytes at {offset}, lies beyond the end of the file ({size} bytes)"
        ))
        .with_hint("the file is cut short: compare its size and checksum with the original's"));
    }
    if len > MAX_TABLE_BYTES {
        return Err(Error::unsupported(format!(
            "a block table of {len} bytes: {MAX_TABLE_BYTES} are allowed"
        ))
        .with_hint("convert the image: qemu-img convert -O qcow2"));
    }
    let mut table = vec![0; to_usize(len)?];
    file.read_at(offset, &mut table).at(|| "the block table")?;
    Ok(table)
}

/// A disk of `size` bytes in blocks of `block_bytes`, which lie at `places` of `file`.
pub(super) fn open(
    file: Arc<dyn BlockDevice>,
    size: u64,
    block_bytes: u64,
    places: Vec<u64>,
) -> Result<Arc<dyn BlockDevice>> {
    check_size(size)?;
    if size.div_ceil(block_bytes) > to_u64(places.len()) {
        return Err(Error::corrupt(format!(
            "the block table has {} entries: a disk of {size} bytes in blocks of {block_bytes} needs more",
            places.len()
        )));
    }
    if let Some(place) = places
        .iter()
        .find(|&&place| place != ABSENT && place > MAX_PLACE - block_bytes)
    {
        return Err(Error::corrupt(format!(
            "the block table names byte {place}, which no file has"
        )));
    }
    Ok(Arc::new(Mapped::new(Blocks {
        file,
        size,
        block_bytes,
        places,
    })?))
}

#[derive(Debug)]
struct Blocks {
    file: Arc<dyn BlockDevice>,
    size: u64,
    block_bytes: u64,
    places: Vec<u64>,
}

impl Map for Blocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn piece_at(&self, offset: u64) -> Result<(Piece, u64)> {
        let inside = offset % self.block_bytes;
        let len = (self.block_bytes - inside).min(self.size - offset);
        match self.places.get(to_usize(offset / self.block_bytes)?) {
            None => Err(Error::internal("the block table covers the disk")),
            Some(&ABSENT) => Ok((Piece::Zero, len)),
            Some(place) => Ok((Piece::Stored(place + inside), len)),
        }
    }

    fn storage(&self) -> &dyn BlockDevice {
        &self.file
    }
}
