//! btrfs on one device: the OEM partition (zlib, mixed block groups) and the USR partition (zstd) of Flatcar images.
//!
//! ```text
//!   superblock ──▶ chunk tree ──▶ root tree ──▶ fs tree:   inodes, names, attributes, extents
//!    (superblock)    (chunk)        (volume)      (read)     (inode, dir, extent)
//!                                     └──────▶ csum tree:  a checksum per sector of data (file)
//! ```
//!
//! All trees have one form: blocks of sorted items (`node`), searched from the root down (`tree`). Every block and
//! every sector of data is verified against its checksum when it is read. The format is that of the Linux header
//! `btrfs_tree.h` and the btrfs documentation ("On-disk format").
//!
//! [`Btrfs::edit`] reads all of a filesystem but its contents into memory and writes a fresh one in its place (`edit`).
//!
//! Several devices, RAID profiles, seed devices, encryption and unknown incompatible features are refused by name.

mod checksum;
mod chunk;
mod compress;
mod dir;
mod edit;
mod extent;
mod file;
mod inode;
mod key;
mod node;
mod read;
mod root;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

pub use edit::{BtrfsEditor, BtrfsOptions, write};
pub use read::Btrfs;

use crate::block::BlockDevice;
use crate::error::Result;

/// Whether `device` holds a btrfs filesystem: the magic at 64 KiB.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    superblock::probe(device)
}
