//! The device of a squashfs with what every reader of it needs: metadata streams, data blocks, the lookup tables.
//!
//! ```text
//!  metadata stream:  │len│ ≤ 8 KiB packed │len│ ≤ 8 KiB packed │…     an entry may span two blocks
//!  lookup table:     u64 u64 u64 …  ──▶  one metadata block each, 8 KiB of fixed-size entries
//! ```

use std::sync::Arc;

use super::decode::{Compression, Decoder};
use super::dir::Listing;
use super::on_disk::{DATA_STORED, FragmentEntry, METADATA_BYTES, METADATA_STORED};
use super::superblock::{SUPERBLOCK_BYTES, Superblock};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::codec::Spares;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::cache::Cache;

/// Unpacked metadata kept: the directories and inodes around the current place.
const METADATA_CACHE_BYTES: usize = 4 << 20;
/// Directory listings that were read lately.
const LISTING_CACHE_BYTES: usize = 16 << 20;
/// Unpacked data blocks kept: a few of the largest size, for reads in small steps and for shared fragments.
const DATA_CACHE_BYTES: usize = 8 << 20;

/// An unpacked metadata block and where the next one begins.
#[derive(Debug)]
struct MetaBlock {
    bytes: Vec<u8>,
    next: u64,
}

/// A place in a metadata stream: a block by its offset on the device, and a byte in its unpacked content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub block: u64,
    pub offset: usize,
}

/// A data block or fragment on the device: `size` as stored, with the [`DATA_STORED`] bit.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataBlock {
    pub start: u64,
    pub size: u32,
}

impl DataBlock {
    pub fn is_stored(self) -> bool {
        self.size & DATA_STORED != 0
    }

    /// Bytes on the device, at most one block.
    pub fn packed_bytes(self, block_size: u32) -> Result<u32> {
        let bytes = self.size & !DATA_STORED;
        if bytes > block_size {
            return Err(Error::corrupt(format!(
                "data block at {} takes {bytes} bytes, more than the block size {block_size}",
                self.start
            )));
        }
        Ok(bytes)
    }
}

/// Reads from any number of threads at once.
#[derive(Debug)]
pub(super) struct Volume<D> {
    device: D,
    pub superblock: Superblock,
    /// One for each thread that unpacks at the moment.
    decoders: Spares<Decoder>,
    metadata: Cache<MetaBlock>,
    data: Cache<[u8]>,
    pub listings: Cache<Listing>,
}

impl<D: BlockDevice> Volume<D> {
    pub fn open(device: D) -> Result<Self> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        device.read_at(0, &mut bytes).at(|| "squashfs superblock")?;
        let superblock = Superblock::parse(&bytes, device.size())?;
        let volume = Self {
            device,
            superblock,
            decoders: Spares::default(),
            metadata: Cache::new(METADATA_CACHE_BYTES),
            data: Cache::new(DATA_CACHE_BYTES),
            listings: Cache::new(LISTING_CACHE_BYTES),
        };
        volume.check_lz4_version()?;
        Ok(volume)
    }

    /// lz4 is the one compressor whose options change how blocks are read: version 1 is the only one there is.
    fn check_lz4_version(&self) -> Result<()> {
        if self.superblock.compression != Compression::Lz4
            || !self.superblock.has_compressor_options
        {
            return Ok(());
        }
        let start = Place {
            block: to_u64(SUPERBLOCK_BYTES),
            offset: 0,
        };
        let options = self
            .meta(start, self.superblock.inode_table_start)
            .array::<4>()
            .at(|| "compressor options")?;
        match u32::from_le_bytes(options) {
            1 => Ok(()),
            version => Err(Error::unsupported(format!(
                "lz4 format {version} of squashfs, only 1 is known"
            ))
            .because(Reason::Version)),
        }
    }

    /// Reads from the part of the device that is in use.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(to_u64(buf.len()));
        if end.is_none_or(|end| end > self.superblock.bytes_used) {
            return Err(Error::corrupt(format!(
                "{} bytes at {offset} lie beyond the {} bytes in use",
                buf.len(),
                self.superblock.bytes_used
            )));
        }
        self.device.read_at(offset, buf)
    }

    fn decode(&self, packed: &[u8], output: &mut [u8]) -> Result<usize> {
        let mut decoder = self
            .decoders
            .take()
            .unwrap_or_else(|| Decoder::new(self.superblock.compression));
        let unpacked = decoder.decode(packed, output);
        self.decoders.give(decoder);
        unpacked
    }

    /// A reader of the metadata stream from `place`; blocks must begin before `end`.
    pub fn meta(&self, place: Place, end: u64) -> MetaReader<'_, D> {
        MetaReader {
            volume: self,
            place,
            end,
            block: None,
        }
    }

    fn meta_block(&self, start: u64) -> Result<Arc<MetaBlock>> {
        self.metadata.get_or_make(start, || {
            let block = self
                .load_meta_block(start)
                .at(|| format!("metadata block at {start}"))?;
            Ok((Arc::new(block), METADATA_BYTES))
        })
    }

    fn load_meta_block(&self, start: u64) -> Result<MetaBlock> {
        let mut header = [0; 2];
        self.read(start, &mut header)?;
        let header = u16::from_le_bytes(header);
        let len = usize::from(header & !METADATA_STORED);
        if len == 0 || len > METADATA_BYTES {
            return Err(Error::corrupt(format!(
                "length {len} is not from 1 to {METADATA_BYTES}"
            )));
        }
        let mut packed = vec![0; len];
        self.read(start + 2, &mut packed)?;
        let next = start + 2 + to_u64(len);
        if header & METADATA_STORED != 0 {
            return Ok(MetaBlock {
                bytes: packed,
                next,
            });
        }
        let mut bytes = vec![0; METADATA_BYTES];
        let unpacked = self.decode(&packed, &mut bytes)?;
        bytes.truncate(unpacked);
        Ok(MetaBlock { bytes, next })
    }

    /// The `N` bytes of entry `index` in the lookup table at `table`.
    pub fn table_entry<const N: usize>(&self, table: u64, index: u32) -> Result<[u8; N]> {
        let at = u64::from(index) * to_u64(N);
        let mut pointer = [0; 8];
        self.read(table + at / to_u64(METADATA_BYTES) * 8, &mut pointer)?;
        let place = Place {
            block: u64::from_le_bytes(pointer),
            offset: to_usize(at % to_u64(METADATA_BYTES))?,
        };
        self.meta(place, self.superblock.bytes_used).array()
    }

    /// The user or group number that inodes call `index`.
    pub fn id(&self, index: u16) -> Result<u32> {
        let count = self.superblock.no_ids;
        if index >= count {
            return Err(Error::corrupt(format!(
                "owner {index} of {count} in the id table"
            )));
        }
        let entry = self
            .table_entry(self.superblock.id_table_start, index.into())
            .at(|| "id table")?;
        Ok(u32::from_le_bytes(entry))
    }

    /// The block that holds fragment `index`.
    pub fn fragment(&self, index: u32) -> Result<DataBlock> {
        let count = self.superblock.fragments;
        let table = self
            .superblock
            .fragment_table_start
            .filter(|_| index < count);
        let table = table
            .ok_or_else(|| Error::corrupt(format!("fragment {index} of {count} in the table")))?;
        let entry: [u8; FragmentEntry::<&[u8]>::SIZE] =
            self.table_entry(table, index).at(|| "fragment table")?;
        let entry = FragmentEntry::over(entry)?;
        Ok(DataBlock {
            start: entry.start_block(),
            size: entry.size(),
        })
    }

    /// The content of a data block or fragment, kept for a while.
    pub fn cached_data(&self, block: DataBlock) -> Result<Arc<[u8]>> {
        self.data.get_or_make(block.start, || {
            let mut bytes = vec![0; to_usize(self.superblock.block_size.into())?];
            let len = self.read_data(block, &mut bytes)?;
            bytes.truncate(len);
            Ok((bytes.into(), len))
        })
    }

    /// Reads and unpacks a data block into `output`; returns how many bytes it holds, more than fit are an error.
    pub fn read_data(&self, block: DataBlock, output: &mut [u8]) -> Result<usize> {
        let len = to_usize(block.packed_bytes(self.superblock.block_size)?.into())?;
        if block.is_stored() {
            let room = output.len();
            let stored = output.get_mut(..len).ok_or_else(|| {
                Error::corrupt(format!(
                    "data block at {} holds {len} bytes instead of at most {room}",
                    block.start
                ))
            })?;
            self.read(block.start, stored)?;
            return Ok(len);
        }
        let mut packed = vec![0; len];
        self.read(block.start, &mut packed)?;
        self.decode(&packed, output)
            .at(|| format!("data block at {}", block.start))
    }
}

/// Reads on in a metadata stream. Each block begins behind the last one, so it always ends.
#[derive(Debug)]
pub(super) struct MetaReader<'a, D> {
    volume: &'a Volume<D>,
    place: Place,
    end: u64,
    block: Option<Arc<MetaBlock>>,
}

impl<D: BlockDevice> MetaReader<'_, D> {
    /// Where the next byte lies.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `len` bytes; the caller has bounded `len`.
    pub fn bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buf` with the next bytes.
    pub fn fill(&mut self, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            let block = self.current()?;
            let rest = &block.bytes[self.place.offset..];
            let len = rest.len().min(buf.len());
            let (now, later) = buf.split_at_mut(len);
            now.copy_from_slice(&rest[..len]);
            self.place.offset += len;
            buf = later;
        }
        Ok(())
    }

    /// The block with at least one byte at the current offset.
    fn current(&mut self) -> Result<Arc<MetaBlock>> {
        if let Some(block) = &self.block {
            if self.place.offset < block.bytes.len() {
                return Ok(block.clone());
            }
            self.place = Place {
                block: block.next,
                offset: 0,
            };
        }
        if self.place.block >= self.end {
            return Err(Error::corrupt(format!(
                "metadata block at {} lies beyond the end of its table at {}",
                self.place.block, self.end
            )));
        }
        let block = self.volume.meta_block(self.place.block)?;
        if self.place.offset >= block.bytes.len() {
            return Err(Error::corrupt(format!(
                "byte {} of the metadata block at {}, which holds {}",
                self.place.offset,
                self.place.block,
                block.bytes.len()
            )));
        }
        self.block = Some(block.clone());
        Ok(block)
    }
}
