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
use super::superblock::ensure;
use crate::bytes::Fields;
use crate::error::Result;

/// inode, rec_len, name_len and type.
pub(super) const RECORD_HEADER: usize = 8;
/// Length of the tail (`struct ext4_dir_entry_tail`).
pub(super) const TAIL: usize = 12;
/// `EXT4_FT_DIR_CSUM`: the type that marks a tail.
pub(super) const TAIL_TYPE: u8 = 0xDE;

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
        let rec_len = match f.le16(at + 4)? {
            // 65,536 does not fit the field.
            0 | 0xFFFF => block.len(),
            len => usize::from(len),
        };
        let name_len = usize::from(f.u8(at + 6)?);
        let fits = rec_len.is_multiple_of(4)
            && rec_len >= RECORD_HEADER + name_len
            && rec_len <= block.len() - at;
        ensure(fits && rec_len > RECORD_HEADER, || {
            format!(
                "a directory record at byte {at} has length {rec_len} for a name of {name_len} bytes"
            )
        })?;
        let ino = f.le32(at)?;
        if ino != 0 {
            let name = f.slice(at + RECORD_HEADER, name_len)?;
            ensure(
                !name.is_empty() && !name.contains(&b'/') && !name.contains(&0),
                || format!("a directory record at byte {at} has an impossible name"),
            )?;
            if !visit(Record {
                ino,
                name,
                file_type: f.u8(at + 7)?,
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
    let f = Fields::new("directory block", block);
    let tail = block.len() - TAIL;
    let whole = f.le32(0)? == 0 && f.le16(4)? == whole_block(block.len());
    let stored_and_computed = if indexed && (logical == 0 || whole) {
        index_checksum(&f, seed, if logical == 0 { 0x20 } else { 8 })?
    } else {
        ensure(
            f.le32(tail)? == 0
                && usize::from(f.le16(tail + 4)?) == TAIL
                && f.u8(tail + 7)? == TAIL_TYPE,
            || "a directory block has no checksum".to_owned(),
        )?;
        (f.le32(tail + 8)?, checksum::crc32c(seed, &block[..tail]))
    };
    ensure(stored_and_computed.0 == stored_and_computed.1, || {
        format!("the checksum of directory block {logical} does not match")
    })
}

/// Checksum of a hash tree block (`struct dx_tail`) whose `limit` and `count` lie at `at`, as (stored, computed).
fn index_checksum(f: &Fields<'_>, seed: u32, at: usize) -> Result<(u32, u32)> {
    let limit = usize::from(f.le16(at)?);
    let count = usize::from(f.le16(at + 2)?);
    let tail = at + limit * 8;
    ensure(count <= limit, || {
        format!("a hash tree block holds {count} entries of {limit}")
    })?;
    let crc = checksum::crc32c(seed, f.slice(0, at + count * 8)?);
    let crc = checksum::crc32c(crc, f.slice(tail, 4)?);
    Ok((f.le32(tail + 4)?, checksum::crc32c(crc, &[0; 4])))
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
