//! Packed files: from a byte of the file to the stream that holds it.
//!
//! ```text
//!   inode │ attributes │ pad to 8 │ header 8 │ index (cluster.rs) │ the end of the file, packed (ztailpacking)
//! ```

use super::UNPACKED_MAX;
use super::cluster::{ADVISE_BIG_PCLUSTER_1, ADVISE_BIG_PCLUSTER_2, Cluster, Head, Index, Kind};
use super::content::{Extent, Place};
use super::decode::Algorithm;
use super::inode::{Inode, Layout};
use super::volume::{Packed, Volume};
use crate::block::BlockDevice;
use crate::bytes::structure;
use crate::error::{Error, Reason, Result, ResultExt};

/// The end of the file is packed behind the index (`Z_EROFS_ADVISE_INLINE_PCLUSTER`).
const ADVISE_INLINE: u16 = 0x08;
/// What is stored as it is lies where it does in its block of the file (`Z_EROFS_ADVISE_INTERLACED_PCLUSTER`).
const ADVISE_INTERLACED: u16 = 0x10;
/// The end of the file lies in the packed inode (`Z_EROFS_ADVISE_FRAGMENT_PCLUSTER`).
const ADVISE_FRAGMENT: u16 = 0x20;
/// All of the file lies there; the other bits of the header say where (`Z_EROFS_FRAGMENT_INODE_BIT`).
const WHOLE_FRAGMENT: u64 = 1 << 63;
/// Steps back from a cluster to its head: there are at most this many clusters of 512 bytes in the longest extent.
const STEPS_MAX: u64 = UNPACKED_MAX / 512;

structure! {
    /// `struct z_erofs_map_header`
    pub(super) struct MapHeader: "header of an index", Little, 8 {
        /// Where in the packed inode the end of the file lies.
        0 => h_fragmentoff: u32,
        /// Bytes of the end of the file that are packed behind the index.
        2 => h_idata_size: u16,
        /// Bits.
        4 => h_advise / set_advise: u16,
        /// The compressors: the first in bits 0 to 3, the second in bits 4 to 7.
        6 => h_algorithmtype / set_algorithmtype: u8,
        /// Base-2 logarithm of the blocks of a logical cluster.
        7 => h_clusterbits / set_clusterbits: u8,
        /// All of it, where all of the file lies in the packed inode.
        0 => all: u64,
    }
}

/// How the end of the file is stored, if not as the rest.
#[derive(Debug, Clone, Copy)]
enum Tail {
    None,
    /// Behind the index.
    Inline {
        position: u64,
        bytes: u64,
    },
    /// In the packed inode.
    Fragment {
        offset: u64,
    },
}

/// A packed file.
#[derive(Debug)]
pub(super) struct Compressed {
    nid: u64,
    size: u64,
    advise: u16,
    algorithms: [Algorithm; 2],
    /// `None` where all of the file lies in the packed inode.
    index: Option<Index>,
    tail: Tail,
    /// The cluster in which the tail begins.
    tail_head: u64,
}

/// An extent as the index has it.
struct Found {
    /// The cluster in which it begins.
    number: u64,
    head: Head,
    /// The first byte of the file that it holds.
    start: u64,
}

impl Compressed {
    pub fn of<D: BlockDevice>(volume: &Volume<D>, inode: &Inode) -> Result<Self> {
        Self::read(volume, inode).at(|| format!("index of inode {}", inode.nid))
    }

    fn read<D: BlockDevice>(volume: &Volume<D>, inode: &Inode) -> Result<Self> {
        let superblock = &volume.superblock;
        let position = inode.end().next_multiple_of(8);
        let mut compressed = Self {
            nid: inode.nid,
            size: inode.size,
            advise: 0,
            algorithms: [Algorithm::Lz4; 2],
            index: None,
            tail: Tail::None,
            tail_head: 0,
        };
        if inode.size == 0 {
            return Ok(compressed);
        }
        let header = MapHeader::over(volume.meta::<8>(position)?)?;
        if header.all() & WHOLE_FRAGMENT != 0 {
            compressed.tail = Tail::Fragment {
                offset: header.all() ^ WHOLE_FRAGMENT,
            };
            return Ok(compressed);
        }
        let advise = header.h_advise();
        if advise & (ADVISE_BIG_PCLUSTER_1 | ADVISE_BIG_PCLUSTER_2) != 0
            && !superblock.has_big_pclusters()
        {
            return Err(Error::corrupt(
                "it packs more than a block at a time, which the superblock does not say",
            ));
        }
        let algorithms = header.h_algorithmtype();
        let cluster_bits =
            u32::from(superblock.block_bits) + u32::from(header.h_clusterbits() & 15);
        compressed.advise = advise;
        compressed.algorithms = [
            Algorithm::from_number(algorithms & 15)?,
            Algorithm::from_number(algorithms >> 4)?,
        ];
        let index = Index::new(
            inode,
            advise,
            cluster_bits,
            superblock.block_bytes(),
            position,
        )?;
        compressed.index = Some(index);
        compressed.find_tail(volume, inode, &header)?;
        Ok(compressed)
    }

    fn find_tail<D: BlockDevice>(
        &mut self,
        volume: &Volume<D>,
        inode: &Inode,
        header: &MapHeader<[u8; 8]>,
    ) -> Result<()> {
        let has_fragment = self.advise & ADVISE_FRAGMENT != 0;
        let inline_bytes = if self.advise & ADVISE_INLINE != 0 {
            u64::from(header.h_idata_size())
        } else {
            0
        };
        if !has_fragment && inline_bytes == 0 {
            return Ok(());
        }
        let Some(index) = &self.index else {
            return Ok(());
        };
        let last = self.size - 1;
        let (_, behind) = index.cluster(volume, last >> index.cluster_bits)?;
        let found = self.find(index, volume, last)?;
        self.tail_head = found.number;
        if has_fragment {
            // A full index has room for 32 bits more.
            let high = if inode.layout == Layout::CompressedFull {
                found.head.block << 32
            } else {
                0
            };
            self.tail = Tail::Fragment {
                offset: u64::from(header.h_fragmentoff()) | high,
            };
            return Ok(());
        }
        let block_bytes = volume.superblock.block_bytes();
        if behind % block_bytes + inline_bytes > block_bytes {
            return Err(Error::corrupt(format!(
                "its end, {inline_bytes} bytes at {behind}, goes beyond a block"
            )));
        }
        self.tail = Tail::Inline {
            position: behind,
            bytes: inline_bytes,
        };
        Ok(())
    }

    /// Whether the file, or its end, lies in the packed inode.
    pub fn has_fragment(&self) -> bool {
        matches!(self.tail, Tail::Fragment { .. })
    }

    /// The stretch that covers `offset`.
    pub fn extent<D: BlockDevice>(&self, volume: &Volume<D>, offset: u64) -> Result<Extent> {
        self.extent_unnamed(volume, offset)
            .at(|| format!("byte {offset} of inode {}", self.nid))
    }

    fn extent_unnamed<D: BlockDevice>(&self, volume: &Volume<D>, offset: u64) -> Result<Extent> {
        let whole = |place| {
            Ok(Extent {
                start: 0,
                len: self.size,
                place,
            })
        };
        let Some(index) = &self.index else {
            return match self.tail {
                Tail::Fragment { offset } => whole(Place::Fragment(offset)),
                _ => Err(Error::internal("a file that is packed nowhere")),
            };
        };
        let found = self.find(index, volume, offset)?;
        let tail = if found.number == self.tail_head {
            self.tail
        } else {
            Tail::None
        };
        let (position, stream_bytes, end) = match tail {
            // An extent in the first cluster that is a tail is all of the file, as the kernel has it.
            Tail::Fragment { offset } if found.number == 0 => {
                return whole(Place::Fragment(offset));
            }
            Tail::Fragment { offset } => {
                return Ok(Extent {
                    start: found.start,
                    len: self.size - found.start,
                    place: Place::Fragment(offset),
                });
            }
            Tail::Inline { position, bytes } => (position, bytes, self.size),
            Tail::None => {
                let blocks = self.packed_blocks(index, volume, &found)?;
                let position = found.head.block << volume.superblock.block_bits;
                (
                    position,
                    blocks << volume.superblock.block_bits,
                    self.end(index, volume, &found)?,
                )
            }
        };
        let algorithm = match found.head.kind {
            Kind::Plain => {
                let is_interlaced =
                    self.advise & ADVISE_INTERLACED != 0 && matches!(tail, Tail::None);
                let plain = Plain {
                    start: found.start,
                    end,
                    position,
                    stream_bytes,
                };
                return plain.extent(
                    offset,
                    is_interlaced.then_some(volume.superblock.block_bytes()),
                );
            }
            Kind::First => self.algorithms[0],
            Kind::Second => self.algorithms[1],
        };
        let packed = Packed {
            position,
            stream_bytes,
            unpacked_bytes: end - found.start,
            algorithm,
            is_partial: found.head.is_partial,
        };
        Ok(Extent {
            start: found.start,
            len: end - found.start,
            place: Place::Packed(packed),
        })
    }

    /// The extent that covers `offset`.
    fn find<D: BlockDevice>(
        &self,
        index: &Index,
        volume: &Volume<D>,
        offset: u64,
    ) -> Result<Found> {
        let bits = index.cluster_bits;
        let mut number = offset >> bits;
        let within = offset - (number << bits);
        let mut back = match index.cluster(volume, number)?.0 {
            Cluster::Head(head) if within >= head.offset => return Ok(found(number, head, bits)),
            Cluster::Head(_) => 1,
            Cluster::Rest(rest) => rest.back,
        };
        for _ in 0..STEPS_MAX {
            if back == 0 || back > number {
                return Err(Error::corrupt(format!(
                    "the extent of cluster {number} begins {back} clusters before it"
                )));
            }
            number -= back;
            match index.cluster(volume, number)?.0 {
                Cluster::Head(head) => return Ok(found(number, head, bits)),
                Cluster::Rest(rest) => back = rest.back,
            }
        }
        Err(Error::corrupt(format!(
            "the extent of byte {offset} has no beginning"
        )))
    }

    /// Packed blocks of an extent: one, or what the cluster behind its head says.
    fn packed_blocks<D: BlockDevice>(
        &self,
        index: &Index,
        volume: &Volume<D>,
        found: &Found,
    ) -> Result<u64> {
        let is_big = match found.head.kind {
            Kind::First => self.advise & ADVISE_BIG_PCLUSTER_1 != 0,
            Kind::Plain | Kind::Second => self.advise & ADVISE_BIG_PCLUSTER_2 != 0,
        };
        let next = found.number + 1;
        if !is_big || next << index.cluster_bits >= self.size {
            return Ok(1);
        }
        match index.cluster(volume, next)?.0 {
            Cluster::Head(_) => Ok(1),
            Cluster::Rest(rest) if rest.back == 1 => {
                Ok(rest.blocks.filter(|&blocks| blocks > 0).unwrap_or(1))
            }
            Cluster::Rest(rest) => Err(Error::corrupt(format!(
                "cluster {next} says that the extent before it begins {} clusters back",
                rest.back
            ))),
        }
    }

    /// Where an extent ends in the file: where the next one begins, or the file ends.
    fn end<D: BlockDevice>(&self, index: &Index, volume: &Volume<D>, found: &Found) -> Result<u64> {
        let mut number = found.number + 1;
        loop {
            let start = number << index.cluster_bits;
            if start >= self.size {
                return Ok(self.size);
            }
            if start - found.start > UNPACKED_MAX {
                return Err(Error::unsupported(format!(
                    "an extent of more than {UNPACKED_MAX} bytes"
                ))
                .because(Reason::Limit));
            }
            match index.cluster(volume, number)?.0 {
                Cluster::Head(head) => return Ok((start + head.offset).min(self.size)),
                Cluster::Rest(rest) => number += rest.ahead,
            }
        }
    }
}

fn found(number: u64, head: Head, bits: u32) -> Found {
    Found {
        number,
        head,
        start: (number << bits) + head.offset,
    }
}

/// An extent that is stored as it is.
struct Plain {
    start: u64,
    end: u64,
    position: u64,
    stream_bytes: u64,
}

impl Plain {
    /// The part that covers `offset`. An interlaced one lies in its last block as it does in the block of the file, and
    /// what would go beyond it lies at its beginning.
    fn extent(&self, offset: u64, interlaced: Option<u64>) -> Result<Extent> {
        let len = self.end - self.start;
        if len > self.stream_bytes {
            return Err(Error::corrupt(format!(
                "{len} bytes that are not packed in {} bytes",
                self.stream_bytes
            )));
        }
        let first = interlaced.map_or(len, |block_bytes| {
            (block_bytes - self.start % block_bytes).min(len)
        });
        let Some(block_bytes) = interlaced else {
            return Ok(Extent {
                start: self.start,
                len,
                place: Place::Device(self.position),
            });
        };
        let turn = self.start + first;
        if offset >= turn {
            return Ok(Extent {
                start: turn,
                len: self.end - turn,
                place: Place::Device(self.position),
            });
        }
        let skip = self.stream_bytes - (block_bytes - self.start % block_bytes);
        Ok(Extent {
            start: self.start,
            len: first,
            place: Place::Device(self.position + skip),
        })
    }
}
