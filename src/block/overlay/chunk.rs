//! One chunk of an overlay: which of its blocks are stored, which are zero, which are the base's.

use std::sync::Arc;

use super::store::{Blocks, Slot, Store, split};
use super::{BLOCK_LEN, BLOCKS, block_bytes};
use crate::bytes::to_u64;
use crate::error::Result;

/// Where a block's bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Not changed.
    Base,
    /// Changed to zeroes; no bytes are kept.
    Zero,
    /// Changed; the bytes are in the chunk's place.
    Stored,
}

/// The changes in [`super::CHUNK`] bytes of a device. One bit of a mask stands for one block.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    /// Blocks whose bytes are in `place`. The place may hold more: blocks that were made zero since.
    stored: u32,
    /// Blocks that read as zeroes; disjoint from `stored`.
    zero: u32,
    place: Place,
}

#[derive(Debug, Clone, Default)]
enum Place {
    #[default]
    Nowhere,
    Memory(Arc<Blocks>),
    File(Arc<Slot>),
}

impl Chunk {
    /// Blocks that differ, or may differ, from the base.
    pub(super) fn changed(&self) -> u32 {
        self.stored | self.zero
    }

    /// The origin of `block`, and the first block after it with another origin (at most [`BLOCKS`]).
    pub(super) fn run(&self, block: u32) -> (Origin, u32) {
        let (origin, mask) = match 1 << block {
            bit if self.stored & bit != 0 => (Origin::Stored, self.stored),
            bit if self.zero & bit != 0 => (Origin::Zero, self.zero),
            _ => (Origin::Base, !self.changed()),
        };
        (
            origin,
            (block + (mask >> block).trailing_ones()).min(BLOCKS),
        )
    }

    /// Fills `buf` from byte `within` of the chunk; all blocks it touches are stored.
    pub(super) fn read(&self, within: u64, buf: &mut [u8]) -> Result<()> {
        match &self.place {
            Place::Nowhere => buf.fill(0),
            Place::Memory(blocks) => {
                let (block, skip) = split(within)?;
                buf.copy_from_slice(blocks.get(block, skip, buf.len()));
            }
            Place::File(slot) => slot.read(within, buf)?,
        }
        Ok(())
    }

    /// Makes the blocks of `mask` zero.
    pub(super) fn zero(&mut self, mask: u32) {
        self.stored &= !mask;
        self.zero |= mask;
        if self.stored == 0 {
            self.place = Place::Nowhere;
        }
    }

    /// Stores the whole blocks `bytes` from block `first`.
    pub(super) fn put(&mut self, first: u32, bytes: &[u8], store: &Arc<Store>) -> Result<()> {
        let new = super::mask_of(first, bytes.len());
        if !self.put_in_place(first, new, bytes)? {
            self.place = self.move_with(first, new, bytes, store)?;
        }
        self.stored |= new;
        self.zero &= !new;
        Ok(())
    }

    /// Changes the present place; `false` where a fork shares it or it cannot grow.
    fn put_in_place(&mut self, first: u32, new: u32, bytes: &[u8]) -> Result<bool> {
        match &mut self.place {
            Place::Nowhere => Ok(false),
            Place::Memory(blocks) => {
                Ok(Arc::get_mut(blocks).is_some_and(|blocks| blocks.put(first, new, bytes)))
            }
            Place::File(slot) => match Arc::get_mut(slot) {
                Some(slot) => slot.write(first, bytes).map(|()| true),
                None => Ok(false),
            },
        }
    }

    /// A new place with the stored blocks that remain and the new ones.
    fn move_with(&self, first: u32, new: u32, bytes: &[u8], store: &Arc<Store>) -> Result<Place> {
        let kept = self.stored & !new;
        if let Some(mut blocks) = store.memory(kept | new) {
            self.each_run(kept, |at, run| {
                blocks.set(at, run);
                Ok(())
            })?;
            blocks.set(first, bytes);
            return Ok(Place::Memory(Arc::new(blocks)));
        }
        let mut slot = store.slot()?;
        self.each_run(kept, |at, run| slot.write(at, run))?;
        slot.write(first, bytes)?;
        Ok(Place::File(Arc::new(slot)))
    }

    /// Calls `visit` with the first block and the bytes of every run of stored blocks in `mask`.
    fn each_run(&self, mask: u32, mut visit: impl FnMut(u32, &[u8]) -> Result<()>) -> Result<()> {
        let mut buf = vec![0; block_bytes(mask)];
        for (first, count) in runs(mask) {
            let len = block_bytes((1 << count) - 1);
            self.read(u64::from(first) * to_u64(BLOCK_LEN), &mut buf[..len])?;
            visit(first, &buf[..len])?;
        }
        Ok(())
    }
}

/// The runs of set bits, as first bit and count.
pub(super) fn runs(mut mask: u32) -> impl Iterator<Item = (u32, u32)> {
    std::iter::from_fn(move || {
        let first = mask.trailing_zeros();
        let count = mask.checked_shr(first)?.trailing_ones();
        mask &= !(((1 << count) - 1) << first);
        Some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found() {
        assert_eq!(runs(0).next(), None);
        assert_eq!(runs(0b1100_0111).collect::<Vec<_>>(), [(0, 3), (6, 2)]);
        assert_eq!(runs(0xffff).collect::<Vec<_>>(), [(0, 16)]);
    }
}
