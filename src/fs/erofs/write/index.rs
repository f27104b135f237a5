//! The compact index of a packed file: see `cluster.rs`, which reads what is written here.

use super::BLOCK_BYTES;
use super::pack::Extent;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::erofs::cluster::{
    ADVISE_BIG_PCLUSTER_1, ADVISE_BIG_PCLUSTER_2, ADVISE_COMPACTED_2B, CBLKCNT, COMPACT_2B_PACK,
    TYPE_HEAD1, TYPE_NONHEAD, TYPE_PLAIN, initial_4b, low_bits,
};
use crate::fs::erofs::compressed::MapHeader;

/// Bits of the number in an entry: clusters have the size of a block.
const CLUSTER_BITS: u32 = 12;
/// Bytes of the header.
pub(super) const HEADER_BYTES: u64 = 8;

/// What an entry is made of.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// An extent begins here.
    Head {
        low: u32,
        block: u32,
        is_plain: bool,
    },
    /// None does.
    Rest { back: u64, ahead: u64, blocks: u32 },
}

/// Bytes of an index of so many clusters that begins at `start`, header included.
pub(super) fn index_bytes(clusters: u64, start: u64) -> u64 {
    let (initial, middle) = split(clusters, start);
    let last = clusters.saturating_sub(initial + middle);
    HEADER_BYTES
        + (initial.min(clusters)).next_multiple_of(2) * 4
        + middle * 2
        + last.next_multiple_of(2) * 4
}

/// Clusters with 4-byte entries at the beginning, and with 2-byte ones behind them.
fn split(clusters: u64, start: u64) -> (u64, u64) {
    let initial = initial_4b(start + HEADER_BYTES);
    let middle = clusters.saturating_sub(initial) / COMPACT_2B_PACK * COMPACT_2B_PACK;
    (initial, middle)
}

/// The index of a file of `size` bytes whose extents lie one behind the other from block `first` on; it comes to lie at
/// `start`.
pub(super) fn encode(
    extents: &[Extent],
    first: u32,
    size: u64,
    start: u64,
    is_big: bool,
) -> Result<Vec<u8>> {
    let clusters = size.div_ceil(BLOCK_BYTES);
    let entries = entries(extents, first, clusters)?;
    let mut header = MapHeader::zeroed();
    let big = if is_big {
        ADVISE_BIG_PCLUSTER_1 | ADVISE_BIG_PCLUSTER_2
    } else {
        0
    };
    header.set_advise(ADVISE_COMPACTED_2B | big);
    let mut out = header.into_inner();
    let (initial, middle) = split(clusters, start);
    let initial = to_usize(initial.min(clusters))?;
    let (head, rest) = entries.split_at(initial);
    let (middle, tail) = rest.split_at(to_usize(middle)?);
    for pack in head.chunks(2) {
        out.extend(encode_pack(pack, 2, is_big)?);
    }
    for pack in middle.chunks(16) {
        out.extend(encode_pack(pack, 16, is_big)?);
    }
    for pack in tail.chunks(2) {
        out.extend(encode_pack(pack, 2, is_big)?);
    }
    Ok(out)
}

fn entries(extents: &[Extent], first: u32, clusters: u64) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(to_usize(clusters)?);
    let mut block = first;
    for (index, extent) in extents.iter().enumerate() {
        let number = extent.start / BLOCK_BYTES;
        let next = extents
            .get(index + 1)
            .map_or(clusters, |next| next.start / BLOCK_BYTES);
        if to_u64(entries.len()) != number || next <= number {
            return Err(Error::internal(format!(
                "an extent begins in cluster {number} of {clusters}, beside another"
            )));
        }
        let low = u32::try_from(extent.start % BLOCK_BYTES)
            .map_err(|_| Error::internal("less than a block"))?;
        entries.push(Entry::Head {
            low,
            block,
            is_plain: extent.is_plain,
        });
        for at in number + 1..next {
            entries.push(Entry::Rest {
                back: at - number,
                ahead: next - at,
                blocks: extent.blocks,
            });
        }
        block = block.checked_add(extent.blocks).ok_or_else(|| {
            Error::unsupported("an EROFS of more than 2^32 blocks").because(Reason::Limit)
        })?;
    }
    Ok(entries)
}

/// A distance as far as there is room for it; the way goes on from there.
fn distance(clusters: u64) -> u32 {
    u32::try_from(clusters).unwrap_or(u32::MAX).min(CBLKCNT - 1)
}

/// Entries of a pack of `count`, of which the last may be missing, and the block before them.
fn encode_pack(entries: &[Entry], count: usize, is_big: bool) -> Result<Vec<u8>> {
    let entry_bytes = if count == 2 { 4 } else { 2 };
    let mut bytes = vec![0u8; count * entry_bytes];
    let entry_bits = (bytes.len() - 4) * 8 / count;
    for (index, entry) in entries.iter().enumerate() {
        let (kind, low) = match *entry {
            Entry::Head { low, is_plain, .. } => {
                (if is_plain { TYPE_PLAIN } else { TYPE_HEAD1 }, low)
            }
            Entry::Rest {
                back: 1, blocks, ..
            } if is_big => (TYPE_NONHEAD, CBLKCNT | blocks),
            Entry::Rest { ahead, .. } if index + 1 == count => (TYPE_NONHEAD, distance(ahead)),
            Entry::Rest { back, .. } => (TYPE_NONHEAD, distance(back)),
        };
        put_bits(
            &mut bytes,
            index * entry_bits,
            entry_bits,
            kind << low_bits(CLUSTER_BITS) | low,
        );
    }
    let base = base(entries, is_big);
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&base.to_le_bytes());
    Ok(bytes)
}

/// The number from which the blocks of a pack are counted: a reader adds those of the extents that end here before the one
/// it looks for, and one more where every extent has one.
fn base(entries: &[Entry], is_big: bool) -> u32 {
    let head = entries.iter().find_map(|entry| match entry {
        Entry::Head { block, .. } => Some(*block),
        Entry::Rest { .. } => None,
    });
    let Some(head) = head else { return 0 };
    let before = match entries.first() {
        Some(Entry::Rest {
            back: 1, blocks, ..
        }) if is_big => *blocks,
        _ if is_big => 0,
        _ => 1,
    };
    head.wrapping_sub(before)
}

/// Stores the `len` low bits of `value` at bit `at`.
fn put_bits(bytes: &mut [u8], at: usize, len: usize, value: u32) {
    for bit in 0..len {
        if value >> bit & 1 != 0 {
            bytes[(at + bit) / 8] |= 1 << ((at + bit) % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_as_long_as_was_said() {
        for clusters in 1..100 {
            for start in (0..128).step_by(8) {
                let extents: Vec<Extent> = (0..clusters)
                    .map(|at| Extent {
                        start: at * BLOCK_BYTES,
                        blocks: 1,
                        is_plain: true,
                    })
                    .collect();
                let index = encode(&extents, 9, clusters * BLOCK_BYTES, start, false).unwrap();
                assert_eq!(
                    to_u64(index.len()),
                    index_bytes(clusters, start),
                    "{clusters} at {start}"
                );
            }
        }
    }
}
