//! A directory being edited: its names in memory until commit, when its blocks are laid out anew.

use std::collections::BTreeMap;

use super::dir::Record;
use super::htree::{self, Name};
use super::map;
use super::superblock::Superblock;
use crate::bytes::to_u64;
use crate::error::Result;

/// The names of a directory, without `.` and `..`.
#[derive(Debug)]
pub(super) struct Directory {
    /// Inode of `..`.
    pub parent: u32,
    /// Directories in it.
    pub subdirs: u32,
    /// Whether it must be written.
    pub dirty: bool,
    /// Blocks of [`growth`](Self::growth) that are set aside for it.
    pub counted: u64,
    names: BTreeMap<Box<[u8]>, (u32, u8)>,
    /// Bytes of the names' records.
    bytes: u64,
    /// Blocks that it has on the device.
    blocks: u64,
}

impl Directory {
    /// An empty one with so many blocks.
    pub(super) fn new(parent: u32, blocks: u64) -> Self {
        Self {
            parent,
            subdirs: 0,
            dirty: false,
            counted: 0,
            names: BTreeMap::new(),
            bytes: 0,
            blocks,
        }
    }

    /// Inode number of a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).map(|(ino, _)| *ino)
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names in it.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Adds a name; returns false where it was there and nothing changed.
    pub(super) fn insert(&mut self, name: &[u8], ino: u32, file_type: u8) -> bool {
        if self.names.contains_key(name) {
            return false;
        }
        self.names.insert(name.into(), (ino, file_type));
        self.bytes += to_u64(htree::record_len(name.len()));
        true
    }

    /// Gives an existing name another inode.
    pub(super) fn replace(&mut self, name: &[u8], ino: u32, file_type: u8) {
        if let Some(entry) = self.names.get_mut(name) {
            *entry = (ino, file_type);
        }
    }

    /// Takes a name away.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if self.names.remove(name).is_some() {
            self.bytes -= to_u64(htree::record_len(name.len()));
        }
    }

    /// Blocks it will need at most beyond those it has, with another name of `more` bytes of record.
    pub(super) fn growth(&self, superblock: &Superblock, more: usize) -> u64 {
        let needed = htree::blocks_needed(superblock, self.bytes + to_u64(more));
        match needed.saturating_sub(self.blocks) {
            0 => 0,
            grown => grown + map::nodes_needed(superblock, needed, needed, needed),
        }
    }

    /// Calls `visit` for each name.
    pub(super) fn for_each(&self, visit: &mut dyn FnMut(Record<'_>) -> Result<bool>) -> Result<()> {
        for (name, (ino, file_type)) in &self.names {
            if !visit(Record {
                ino: *ino,
                name,
                file_type: *file_type,
            })? {
                break;
            }
        }
        Ok(())
    }

    /// The names in order, to be written.
    pub(super) fn names(&self) -> Vec<Name<'_>> {
        self.names
            .iter()
            .map(|(name, (ino, file_type))| Name {
                name,
                ino: *ino,
                file_type: *file_type,
            })
            .collect()
    }
}
