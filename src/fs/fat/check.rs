//! Proves a volume sound before it is used: its directories are a tree, and its chains are whole and apart.
//!
//! ```text
//!   allocation table, page by page    every cluster is claimed at most once
//!   ┌──┬──┬──┬──┬──┬──┐               ┌─────────────┐
//!   │  │  │ 3│ 4│ ∞│ ∞│  ──follow──▶  │ bit/cluster │  claimed twice: cyclic or cross-linked
//!   └──┴──┴──┴──┴──┴──┘               └─────────────┘
//! ```
//!
//! Reading needs the tree: a directory below itself would make a walk endless. Editing needs all of it, since freeing
//! the clusters of a file must not free another's.

use super::SLOT_LEN;
use super::device::{damaged, read_vec};
use super::directory::SLOTS_MAX;
use super::entry::{DOT_DOT, Entry, Slot};
use super::geometry::{Geometry, Root, SLOT};
use super::table::{Cursor, Table};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// Bytes of the table that are kept in memory while chains are followed: those of four million clusters.
const TABLE_KEPT: usize = 16 << 20;
/// Bytes of the tables that are compared at once.
const COMPARED: u64 = 1 << 20;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Directories only: enough to read.
    Tree,
    /// Also files and the other tables: needed to edit.
    Whole,
}

/// Checks a volume.
pub(super) fn check(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    table: &Table,
    depth: Depth,
) -> Result<()> {
    if depth == Depth::Whole {
        tables_agree(device, geometry)?;
    }
    let cursor = table.cursor(device, TABLE_KEPT);
    let mut checker = Checker {
        device,
        geometry,
        cursor,
        used: Bits::default(),
        depth,
    };
    let mut todo = vec![Directory::root(geometry)];
    while let Some(directory) = todo.pop() {
        checker.directory(&directory, &mut todo)?;
    }
    Ok(())
}

/// Compares the tables that are kept alike.
fn tables_agree(device: &dyn BlockDevice, geometry: &Geometry) -> Result<()> {
    // The first two entries hold no cluster; the second one's flags may lag behind.
    let mut at = geometry.kind.entry_offset(2);
    while at < geometry.table_len() {
        let len = to_usize(COMPARED.min(geometry.table_len() - at))?;
        let mut tables = geometry
            .written_tables()
            .map(|number| read_vec(device, geometry.table_start(number) + at, len));
        let first = tables.next().transpose()?;
        for other in tables {
            if first.as_ref() != Some(&other?) {
                return Err(damaged("the allocation tables differ".to_owned()));
            }
        }
        at += COMPARED;
    }
    Ok(())
}

/// One bit per cluster, up to the highest one in use.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Sets the bit and returns whether it was clear.
    fn claim(&mut self, cluster: u32) -> Result<bool> {
        let index = to_usize(u64::from(cluster / 64))?;
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        let bit = 1u64 << (cluster % 64);
        let fresh = self.0[index] & bit == 0;
        self.0[index] |= bit;
        Ok(fresh)
    }
}

/// A directory to be looked through.
struct Directory {
    name: String,
    /// First cluster; `None` is the fixed root directory of FAT12 and FAT16.
    first: Option<u32>,
    /// What its `..` must name: 0 for a directory of the root. `None` for the root itself.
    parent: Option<u32>,
}

impl Directory {
    fn root(geometry: &Geometry) -> Self {
        let first = match geometry.root {
            Root::Chain(first) => Some(first),
            Root::Fixed { .. } => None,
        };
        Self {
            name: "the root directory".to_owned(),
            first,
            parent: None,
        }
    }

    /// What the `..` of a directory in this one names.
    fn as_parent(&self) -> u32 {
        match self.parent {
            Some(_) => self.first.unwrap_or(0),
            None => 0,
        }
    }
}

struct Checker<'a> {
    device: &'a dyn BlockDevice,
    geometry: &'a Geometry,
    cursor: Cursor<'a>,
    used: Bits,
    depth: Depth,
}

impl Checker<'_> {
    /// Follows the chain from `first` and claims its clusters, which `each` sees.
    fn claim(
        &mut self,
        first: u32,
        name: &str,
        each: &mut dyn FnMut(u32) -> Result<()>,
    ) -> Result<u64> {
        if !self.geometry.has(first) {
            return Err(damaged(format!(
                "{name} begins at cluster {first}, which this volume does not have"
            )));
        }
        let mut len = 0;
        let mut at = Some(first);
        while let Some(cluster) = at {
            if !self.used.claim(cluster)? {
                return Err(damaged(format!(
                    "cluster {cluster} of {name} is in use twice"
                )));
            }
            len += 1;
            each(cluster)?;
            at = self.cursor.next(cluster)?;
        }
        Ok(len)
    }

    /// The slots of a directory, whose clusters are claimed.
    fn slots(&mut self, directory: &Directory) -> Result<Vec<u8>> {
        let device = self.device;
        let geometry = self.geometry;
        let Some(first) = directory.first else {
            let Root::Fixed { start, len } = geometry.root else {
                return Err(Error::internal("only the root directory has no cluster"));
            };
            return read_vec(device, start, to_usize(len)?);
        };
        let mut slots = Vec::new();
        self.claim(first, &directory.name, &mut |cluster| {
            if to_u64(slots.len()) >= u64::from(SLOTS_MAX) * SLOT {
                return Err(damaged(format!(
                    "{} has more than {SLOTS_MAX} entries",
                    directory.name
                )));
            }
            let size = to_usize(u64::from(geometry.cluster_bytes))?;
            slots.extend(read_vec(device, geometry.cluster_start(cluster), size)?);
            Ok(())
        })?;
        Ok(slots)
    }

    fn directory(&mut self, directory: &Directory, todo: &mut Vec<Directory>) -> Result<()> {
        let slots = self.slots(directory)?;
        if let (Depth::Whole, Some(parent)) = (self.depth, directory.parent) {
            self.names_its_parent(directory, parent, &slots)?;
        }
        for bytes in slots.chunks_exact(SLOT_LEN) {
            match Slot::parse(bytes)? {
                Slot::End => break,
                Slot::Entry(entry) if entry.is_visible() => self.entry(directory, &entry, todo)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn names_its_parent(&self, directory: &Directory, parent: u32, slots: &[u8]) -> Result<()> {
        let up = match Slot::parse(slots.get(SLOT_LEN..2 * SLOT_LEN).unwrap_or(&[0; SLOT_LEN]))? {
            Slot::Entry(up) if up.name() == DOT_DOT => Some(up.first_cluster(self.geometry.kind)),
            _ => None,
        };
        // Some systems give the root the number of its cluster there.
        let by_number =
            matches!(self.geometry.root, Root::Chain(root) if parent == 0 && up == Some(root));
        if up != Some(parent) && !by_number {
            return Err(damaged(format!(
                "{} does not name the directory it lies in",
                directory.name
            )));
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &Directory,
        entry: &Entry,
        todo: &mut Vec<Directory>,
    ) -> Result<()> {
        let first = entry.first_cluster(self.geometry.kind);
        let shown = entry.name().escape_ascii().to_string();
        if entry.is_directory() {
            let name = format!("the directory '{shown}'");
            todo.push(Directory {
                name,
                first: Some(first),
                parent: Some(directory.as_parent()),
            });
        } else if self.depth == Depth::Whole {
            self.file(entry, first, &format!("the file '{shown}'"))?;
        }
        Ok(())
    }

    /// A file's chain is exactly as long as its size says.
    fn file(&mut self, entry: &Entry, first: u32, name: &str) -> Result<()> {
        let size = entry.file_size();
        let wanted = entry.clusters(self.geometry);
        let len = if first == 0 {
            0
        } else {
            self.claim(first, name, &mut |_| Ok(()))?
        };
        if len != wanted {
            return Err(damaged(format!(
                "{name} has {len} clusters, its size of {size} bytes takes {wanted}"
            )));
        }
        Ok(())
    }
}
