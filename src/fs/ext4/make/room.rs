//! How large a filesystem must be for a tree.
//!
//! Counted as the editor will lay it out, with the least for what it does not know before: where the holes of files are.

use std::collections::HashSet;

use super::{BLOCK_BYTES, FIRST_INO, INODE_BYTES};
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};
use crate::fs::{Entry, FileSystem, FileType, FsPath, walk};

/// Bytes of a directory's record before its name.
const RECORD_BYTES: u64 = 8;
/// Bytes for attributes behind the fields of an inode, and what each takes besides name and value.
const ATTRIBUTE_ROOM: u64 = 80;
const ATTRIBUTE_BYTES: u64 = 20;
/// Longest target of a symlink that lies in its inode.
const FAST_SYMLINK_MAX: u64 = 59;
/// Blocks of a group.
const GROUP_BLOCKS: u64 = super::GROUP_BLOCKS as u64;
/// Descriptors of groups in one block.
const DESCRIPTORS_IN_BLOCK: u64 = BLOCK_BYTES / super::DESCRIPTOR_BYTES as u64;
/// Extents of a file that lie in its inode, and those in a block.
const EXTENTS_IN_INODE: u64 = 4;
const EXTENTS_IN_BLOCK: u64 = 340;
/// Blocks that are left free, so that the last files need not be cut into pieces.
const SLACK_BLOCKS: u64 = 16;
/// Blocks of a last group besides its tables, below which it is not made.
const LAST_GROUP_MIN: u64 = 64;
/// Inodes of a block of the inode table.
const INODES_IN_BLOCK: u64 = BLOCK_BYTES / INODE_BYTES as u64;
/// Most inodes of a group, as many as a block has bits.
const INODES_MAX: u64 = 32_768;
/// Most groups: 16 TiB.
const GROUPS_MAX: u64 = 1 << 17;

/// What a tree takes.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Blocks of content, directories, targets and attributes.
    blocks: u64,
    inodes: u64,
}

impl Room {
    /// Counts the tree of `source`.
    pub(super) fn of(source: &dyn FileSystem) -> Result<Self> {
        let mut room = Self {
            blocks: SLACK_BLOCKS,
            inodes: FIRST_INO.into(),
        };
        let mut linked = HashSet::new();
        walk(source, &FsPath::root(), &mut |entry| {
            if entry.metadata.nlink > 1 && entry.metadata.file_type != FileType::Directory {
                // Further names have no inode of their own.
                if !linked.insert(entry.metadata.inode) {
                    return Ok(());
                }
            }
            room.add(source, &entry)?;
            Ok(())
        })?;
        Ok(room)
    }

    fn add(&mut self, source: &dyn FileSystem, entry: &Entry) -> Result<()> {
        let metadata = &entry.metadata;
        self.inodes += 1;
        self.blocks += match metadata.file_type {
            FileType::Directory => directory_blocks(source, entry)?,
            FileType::File => file_blocks(metadata.size),
            FileType::Symlink => u64::from(metadata.size > FAST_SYMLINK_MAX),
            _ => 0,
        };
        let attributes: u64 = source
            .xattrs(entry.node)?
            .iter()
            .map(|xattr| ATTRIBUTE_BYTES + padded(xattr.name.len()) + padded(xattr.value.len()))
            .sum();
        self.blocks += u64::from(attributes > ATTRIBUTE_ROOM);
        Ok(())
    }

    /// Takes an eighth more, for what could not be counted.
    pub(super) fn enlarge(&mut self) {
        self.blocks += self.blocks / 8 + SLACK_BLOCKS;
    }

    /// Groups that it takes.
    fn groups(&self) -> Result<u64> {
        let mut groups = 1;
        loop {
            let needed = self.blocks + groups * self.tables(groups);
            let fits = needed <= groups * GROUP_BLOCKS;
            if fits && self.inodes.div_ceil(groups) <= INODES_MAX {
                return Ok(groups);
            }
            groups = needed.div_ceil(GROUP_BLOCKS).max(groups + 1);
            if groups > GROUPS_MAX {
                return Err(Error::unsupported(format!(
                    "a tree of {} blocks and {} inodes for an ext4 of at most 16 TiB",
                    self.blocks, self.inodes
                ))
                .because(Reason::Limit));
            }
        }
    }

    /// Blocks of superblock, descriptors, bitmaps and inode table of one of so many groups, at most.
    fn tables(&self, groups: u64) -> u64 {
        let inodes = self.inodes.div_ceil(groups).div_ceil(INODES_IN_BLOCK);
        3 + groups.div_ceil(DESCRIPTORS_IN_BLOCK).min(2) + inodes
    }

    /// Inodes of each group, whole blocks of them.
    pub(super) fn inodes_per_group(&self) -> Result<u32> {
        let inodes = self.inodes.div_ceil(self.groups()?);
        u32::try_from(inodes.next_multiple_of(INODES_IN_BLOCK))
            .map_err(|_| Error::internal("a group's inodes were counted"))
    }

    /// Blocks of the whole filesystem.
    pub(super) fn blocks(&self) -> Result<u64> {
        let groups = self.groups()?;
        let tables = self.tables(groups);
        let blocks = self.blocks + groups * tables;
        // A short last group has its tables, too, and something besides.
        let least = (groups - 1) * GROUP_BLOCKS + tables + LAST_GROUP_MIN;
        Ok(blocks.max(least))
    }
}

fn file_blocks(size: u64) -> u64 {
    let blocks = size.div_ceil(BLOCK_BYTES);
    // Each group that a large file goes through cuts it.
    let extents = 2 * blocks.div_ceil(GROUP_BLOCKS);
    let nodes = if extents > EXTENTS_IN_INODE {
        extents.div_ceil(EXTENTS_IN_BLOCK) + 1
    } else {
        0
    };
    blocks + nodes
}

/// Blocks for the names: three quarters full each, and a tree over them.
fn directory_blocks(source: &dyn FileSystem, entry: &Entry) -> Result<u64> {
    let entries = source.entries(entry.node)?;
    let bytes: u64 = entries
        .iter()
        .map(|child| RECORD_BYTES + padded(child.name.len()))
        .sum();
    let blocks = (bytes + bytes / 3).div_ceil(BLOCK_BYTES).max(1);
    Ok(blocks + if blocks > 1 { 1 + blocks / 256 } else { 0 })
}

/// A length, filled up to four bytes.
fn padded(len: usize) -> u64 {
    to_u64(len).next_multiple_of(4)
}
