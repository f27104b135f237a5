//! Where the bytes of a file are, whatever its layout.

use std::sync::{Arc, Mutex};

use super::chunk::Chunks;
use super::compressed::Compressed;
use super::inode::{Inode, Layout};
use super::volume::{Packed, Volume};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::lock::lock;

/// A stretch of a file that is stored in one way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Where it begins in the file, and its bytes.
    pub start: u64,
    pub len: u64,
    pub place: Place,
}

impl Extent {
    fn covers(&self, offset: u64) -> bool {
        offset
            .checked_sub(self.start)
            .is_some_and(|skip| skip < self.len)
    }
}

/// How a stretch is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Not at all: zeroes.
    Hole,
    /// As it is, at this byte of the device.
    Device(u64),
    /// Packed.
    Packed(Packed),
    /// As it is, at this byte of the packed inode.
    Fragment(u64),
}

/// Data in consecutive blocks, of which the last may lie behind the inode.
#[derive(Debug)]
struct Flat {
    start: u64,
    /// Bytes in blocks; the rest lies at `tail`.
    in_blocks: u64,
    tail: u64,
}

impl Flat {
    fn of<D: BlockDevice>(volume: &Volume<D>, inode: &Inode) -> Result<Self> {
        let block_bytes = volume.superblock.block_bytes();
        let flat = |in_blocks| Self {
            start: u64::from(inode.i_u) << volume.superblock.block_bits,
            in_blocks,
            tail: inode.end(),
        };
        if inode.layout == Layout::FlatPlain || inode.size == 0 {
            return Ok(flat(inode.size));
        }
        let in_blocks = (inode.size - 1) / block_bytes * block_bytes;
        let end = inode.end() % block_bytes + (inode.size - in_blocks);
        if end > block_bytes {
            return Err(Error::corrupt(format!(
                "the end of the data, {} bytes behind the inode, goes beyond the block",
                inode.size - in_blocks
            )));
        }
        Ok(flat(in_blocks))
    }

    fn extent(&self, size: u64, offset: u64) -> Extent {
        if offset < self.in_blocks {
            return Extent {
                start: 0,
                len: self.in_blocks,
                place: Place::Device(self.start),
            };
        }
        Extent {
            start: self.in_blocks,
            len: size - self.in_blocks,
            place: Place::Device(self.tail),
        }
    }
}

#[derive(Debug)]
enum Map {
    Flat(Flat),
    Chunks(Chunks),
    Compressed(Compressed),
}

/// The stretch that was read last, and what it unpacked to.
type Recent = Option<(Extent, Option<Arc<[u8]>>)>;

/// The bytes of a file, directory or symlink.
#[derive(Debug)]
pub(super) struct Content {
    pub size: u64,
    map: Map,
    /// Many small reads in a row neither search nor unpack again.
    recent: Mutex<Recent>,
}

impl Content {
    /// The content of an inode, which is not a device or the like.
    pub fn of<D: BlockDevice>(volume: &Volume<D>, inode: &Inode) -> Result<Self> {
        let map = match inode.layout {
            Layout::FlatPlain | Layout::FlatInline => Map::Flat(Flat::of(volume, inode)?),
            Layout::Chunks => Map::Chunks(Chunks::of(volume, inode)?),
            Layout::CompressedFull | Layout::CompressedCompact => {
                Map::Compressed(Compressed::of(volume, inode)?)
            }
        };
        Ok(Self {
            size: inode.size,
            map,
            recent: Mutex::new(None),
        })
    }

    /// The stretch that covers `offset`, which lies within the file.
    fn extent<D: BlockDevice>(&self, volume: &Volume<D>, offset: u64) -> Result<Extent> {
        let extent = match &self.map {
            Map::Flat(flat) => flat.extent(self.size, offset),
            Map::Chunks(chunks) => chunks.extent(volume, offset)?,
            Map::Compressed(compressed) => compressed.extent(volume, offset)?,
        };
        if !extent.covers(offset) {
            return Err(Error::corrupt(format!(
                "byte {offset} should lie in the {} bytes from {} on",
                extent.len, extent.start
            )));
        }
        Ok(extent)
    }

    /// Fills `buf` from `offset`; the caller has checked that it lies within the file.
    pub fn read<D: BlockDevice>(
        &self,
        volume: &Volume<D>,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        self.read_with(volume, offset, buf, |position, buf| {
            volume.read(position, buf)
        })
    }

    /// The same through the cache of metadata.
    pub fn read_meta<D: BlockDevice>(
        &self,
        volume: &Volume<D>,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<()> {
        self.read_with(volume, offset, buf, |position, buf| {
            volume.read_meta(position, buf)
        })
    }

    fn read_with<D: BlockDevice>(
        &self,
        volume: &Volume<D>,
        offset: u64,
        buf: &mut [u8],
        stored: impl Fn(u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut offset = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (extent, unpacked) = self.stretch(volume, offset)?;
            let skip = offset - extent.start;
            let len = to_u64(rest.len()).min(extent.len - skip);
            let (now, later) = rest.split_at_mut(to_usize(len)?);
            match extent.place {
                Place::Hole => now.fill(0),
                Place::Device(position) => stored(position.saturating_add(skip), now)?,
                Place::Fragment(position) => {
                    read_fragment(volume, position.saturating_add(skip), now)?
                }
                Place::Packed(_) => {
                    let skip = to_usize(skip)?;
                    let unpacked =
                        unpacked.ok_or_else(|| Error::internal("packed data were not unpacked"))?;
                    now.copy_from_slice(&unpacked[skip..skip + now.len()]);
                }
            }
            offset += len;
            rest = later;
        }
        Ok(())
    }

    /// The stretch that covers `offset`, unpacked where it is packed.
    fn stretch<D: BlockDevice>(
        &self,
        volume: &Volume<D>,
        offset: u64,
    ) -> Result<(Extent, Option<Arc<[u8]>>)> {
        if let Some((extent, unpacked)) = &*lock(&self.recent)
            && extent.covers(offset)
        {
            return Ok((*extent, unpacked.clone()));
        }
        let extent = self.extent(volume, offset)?;
        let unpacked = match &extent.place {
            Place::Packed(packed) => Some(volume.unpack(packed)?),
            _ => None,
        };
        *lock(&self.recent) = Some((extent, unpacked.clone()));
        Ok((extent, unpacked))
    }

    /// Whether this has the end of another file, which the packed inode must not have.
    fn has_fragment(&self) -> bool {
        matches!(&self.map, Map::Compressed(compressed) if compressed.has_fragment())
    }
}

/// Reads from the packed inode.
fn read_fragment<D: BlockDevice>(volume: &Volume<D>, offset: u64, buf: &mut [u8]) -> Result<()> {
    let packed = volume.packed.as_ref();
    let packed = packed
        .ok_or_else(|| Error::corrupt("a file ends in the packed inode, which does not exist"))?;
    if packed.has_fragment() {
        return Err(Error::corrupt(
            "the packed inode itself ends in the packed inode",
        ));
    }
    let len = to_u64(buf.len());
    if offset.checked_add(len).is_none_or(|end| end > packed.size) {
        return Err(Error::corrupt(format!(
            "{len} bytes at {offset} of the packed inode, which has {} bytes",
            packed.size
        )));
    }
    packed.read(volume, offset, buf)
}
