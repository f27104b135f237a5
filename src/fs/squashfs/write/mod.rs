//! Writes a squashfs 4.0 from the tree of any filesystem.
//!
//! ```text
//!   FileSystem ──▶ tree (names, owners, xattrs; in memory) ──▶ inode, directory, export, id and xattr tables
//!        └───────▶ content, block by block ──▶ compressed on all cores ──▶ written in order
//! ```
//!
//! Names, attributes and tables are held in memory, content never is. The bytes depend on the tree and the options
//! alone. Files shorter than a block share fragments; blocks of zeroes become holes; every owner and every set of
//! extended attributes is stored once; names of one file stay names of one file, and files of equal content share it.
//!
//! Not done: directories have no index.

mod data;
mod inodes;
mod metadata;
mod pack;
#[cfg(test)]
mod tests;
mod xattrs;

use super::on_disk::{FragmentEntry, MAGIC, NO_TABLE, SuperBlock};
use super::superblock::SUPERBLOCK_BYTES;
use crate::block::Blank;
use crate::bytes::{Order, row_of, to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::finding::code;
use crate::fs::FileSystem;
use crate::fs::source::{self, AddedFile, Rules, Tree, same_files};
use crate::progress::Progress;
use data::{Data, Files};
use inodes::Tables;
use metadata::{lookup_table, stored_metadata};
use pack::Packer;
pub use pack::SquashfsCompression;

/// The image's length is a multiple of this, as `mksquashfs` pads it for loop devices.
const PADDING: u64 = 4096;
/// Inodes can be found by their number, for NFS (`SQUASHFS_EXPORT`).
const FLAG_EXPORTABLE: u16 = 0x80;
/// Settings of the compressor lie behind the superblock (`SQUASHFS_COMP_OPT`).
const FLAG_SETTINGS: u16 = 0x400;
/// Most blocks of one file, as the reader has it: 2 TiB of 128 KiB blocks.
const BLOCKS_MAX: u64 = 1 << 24;

/// How to write a squashfs.
#[derive(Debug, Clone)]
pub struct SquashfsOptions {
    /// With what blocks are compressed; zlib of level 6 by default.
    pub compression: SquashfsCompression,
    /// Unpacked bytes of a data block, a power of two from 4096 to 1048576; 131072 by default.
    pub block_bytes: u32,
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
    /// Most bytes of all files together, so that a hostile tree with huge holes does not keep the machine busy for
    /// hours; 1 TiB by default.
    pub content_max: u64,
}

impl Default for SquashfsOptions {
    fn default() -> Self {
        Self {
            compression: SquashfsCompression::Gzip(6),
            block_bytes: 128 << 10,
            latest_time: None,
            content_max: 1 << 40,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquashfsReport {
    /// Length of the image in bytes, padding included.
    pub image_bytes: u64,
    /// Bytes of all files, unpacked.
    pub content_bytes: u64,
    /// Inodes.
    pub inodes: u32,
}

/// Writes the tree of `source` with the `added` files into `out`, an empty file or the empty end of one.
///
/// Modes, owners, links, devices and the extended attributes of the namespaces `user`, `trusted` and `security` come as
/// they are in the source; attributes of other namespaces are left out, with a warning unless they are btrfs's own
/// properties. Times are whole seconds from 1970 to 2106, others become the nearest. The time of the filesystem itself is
/// the newest in it. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The source's read errors; [`crate::ErrorKind::InvalidInput`] for options out of range, for an added file without its
/// folder and for an `out` that holds something; [`crate::ErrorKind::Unsupported`] for what squashfs or Linux cannot have:
/// device numbers, targets, attributes and files that are too large; [`crate::ErrorKind::Io`] and
/// [`crate::ErrorKind::Environment`] for `out`.
pub fn write<'a>(
    source: &dyn FileSystem,
    added: &[AddedFile],
    out: impl Into<Blank<'a>>,
    options: &SquashfsOptions,
    progress: &dyn Progress,
) -> Result<SquashfsReport> {
    let blank = out.into();
    blank.check("squashfs")?;
    check(options)?;
    let new_packer = || Packer::new(options.compression, options.block_bytes);
    let mut packer = new_packer()?;
    let rules = Rules {
        latest_time: options.latest_time,
        content_max: options.content_max,
        file_max: BLOCKS_MAX * u64::from(options.block_bytes),
        is_storable: xattrs::is_storable,
        check_xattr: xattrs::check,
        left_out: code::SQUASHFS_XATTRS,
    };
    let tree = source::read(source, added, &rules, progress)?;
    let mut out = Out {
        blank,
        position: to_u64(SUPERBLOCK_BYTES),
    };
    if let Some(settings) = options.compression.settings() {
        out.put(&stored_metadata(&settings)?)?;
    }
    progress.start("packing files into a squashfs", tree.content_bytes);
    let block_bytes = to_usize(options.block_bytes.into())?;
    let data = same_files(source, &tree.nodes, 1, &|_, _| true).and_then(|same| {
        let files = Files {
            source,
            nodes: &tree.nodes,
            same: &same,
            block_bytes,
        };
        let advance = |bytes| progress.advance(bytes);
        data::write(&files, new_packer, &mut out, advance)
    });
    progress.finish();
    let data = data?;
    let tables = inodes::encode(&tree, &data, &mut packer, &mut new_packer()?)?;

    let made = Made {
        tree: &tree,
        data: &data,
        tables: &tables,
    };
    let superblock = finish(&made, &mut packer, &mut out, options)?;
    let image_bytes = out.pad()?;
    Out { position: 0, ..out }.put(&superblock)?;
    let inodes = count("inodes", tables.export.len())?;
    Ok(SquashfsReport {
        image_bytes,
        content_bytes: tree.content_bytes,
        inodes,
    })
}

fn count(what: &str, len: usize) -> Result<u32> {
    u32::try_from(len)
        .map_err(|_| Error::unsupported(format!("more than 2^32 {what}")).because(Reason::Limit))
}

/// What the tables and the superblock tell.
struct Made<'a> {
    tree: &'a Tree,
    data: &'a Data,
    tables: &'a Tables,
}

/// Writes all tables behind the content and returns the superblock.
fn finish(
    made: &Made<'_>,
    packer: &mut Packer,
    out: &mut Out<'_>,
    options: &SquashfsOptions,
) -> Result<Vec<u8>> {
    let Made { tree, data, tables } = *made;
    let block_log = u16::try_from(options.block_bytes.ilog2())
        .map_err(|_| Error::internal("a logarithm of 32 bits"))?;
    let mut superblock = SuperBlock::zeroed();
    superblock.set_s_magic(MAGIC);
    superblock.set_s_major(4);
    superblock.set_s_minor(0);
    superblock.set_compression(options.compression.id());
    superblock.set_block_size(options.block_bytes);
    superblock.set_block_log(block_log);
    let has_settings = options.compression.settings().is_some();
    superblock.set_flags(FLAG_EXPORTABLE | if has_settings { FLAG_SETTINGS } else { 0 });
    superblock.set_root_inode(tables.root);

    superblock.set_inode_table_start(out.put(&tables.inodes)?);
    superblock.set_directory_table_start(out.put(&tables.directories)?);
    let fragments = fragment_entries(&data.fragments);
    superblock.set_fragment_table_start(out.table(packer, &fragments)?);
    let export = row_of(&tables.export, Order::Little);
    superblock.set_lookup_table_start(out.table(packer, &export)?);
    let ids = row_of(&tables.ids, Order::Little);
    superblock.set_id_table_start(out.table(packer, &ids)?);
    superblock.set_xattr_id_table_start(NO_TABLE);
    if let Some((bytes, place)) = xattrs::encode(&tree.xattrs, packer, out.position)? {
        out.put(&bytes)?;
        superblock.set_xattr_id_table_start(place);
    }
    superblock.set_bytes_used(out.position);

    let newest = tree
        .nodes
        .iter()
        .filter(|node| node.nlink > 0)
        .map(|node| inodes::seconds(node.mtime))
        .max()
        .unwrap_or(0);
    superblock.set_mkfs_time(newest);
    superblock.set_inodes(count("inodes", tables.export.len())?);
    superblock.set_fragments(count("fragments", data.fragments.len())?);
    superblock.set_no_ids(u16::try_from(tables.ids.len()).map_err(|_| {
        Error::unsupported("more than 65535 owners and groups").because(Reason::Limit)
    })?);
    Ok(superblock.into_inner())
}

/// The fragment table's entries, from offset and stored size.
fn fragment_entries(fragments: &[(u64, u32)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for &(start, size) in fragments {
        let mut entry = FragmentEntry::blank();
        entry.set_start_block(start);
        entry.set_size(size);
        entries.extend(entry.into_inner());
    }
    entries
}

/// Checks what the caller gives.
fn check(options: &SquashfsOptions) -> Result<()> {
    let bytes = options.block_bytes;
    if !bytes.is_power_of_two() || !(4096..=1 << 20).contains(&bytes) {
        return Err(Error::invalid(format!(
            "squashfs block size {bytes} is invalid: must be a power of two from 4096 to 1048576"
        )));
    }
    Ok(())
}

/// The file that is written, front to back.
struct Out<'a> {
    blank: Blank<'a>,
    position: u64,
}

impl Out<'_> {
    /// Writes `bytes` behind what there is and returns where they begin.
    fn put(&mut self, bytes: &[u8]) -> Result<u64> {
        let start = self.position;
        self.blank.write_at(start, bytes).map_err(|error| {
            Error::io(
                format!("writing {} bytes at {start} of the squashfs", bytes.len()),
                error,
            )
        })?;
        self.position += to_u64(bytes.len());
        Ok(start)
    }

    /// Writes a table and returns what the superblock says of it.
    fn table(&mut self, packer: &mut Packer, entries: &[u8]) -> Result<u64> {
        let (bytes, place) = lookup_table(packer, entries, self.position)?;
        self.put(&bytes)?;
        Ok(place)
    }

    /// Fills up to the padding and returns the length.
    fn pad(&mut self) -> Result<u64> {
        let end = self.position.next_multiple_of(PADDING);
        self.blank.set_len(end).map_err(|error| {
            Error::io(
                format!("setting the size of the squashfs to {end} bytes"),
                error,
            )
        })?;
        Ok(end)
    }
}
