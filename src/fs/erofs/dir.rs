//! Directories: blocks, each with its entries and then their names, sorted throughout.
//!
//! ```text
//!   │ nid u64, nameoff u16, type u8, - │ … │ name │ name │ … │ zeroes │
//! ```

use std::cmp::Ordering;

use super::content::Content;
use super::volume::Volume;
use crate::block::BlockDevice;
use crate::bytes::{structure, to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::FileType;

/// Largest directory that is listed, in bytes; half a million entries take about this much.
const DIRECTORY_MAX: u64 = 16 << 20;
/// Longest name (`EROFS_NAME_LEN`).
const NAME_MAX: usize = 255;
/// Bytes of an entry without its name.
pub(super) const DIRENT_BYTES: usize = 12;

structure! {
    /// `struct erofs_dirent`
    pub(super) struct Dirent: "directory entry", Little, 12 {
        /// The inode.
        0 => nid / set_nid: u64,
        /// Where the name begins in the block.
        8 => nameoff / set_nameoff: u16,
        /// As of Linux's `fs_types.h`.
        10 => file_type / set_file_type: u8,
    }
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub name: &'a [u8],
    pub nid: u64,
    /// `None` where the directory does not tell.
    pub file_type: Option<FileType>,
}

/// A block of a directory.
#[derive(Debug)]
struct Block {
    number: u64,
    bytes: Vec<u8>,
    entries: usize,
}

impl Block {
    fn read<D: BlockDevice>(volume: &Volume<D>, content: &Content, number: u64) -> Result<Self> {
        let start = number << volume.superblock.block_bits;
        let mut bytes =
            vec![0; to_usize((content.size - start).min(volume.superblock.block_bytes()))?];
        content.read_meta(volume, start, &mut bytes)?;
        Self::parse(number, bytes).at(|| format!("block {number} of the directory"))
    }

    fn parse(number: u64, bytes: Vec<u8>) -> Result<Self> {
        let names = usize::from(Dirent::over(&bytes[..])?.nameoff());
        if names < DIRENT_BYTES || names >= bytes.len() {
            return Err(Error::corrupt(format!(
                "names begin at byte {names} of {}",
                bytes.len()
            )));
        }
        Ok(Self {
            number,
            bytes,
            entries: names / DIRENT_BYTES,
        })
    }

    fn record(&self, index: usize) -> Result<Record<'_>> {
        self.parse_record(index)
            .at(|| format!("entry {index} in block {} of the directory", self.number))
    }

    fn parse_record(&self, index: usize) -> Result<Record<'_>> {
        let dirent = self.dirent(index)?;
        let start = usize::from(dirent.nameoff());
        let end = if index + 1 < self.entries {
            usize::from(self.dirent(index + 1)?.nameoff())
        } else {
            self.bytes.len()
        };
        let name = self.bytes.get(start..end);
        let mut name =
            name.ok_or_else(|| Error::corrupt(format!("a name from byte {start} to byte {end}")))?;
        if index + 1 == self.entries {
            name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        }
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) || name.contains(&b'/') {
            return Err(Error::corrupt(format!(
                "'{}' is not a name",
                name.escape_ascii()
            )));
        }
        Ok(Record {
            name,
            nid: dirent.nid(),
            file_type: FileType::from_entry_code(dirent.file_type()),
        })
    }

    fn dirent(&self, index: usize) -> Result<Dirent<&[u8]>> {
        Dirent::over(&self.bytes[index * DIRENT_BYTES..])
    }
}

/// Finds the inode of the entry `name` by bisection, first of blocks, then in one; `None` where there is none.
pub(super) fn find<D: BlockDevice>(
    volume: &Volume<D>,
    content: &Content,
    name: &[u8],
) -> Result<Option<u64>> {
    // Blocks before `from` begin with names that come before; those from `to` on begin with later ones.
    let mut from = 0;
    let mut to = content.size.div_ceil(volume.superblock.block_bytes());
    let mut candidate = None;
    while from < to {
        let middle = from + (to - from) / 2;
        let block = Block::read(volume, content, middle)?;
        match block.record(0)?.name.cmp(name) {
            Ordering::Greater => to = middle,
            Ordering::Less | Ordering::Equal => {
                candidate = Some(block);
                from = middle + 1;
            }
        }
    }
    match candidate {
        Some(block) => find_in(&block, name),
        None => Ok(None),
    }
}

fn find_in(block: &Block, name: &[u8]) -> Result<Option<u64>> {
    let mut from = 0;
    let mut to = block.entries;
    while from < to {
        let middle = from + (to - from) / 2;
        let record = block.record(middle)?;
        match record.name.cmp(name) {
            Ordering::Greater => to = middle,
            Ordering::Less => from = middle + 1,
            Ordering::Equal => return Ok(Some(record.nid)),
        }
    }
    Ok(None)
}

/// Visits all entries but `.` and `..`, sorted by name.
pub(super) fn list<D: BlockDevice>(
    volume: &Volume<D>,
    content: &Content,
    visit: &mut dyn FnMut(Record<'_>) -> Result<()>,
) -> Result<()> {
    if content.size > DIRECTORY_MAX {
        return Err(Error::unsupported(format!(
            "directory of {} bytes, at most {DIRECTORY_MAX} are read",
            content.size
        ))
        .because(Reason::Limit));
    }
    let mut last: Vec<u8> = Vec::new();
    for number in 0..content.size.div_ceil(volume.superblock.block_bytes()) {
        let block = Block::read(volume, content, number)?;
        for index in 0..block.entries {
            let record = block.record(index)?;
            if record.name <= last.as_slice() {
                return Err(Error::corrupt(format!(
                    "entry '{}' is out of order",
                    record.name.escape_ascii()
                )));
            }
            last.clear();
            last.extend_from_slice(record.name);
            if !matches!(record.name, b"." | b"..") {
                visit(record)?;
            }
        }
    }
    Ok(())
}

/// Bytes that an entry of this name takes in a block.
pub(super) fn record_bytes(name: &[u8]) -> u64 {
    to_u64(DIRENT_BYTES + name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_the_next_begins_or_at_a_zero() {
        let mut bytes = vec![0; 24];
        for (index, (nid, nameoff)) in [(7, 24), (8, 25)].into_iter().enumerate() {
            let mut dirent = Dirent::over(&mut bytes[index * DIRENT_BYTES..]).unwrap();
            dirent.set_nid(nid);
            dirent.set_nameoff(nameoff);
            dirent.set_file_type(2);
        }
        bytes.extend(b"abc\0\0");
        let block = Block::parse(0, bytes.clone()).unwrap();
        let file_type = Some(FileType::Directory);
        assert_eq!(
            block.record(0).unwrap(),
            Record {
                name: b"a",
                nid: 7,
                file_type
            }
        );
        assert_eq!(
            block.record(1).unwrap(),
            Record {
                name: b"bc",
                nid: 8,
                file_type
            }
        );
        assert_eq!(find_in(&block, b"bc").unwrap(), Some(8));
        assert_eq!(find_in(&block, b"b").unwrap(), None);
        for (at, value) in [(8, 0), (8, 200), (20, 23), (20, 200), (24, b'/')] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let block = Block::parse(0, bad);
            assert!(
                block.is_err() || block.is_ok_and(|block| block.record(0).is_err()),
                "byte {at}"
            );
        }
    }
}
