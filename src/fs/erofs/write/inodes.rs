//! Inodes with what lies behind them, and the blocks of directories.
//!
//! ```text
//!   │ inode │ attributes │ end of a file, index, table of chunks │ inode │ …    none goes beyond a block that fits into one
//! ```

use std::collections::BTreeSet;

use super::data::Laid;
use super::pack::{CHUNK_BYTES, blocks};
use super::{BLOCK_BYTES, BLOCK_USIZE, ErofsOptions, Out, index, xattrs};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::FileSystem;
use crate::fs::erofs::dir::{DIRENT_BYTES, Dirent, record_bytes};
use crate::fs::erofs::inode::{Compact, Extended, FORMAT_EXTENDED, INODE_UNIT, Layout};
use crate::fs::source::{Node, Part, Reading, Tree};

/// Units in a block.
const UNITS: u64 = BLOCK_BYTES / INODE_UNIT;
/// A first block where there is none.
const NO_BLOCK: u32 = u32::MAX;

/// How an inode begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    is_extended: bool,
    /// Bytes of its attributes.
    xattr_bytes: u64,
}

impl Shape {
    /// The shape of a node with attributes of so many bytes.
    pub fn of(node: &Node, xattr_bytes: u64, options: &ErofsOptions) -> Self {
        let has_time = node.mtime.secs == options.build_time && node.mtime.nanos == 0;
        let has_small_numbers = node.uid <= 0xffff && node.gid <= 0xffff && node.nlink <= 0xffff;
        let is_extended = !has_time || !has_small_numbers || node.size() > u32::MAX.into();
        Self {
            is_extended,
            xattr_bytes,
        }
    }

    /// Bytes of the inode and its attributes.
    fn bytes(self) -> u64 {
        (if self.is_extended { 64 } else { 32 }) + self.xattr_bytes
    }

    /// Whether so many bytes fit behind it in its block.
    pub fn fits_inline(self, len: u64) -> bool {
        self.bytes() + len <= BLOCK_BYTES
    }
}

/// What inodes are made of, besides where content lies.
pub(super) struct Parts<'a> {
    pub source: &'a dyn FileSystem,
    pub tree: &'a Tree,
    pub options: &'a ErofsOptions,
    /// Attributes as they are stored, by the numbers of their sets.
    pub xattrs: &'a [Vec<u8>],
    /// How the inode of each node begins.
    pub shapes: &'a [Shape],
}

/// All inodes of an image.
pub(super) struct Inodes<'a> {
    parts: Parts<'a>,
    laid: Vec<Laid>,
    /// Sizes of directories, as of their blocks; of others, those of the source.
    sizes: Vec<u64>,
    /// Where each inode lies, in units from the beginning of their area.
    places: Vec<u64>,
}

/// Where things came to lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    /// The block before the first inode: numbers of inodes count from there, so that none is 0.
    pub meta_block: u32,
    /// The root's number.
    pub root_nid: u64,
    pub inodes: u64,
}

/// A number of an inode: units from `meta_block` on.
fn nid(place: u64) -> u64 {
    UNITS + place
}

impl<'a> Inodes<'a> {
    /// Inodes that have no places yet.
    pub fn new(parts: Parts<'a>, laid: Vec<Laid>) -> Self {
        let tree = parts.tree;
        let sizes = tree
            .nodes
            .iter()
            .enumerate()
            .map(|(id, node)| size(tree, id, node))
            .collect();
        Self {
            places: vec![0; tree.nodes.len()],
            parts,
            laid,
            sizes,
        }
    }

    /// Writes the blocks of directories and long symlinks, and then all inodes.
    pub fn write(&mut self, out: &mut Out<'_>) -> Result<Area> {
        let blocks_end = self.lay_out_blocks(out.next_block()?)?;
        let order = self.place();
        for (id, node) in self
            .parts
            .tree
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.nlink > 0)
        {
            let content = match &node.part {
                Part::Directory(_) => self.directory(id, node, self.blocks_of(id))?,
                Part::Symlink(target) if self.blocks_of(id) > 0 => target.clone(),
                _ => continue,
            };
            out.put_blocks(&content)?;
        }
        if out.next_block()? != blocks_end {
            return Err(Error::internal(
                "the blocks of directories are not where they should be",
            ));
        }
        self.write_inodes(&order, out)?;
        Ok(Area {
            meta_block: blocks_end - 1,
            root_nid: nid(self.places[0]),
            inodes: to_u64(order.len()),
        })
    }

    /// Gives directories and symlinks their blocks, from `next` on, and returns the block behind them.
    fn lay_out_blocks(&mut self, mut next: u32) -> Result<u32> {
        for (id, node) in self
            .parts
            .tree
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.nlink > 0)
        {
            if !matches!(node.part, Part::Directory(_) | Part::Symlink(_)) {
                continue;
            }
            let size = self.sizes[id];
            let tail = size - (blocks(size) - 1) * BLOCK_BYTES;
            let is_tail_inline = self.parts.shapes[id].fits_inline(tail);
            self.laid[id] = Laid::Flat {
                first: next,
                is_tail_inline,
            };
            let count = u32::try_from(self.blocks_of(id)).ok();
            next = count
                .and_then(|count| next.checked_add(count))
                .ok_or_else(super::too_many_blocks)?;
        }
        Ok(next)
    }

    /// Blocks of flat content.
    fn blocks_of(&self, id: usize) -> u64 {
        match self.laid[id] {
            Laid::Flat { is_tail_inline, .. } => blocks(self.sizes[id]) - u64::from(is_tail_inline),
            _ => 0,
        }
    }

    /// Bytes of an inode with all that lies behind it.
    fn bytes(&self, id: usize) -> u64 {
        let head = self.parts.shapes[id].bytes();
        match &self.laid[id] {
            Laid::Nothing => head,
            laid @ Laid::Flat { .. } => head + laid.inline_bytes(self.sizes[id]),
            Laid::Chunks(chunks) => head.next_multiple_of(4) + to_u64(chunks.len()) * 4,
            Laid::Packed { .. } => {
                let start = head.next_multiple_of(8);
                start + index::index_bytes(blocks(self.sizes[id]), start)
            }
        }
    }

    /// Finds a place for every inode, each in the fullest block that has room for it; returns them in their order.
    fn place(&mut self) -> Vec<usize> {
        // Blocks with room: units that are free, and where they begin.
        let mut room: BTreeSet<(u64, u64)> = BTreeSet::new();
        let mut end = 0;
        let mut order: Vec<usize> = (0..self.parts.tree.nodes.len())
            .filter(|&id| self.parts.tree.nodes[id].nlink > 0)
            .collect();
        for &id in &order {
            let units = self.bytes(id).div_ceil(INODE_UNIT);
            let found = if units <= UNITS {
                room.range((units, 0)..).next().copied()
            } else {
                None
            };
            let (free, start) = match found {
                Some(found) => {
                    room.remove(&found);
                    found
                }
                None => {
                    let start = end;
                    end += units.next_multiple_of(UNITS);
                    (end - start, start)
                }
            };
            self.places[id] = start;
            if free > units {
                room.insert((free - units, start + units));
            }
        }
        order.sort_by_key(|&id| self.places[id]);
        order
    }

    fn write_inodes(&self, order: &[usize], out: &mut Out<'_>) -> Result<()> {
        let mut pending: Vec<u8> = Vec::new();
        let mut start = 0;
        for &id in order {
            let at = to_usize(self.places[id] * INODE_UNIT - start)?;
            // Whole blocks before this inode are complete.
            let complete = at / BLOCK_USIZE * BLOCK_USIZE;
            pending.resize(at.max(pending.len()), 0);
            out.put_blocks(&pending[..complete])?;
            pending.drain(..complete);
            start += to_u64(complete);
            let inode = self.inode(id).at(|| self.parts.tree.nodes[id].name())?;
            pending.extend_from_slice(&inode);
        }
        out.put_blocks(&pending)?;
        Ok(())
    }

    /// An inode with all that lies behind it.
    fn inode(&self, id: usize) -> Result<Vec<u8>> {
        let node = &self.parts.tree.nodes[id];
        let (layout, i_u) = self.layout(id)?;
        let mut bytes = self.head(id, node, layout, i_u)?;
        if let Some(number) = node.xattrs {
            bytes.extend_from_slice(&self.parts.xattrs[to_usize(number.into())?]);
        }
        match &self.laid[id] {
            Laid::Nothing => {}
            Laid::Flat { is_tail_inline, .. } => {
                if *is_tail_inline {
                    bytes.extend(self.tail(id, node)?);
                }
            }
            Laid::Chunks(chunks) => {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes.extend(chunks.iter().flat_map(|chunk| chunk.to_le_bytes()));
            }
            Laid::Packed { first, extents } => {
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                let start = to_u64(bytes.len());
                bytes.extend(index::encode(
                    extents,
                    *first,
                    self.sizes[id],
                    start,
                    self.parts.options.has_big_clusters(),
                )?);
            }
        }
        if to_u64(bytes.len()) != self.bytes(id) {
            return Err(Error::internal(format!(
                "an inode of {} bytes takes {}",
                self.bytes(id),
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// The layout of a node and what `i_u` says.
    fn layout(&self, id: usize) -> Result<(Layout, u32)> {
        let node = &self.parts.tree.nodes[id];
        if let Part::Device(number) = node.part {
            return Ok((Layout::FlatPlain, number));
        }
        Ok(match &self.laid[id] {
            Laid::Nothing => (Layout::FlatPlain, NO_BLOCK),
            Laid::Flat {
                first,
                is_tail_inline,
            } => {
                let layout = if *is_tail_inline {
                    Layout::FlatInline
                } else {
                    Layout::FlatPlain
                };
                (
                    layout,
                    if self.blocks_of(id) > 0 {
                        *first
                    } else {
                        NO_BLOCK
                    },
                )
            }
            Laid::Chunks(_) => (Layout::Chunks, (CHUNK_BYTES / BLOCK_USIZE).ilog2()),
            laid @ Laid::Packed { .. } => (Layout::CompressedCompact, laid.packed_blocks()),
        })
    }

    fn head(&self, id: usize, node: &Node, layout: Layout, i_u: u32) -> Result<Vec<u8>> {
        let shape = self.parts.shapes[id];
        let mode = u16::try_from(node.file_type.mode_bits())
            .map_err(|_| Error::internal("16 bits"))?
            | node.mode;
        let number = u32::try_from(id + 1)
            .map_err(|_| Error::unsupported("more than 2^32 inodes").because(Reason::Limit))?;
        let units = xattrs::units(shape.xattr_bytes)?;
        let short = |value: u32| {
            u16::try_from(value).map_err(|_| Error::internal("an inode that should be extended"))
        };
        if shape.is_extended {
            let mut inode = Extended::zeroed();
            inode.set_format(layout.format() | FORMAT_EXTENDED);
            inode.set_xattr_icount(units);
            inode.set_mode(mode);
            inode.set_size(self.sizes[id]);
            inode.set_u(i_u);
            inode.set_ino(number);
            inode.set_uid(node.uid);
            inode.set_gid(node.gid);
            inode.set_mtime(node.mtime.secs);
            inode.set_mtime_nsec(node.mtime.nanos);
            inode.set_nlink(node.nlink);
            return Ok(inode.into_inner());
        }
        let mut inode = Compact::zeroed();
        inode.set_format(layout.format());
        inode.set_xattr_icount(units);
        inode.set_mode(mode);
        inode.set_nlink(short(node.nlink)?);
        inode.set_size(u32::try_from(self.sizes[id]).map_err(|_| {
            Error::unsupported("a directory of more than 4 GiB").because(Reason::Limit)
        })?);
        inode.set_u(i_u);
        inode.set_ino(number);
        inode.set_uid(short(node.uid)?);
        inode.set_gid(short(node.gid)?);
        Ok(inode.into_inner())
    }

    /// What of the content lies behind the inode.
    fn tail(&self, id: usize, node: &Node) -> Result<Vec<u8>> {
        match &node.part {
            Part::Directory(_) => {
                let last = blocks(self.sizes[id]) - 1;
                let content = self.directory(id, node, last + 1)?;
                Ok(content[to_usize(last * BLOCK_BYTES)?..to_usize(self.sizes[id])?].to_vec())
            }
            Part::Symlink(target) => Ok(target.clone()),
            _ => {
                let size = self.sizes[id];
                let len = self.laid[id].inline_bytes(size);
                let mut tail = vec![0; to_usize(len)?];
                Reading::open(self.parts.source, node)?.read(size - len, &mut tail)?;
                Ok(tail)
            }
        }
    }

    /// The first `count` blocks of a directory.
    fn directory(&self, id: usize, node: &Node, count: u64) -> Result<Vec<u8>> {
        let entries = entries(id, node);
        let mut content = Vec::new();
        for block in split(&entries).into_iter().take(to_usize(count)?) {
            let mut name_at = block.len() * DIRENT_BYTES;
            let mut bytes = Vec::new();
            for (name, child) in block {
                let mut dirent = Dirent::zeroed();
                dirent.set_nid(nid(self.places[*child]));
                dirent.set_nameoff(
                    u16::try_from(name_at)
                        .map_err(|_| Error::internal("a name beyond its block"))?,
                );
                dirent.set_file_type(self.parts.tree.nodes[*child].file_type.entry_code());
                bytes.extend_from_slice(dirent.bytes());
                name_at += name.len();
            }
            for (name, _) in block {
                bytes.extend_from_slice(name);
            }
            bytes.resize(BLOCK_USIZE, 0);
            content.extend_from_slice(&bytes);
        }
        Ok(content)
    }
}

/// Bytes of a node's content.
fn size(tree: &Tree, id: usize, node: &Node) -> u64 {
    match &node.part {
        Part::File(_, size) => *size,
        Part::Symlink(target) => to_u64(target.len()),
        Part::Directory(_) => {
            let entries = entries(id, &tree.nodes[id]);
            let blocks = split(&entries);
            let last = blocks.last().map_or(0, |block| {
                block.iter().map(|(name, _)| record_bytes(name)).sum()
            });
            to_u64(blocks.len().saturating_sub(1)) * BLOCK_BYTES + last
        }
        Part::Device(_) | Part::Ipc => 0,
    }
}

/// All entries of a directory, sorted by name.
fn entries(id: usize, node: &Node) -> Vec<(&[u8], usize)> {
    let mut entries: Vec<(&[u8], usize)> = vec![(b".", id), (b"..", node.parent)];
    if let Part::Directory(children) = &node.part {
        entries.extend(
            children
                .iter()
                .map(|(name, child)| (name.as_slice(), *child)),
        );
    }
    entries.sort_unstable();
    entries
}

/// Entries that share a block.
fn split<'e, 'n>(entries: &'e [(&'n [u8], usize)]) -> Vec<&'e [(&'n [u8], usize)]> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut used = 0;
    for (at, (name, _)) in entries.iter().enumerate() {
        let bytes = record_bytes(name);
        if used + bytes > BLOCK_BYTES {
            blocks.push(&entries[start..at]);
            start = at;
            used = 0;
        }
        used += bytes;
    }
    blocks.push(&entries[start..]);
    blocks
}
