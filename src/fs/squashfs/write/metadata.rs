//! Metadata streams and lookup tables: blocks of 8 KiB, each compressed by itself behind its length.

use super::super::on_disk::{METADATA_BYTES, METADATA_STORED};
use super::pack::Packer;
use crate::bytes::{Order, row_of, to_u64};
use crate::error::{Error, Reason, Result};

/// A place in a metadata stream: where its block begins, and a byte in the unpacked block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MetaPlace {
    pub block: u32,
    pub offset: u16,
}

impl MetaPlace {
    /// As inodes and xattr sets are referred to: 48 bits of block, 16 bits of offset.
    pub fn reference(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// A metadata stream that grows in memory.
#[derive(Debug)]
pub(super) struct MetaWriter<'a> {
    packer: &'a mut Packer,
    packed: Vec<u8>,
    block: Vec<u8>,
    scratch: Vec<u8>,
    /// Where finished blocks begin, from the start of the stream.
    starts: Vec<u64>,
}

impl<'a> MetaWriter<'a> {
    pub fn new(packer: &'a mut Packer) -> Self {
        Self {
            packer,
            packed: Vec::new(),
            block: Vec::new(),
            scratch: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Where the next byte comes to lie.
    pub fn place(&self) -> Result<MetaPlace> {
        let block = u32::try_from(self.packed.len()).map_err(|_| {
            Error::unsupported("metadata of more than 4 GiB, which squashfs cannot hold")
                .because(Reason::Limit)
        })?;
        let offset = u16::try_from(self.block.len())
            .map_err(|_| Error::internal("a metadata block is too long"))?;
        Ok(MetaPlace { block, offset })
    }

    /// Appends `bytes`, over as many blocks as they need.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            if self.block.len() == METADATA_BYTES {
                self.flush()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.starts.push(to_u64(self.packed.len()));
        let shrinks = self.packer.pack(&self.block, &mut self.scratch)?;
        let len = u16::try_from(self.scratch.len())
            .map_err(|_| Error::internal("a metadata block is too long"))?;
        let head = if shrinks { len } else { len | METADATA_STORED };
        self.packed.extend_from_slice(&head.to_le_bytes());
        self.packed.extend_from_slice(&self.scratch);
        self.block.clear();
        Ok(())
    }

    /// The whole stream, and where its blocks begin.
    pub fn finish(mut self) -> Result<(Vec<u8>, Vec<u64>)> {
        self.flush()?;
        Ok((self.packed, self.starts))
    }
}

/// A metadata block that holds `bytes` as they are.
pub(super) fn stored_metadata(bytes: &[u8]) -> Result<Vec<u8>> {
    let len =
        u16::try_from(bytes.len()).map_err(|_| Error::internal("a metadata block is too long"))?;
    let head = (len | METADATA_STORED).to_le_bytes();
    Ok([&head[..], bytes].concat())
}

/// A table of fixed-size entries at byte `start` of the image: its metadata blocks, then their offsets. Returns the bytes
/// and the offset of the offsets, which the superblock names.
pub(super) fn lookup_table(
    packer: &mut Packer,
    entries: &[u8],
    start: u64,
) -> Result<(Vec<u8>, u64)> {
    let mut stream = MetaWriter::new(packer);
    stream.put(entries)?;
    let (mut bytes, starts) = stream.finish()?;
    let table = start + to_u64(bytes.len());
    let places: Vec<u64> = starts.iter().map(|block| start + block).collect();
    bytes.extend(row_of(&places, Order::Little));
    Ok((bytes, table))
}
