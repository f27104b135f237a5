//! Directories: blocks of records (`struct ext4_dir_entry_2`), in a hash tree or not.
//!
//! ```text
//!   ┌───────┬─────────┬──────────┬──────┬──────┐   ┌────────────────────────┐
//!   │ inode │ rec_len │ name_len │ type │ name │ … │ tail with the checksum │
//!   └───────┴─────────┴──────────┴──────┴──────┘   └────────────────────────┘
//! ```
//!
//! The inner blocks of a hash tree hide behind one empty record of the whole block (the root: behind `..`), so that
//! reading all blocks in order finds every entry without the tree.

use super::checksum;
use super::index::{CountLimit, ENTRY, IndexTail, NODE_ENTRIES, ROOT_ENTRIES, tail_checksum};
use super::superblock::ensure;
use crate::bytes::{Fields, structure};
use crate::error::Result;

structure! {
    /// What stands in front of a name (`struct ext4_dir_entry_2`).
    pub(super) struct RecordHeader: "directory record", Little, 8 {
        /// Inode number, 0 for a record that is not in use.
        0 => inode / set_inode: u32,
        /// Bytes to the next record.
        4 => rec_len / set_rec_len: u16,
        /// Bytes of the name.
        6 => name_len / set_name_len: u8,
        /// `EXT4_FT_*`, 0 for unknown.
        7 => file_type / set_file_type: u8,
    }
}

structure! {
    /// The end of a block with a checksum, which looks like an empty record (`struct ext4_dir_entry_tail`).
    struct Tail: "directory tail", Little, 12 {
        /// Zero.
        0 => det_reserved_zero1: u32,
        /// Length of the tail: 12.
        4 => det_rec_len / set_rec_len: u16,
        /// [`TAIL_TYPE`].
        7 => det_reserved_ft / set_reserved_ft: u8,
        /// CRC32C of what is before the tail.
        8 => det_checksum / set_checksum: u32,
    }
}

/// inode, rec_len, name_len and type.
pub(super) const RECORD_HEADER: usize = RecordHeader::<&[u8]>::SIZE;
/// Length of the tail.
pub(super) const TAIL: usize = Tail::<&[u8]>::SIZE;
/// `EXT4_FT_DIR_CSUM`: the type that marks a tail.
const TAIL_TYPE: u8 = 0xDE;

/// A record in use.
#[derive(Debug, Clone)]
pub(super) struct Record<'a> {
    pub ino: u32,
    pub name: &'a [u8],
    /// `EXT4_FT_*`, 0 for unknown.
    pub file_type: u8,
}

/// Calls `visit` for each record in use of a directory block, `.` and `..` too, until it returns false.
pub(super) fn for_each<'a>(
    block: &'a [u8],
    visit: &mut dyn FnMut(Record<'a>) -> Result<bool>,
) -> Result<bool> {
    let f = Fields::new("directory block", block);
    let mut at = 0;
    while at < block.len() {
        let header = RecordHeader::at(block, at)?;
        let rec_len = match header.rec_len() {
            // 65,536 does not fit the field.
            0 | 0xFFFF => block.len(),
            len => usize::from(len),
        };
        let name_len = usize::from(header.name_len());
        let fits = rec_len.is_multiple_of(4)
            && rec_len >= RECORD_HEADER + name_len
            && rec_len <= block.len() - at;
        ensure(fits && rec_len > RECORD_HEADER, || {
            format!(
                "a directory record at byte {at} has length {rec_len} for a name of {name_len} bytes"
            )
        })?;
        let ino = header.inode();
        if ino != 0 {
            let name = f.slice(at + RECORD_HEADER, name_len)?;
            ensure(
                !name.is_empty() && !name.contains(&b'/') && !name.contains(&0),
                || format!("a directory record at byte {at} has an impossible name"),
            )?;
            if !visit(Record {
                ino,
                name,
                file_type: header.file_type(),
            })? {
                return Ok(false);
            }
        }
        at += rec_len;
    }
    Ok(true)
}

/// Checks the checksum of directory block `logical`; `seed` is the directory's.
pub(super) fn check(block: &[u8], seed: u32, indexed: bool, logical: u64) -> Result<()> {
    let first = RecordHeader::over(block)?;
    let whole = first.inode() == 0 && first.rec_len() == whole_block(block.len());
    let right = if indexed && logical == 0 {
        has_index_checksum(block, seed, ROOT_ENTRIES)?
    } else if indexed && whole {
        has_index_checksum(block, seed, NODE_ENTRIES)?
    } else {
        has_leaf_checksum(block, seed)?
    };
    ensure(right, || {
        format!("the checksum of directory block {logical} does not match")
    })
}

/// Whether the tail of a block of records holds the right checksum.
fn has_leaf_checksum(block: &[u8], seed: u32) -> Result<bool> {
    let end = block.len() - TAIL;
    let tail = Tail::at(block, end)?;
    ensure(
        tail.det_reserved_zero1() == 0
            && usize::from(tail.det_rec_len()) == TAIL
            && tail.det_reserved_ft() == TAIL_TYPE,
        || "a directory block has no checksum".to_owned(),
    )?;
    Ok(tail.det_checksum() == checksum::crc32c(seed, &block[..end]))
}

/// Whether the tail of a hash tree block, whose entries begin at `at`, holds the right checksum.
fn has_index_checksum(block: &[u8], seed: u32, at: usize) -> Result<bool> {
    let counts = CountLimit::at(block, at)?;
    let limit = usize::from(counts.limit());
    let count = usize::from(counts.count());
    ensure(count <= limit, || {
        format!("a hash tree block holds {count} entries of {limit}")
    })?;
    let tail = IndexTail::at(block, at + limit * ENTRY)?;
    Ok(tail.dt_checksum() == tail_checksum(seed, block, at, count, &tail))
}

/// Stores the tail of a block of records.
pub(super) fn seal(block: &mut [u8], seed: u32) -> Result<()> {
    let end = block.len() - TAIL;
    let crc = checksum::crc32c(seed, &block[..end]);
    let mut tail = Tail::over(&mut block[end..])?;
    tail.set_rec_len(12);
    tail.set_reserved_ft(TAIL_TYPE);
    tail.set_checksum(crc);
    Ok(())
}

/// `rec_len` of a record that fills a block of `len` bytes.
pub(super) fn whole_block(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ino: u32, rec_len: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = ino.to_le_bytes().to_vec();
        bytes.extend(rec_len.to_le_bytes());
        bytes.extend([u8::try_from(name.len()).unwrap(), 1]);
        bytes.extend(name);
        bytes.resize(usize::from(rec_len), 0);
        bytes
    }

    #[test]
    fn damaged_records_end_the_walk() {
        let names = |block: &[u8]| {
            let mut count = 0;
            for_each(block, &mut |_| {
                count += 1;
                Ok(true)
            })
            .map(|_| count)
        };
        let good = [
            record(11, 16, b"name"),
            record(0, 16, b"gone"),
            record(12, 32, b"x"),
        ]
        .concat();
        assert_eq!(names(&good).unwrap(), 2);
        for (ino, rec_len, name) in [
            (1, 14, &b"ab"[..]),
            (1, 8, b""),
            (1, 12, b""),
            (1, 16, b"a/b"),
            (1, 16, b"a\0"),
        ] {
            assert!(
                names(&record(ino, rec_len, name)).is_err(),
                "{rec_len} {name:?}"
            );
        }
        let mut long = record(1, 16, b"a");
        long[4] = 20;
        assert!(names(&long).is_err());
    }
}
