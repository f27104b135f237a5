//! Where the content of an inode lies, whichever way the inode says so.

use super::blockmap::{self, MapReader, MapWriter};
use super::extent::{Extent, TreeReader};
use super::extent_write::{self, TreeWriter};
use super::features;
use super::inode::Inode;
use super::raw_inode::{FLAG_EXTENTS, RawInode};
use super::space::Space;
use super::superblock::Superblock;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::to_u64;
use crate::error::Result;

/// The blocks of an inode.
#[derive(Debug, Clone, Default)]
pub(super) struct Mapping {
    /// Content, in order.
    pub extents: Vec<Extent>,
    /// Blocks of the tree or map itself.
    pub nodes: Vec<u64>,
}

impl Mapping {
    /// Reads that of `inode`; empty where no blocks hold its content.
    pub(super) fn read(
        device: &dyn BlockDevice,
        superblock: &Superblock,
        inode: &Inode,
    ) -> Result<Self> {
        let (extents, nodes) = match (inode.has_blocks(), inode.has_extents()) {
            (false, _) => return Ok(Self::default()),
            (true, true) => TreeReader::read(device, superblock, inode)?,
            (true, false) => MapReader::read(device, superblock, inode)?,
        };
        Ok(Self { extents, nodes })
    }

    /// Blocks in all.
    pub(super) fn blocks(&self) -> u64 {
        to_u64(self.nodes.len()) + self.extents.iter().map(|extent| extent.len).sum::<u64>()
    }
}

/// Blocks of a tree or map for `blocks` blocks in at most `pieces` pieces, the last of them the `span`th of the file.
pub(super) fn nodes_needed(superblock: &Superblock, span: u64, blocks: u64, pieces: u64) -> u64 {
    if superblock.has_incompat(features::INCOMPAT_EXTENTS) {
        extent_write::nodes_needed(superblock, pieces)
    } else {
        // Between holes every block may need pointers of its own on each of the three levels.
        blockmap::nodes_needed(superblock, span).min(blocks.saturating_mul(3))
    }
}

/// Where the blocks of trees and maps go.
pub(super) struct Target<'a> {
    pub device: &'a dyn BlockDeviceMut,
    pub superblock: &'a Superblock,
    pub space: &'a mut Space,
    /// The block that they are to be near to.
    pub goal: u64,
}

/// Writes the tree or map of `extents` and puts it into a raw inode, whose checksums have `seed`; returns its blocks.
pub(super) fn write(
    target: Target<'_>,
    raw: &mut RawInode<Vec<u8>>,
    seed: u32,
    extents: &[Extent],
) -> Result<Vec<u64>> {
    let Target {
        device,
        superblock,
        space,
        goal,
    } = target;
    if superblock.has_incompat(features::INCOMPAT_EXTENTS) {
        let mut writer = TreeWriter {
            device,
            superblock,
            space,
            seed,
            goal,
            nodes: Vec::new(),
        };
        let block = writer.write(extents)?;
        raw.set_block(block);
        raw.change_flags(FLAG_EXTENTS, 0);
        return Ok(writer.nodes);
    }
    let mut writer = MapWriter {
        device,
        superblock,
        space,
        goal,
        nodes: Vec::new(),
    };
    let block = writer.write(extents)?;
    raw.set_block(block);
    Ok(writer.nodes)
}
