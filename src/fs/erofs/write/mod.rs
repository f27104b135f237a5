//! Writes an EROFS from the tree of any filesystem.
//!
//! ```text
//!   FileSystem ──▶ tree (names, owners, xattrs; in memory) ───────────▶ directories, inodes
//!        └───────▶ content, by stretches ──▶ packed on all cores ──▶ written in order
//!
//!   image  │ superblock │ blocks of files │ shared xattrs │ blocks of directories │ inodes with what lies behind them │
//! ```
//!
//! Names, attributes and indexes are held in memory, content never is. The bytes depend on the tree and the options
//! alone. Files of equal content share their blocks, names of one file stay names of one file, an attribute that several
//! files have is stored once, and long runs of zeroes take no room.
//!
//! Blocks have 4096 bytes, which every kernel with EROFS can mount. Packed files have compact indexes (Linux 5.3), and those
//! with extents longer than a block need Linux 5.13; files with holes are chunked, where nothing is packed (Linux 5.15).

mod data;
mod index;
mod inodes;
mod lz4;
mod pack;
#[cfg(test)]
mod tests;
mod xattrs;

use super::features::{CHUNKED_FILE, COMPAT_MTIME, COMPAT_SB_CHKSUM, COMPR_CFGS, ZERO_PADDING};
use super::superblock::{self, MAGIC, OnDisk, SUPERBLOCK_OFFSET};
use crate::block::Blank;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::finding::code;
use crate::fs::FileSystem;
use crate::fs::identity::seeded_uuid;
use crate::fs::source::{self, AddedFile, Rules, Tree, same_files};
use crate::progress::Progress;
use data::{Laid, Plan};
use inodes::{Area, Inodes, Parts, Shape};

/// The block size.
const BLOCK_BYTES: u64 = 4096;
const BLOCK_USIZE: usize = 4096;
const BLOCK_BITS: u8 = 12;
/// Longest extent when packed (`Z_EROFS_PCLUSTER_MAX_SIZE` of the kernel).
const CLUSTER_MAX: u32 = 1 << 20;
/// Largest file: its blocks are numbered with 32 bits.
const FILE_MAX: u64 = 1 << 43;
/// Longest label.
const LABEL_MAX: usize = 16;

/// How content is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErofsCompression {
    /// Not at all.
    None,
    /// With LZ4, which every kernel reads that has EROFS with compression.
    Lz4 {
        /// Most bytes of an extent when it is packed: a power of two from 4096 to 1048576. More is smaller; less is read
        /// faster where little is wanted.
        cluster_bytes: u32,
    },
}

/// How to write an EROFS.
#[derive(Debug, Clone)]
pub struct ErofsOptions {
    /// How content is packed; LZ4 into blocks of 4096 bytes by default.
    pub compression: ErofsCompression,
    /// What the UUID is made of: the same seed gives the same.
    pub seed: Vec<u8>,
    /// The label, at most 16 bytes without zeroes.
    pub label: Vec<u8>,
    /// When the filesystem was made, in seconds since 1970. Entries of this time take less room.
    pub build_time: i64,
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
    /// Most bytes of all files together, so that a hostile tree with huge holes does not keep the machine busy for
    /// hours; 1 TiB by default.
    pub content_max: u64,
}

impl Default for ErofsOptions {
    fn default() -> Self {
        Self {
            compression: ErofsCompression::Lz4 {
                cluster_bytes: 4096,
            },
            seed: Vec::new(),
            label: Vec::new(),
            build_time: 0,
            latest_time: None,
            content_max: 1 << 40,
        }
    }
}

impl ErofsOptions {
    /// Most bytes of a packed extent; `None` where nothing is packed.
    fn cluster_bytes(&self) -> Option<u32> {
        match self.compression {
            ErofsCompression::None => None,
            ErofsCompression::Lz4 { cluster_bytes } => Some(cluster_bytes),
        }
    }

    fn has_big_clusters(&self) -> bool {
        self.cluster_bytes()
            .is_some_and(|bytes| u64::from(bytes) > BLOCK_BYTES)
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErofsReport {
    /// Length of the image in bytes.
    pub image_bytes: u64,
    /// Bytes of all files, unpacked.
    pub content_bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Writes the tree of `source` with the `added` files into `out`, an empty file or the empty end of one.
///
/// Modes, owners, times, links, devices, access control lists and the extended attributes of the namespaces `user`,
/// `trusted` and `security` come as they are in the source; attributes of other namespaces are left out, with a warning
/// unless they are btrfs's own properties. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The source's read errors; [`crate::ErrorKind::InvalidInput`] for options out of range, for an added file without its
/// folder and for an `out` that holds something; [`crate::ErrorKind::Unsupported`] for what EROFS or Linux cannot have:
/// device numbers, targets, attributes and files that are too large; [`crate::ErrorKind::Io`] and
/// [`crate::ErrorKind::Environment`] for `out`.
pub fn write<'a>(
    source: &dyn FileSystem,
    added: &[AddedFile],
    out: impl Into<Blank<'a>>,
    options: &ErofsOptions,
    progress: &dyn Progress,
) -> Result<ErofsReport> {
    let blank = out.into();
    blank.check("EROFS")?;
    check(options)?;
    let rules = Rules {
        latest_time: options.latest_time,
        content_max: options.content_max,
        file_max: FILE_MAX,
        is_storable: xattrs::is_storable,
        check_xattr: xattrs::check,
        left_out: code::EROFS_XATTRS,
    };
    let tree = source::read(source, added, &rules, progress)?;
    let stored = xattrs::encode(&tree.xattrs, &tree.nodes)?;
    let shapes = shapes(&tree, &stored.bodies, options)?;
    let fits_inline = |id: usize, len: u64| shapes[id].fits_inline(len);

    let mut out = Out { blank, blocks: 1 };
    let cluster_bytes = options
        .cluster_bytes()
        .map(|bytes| to_usize(bytes.into()))
        .transpose()?;
    progress.start("packing files into an EROFS", tree.content_bytes);
    // Files of less than a block lie behind their inodes; so do ends of others, or do not.
    let has_inline_end = |id: usize, size: u64| fits_inline(id, size % BLOCK_BYTES);
    let same = same_files(source, &tree.nodes, BLOCK_BYTES, &has_inline_end);
    let laid = same.and_then(|same| {
        let plan = Plan {
            cluster_bytes,
            fits_inline: &fits_inline,
            same: &same,
        };
        let advance = |bytes| progress.advance(bytes);
        data::write(source, &tree.nodes, &plan, &mut out, advance)
    });
    progress.finish();
    let laid = laid?;
    let has_chunks = laid.iter().any(|laid| matches!(laid, Laid::Chunks(_)));
    let has_packed = laid.iter().any(|laid| matches!(laid, Laid::Packed { .. }));

    let xattr_block = out.put_blocks(&stored.table)?;
    let parts = Parts {
        source,
        tree: &tree,
        options,
        xattrs: &stored.bodies,
        shapes: &shapes,
    };
    let area = Inodes::new(parts, laid).write(&mut out)?;
    let mut features = 0;
    features |= if has_chunks { CHUNKED_FILE } else { 0 };
    features |= if has_packed { ZERO_PADDING } else { 0 };
    features |= if has_packed && options.has_big_clusters() {
        COMPR_CFGS
    } else {
        0
    };
    let blocks = out.next_block()?;
    out.put_superblock(&superblock(options, area, xattr_block, blocks, features)?)?;
    Ok(ErofsReport {
        image_bytes: u64::from(blocks) * BLOCK_BYTES,
        content_bytes: tree.content_bytes,
        inodes: area.inodes,
    })
}

fn shapes(tree: &Tree, bodies: &[Vec<u8>], options: &ErofsOptions) -> Result<Vec<Shape>> {
    let shape = |node: &source::Node| {
        let body = node
            .xattrs
            .map(|number| to_usize(number.into()))
            .transpose()?;
        let xattr_bytes = body.map_or(0, |number| to_u64(bodies[number].len()));
        Ok(Shape::of(node, xattr_bytes, options))
    };
    tree.nodes.iter().map(shape).collect()
}

/// The first block, with the superblock and what follows it.
fn superblock(
    options: &ErofsOptions,
    area: Area,
    xattr_block: u32,
    blocks: u32,
    features: u32,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; BLOCK_USIZE];
    let start = to_usize(SUPERBLOCK_OFFSET)?;
    let mut on_disk = OnDisk::over(&mut bytes[start..])?;
    on_disk.set_magic(MAGIC);
    on_disk.set_feature_compat(COMPAT_SB_CHKSUM | COMPAT_MTIME);
    on_disk.set_blkszbits(BLOCK_BITS);
    on_disk.set_root_nid(
        u16::try_from(area.root_nid).map_err(|_| Error::internal("the root comes first"))?,
    );
    on_disk.set_inos(area.inodes);
    on_disk.set_epoch(
        u64::try_from(options.build_time).map_err(|_| Error::internal("the time was checked"))?,
    );
    on_disk.set_blocks(blocks);
    on_disk.set_meta_blkaddr(area.meta_block);
    on_disk.set_xattr_blkaddr(xattr_block);
    on_disk.set_uuid(seeded_uuid("flatbake erofs uuid", &options.seed));
    let mut label = [0; LABEL_MAX];
    label[..options.label.len()].copy_from_slice(&options.label);
    on_disk.set_volume_name(label);
    on_disk.set_feature_incompat(features);
    if features & COMPR_CFGS != 0 {
        on_disk.set_available_compr_algs(super::Algorithm::Lz4.bit());
        let behind = start + OnDisk::<Vec<u8>>::SIZE;
        let cluster_blocks = u64::from(options.cluster_bytes().unwrap_or(0)) / BLOCK_BYTES;
        bytes[behind..behind + 16].copy_from_slice(&lz4_configuration(cluster_blocks)?);
    }
    let checksum = superblock::checksum(&mut bytes[start..], BLOCK_BITS)?;
    OnDisk::over(&mut bytes[start..])?.set_checksum(checksum);
    Ok(bytes)
}

/// `struct z_erofs_lz4_cfgs` behind its length: how far back matches are, and the blocks of the longest packed extent.
fn lz4_configuration(cluster_blocks: u64) -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let cluster_blocks =
        u16::try_from(cluster_blocks).map_err(|_| Error::internal("at most 256"))?;
    for (at, value) in [(0, 14), (2, u16::MAX), (4, cluster_blocks)] {
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    Ok(bytes)
}

/// Checks what the caller gives.
fn check(options: &ErofsOptions) -> Result<()> {
    if let Some(bytes) = options.cluster_bytes()
        && (!bytes.is_power_of_two() || !(4096..=CLUSTER_MAX).contains(&bytes))
    {
        return Err(Error::invalid(format!(
            "EROFS cluster size {bytes} is invalid: must be a power of two from 4096 to {CLUSTER_MAX}"
        )));
    }
    if options.build_time < 0 {
        return Err(Error::invalid(format!(
            "EROFS made {} seconds after 1970: must be at least 0",
            options.build_time
        )));
    }
    if options.label.len() > LABEL_MAX || options.label.contains(&0) {
        return Err(Error::invalid(format!(
            "EROFS label '{}' is invalid: must have at most {LABEL_MAX} bytes, none of them 0",
            options.label.escape_ascii()
        )));
    }
    Ok(())
}

fn too_many_blocks() -> Error {
    Error::unsupported("an EROFS of more than 2^32 blocks, which is 16 TiB").because(Reason::Limit)
}

/// The file that is written, front to back in whole blocks.
struct Out<'a> {
    blank: Blank<'a>,
    /// Blocks so far.
    blocks: u64,
}

impl Out<'_> {
    /// The block that is written next.
    fn next_block(&self) -> Result<u32> {
        // The highest number stands for a hole.
        u32::try_from(self.blocks)
            .ok()
            .filter(|block| *block < u32::MAX)
            .ok_or_else(too_many_blocks)
    }

    /// Writes `bytes`, filled up to whole blocks, and returns the first of these.
    fn put_blocks(&mut self, bytes: &[u8]) -> Result<u32> {
        let first = self.next_block()?;
        let whole = bytes.len() / BLOCK_USIZE * BLOCK_USIZE;
        let position = self.blocks * BLOCK_BYTES;
        self.put(&bytes[..whole], position)?;
        self.blocks += to_u64(whole / BLOCK_USIZE);
        if whole < bytes.len() {
            let mut last = bytes[whole..].to_vec();
            last.resize(BLOCK_USIZE, 0);
            self.put(&last, position + to_u64(whole))?;
            self.blocks += 1;
        }
        Ok(first)
    }

    /// Writes the first block.
    fn put_superblock(&self, bytes: &[u8]) -> Result<()> {
        self.put(bytes, 0)
    }

    fn put(&self, bytes: &[u8], start: u64) -> Result<()> {
        self.blank.write_at(start, bytes).map_err(|error| {
            Error::io(
                format!("writing {} bytes at {start} of the EROFS", bytes.len()),
                error,
            )
        })
    }
}
