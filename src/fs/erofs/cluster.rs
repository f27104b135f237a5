//! The index of a packed file: for each logical cluster (a block of the unpacked file) what begins in it, if anything.
//!
//! ```text
//!   unpacked file   │ cluster 0 │ cluster 1 │ cluster 2 │ cluster 3 │
//!   packed extents  ├──── 1st ─────┬──────────── 2nd ───────────────┤
//!   index             head, 0     head, 3     rest        rest          where it begins in the cluster; how far the head is
//!
//!   full      an entry of 8 bytes for each cluster
//!   compact   packs of 8 bytes for 2 clusters, or 32 bytes for 16, each with the first block behind its entries
//! ```

use super::inode::{Inode, Layout};
use super::volume::Volume;
use crate::block::BlockDevice;
use crate::bytes::{Fields, structure, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};

/// Entries of compact indexes have 2 bytes where they can (`Z_EROFS_ADVISE_COMPACTED_2B`).
pub(super) const ADVISE_COMPACTED_2B: u16 = 0x01;
/// Extents of each of the two kinds may be packed into more than a block (`Z_EROFS_ADVISE_BIG_PCLUSTER_1` and `_2`).
pub(super) const ADVISE_BIG_PCLUSTER_1: u16 = 0x02;
pub(super) const ADVISE_BIG_PCLUSTER_2: u16 = 0x04;
/// Types of clusters (`Z_EROFS_LCLUSTER_TYPE_*`).
pub(super) const TYPE_PLAIN: u32 = 0;
pub(super) const TYPE_HEAD1: u32 = 1;
pub(super) const TYPE_NONHEAD: u32 = 2;
/// The extent is only the beginning of what is packed there (`Z_EROFS_LI_PARTIAL_REF`).
const PARTIAL_REF: u16 = 1 << 15;
/// The distance to the head, which is 1, is replaced by the packed blocks (`Z_EROFS_LI_D0_CBLKCNT`).
pub(super) const CBLKCNT: u32 = 1 << 11;
/// Bytes before the entries of a full index that mean nothing.
const FULL_GAP_BYTES: u64 = 8;
/// Largest logical clusters that compact indexes can have, and those of 2 bytes.
const COMPACT_BITS_MAX: u32 = 14;
const COMPACT_2B_BITS_MAX: u32 = 12;
/// Compact entries of 2 bytes begin at a multiple of this.
pub(super) const COMPACT_2B_ALIGN: u64 = 32;
/// Clusters in a pack of 2-byte entries.
pub(super) const COMPACT_2B_PACK: u64 = 16;

structure! {
    /// `struct z_erofs_lcluster_index`
    pub(super) struct FullIndex: "cluster index", Little, 8 {
        /// The type of the cluster, and `PARTIAL_REF`.
        0 => di_advise: u16,
        /// Where the extent begins in the cluster.
        2 => di_clusterofs: u16,
        /// Head: the first packed block.
        4 => blkaddr: u32,
        /// No head: clusters back to it.
        4 => delta0: u16,
        /// And on to the next.
        6 => delta1: u16,
    }
}

/// What begins in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cluster {
    /// An extent.
    Head(Head),
    /// Nothing.
    Rest(Rest),
}

/// An extent that begins in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: Kind,
    /// Where it begins in the cluster.
    pub offset: u64,
    /// Its first packed block.
    pub block: u64,
    pub is_partial: bool,
}

/// How an extent is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it is.
    Plain,
    /// With the first compressor of the file.
    First,
    /// With the second one.
    Second,
}

/// A cluster in which nothing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Clusters back to the head, or to another one from where it is found.
    pub back: u64,
    /// Clusters on to the next head, or to another one from where it is found.
    pub ahead: u64,
    /// Packed blocks of the extent, where this is the first cluster behind its head and tells.
    pub blocks: Option<u64>,
}

/// The index of a file.
#[derive(Debug)]
pub(super) struct Index {
    layout: Layout,
    advise: u16,
    /// Base-2 logarithm of the bytes of a logical cluster.
    pub cluster_bits: u32,
    /// Where the header of the index ends.
    start: u64,
    /// Clusters of a compact index, of which the first have 4 bytes, then some 2.
    clusters: u64,
    initial: u64,
    middle: u64,
}

impl Index {
    /// The index of `inode` whose header, which is at `start`, says `advise` and `cluster_bits`.
    pub fn new(
        inode: &Inode,
        advise: u16,
        cluster_bits: u32,
        block_bytes: u64,
        start: u64,
    ) -> Result<Self> {
        let is_compact = inode.layout == Layout::CompressedCompact;
        let is_big = |kind| advise & kind != 0;
        if is_compact && is_big(ADVISE_BIG_PCLUSTER_1) != is_big(ADVISE_BIG_PCLUSTER_2) {
            return Err(Error::corrupt(
                "of the two kinds of extents of a compact index, only one may be longer than a block",
            ));
        }
        if is_compact && cluster_bits > COMPACT_BITS_MAX {
            return Err(Error::unsupported(format!(
                "a compact index for clusters of 2^{cluster_bits} bytes, at most 2^{COMPACT_BITS_MAX} are known"
            ))
            .because(Reason::Feature));
        }
        let start = start + 8;
        let clusters = inode.size.div_ceil(block_bytes);
        let initial = initial_4b(start);
        let has_middle = advise & ADVISE_COMPACTED_2B != 0 && initial < clusters;
        let middle = if has_middle {
            (clusters - initial) / COMPACT_2B_PACK * COMPACT_2B_PACK
        } else {
            0
        };
        if is_compact && has_middle && cluster_bits > COMPACT_2B_BITS_MAX {
            return Err(Error::unsupported(format!(
                "entries of 2 bytes for clusters of 2^{cluster_bits} bytes, at most 2^{COMPACT_2B_BITS_MAX} are known"
            ))
            .because(Reason::Feature));
        }
        Ok(Self {
            layout: inode.layout,
            advise,
            cluster_bits,
            start,
            clusters,
            initial,
            middle,
        })
    }

    /// The cluster `number`, and where what follows its entry (full) or pack (compact) begins.
    pub fn cluster<D: BlockDevice>(
        &self,
        volume: &Volume<D>,
        number: u64,
    ) -> Result<(Cluster, u64)> {
        let read = match self.layout {
            Layout::CompressedFull => self.full(volume, number),
            _ => self.compact(volume, number),
        };
        read.at(|| format!("cluster {number}"))
    }

    fn full<D: BlockDevice>(&self, volume: &Volume<D>, number: u64) -> Result<(Cluster, u64)> {
        let position = self.start + FULL_GAP_BYTES + number * 8;
        let entry = FullIndex::over(volume.meta::<8>(position)?)?;
        let advise = entry.di_advise();
        let cluster = match kind(u32::from(advise) & 3) {
            Some(kind) => Cluster::Head(self.head(Head {
                kind,
                offset: entry.di_clusterofs().into(),
                block: entry.blkaddr().into(),
                is_partial: advise & PARTIAL_REF != 0,
            })?),
            None => {
                let blocks = self.blocks(entry.delta0().into())?;
                let back = if blocks.is_some() {
                    1
                } else {
                    entry.delta0().into()
                };
                Cluster::Rest(Rest {
                    back,
                    ahead: u64::from(entry.delta1()).max(1),
                    blocks,
                })
            }
        };
        Ok((cluster, position + 8))
    }

    fn head(&self, head: Head) -> Result<Head> {
        if head.offset >> self.cluster_bits != 0 {
            return Err(Error::corrupt(format!(
                "an extent begins at byte {} of it",
                head.offset
            )));
        }
        Ok(head)
    }

    /// The packed blocks that the distance of a cluster without a head says, if it does.
    fn blocks(&self, distance: u32) -> Result<Option<u64>> {
        if distance & CBLKCNT == 0 {
            return Ok(None);
        }
        if self.advise & (ADVISE_BIG_PCLUSTER_1 | ADVISE_BIG_PCLUSTER_2) == 0 {
            return Err(Error::corrupt(
                "a number of packed blocks in a file whose extents have one each",
            ));
        }
        Ok(Some(u64::from(distance & !CBLKCNT)))
    }

    fn compact<D: BlockDevice>(&self, volume: &Volume<D>, number: u64) -> Result<(Cluster, u64)> {
        if number >= self.clusters {
            return Err(Error::corrupt(format!(
                "beyond the {} clusters of the file",
                self.clusters
            )));
        }
        let (position, is_short) = self.compact_position(number);
        let entry_bytes = if is_short { 2 } else { 4 };
        let pack_bytes = if is_short { 32 } else { 8 };
        let start = position / pack_bytes * pack_bytes;
        let mut bytes = [0; 32];
        let bytes = &mut bytes[..to_usize(pack_bytes)?];
        volume.read_meta(start, bytes)?;
        let pack = Pack::new(bytes, self.cluster_bits, if is_short { 16 } else { 2 });
        let cluster = self.unpack(&pack, to_usize((position - start) / entry_bytes)?)?;
        Ok((cluster, start + pack_bytes))
    }

    /// Where the entry of a cluster lies, and whether it has 2 bytes rather than 4.
    fn compact_position(&self, number: u64) -> (u64, bool) {
        if number < self.initial {
            return (self.start + number * 4, false);
        }
        let middle = self.start + self.initial * 4;
        let number = number - self.initial;
        if number < self.middle {
            return (middle + number * 2, true);
        }
        (middle + self.middle * 2 + (number - self.middle) * 4, false)
    }

    fn unpack(&self, pack: &Pack<'_>, at: usize) -> Result<Cluster> {
        let (cluster_type, low) = pack.entry(at)?;
        let Some(kind) = kind(cluster_type) else {
            let blocks = self.blocks(low)?;
            let back = match blocks {
                Some(_) => 1,
                None => pack.back(at, low)?,
            };
            return Ok(Cluster::Rest(Rest {
                back,
                ahead: pack.ahead(at)?,
                blocks,
            }));
        };
        let is_big = self.advise & ADVISE_BIG_PCLUSTER_1 != 0;
        let blocks = if is_big {
            pack.blocks_before_big(at)?
        } else {
            pack.blocks_before(at)?
        };
        let block = u64::from(pack.block()?) + blocks;
        // A number of 32 bits that wraps around.
        let head = Head {
            kind,
            offset: low.into(),
            block: block & u64::from(u32::MAX),
            is_partial: false,
        };
        Ok(Cluster::Head(self.head(head)?))
    }
}

/// How many 4-byte entries come before the first of 2 bytes in a compact index that begins at `start`.
pub(super) fn initial_4b(start: u64) -> u64 {
    (COMPACT_2B_ALIGN - start % COMPACT_2B_ALIGN) / 4 % 8
}

/// The kind of extent that begins in a cluster of a type; `None` where none does.
fn kind(cluster_type: u32) -> Option<Kind> {
    match cluster_type {
        TYPE_PLAIN => Some(Kind::Plain),
        TYPE_HEAD1 => Some(Kind::First),
        TYPE_NONHEAD => None,
        _ => Some(Kind::Second),
    }
}

/// Entries of a compact index that share the number of a block.
struct Pack<'a> {
    fields: Fields<'a>,
    len: usize,
    count: usize,
    /// Bits of an entry, and those of them that are no type.
    entry_bits: usize,
    low_bits: u32,
}

impl<'a> Pack<'a> {
    fn new(bytes: &'a [u8], cluster_bits: u32, count: usize) -> Self {
        Self {
            fields: Fields::new("compact index", bytes),
            len: bytes.len(),
            count,
            entry_bits: (bytes.len() - 4) * 8 / count,
            low_bits: low_bits(cluster_bits),
        }
    }

    /// The type and the number of an entry.
    fn entry(&self, at: usize) -> Result<(u32, u32)> {
        let bit = at * self.entry_bits;
        let value = self.fields.le32(bit / 8)? >> (bit % 8);
        Ok((
            value >> self.low_bits & 3,
            value & ((1 << self.low_bits) - 1),
        ))
    }

    /// The block of the first extent that begins here, or the one before.
    fn block(&self) -> Result<u32> {
        self.fields.le32(self.len - 4)
    }

    /// Clusters back to the head from a cluster without one, whose number is `low`.
    fn back(&self, at: usize, low: u32) -> Result<u64> {
        if at + 1 != self.count {
            return Ok(low.into());
        }
        // The last one has the distance to the next head instead; the one before it tells.
        let (cluster_type, low) = self.entry(at - 1)?;
        Ok(match low {
            _ if cluster_type != TYPE_NONHEAD => 1,
            low if low & CBLKCNT != 0 => 2,
            low => u64::from(low) + 1,
        })
    }

    /// Clusters on to the next head from a cluster without one, or to the end of what can be seen here.
    fn ahead(&self, at: usize) -> Result<u64> {
        let mut distance = 0;
        for index in at..self.count {
            let (cluster_type, low) = self.entry(index)?;
            if cluster_type != TYPE_NONHEAD {
                return Ok(distance);
            }
            let is_last = index + 1 == self.count;
            distance += if is_last && low & CBLKCNT == 0 {
                u64::from(low).max(1)
            } else {
                1
            };
        }
        Ok(distance)
    }

    /// Blocks of the extents that begin here before the entry `at`, where each has one.
    fn blocks_before(&self, at: usize) -> Result<u64> {
        let mut blocks = 1;
        let mut at = at;
        while at > 0 {
            at -= 1;
            let (cluster_type, low) = self.entry(at)?;
            if cluster_type == TYPE_NONHEAD {
                match at.checked_sub(to_usize(low.into())?) {
                    Some(head) => at = head,
                    None => return Ok(blocks),
                }
            }
            blocks += 1;
        }
        Ok(blocks)
    }

    /// The same where an extent may have several.
    fn blocks_before_big(&self, at: usize) -> Result<u64> {
        let mut blocks = 0;
        let mut at = at;
        while at > 0 {
            at -= 1;
            let (cluster_type, low) = self.entry(at)?;
            match low {
                _ if cluster_type != TYPE_NONHEAD => blocks += 1,
                low if low & CBLKCNT != 0 => {
                    blocks += u64::from(low & !CBLKCNT);
                    at = at.saturating_sub(1);
                }
                0 | 1 => {
                    return Err(Error::corrupt(
                        "an extent longer than a block does not say its blocks",
                    ));
                }
                low => at = at.saturating_sub(to_usize(u64::from(low) - 2)?),
            }
        }
        Ok(blocks)
    }
}

/// Bits of the number in an entry of a compact index.
pub(super) fn low_bits(cluster_bits: u32) -> u32 {
    cluster_bits.max(CBLKCNT.ilog2() + 1)
}
