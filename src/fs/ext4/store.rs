//! The device below, with blocks read from the journal where that holds newer copies of them.
//!
//! A filesystem opened for reading only cannot be written to, so a journal that needs to be replayed is read through
//! instead: block numbers are looked up on the way.

use std::collections::BTreeMap;

use crate::block::{BlockDevice, BlockDeviceMut, Extent};
use crate::bytes::{to_u64, to_usize};
use crate::error::Result;

/// Where the journal holds a block's newest copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    /// Block of the device.
    pub block: u64,
    /// Whether its first four bytes were zeroed because they looked like the journal's magic.
    pub escaped: bool,
}

/// `JBD2_MAGIC_NUMBER`, big-endian.
pub(super) const JOURNAL_MAGIC: u32 = 0xC03B_3998;

/// A device and the blocks to be read elsewhere.
#[derive(Debug)]
pub(super) struct Store<D> {
    device: D,
    block_size: u64,
    copies: BTreeMap<u64, Copy>,
}

impl<D: BlockDevice> Store<D> {
    /// The device as it is, with blocks of so many bytes.
    pub(super) fn new(device: D, block_size: u32) -> Self {
        Self {
            device,
            block_size: u64::from(block_size),
            copies: BTreeMap::new(),
        }
    }

    /// Sets the size of a block, once it is known.
    pub(super) fn set_block_size(&mut self, block_size: u32) {
        self.block_size = u64::from(block_size);
    }

    /// Reads these blocks elsewhere from now on.
    pub(super) fn redirect(&mut self, copies: BTreeMap<u64, Copy>) {
        self.copies = copies;
    }

    fn read_copy(&self, copy: Copy, within: u64, part: &mut [u8]) -> Result<()> {
        self.device
            .read_at(copy.block * self.block_size + within, part)?;
        if copy.escaped {
            let magic = JOURNAL_MAGIC.to_be_bytes();
            for (byte, at) in part.iter_mut().zip(within..4) {
                *byte = magic[to_usize(at)?];
            }
        }
        Ok(())
    }
}

impl<D: BlockDevice> BlockDevice for Store<D> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.device.read_at(offset, buf)?;
        if self.copies.is_empty() || buf.is_empty() {
            return Ok(());
        }
        let end = offset + to_u64(buf.len());
        let blocks = offset / self.block_size..end.div_ceil(self.block_size);
        for (block, copy) in self.copies.range(blocks) {
            let from = (block * self.block_size).max(offset);
            let until = ((block + 1) * self.block_size).min(end);
            let part = &mut buf[to_usize(from - offset)?..to_usize(until - offset)?];
            self.read_copy(*copy, from - block * self.block_size, part)?;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.device.extent_at(offset)
    }
}

impl<D: BlockDeviceMut> BlockDeviceMut for Store<D> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.device.write_at(offset, buf)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.device.write_zeroes(offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    #[test]
    fn copies_are_read_in_place_of_blocks() {
        let bytes: Vec<u8> = (0..4).flat_map(|block| vec![block; 1024]).collect();
        let mut store = Store::new(MemoryDevice::new(bytes), 1024);
        store.redirect(BTreeMap::from([
            (
                0,
                Copy {
                    block: 2,
                    escaped: false,
                },
            ),
            (
                1,
                Copy {
                    block: 3,
                    escaped: true,
                },
            ),
        ]));
        let mut buf = vec![9; 2048];
        store.read_at(512, &mut buf).unwrap();
        assert!(
            buf[..512].iter().all(|byte| *byte == 2)
                && buf[516..1536].iter().all(|byte| *byte == 3)
        );
        assert_eq!(buf[512..516], JOURNAL_MAGIC.to_be_bytes());
        assert_eq!(buf[1536..], [2; 512]);
        let mut part = [0; 4];
        store.read_at(1026, &mut part).unwrap();
        assert_eq!(part, [0x39, 0x98, 3, 3]);
    }
}
