//! Proves a volume sound before it is used: its directories are a tree, and its chains are whole and apart.
//!
//! ```text
//!   allocation table, read once       every cluster is claimed at most once
//!   ┌──┬──┬──┬──┬──┬──┐               ┌─────────────┐
//!   │  │  │ 3│ 4│ ∞│ ∞│  ──follow──▶  │ bit/cluster │  claimed twice: cyclic or cross-linked
//!   └──┴──┴──┴──┴──┴──┘               └─────────────┘
//! ```
//!
//! Reading needs the tree: a directory below itself would make a walk endless. Editing needs all of it, since freeing
//! the clusters of a file must not free another's.

use hadris_fat::{FatKind, Geometry, RootLocation};

use super::device::read_vec;
use crate::block::BlockDevice;
use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Result};

/// Most clusters of a volume: its table takes 64 MiB of memory. An ESP of Flatcar has 261,627.
const CLUSTERS_MAX: u32 = 1 << 24;
/// Most entries of a directory (the specification's 2 MiB).
const SLOTS_MAX: usize = 65_536;
/// Bytes of a directory entry.
pub(super) const SLOT: usize = 32;
/// What to do about damage.
pub(super) const REPAIR: &str = "the FAT filesystem is damaged; repair a copy of the image with fsck.vfat -a";

const ATTR_VOLUME_ID: u8 = 0x08;
const ATTR_DIRECTORY: u8 = 0x10;
const ATTR_LONG_NAME: u8 = 0x0F;
const DELETED: u8 = 0xE5;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Directories only: enough to read.
    Tree,
    /// Also files and the second table: needed to edit.
    Whole,
}

/// Checks the volume with this geometry.
pub(super) fn check(device: &dyn BlockDevice, geometry: &Geometry, depth: Depth) -> Result<()> {
    let mut checker = Checker { device, geometry, table: Table::load(device, geometry)?, used: Bits::new(geometry) };
    if depth == Depth::Whole {
        checker.copies_agree()?;
    }
    let mut todo = vec![Directory::root(geometry)];
    while let Some(directory) = todo.pop() {
        checker.directory(&directory, depth, &mut todo)?;
    }
    Ok(())
}

fn damaged(what: String) -> Error {
    Error::corrupt(what).with_hint(REPAIR)
}

/// The active allocation table in memory.
struct Table {
    kind: FatKind,
    max_cluster: u32,
    bytes: Vec<u8>,
}

impl Table {
    fn load(device: &dyn BlockDevice, geometry: &Geometry) -> Result<Self> {
        let max_cluster = geometry.max_cluster();
        if max_cluster > CLUSTERS_MAX {
            return Err(Error::unsupported(format!(
                "a FAT filesystem of {} clusters, at most {CLUSTERS_MAX} are handled",
                max_cluster - 1
            )));
        }
        let start = geometry.fat_copy(geometry.active_fat());
        let bytes = read_vec(device, start, table_len(geometry)?)?;
        Ok(Self { kind: geometry.kind(), max_cluster, bytes })
    }

    /// The cluster after `cluster`, which is a data cluster.
    fn next(&self, cluster: u32) -> Result<Option<u32>> {
        let offset = to_usize(self.kind.entry_offset(u64::from(cluster)))?;
        let entry = Fields::new("allocation table", &self.bytes).slice(offset, self.kind.entry_len())?;
        let stored = self.kind.decode(u64::from(cluster), entry) & self.kind.mask();
        self.kind.next(stored, self.max_cluster).map_err(|_| {
            damaged(format!("cluster {cluster} leads to {stored:#x}, which is no cluster of this volume in use"))
        })
    }
}

/// Bytes of a table up to the entry of the last cluster.
fn table_len(geometry: &Geometry) -> Result<usize> {
    let kind = geometry.kind();
    Ok(to_usize(kind.entry_offset(u64::from(geometry.max_cluster())))? + kind.entry_len())
}

/// One bit per cluster.
struct Bits(Vec<u64>);

impl Bits {
    fn new(geometry: &Geometry) -> Self {
        let words = u64::from(geometry.max_cluster()) / 64 + 1;
        Self(vec![0; usize::try_from(words).unwrap_or(0)])
    }

    /// Sets the bit and returns whether it was clear.
    fn claim(&mut self, cluster: u32) -> bool {
        let word = usize::try_from(cluster / 64).ok().and_then(|index| self.0.get_mut(index));
        word.is_some_and(|word| {
            let bit = 1u64 << (cluster % 64);
            let fresh = *word & bit == 0;
            *word |= bit;
            fresh
        })
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
        let first = match geometry.root() {
            RootLocation::Cluster(first) => Some(first),
            RootLocation::Fixed { .. } => None,
        };
        Self { name: "the root directory".to_owned(), first, parent: None }
    }

    /// What the `..` of a directory in this one names.
    fn as_parent(&self) -> u32 {
        match self.parent {
            Some(_) => self.first.unwrap_or(0),
            None => 0,
        }
    }
}

/// A directory entry in use.
struct Entry<'a> {
    raw: Fields<'a>,
    name: [u8; 11],
    attributes: u8,
}

impl<'a> Entry<'a> {
    fn parse(slot: &'a [u8]) -> Result<Self> {
        let raw = Fields::new("directory entry", slot);
        Ok(Self { raw, name: raw.array(0)?, attributes: raw.u8(11)? })
    }

    fn first_cluster(&self, kind: FatKind) -> Result<u32> {
        let high = if kind == FatKind::Fat32 { u32::from(self.raw.le16(20)?) << 16 } else { 0 };
        Ok((high | u32::from(self.raw.le16(26)?)) & kind.mask())
    }

    fn is_directory(&self) -> bool {
        self.attributes & ATTR_DIRECTORY != 0
    }

    /// Labels, parts of long names, deleted entries, `.` and `..` stand for nothing of their own.
    fn is_visible(&self) -> bool {
        let part = self.attributes & 0x3F == ATTR_LONG_NAME || self.attributes & ATTR_VOLUME_ID != 0;
        !part && self.name[0] != DELETED && self.name[0] != b'.'
    }

    fn shown(&self) -> String {
        format!("'{}'", self.name.escape_ascii())
    }
}

struct Checker<'a> {
    device: &'a dyn BlockDevice,
    geometry: &'a Geometry,
    table: Table,
    used: Bits,
}

impl Checker<'_> {
    fn copies_agree(&self) -> Result<()> {
        if !self.geometry.mirrored() {
            return Err(Error::unsupported("a FAT filesystem whose allocation tables are not kept alike"));
        }
        for copy in 1..self.geometry.fat_count() {
            let other = read_vec(self.device, self.geometry.fat_copy(copy), self.table.bytes.len())?;
            // The first two entries hold no cluster; the second one's flags may lag behind.
            let first = to_usize(self.geometry.kind().entry_offset(2))?;
            if other.get(first..) != self.table.bytes.get(first..) {
                return Err(damaged("the two allocation tables differ".to_owned()));
            }
        }
        Ok(())
    }

    /// Follows the chain from `first` and claims its clusters.
    fn claim(&mut self, first: u32, name: &str, mut each: impl FnMut(&Self, u32) -> Result<()>) -> Result<u64> {
        let mut len = 0;
        let mut at = Some(first);
        while let Some(cluster) = at {
            if !(2..=self.geometry.max_cluster()).contains(&cluster) {
                return Err(damaged(format!("{name} begins at cluster {cluster}, which this volume does not have")));
            }
            if !self.used.claim(cluster) {
                return Err(damaged(format!("cluster {cluster} of {name} is in use twice")));
            }
            len += 1;
            each(self, cluster)?;
            at = self.table.next(cluster)?;
        }
        Ok(len)
    }

    fn directory(&mut self, directory: &Directory, depth: Depth, todo: &mut Vec<Directory>) -> Result<()> {
        let Some(first) = directory.first else {
            let RootLocation::Fixed { start, size } = self.geometry.root() else {
                return Err(Error::internal("only the root directory has no cluster"));
            };
            let slots = read_vec(self.device, start, to_usize(size)?)?;
            return self.entries(directory, &slots, depth, todo);
        };
        let mut slots = Vec::new();
        let size = to_usize(u64::from(self.geometry.cluster_size()))?;
        self.claim(first, &directory.name, |checker, cluster| {
            if slots.len() >= SLOTS_MAX * SLOT {
                return Err(damaged(format!("{} has more than {SLOTS_MAX} entries", directory.name)));
            }
            let offset = checker.geometry.cluster_offset(cluster).unwrap_or(u64::MAX);
            slots.extend(read_vec(checker.device, offset, size)?);
            Ok(())
        })?;
        self.entries(directory, &slots, depth, todo)
    }

    fn entries(&mut self, directory: &Directory, slots: &[u8], depth: Depth, todo: &mut Vec<Directory>) -> Result<()> {
        let kind = self.geometry.kind();
        if depth == Depth::Whole
            && let Some(parent) = directory.parent
        {
            let up = slots.get(SLOT..2 * SLOT).map(Entry::parse).transpose()?;
            let named = up.as_ref().map(|up| up.first_cluster(kind)).transpose()?;
            let alias =
                matches!(self.geometry.root(), RootLocation::Cluster(root) if parent == 0 && named == Some(root));
            if up.is_none_or(|up| up.name != *b"..         ") || (named != Some(parent) && !alias) {
                return Err(damaged(format!("{} does not name the directory it lies in", directory.name)));
            }
        }
        for slot in slots.chunks_exact(SLOT).take_while(|slot| slot[0] != 0) {
            let entry = Entry::parse(slot)?;
            if !entry.is_visible() {
                continue;
            }
            let first = entry.first_cluster(kind)?;
            if entry.is_directory() {
                let name = format!("the directory {}", entry.shown());
                todo.push(Directory { name, first: Some(first), parent: Some(directory.as_parent()) });
            } else if depth == Depth::Whole {
                self.file(&entry, first)?;
            }
        }
        Ok(())
    }

    /// A file's chain is exactly as long as its size says.
    fn file(&mut self, entry: &Entry<'_>, first: u32) -> Result<()> {
        let size = entry.raw.le32(28)?;
        let wanted = u64::from(size.div_ceil(self.geometry.cluster_size()));
        let name = format!("the file {}", entry.shown());
        let len = if first == 0 { 0 } else { self.claim(first, &name, |_, _| Ok(()))? };
        if len != wanted {
            return Err(damaged(format!("{name} has {len} clusters, its size of {size} bytes takes {wanted}")));
        }
        Ok(())
    }
}

/// Clusters to append to a directory, whose slots are `slots`, until `needed` free ones lie side by side.
pub(super) fn growth(slots: &[u8], needed: usize, cluster_size: u32) -> u64 {
    let mut run = 0;
    let mut ended = false;
    for slot in slots.chunks_exact(SLOT) {
        ended |= slot[0] == 0;
        run = if ended || slot[0] == DELETED { run + 1 } else { 0 };
        if run >= needed {
            return 0;
        }
    }
    (to_u64(needed - run) * to_u64(SLOT)).div_ceil(u64::from(cluster_size))
}
