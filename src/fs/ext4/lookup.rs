//! Finding one name in a directory: by its hash tree where there is one, block by block elsewhere.
//!
//! ```text
//!   root ── hash 0 │ hash a │ hash b …  ──▶ index blocks, up to two levels ──▶ the leaf whose hashes hold the name's
//! ```
//!
//! A tree that is not as it should be is passed over, as Linux does: every name is found without it.

use super::dir::{self, Record};
use super::dirhash::Hasher;
use super::extent::Extent;
use super::index::{
    CountLimit, ENTRY, INFO_LENGTH, IndexEntry, NODE_ENTRIES, ROOT_ENTRIES, RootInfo,
};
use super::inode::Inode;
use super::{Ext4, features};
use crate::block::BlockDevice;
use crate::bytes::to_u64;
use crate::error::{Result, ResultExt};

/// An index block and the entry of it that was followed.
struct Step {
    entries: Vec<(u32, u32)>,
    at: usize,
}

/// A directory whose blocks are read one at a time.
struct Blocks<'a, D> {
    fs: &'a Ext4<D>,
    directory: &'a Inode,
    extents: Vec<Extent>,
    seed: Option<u32>,
}

impl<D: BlockDevice> Ext4<D> {
    /// The inode number of `name` in a directory that has a hash tree. The outer `None`: the tree cannot be used.
    pub(super) fn find_by_hash(
        &self,
        directory: &Inode,
        name: &[u8],
    ) -> Result<Option<Option<u32>>> {
        if !directory.is_indexed() || !self.superblock.has_compat(features::COMPAT_DIR_INDEX) {
            return Ok(None);
        }
        let seed = self
            .superblock
            .has_checksums()
            .then(|| directory.seed(&self.superblock));
        let blocks = Blocks {
            fs: self,
            directory,
            extents: self.mapping(directory)?.extents,
            seed,
        };
        blocks.find(name)
    }
}

impl<D: BlockDevice> Blocks<'_, D> {
    fn find(&self, name: &[u8]) -> Result<Option<Option<u32>>> {
        let Some(root) = self.read(0)? else {
            return Ok(None);
        };
        let info = RootInfo::over(&root[..])?;
        let levels_max = if self.fs.superblock.has_incompat(features::INCOMPAT_LARGEDIR) {
            2
        } else {
            1
        };
        let known = info.reserved_zero() == 0
            && info.info_length() == INFO_LENGTH
            && info.indirect_levels() <= levels_max;
        let Some(hasher) =
            Hasher::of_version(&self.fs.superblock, info.hash_version()).filter(|_| known)
        else {
            return Ok(None);
        };
        let (hash, _) = hasher.hash(name);
        let Some(mut way) = self.descend(&root, info.indirect_levels(), hash)? else {
            return Ok(None);
        };
        // Each leaf is met once at most, whatever the entries say.
        for _ in 0..self.count() {
            let Some(leaf) = way.last().map(|step| step.entries[step.at].1) else {
                return Ok(None);
            };
            let Some(block) = self.read(leaf.into())? else {
                return Ok(None);
            };
            if let Some(ino) = self.scan(&block, leaf, name)? {
                return Ok(Some(Some(ino)));
            }
            match self.next_of(&mut way, hash)? {
                Some(true) => {}
                Some(false) => return Ok(Some(None)),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Blocks of the directory.
    fn count(&self) -> u64 {
        self.directory.size / u64::from(self.fs.superblock.block_size)
    }

    /// Block `logical`, its checksum checked; `None` where the directory has no such block.
    fn read(&self, logical: u64) -> Result<Option<Vec<u8>>> {
        let after = self
            .extents
            .partition_point(|extent| extent.logical <= logical);
        let Some(extent) = after.checked_sub(1).and_then(|at| self.extents.get(at)) else {
            return Ok(None);
        };
        let step = logical - extent.logical;
        if step >= extent.len || !extent.written || logical >= self.count() {
            return Ok(None);
        }
        let mut block = vec![0; self.fs.superblock.block_bytes()];
        self.fs
            .store
            .read_at((extent.physical + step) * to_u64(block.len()), &mut block)?;
        if let Some(seed) = self.seed {
            dir::check(&block, seed, true, logical)
                .at(|| format!("directory inode {}", self.directory.ino))?;
        }
        Ok(Some(block))
    }

    fn scan(&self, block: &[u8], logical: u32, name: &[u8]) -> Result<Option<u32>> {
        let mut found = None;
        dir::for_each(block, &mut |record: Record<'_>| {
            if record.name == name {
                found = Some(record.ino);
            }
            Ok(found.is_none())
        })
        .at(|| format!("directory inode {}, block {logical}", self.directory.ino))?;
        Ok(found)
    }

    /// The way from the root to the entry of the leaf for `hash`.
    fn descend(&self, root: &[u8], levels: u8, hash: u32) -> Result<Option<Vec<Step>>> {
        let mut way = Vec::new();
        let Some(mut entries) = index_entries(root, ROOT_ENTRIES)? else {
            return Ok(None);
        };
        for level in 0..=levels {
            let at = entries
                .partition_point(|(first, _)| *first <= hash)
                .saturating_sub(1);
            let below = entries[at].1;
            way.push(Step { entries, at });
            if level == levels {
                break;
            }
            let Some(block) = self.read(below.into())? else {
                return Ok(None);
            };
            let Some(next) = index_entries(&block, NODE_ENTRIES)? else {
                return Ok(None);
            };
            entries = next;
        }
        Ok(Some(way))
    }

    /// Goes to the next leaf if names of `hash` go on there; `None` where an index block is missing.
    fn next_of(&self, way: &mut [Step], hash: u32) -> Result<Option<bool>> {
        let Some(level) = way
            .iter()
            .rposition(|step| step.at + 1 < step.entries.len())
        else {
            return Ok(Some(false));
        };
        way[level].at += 1;
        let (first, mut below) = way[level].entries[way[level].at];
        if first != (hash | 1) {
            return Ok(Some(false));
        }
        for step in &mut way[level + 1..] {
            let Some(block) = self.read(below.into())? else {
                return Ok(None);
            };
            let Some(entries) = index_entries(&block, NODE_ENTRIES)? else {
                return Ok(None);
            };
            below = entries[0].1;
            *step = Step { entries, at: 0 };
        }
        Ok(Some(true))
    }
}

/// First hash and block of each entry of an index block, at least one; `None` where they are not in order.
fn index_entries(block: &[u8], start: usize) -> Result<Option<Vec<(u32, u32)>>> {
    let counts = CountLimit::at(block, start)?;
    let count = usize::from(counts.count());
    if count == 0 || counts.count() > counts.limit() || count > (block.len() - start) / ENTRY {
        return Ok(None);
    }
    let mut entries = vec![(0, counts.block())];
    for at in 1..count {
        let entry = IndexEntry::at(block, start + at * ENTRY)?;
        entries.push((entry.hash(), entry.block()));
    }
    let ordered = entries.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    Ok(ordered.then_some(entries))
}
