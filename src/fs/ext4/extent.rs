//! The extent tree of an inode: which blocks hold which part of a file.
//!
//! ```text
//!   i_block (60 bytes)        tree block
//!   ┌────────┬───────┐        ┌────────┬────────┬────────┬───┬──────────┐
//!   │ header │ index ├──────▶ │ header │ extent │ extent │ … │ checksum │
//!   └────────┴───────┘        └────────┴────────┴────────┴───┴──────────┘
//!     depth 1                   depth 0   (logical, length, physical)
//! ```

use super::checksum;
use super::halves::{high32, join32, low16, low32};
use super::inode::Inode;
use super::superblock::{Superblock, ensure};
use crate::block::BlockDevice;
use crate::bytes::{structure, to_u64, to_usize};
use crate::error::{Error, Reason, Result};

/// `EXT4_EXT_MAGIC`
pub(super) const MAGIC: u16 = 0xF30A;
/// Header, index and extent are 12 bytes each.
pub(super) const ENTRY: usize = Leaf::<&[u8]>::SIZE;
/// `EXT_MAX_DEPTH` of the kernel.
const DEPTH_MAX: u16 = 5;
/// `EXT_INIT_MAX_LEN`: greater lengths mean an unwritten extent of that much less.
pub(super) const LEN_INIT_MAX: u16 = 32768;
/// Extents of one file that are kept in memory (64 MiB); a file of 1 TiB in pieces of 1 MiB has 1,048,576.
pub(super) const EXTENTS_MAX: usize = 1 << 21;

structure! {
    /// `struct ext4_extent_header`, which each node begins with.
    pub(super) struct Header: "extent header", Little, 12 {
        /// [`MAGIC`].
        0 => eh_magic / set_magic: u16,
        /// Entries in use.
        2 => eh_entries / set_entries: u16,
        /// Entries there is room for.
        4 => eh_max / set_max: u16,
        /// Levels of nodes below.
        6 => eh_depth / set_depth: u16,
    }
}

structure! {
    /// `struct ext4_extent_idx`: an entry that names a node below.
    pub(super) struct Index: "extent index", Little, 12 {
        /// First block within the file.
        0 => ei_block / set_block: u32,
        /// Block of the node, low half.
        4 => ei_leaf_lo / set_leaf_lo: u32,
        /// Block of the node, high part.
        8 => ei_leaf_hi / set_leaf_hi: u16,
    }
}

structure! {
    /// `struct ext4_extent`: an entry that names blocks of content.
    pub(super) struct Leaf: "extent", Little, 12 {
        /// First block within the file.
        0 => ee_block / set_block: u32,
        /// Blocks, and [`LEN_INIT_MAX`] more where they are unwritten.
        4 => ee_len / set_len: u16,
        /// First block on the device, high part.
        6 => ee_start_hi / set_start_hi: u16,
        /// First block on the device, low half.
        8 => ee_start_lo / set_start_lo: u32,
    }
}

structure! {
    /// `struct ext4_extent_tail`, behind the entries that a tree block has room for.
    pub(super) struct Tail: "extent tail", Little, 4 {
        /// CRC32C of what is before it.
        0 => et_checksum / set_checksum: u32,
    }
}

impl<B: AsRef<[u8]>> Index<B> {
    /// Block of the node.
    pub(super) fn leaf(&self) -> u64 {
        join32(self.ei_leaf_lo(), self.ei_leaf_hi().into())
    }
}

impl<B: AsMut<[u8]>> Index<B> {
    /// Stores the block of the node.
    pub(super) fn set_leaf(&mut self, block: u64) {
        self.set_leaf_lo(low32(block));
        self.set_leaf_hi(low16(high32(block)));
    }
}

impl<B: AsRef<[u8]>> Leaf<B> {
    /// First block on the device.
    pub(super) fn start(&self) -> u64 {
        join32(self.ee_start_lo(), self.ee_start_hi().into())
    }
}

impl<B: AsMut<[u8]>> Leaf<B> {
    /// Stores the first block on the device.
    pub(super) fn set_start(&mut self, block: u64) {
        self.set_start_lo(low32(block));
        self.set_start_hi(low16(high32(block)));
    }
}

/// A run of blocks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First block within the file.
    pub logical: u64,
    /// Blocks, 1 to 32768.
    pub len: u64,
    /// First block on the device.
    pub physical: u64,
    /// Whether it holds data; else it is allocated and reads as zeroes.
    pub written: bool,
}

/// Appends a run to extents in order, joined with the last where it goes on there.
pub(super) fn push(extents: &mut Vec<Extent>, run: Extent) {
    match extents.last_mut() {
        Some(last)
            if last.logical + last.len == run.logical
                && last.physical + last.len == run.physical
                && last.written == run.written
                && last.len + run.len <= u64::from(LEN_INIT_MAX) - u64::from(!run.written) =>
        {
            last.len += run.len;
        }
        _ => extents.push(run),
    }
}

/// Reads a whole tree; every extent lies in the filesystem, behind the one before it.
pub(super) struct TreeReader<'a> {
    device: &'a dyn BlockDevice,
    superblock: &'a Superblock,
    inode: &'a Inode,
    extents: Vec<Extent>,
    /// Tree blocks below the root.
    nodes: Vec<u64>,
    /// Blocks mapped so far, at most those of the filesystem: else some are claimed twice.
    mapped: u64,
}

impl<'a> TreeReader<'a> {
    /// The extents of `inode`, in the file's order, without overlap, and the blocks of its tree.
    pub(super) fn read(
        device: &'a dyn BlockDevice,
        superblock: &'a Superblock,
        inode: &'a Inode,
    ) -> Result<(Vec<Extent>, Vec<u64>)> {
        let mut reader = Self {
            device,
            superblock,
            inode,
            extents: Vec::new(),
            nodes: Vec::new(),
            mapped: 0,
        };
        let depth = Header::over(inode.block())?.eh_depth();
        ensure(depth <= DEPTH_MAX, || {
            format!(
                "the extent tree of inode {} is {depth} levels deep, more than {DEPTH_MAX}",
                inode.ino
            )
        })?;
        reader.node(inode.block(), depth, (0, 1 << 32))?;
        Ok((reader.extents, reader.nodes))
    }

    /// Reads the node in `bytes`, `depth` levels above the leaves, whose entries lie in logical blocks `from..until`.
    fn node(&mut self, bytes: &[u8], depth: u16, (from, until): (u64, u64)) -> Result<()> {
        let ino = self.inode.ino;
        let header = Header::over(bytes)?;
        let entries = usize::from(header.eh_entries());
        let max = usize::from(header.eh_max());
        ensure(
            header.eh_magic() == MAGIC && header.eh_depth() == depth,
            || format!("inode {ino} has a damaged extent node"),
        )?;
        ensure(
            entries <= max && max < bytes.len() / ENTRY && (depth == 0 || entries > 0),
            || format!("an extent node of inode {ino} has {entries} entries of {max}"),
        )?;
        let mut next = from;
        for slot in 1..=entries {
            let at = slot * ENTRY;
            if depth == 0 {
                next = self.leaf_entry(Leaf::at(bytes, at)?, next, until)?;
                continue;
            }
            let index = Index::at(bytes, at)?;
            let logical = u64::from(index.ei_block());
            let end = if slot < entries {
                Index::at(bytes, at + ENTRY)?.ei_block().into()
            } else {
                until
            };
            self.check_order(logical, next, until)?;
            self.check_order(end, logical + 1, until + 1)?;
            self.child(index.leaf(), depth - 1, (logical, end))?;
            next = end;
        }
        Ok(())
    }

    /// Checks that an entry begins, or ends, in logical blocks `from..until`.
    fn check_order(&self, logical: u64, from: u64, until: u64) -> Result<()> {
        ensure((from..until).contains(&logical), || {
            format!("extents of inode {} are out of order", self.inode.ino)
        })
    }

    /// Keeps an extent within logical blocks `from..until`; returns its end.
    fn leaf_entry(&mut self, leaf: Leaf<&[u8]>, from: u64, until: u64) -> Result<u64> {
        let ino = self.inode.ino;
        let logical = u64::from(leaf.ee_block());
        self.check_order(logical, from, until)?;
        let raw_len = leaf.ee_len();
        let written = raw_len <= LEN_INIT_MAX;
        let len = u64::from(if written {
            raw_len
        } else {
            raw_len - LEN_INIT_MAX
        });
        let physical = leaf.start();
        let end = logical + len;
        ensure(len > 0 && end <= until, || {
            format!("extents of inode {ino} overlap")
        })?;
        self.check_blocks(physical, len)?;
        self.mapped += len;
        ensure(self.mapped <= self.superblock.blocks_count, || {
            format!("inode {ino} claims more blocks than the filesystem has")
        })?;
        if self.extents.len() == EXTENTS_MAX {
            return Err(Error::unsupported(format!(
                "inode {ino} has more than {EXTENTS_MAX} extents"
            ))
            .because(Reason::Limit));
        }
        self.extents.push(Extent {
            logical,
            len,
            physical,
            written,
        });
        Ok(end)
    }

    fn child(&mut self, block: u64, depth: u16, range: (u64, u64)) -> Result<()> {
        self.check_blocks(block, 1)?;
        self.nodes.push(block);
        ensure(
            to_u64(self.nodes.len()) + self.mapped <= self.superblock.blocks_count,
            || {
                format!(
                    "inode {} claims more blocks than the filesystem has",
                    self.inode.ino
                )
            },
        )?;
        let mut bytes = vec![0; to_usize(u64::from(self.superblock.block_size))?];
        self.device
            .read_at(block * u64::from(self.superblock.block_size), &mut bytes)?;
        if self.superblock.has_checksums() {
            let max = usize::from(Header::over(&bytes[..])?.eh_max());
            let end = ENTRY + ENTRY * max;
            let tail = Tail::at(&bytes, end)?;
            let computed = checksum::crc32c(self.inode.seed(self.superblock), &bytes[..end]);
            ensure(tail.et_checksum() == computed, || {
                format!(
                    "the checksum of extent block {block} of inode {} does not match",
                    self.inode.ino
                )
            })?;
        }
        self.node(&bytes, depth, range)
    }

    fn check_blocks(&self, first: u64, len: u64) -> Result<()> {
        ensure(self.superblock.contains(first, len), || {
            format!(
                "blocks {first}+{len} of inode {} lie outside the filesystem",
                self.inode.ino
            )
        })
    }
}

/// Fills `buf` from byte `offset` of the file with these extents; holes and unwritten extents read as zeroes.
pub(super) fn read_at(
    device: &dyn BlockDevice,
    block_size: u32,
    extents: &[Extent],
    offset: u64,
    buf: &mut [u8],
) -> Result<()> {
    let block_size = u64::from(block_size);
    let mut index =
        extents.partition_point(|extent| (extent.logical + extent.len) * block_size <= offset);
    let mut done = 0;
    while done < buf.len() {
        let position = offset + to_u64(done);
        let left = to_u64(buf.len() - done);
        let (len, source) = match extents.get(index) {
            None => (left, None),
            Some(extent) if extent.logical * block_size > position => {
                (left.min(extent.logical * block_size - position), None)
            }
            Some(extent) => {
                let within = position - extent.logical * block_size;
                index += 1;
                (
                    left.min(extent.len * block_size - within),
                    extent
                        .written
                        .then_some(extent.physical * block_size + within),
                )
            }
        };
        let part = &mut buf[done..done + to_usize(len)?];
        match source {
            Some(source) => device.read_at(source, part)?,
            None => part.fill(0),
        }
        done += part.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    #[test]
    fn holes_and_unwritten_extents_read_as_zeroes() {
        let device = MemoryDevice::new(
            (0..6 * 1024)
                .map(|at: u32| at.to_be_bytes()[2] | 1)
                .collect(),
        );
        let extents = [
            Extent {
                logical: 1,
                len: 1,
                physical: 4,
                written: true,
            },
            Extent {
                logical: 2,
                len: 1,
                physical: 3,
                written: false,
            },
            Extent {
                logical: 4,
                len: 1,
                physical: 2,
                written: true,
            },
        ];
        let mut whole = vec![9; 6 * 1024];
        read_at(&device, 1024, &extents, 0, &mut whole).unwrap();
        let kinds: Vec<u8> = whole.chunks(256).map(|chunk| chunk[0]).collect();
        let z = 0;
        assert_eq!(
            kinds,
            [
                z, z, z, z, 17, 17, 19, 19, z, z, z, z, z, z, z, z, 9, 9, 11, 11, z, z, z, z
            ]
        );
        for offset in 0..whole.len() {
            let len = (whole.len() - offset).min(1500);
            let mut part = vec![9; len];
            read_at(&device, 1024, &extents, to_u64(offset), &mut part).unwrap();
            assert!(part == whole[offset..offset + len], "from {offset}");
        }
    }
}
