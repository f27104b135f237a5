//! How a stretch of a file is stored: packed into whole blocks, or as it is.

use super::lz4::Compressor;
use super::{BLOCK_BYTES, BLOCK_USIZE};
use crate::bytes::{is_zero, to_u64};
use crate::error::Result;

/// What an extent holds, and in how many blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where it begins in the file.
    pub start: u64,
    /// Blocks it takes.
    pub blocks: u32,
    /// Stored as it is.
    pub is_plain: bool,
}

/// What became of a stretch.
#[derive(Debug)]
pub(super) struct Packed {
    /// Whole blocks.
    pub bytes: Vec<u8>,
    pub extents: Vec<Extent>,
}

/// Packs the stretch `data` that begins at `offset` of a file, each extent into at most `cluster_bytes`; `buffer` takes the
/// blocks.
pub(super) fn pack(
    compressor: &mut Compressor,
    data: &[u8],
    offset: u64,
    cluster_bytes: usize,
    mut buffer: Vec<u8>,
) -> Result<Packed> {
    buffer.clear();
    let mut packed = Packed {
        bytes: buffer,
        extents: Vec::new(),
    };
    let mut at = 0;
    while at < data.len() {
        let (taken, block) = compressor.pack(&data[at..], cluster_bytes);
        let blocks = block.len().div_ceil(BLOCK_USIZE);
        if taken > blocks * BLOCK_USIZE {
            packed.compressed(offset + to_u64(at), block, blocks)?;
            at += taken;
        } else {
            // Half of what cannot be packed is left as it is before the next attempt.
            let end = data.len().min(at + (taken / 2).max(BLOCK_USIZE));
            while at < end {
                let plain = &data[at..data.len().min(at + BLOCK_USIZE)];
                packed.plain(offset + to_u64(at), plain);
                at += plain.len();
            }
        }
    }
    Ok(packed)
}

impl Packed {
    /// Adds a compressed extent, which takes so many blocks.
    fn compressed(&mut self, start: u64, block: &[u8], blocks: usize) -> Result<()> {
        // Zeroes come first, so that the kernel can unpack in place.
        let len = self.bytes.len() + blocks * BLOCK_USIZE - block.len();
        self.bytes.resize(len, 0);
        self.bytes.extend_from_slice(block);
        let blocks = u32::try_from(blocks)
            .map_err(|_| crate::Error::internal("an extent of many blocks"))?;
        self.extents.push(Extent {
            start,
            blocks,
            is_plain: false,
        });
        Ok(())
    }

    /// Adds at most a block as it is.
    fn plain(&mut self, start: u64, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK_USIZE), 0);
        self.extents.push(Extent {
            start,
            blocks: 1,
            is_plain: true,
        });
    }
}

/// Bytes of a chunk in files that have holes.
pub(super) const CHUNK_BYTES: usize = 16 * BLOCK_USIZE;

/// Which chunks of a stretch, that begins at one, hold something.
pub(super) fn used_chunks(data: &[u8]) -> Vec<bool> {
    data.chunks(CHUNK_BYTES)
        .map(|chunk| !is_zero(chunk))
        .collect()
}

/// Blocks that so many bytes take.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;

    #[test]
    fn extents_take_whole_blocks_and_noise_is_stored() {
        let data = [
            Random::new(1).bytes(10_000),
            b"words and words ".repeat(5000),
            vec![0; 100_000],
        ]
        .concat();
        for cluster_bytes in [4096, 65_536] {
            let packed = pack(
                &mut Compressor::new(),
                &data,
                8192,
                cluster_bytes,
                Vec::new(),
            )
            .unwrap();
            let total: u32 = packed.extents.iter().map(|extent| extent.blocks).sum();
            assert_eq!(
                packed.bytes.len(),
                usize::try_from(total).unwrap() * BLOCK_USIZE
            );
            assert!(packed.bytes.len() < data.len() / 4);
            assert_eq!(packed.extents[0].start, 8192);
            assert_eq!(
                packed.extents[0].is_plain,
                cluster_bytes == 4096,
                "a longer one has room for words behind the noise"
            );
            // At most one extent begins in each block of the file.
            assert!(
                packed
                    .extents
                    .windows(2)
                    .all(|pair| pair[0].start / BLOCK_BYTES < pair[1].start / BLOCK_BYTES)
            );
        }
    }
}
