//! Sparse files: which stretches of a file are stored.
//!
//! ```text
//!   file     0 ──hole── [segment] ──hole── [segment] ──hole── size
//!   archive             [segment][segment] padding
//! ```
//!
//! The map is in the header (GNU), in pax records (0.0, 0.1) or in front of the data (1.0; "Storing Sparse Files" in
//! the GNU tar manual).

use crate::archive::EXCLUDE;
use std::sync::Arc;

use super::header::{BLOCK, Block};
use super::pax::{PaxSparse, decimal};
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};
use crate::fs::Stretch;

/// Segments of a file: a map of 16 MiB, enough for a disk image of 8 GiB with a hole after every second block.
pub(super) const SEGMENTS_MAX: usize = 1 << 20;
/// Size of a sparse file with its holes: that of any file on Linux.
const SIZE_MAX: u64 = i64::MAX as u64;

/// The stored stretches of a sparse file, in order, apart, and within its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap(Arc<[Stretch]>);

impl SparseMap {
    /// Checks a map against the size of the file with its holes and the bytes stored in the archive.
    pub(super) fn new(
        pairs: impl IntoIterator<Item = (u64, u64)>,
        size: u64,
        stored: u64,
    ) -> Result<Self> {
        if size > SIZE_MAX {
            return Err(Error::unsupported(format!(
                "a sparse file of {size} bytes, at most {SIZE_MAX} are handled"
            ))
            .because(Reason::Limit)
            .with_hint("leave the file out")
            .with_setting(EXCLUDE));
        }
        let mut segments = Vec::new();
        let mut end = 0;
        let mut total = 0u64;
        for (offset, len) in pairs {
            let stop = offset
                .checked_add(len)
                .filter(|&stop| offset >= end && stop <= size);
            end = stop.ok_or_else(|| {
                Error::corrupt(format!(
                    "the sparse segment of {len} bytes at {offset} is not within {end} to {size}, the end of the one before and the size"
                ))
            })?;
            total = total.saturating_add(len);
            // GNU tar marks the end of a file with a segment of no bytes.
            if len > 0 {
                segments.push(Stretch { offset, len });
            }
        }
        if total != stored {
            return Err(Error::corrupt(format!(
                "the sparse segments have {total} bytes, {stored} are stored"
            )));
        }
        Ok(Self(segments.into()))
    }

    /// The stretches.
    pub fn segments(&self) -> &[Stretch] {
        &self.0
    }
}

/// Refuses maps that take too much memory.
pub(super) fn check_count(count: u64) -> Result<()> {
    if count > to_u64(SEGMENTS_MAX) {
        return Err(Error::unsupported(format!(
            "a sparse file of {count} segments, at most {SEGMENTS_MAX} are handled"
        ))
        .because(Reason::Limit)
        .with_hint("pack it without --sparse, or leave the file out")
        .with_setting(EXCLUDE));
    }
    Ok(())
}

/// The map that pax records 0.0 and 0.1 give.
pub(super) fn from_records(pax: &PaxSparse, size: u64, stored: u64) -> Result<SparseMap> {
    let (pairs, rest) = pax.numbers.as_chunks::<2>();
    let count = to_u64(pairs.len());
    if !rest.is_empty() || pax.numblocks.is_some_and(|numblocks| numblocks != count) {
        return Err(Error::corrupt(format!(
            "the sparse map has {} numbers, not two for each of its segments",
            pax.numbers.len()
        )));
    }
    check_count(count)?;
    SparseMap::new(
        pairs.iter().map(|&[offset, len]| (offset, len)),
        size,
        stored,
    )
}

/// The map in front of the data (1.0): decimal numbers, each on a line, in whole blocks. `next` reads a block of it.
/// Returns the pairs; the caller knows how many blocks there were.
pub(super) fn from_data(mut next: impl FnMut() -> Result<Block>) -> Result<Vec<(u64, u64)>> {
    let mut block = next()?;
    let mut at = 0;
    let mut number = || {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                block = next()?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return decimal(&digits),
                // 63 bits have 19 digits.
                _ if digits.len() == 20 => {
                    return Err(Error::corrupt("a number of the sparse map is too long"));
                }
                _ => digits.push(byte),
            }
        }
    };
    let count = number()?;
    check_count(count)?;
    (0..count).map(|_| Ok((number()?, number()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_ordered_within_the_file_and_stored_whole() {
        let map = SparseMap::new([(0, 5), (5, 0), (10, 10), (20, 0)], 20, 15).unwrap();
        assert_eq!(
            map.segments(),
            [
                Stretch { offset: 0, len: 5 },
                Stretch {
                    offset: 10,
                    len: 10
                }
            ]
        );
        assert!(
            SparseMap::new([(10, 5), (0, 5)], 20, 10).is_err(),
            "backwards"
        );
        assert!(
            SparseMap::new([(0, 5), (4, 5)], 20, 10).is_err(),
            "overlapping"
        );
        assert!(SparseMap::new([(16, 5)], 20, 5).is_err(), "beyond the end");
        assert!(
            SparseMap::new([(u64::MAX, 5)], 20, 5).is_err(),
            "overflowing"
        );
        assert!(SparseMap::new([(0, 5)], 20, 6).is_err(), "more stored");
        assert!(SparseMap::new([(0, 5)], 20, 4).is_err(), "less stored");
        assert!(
            SparseMap::new([], SIZE_MAX + 1, 0).is_err(),
            "zeroes without end"
        );
    }

    #[test]
    fn maps_in_front_of_the_data() {
        let read = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            let mut blocks = bytes.as_chunks::<BLOCK>().0.iter();
            from_data(|| {
                blocks
                    .next()
                    .copied()
                    .ok_or_else(|| Error::corrupt("no more blocks"))
            })
        };
        assert_eq!(read("2\n0\n5\n10\n10\n").unwrap(), [(0, 5), (10, 10)]);
        let long = format!("200\n{}", "123456\n512\n".repeat(200));
        assert_eq!(read(&long).unwrap().len(), 200);
        for bad in [
            "",
            "2\n0\n5\n10\n",
            "x\n",
            "\n",
            "1048577\n",
            "1\n0\n99999999999999999999\n",
            &"1".repeat(600),
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
