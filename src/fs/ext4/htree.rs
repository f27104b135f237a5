//! Writing the blocks of a directory: one block, blocks in a row, or a hash tree.
//!
//! ```text
//!   block 0: . │ .. │ hash version, levels │ limit, count │ hash → block │ …     (struct dx_root)
//!              └──▶ blocks of the same, one level, where the root is too small    (struct dx_node)
//!                     └──▶ leaves: records whose hashes lie between two of these
//! ```
//!
//! Leaves are filled to four fifths, so that names can be added later without splitting a leaf at once. A hash whose
//! names lie in two leaves has its lowest bit set in the entry of the second.

use super::dir::{self, RECORD_HEADER, RecordHeader, TAIL, whole_block};
use super::dirhash::Hasher;
use super::features;
use super::index::{
    CountLimit, ENTRY, INFO_LENGTH, IndexEntry, IndexTail, NODE_ENTRIES, ROOT_ENTRIES, RootInfo,
    tail_checksum,
};
use super::superblock::Superblock;
use crate::error::{Error, Result};

/// Records of `.` and `..`.
pub(super) const DOT: usize = 12;
/// Index levels below the root: 1, or 2 with the feature large_dir.
const LEVELS: usize = 1;

/// A name to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub name: &'a [u8],
    pub ino: u32,
    /// `EXT4_FT_*`, 0 without the feature filetype.
    pub file_type: u8,
}

/// Bytes of the record of a name.
pub(super) fn record_len(name_len: usize) -> usize {
    (RECORD_HEADER + name_len).next_multiple_of(4)
}

/// Bytes of a block that records may use.
fn room(superblock: &Superblock) -> usize {
    superblock.block_bytes() - if superblock.has_checksums() { TAIL } else { 0 }
}

/// Bytes of a leaf that are filled.
fn fill(superblock: &Superblock) -> usize {
    if superblock.has_compat(features::COMPAT_DIR_INDEX) {
        room(superblock) / 5 * 4
    } else {
        room(superblock)
    }
}

/// Blocks that a directory with records of `bytes` bytes in all takes at most.
pub(super) fn blocks_needed(superblock: &Superblock, bytes: u64) -> u64 {
    let size = |value: usize| crate::bytes::to_u64(value);
    if bytes + size(2 * DOT) <= size(room(superblock)) {
        return 1;
    }
    // A leaf is left when the next record does not fit.
    let leaves = (bytes + size(2 * DOT)).div_ceil(size(fill(superblock) - record_len(255)));
    leaves + leaves.div_ceil(size(limit(superblock, NODE_ENTRIES) / 2)) + 1
}

/// Entries of an index block whose limit and count lie at `at`.
fn limit(superblock: &Superblock, at: usize) -> usize {
    (superblock.block_bytes() - at) / ENTRY - usize::from(superblock.has_checksums())
}

/// Writes directories.
pub(super) struct Writer<'a> {
    pub superblock: &'a Superblock,
    /// Seed of the directory's checksums.
    pub seed: u32,
    pub ino: u32,
    pub parent: u32,
}

impl Writer<'_> {
    /// The blocks of a directory of `names`, which are in order and differ, and whether they are a hash tree.
    pub(super) fn write(&self, names: &[Name<'_>]) -> Result<(Vec<u8>, bool)> {
        let bytes: usize = names.iter().map(|name| record_len(name.name.len())).sum();
        if bytes + 2 * DOT <= room(self.superblock)
            || !self.superblock.has_compat(features::COMPAT_DIR_INDEX)
        {
            return Ok((self.linear(names)?, false));
        }
        Ok((self.tree(names)?, true))
    }

    fn dots(&self) -> [Name<'static>; 2] {
        let file_type = if self.superblock.has_incompat(features::INCOMPAT_FILETYPE) {
            2
        } else {
            0
        };
        [
            Name {
                name: b".",
                ino: self.ino,
                file_type,
            },
            Name {
                name: b"..",
                ino: self.parent,
                file_type,
            },
        ]
    }

    /// Names in blocks one after another.
    fn linear(&self, names: &[Name<'_>]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut leaf = Vec::from(self.dots());
        let mut used = 2 * DOT;
        for name in names {
            let len = record_len(name.name.len());
            if used + len > room(self.superblock) {
                self.leaf(&mut out, &leaf)?;
                leaf.clear();
                used = 0;
            }
            leaf.push(*name);
            used += len;
        }
        self.leaf(&mut out, &leaf)?;
        Ok(out)
    }

    /// Appends a block of records, of which there is at least one.
    fn leaf(&self, out: &mut Vec<u8>, names: &[Name<'_>]) -> Result<()> {
        let start = out.len();
        let end = room(self.superblock);
        out.resize(start + self.superblock.block_bytes(), 0);
        let block = &mut out[start..];
        let mut at = 0;
        for (index, name) in names.iter().enumerate() {
            let len = if index + 1 == names.len() {
                end - at
            } else {
                record_len(name.name.len())
            };
            record(&mut block[at..], len, name)?;
            at += len;
        }
        if self.superblock.has_checksums() {
            dir::seal(block, self.seed)?;
        }
        Ok(())
    }

    fn tree(&self, names: &[Name<'_>]) -> Result<Vec<u8>> {
        let hasher = Hasher::new(self.superblock);
        let mut hashed: Vec<_> = names
            .iter()
            .map(|name| (hasher.hash(name.name), name))
            .collect();
        // Stable: names of one hash stay in their order.
        hashed.sort_by_key(|(hash, _)| *hash);
        let mut leaves = Vec::new();
        let mut starts: Vec<u32> = Vec::new();
        let mut rest = &hashed[..];
        while !rest.is_empty() {
            let (leaf, after) = rest.split_at(leaf_names(rest, fill(self.superblock)));
            let hash = leaf[0].0.0;
            let goes_on =
                hashed.len() > rest.len() && hashed[hashed.len() - rest.len() - 1].0.0 == hash;
            starts.push(if starts.is_empty() {
                0
            } else {
                hash | u32::from(goes_on)
            });
            let names: Vec<Name<'_>> = leaf.iter().map(|(_, name)| **name).collect();
            self.leaf(&mut leaves, &names)?;
            rest = after;
        }
        let mut out = self.index(hasher.version, &starts)?;
        out.append(&mut leaves);
        Ok(out)
    }

    /// The root and the index blocks above leaves that begin with these hashes.
    fn index(&self, version: u8, starts: &[u32]) -> Result<Vec<u8>> {
        let root_limit = limit(self.superblock, ROOT_ENTRIES);
        // The first hash of each leaf, of each block above them, … of each entry of the root.
        let mut levels = vec![starts.to_vec()];
        while let Some(top) = levels.last().filter(|top| top.len() > root_limit) {
            let above = top
                .chunks(self.per_node(top.len()))
                .map(|chunk| chunk[0])
                .collect();
            levels.push(above);
        }
        let most = LEVELS + usize::from(self.superblock.has_incompat(features::INCOMPAT_LARGEDIR));
        if levels.len() > 1 + most {
            return Err(Error::unsupported(format!(
                "directory inode {} has too many names for its index",
                self.ino
            )));
        }
        let size = self.superblock.block_bytes();
        let mut out = vec![0; size * (1 + levels[1..].iter().map(Vec::len).sum::<usize>())];
        let [dot, dotdot] = self.dots();
        record(&mut out, DOT, &dot)?;
        record(&mut out[DOT..], size - DOT, &dotdot)?;
        let mut info = RootInfo::over(&mut out[..])?;
        info.set_hash_version(version);
        info.set_info_length(INFO_LENGTH);
        info.set_indirect_levels(u8::try_from(levels.len() - 1).unwrap_or(0));
        self.index_entries(
            &mut out[..size],
            ROOT_ENTRIES,
            levels.last().map_or(&[], |top| top),
            1,
        )?;
        // Blocks of a level follow those of the level above; leaves come last.
        let mut at = 1;
        for (below, blocks) in levels.iter().zip(levels.iter().skip(1)).rev() {
            let mut first = at + blocks.len();
            for chunk in below.chunks(self.per_node(below.len())) {
                let block = &mut out[at * size..(at + 1) * size];
                RecordHeader::over(&mut block[..])?.set_rec_len(whole_block(size));
                self.index_entries(block, NODE_ENTRIES, chunk, first)?;
                first += chunk.len();
                at += 1;
            }
        }
        Ok(out)
    }

    /// Entries of each index block below the root: half of what fits, where the level above has room for the blocks.
    fn per_node(&self, entries: usize) -> usize {
        let most = limit(self.superblock, NODE_ENTRIES);
        let roomy = entries.div_ceil(most / 2) <= limit(self.superblock, ROOT_ENTRIES);
        if roomy { most / 2 } else { most }
    }

    /// Entries at `at` of an index block, for blocks that begin with these hashes, from block `first` on.
    fn index_entries(
        &self,
        block: &mut [u8],
        at: usize,
        hashes: &[u32],
        first: usize,
    ) -> Result<()> {
        let limit = limit(self.superblock, at);
        let short = |value: usize| {
            u16::try_from(value).map_err(|_| Error::internal("a block has fewer entries"))
        };
        for (entry, (number, hash)) in block[at..]
            .chunks_exact_mut(ENTRY)
            .zip((first..).zip(hashes))
        {
            let number = u32::try_from(number)
                .map_err(|_| Error::internal("directories have fewer blocks"))?;
            let mut entry = IndexEntry::over(entry)?;
            entry.set_hash(*hash);
            entry.set_block(number);
        }
        // The first entry has these in place of its hash.
        let mut counts = CountLimit::over(&mut block[at..])?;
        counts.set_limit(short(limit)?);
        counts.set_count(short(hashes.len())?);
        if self.superblock.has_checksums() {
            let end = at + limit * ENTRY;
            let tail = IndexTail::at(block, end)?;
            let crc = tail_checksum(self.seed, block, at, hashes.len(), &tail);
            IndexTail::over(&mut block[end..])?.set_checksum(crc);
        }
        Ok(())
    }
}

/// How many hashed names go into the next leaf of `fill` bytes.
fn leaf_names<T>(names: &[(T, &Name<'_>)], fill: usize) -> usize {
    let mut used = 0;
    let fits = names.iter().take_while(|(_, name)| {
        used += record_len(name.name.len());
        used <= fill
    });
    fits.count().max(1)
}

/// Writes one record of `len` bytes.
fn record(bytes: &mut [u8], len: usize, name: &Name<'_>) -> Result<()> {
    let mut header = RecordHeader::over(&mut bytes[..])?;
    header.set_inode(name.ino);
    header.set_rec_len(whole_block(len));
    header.set_name_len(u8::try_from(name.name.len()).unwrap_or(u8::MAX));
    header.set_file_type(name.file_type);
    bytes[RECORD_HEADER..RECORD_HEADER + name.name.len()].copy_from_slice(name.name);
    Ok(())
}
