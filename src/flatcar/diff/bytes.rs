//! Devices, byte by byte. Where both read as zeroes without being read, nothing is read.

use serde::Serialize;

use super::DiffOptions;
use crate::block::{BlockDevice, Extent, ExtentKind};
use crate::bytes::{to_u64, to_usize};
use crate::error::Result;

/// Bytes of each side that are read at a time.
const CHUNK: u64 = 1 << 20;
/// Stretches that are listed at most; further ones are counted.
pub const STRETCHES_MAX: usize = 16;
/// Differing bytes that lie no farther apart are one stretch.
const NEAR: u64 = 512;

/// How the bytes of two devices differ. The shorter one counts as if zeroes followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ByteDifference {
    /// How many bytes differ.
    pub bytes: u64,
    /// Where, from the first one on, at most [`STRETCHES_MAX`].
    pub stretches: Vec<ByteStretch>,
    /// Stretches that are not listed.
    pub left_out: u64,
}

/// A stretch that begins and ends with differing bytes; fewer than 512 equal ones in a row may lie within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByteStretch {
    /// Where it begins, in bytes from the start of what is compared.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl ByteStretch {
    fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Ranges of offsets that are passed over: sorted, `(start, end)`.
pub(super) type Skipped = [(u64, u64)];

/// Compares two devices but for `skipped`; `None` where they are equal.
pub(super) fn compare(
    a: &dyn BlockDevice,
    b: &dyn BlockDevice,
    skipped: &Skipped,
    options: &DiffOptions<'_>,
) -> Result<Option<ByteDifference>> {
    let size = a.size().max(b.size());
    let mut found = Found::default();
    let mut buffers = (vec![0; to_usize(CHUNK)?], vec![0; to_usize(CHUNK)?]);
    let mut at = 0;
    while at < size {
        options.cancel.check()?;
        let next_skipped = skipped.iter().find(|(_, end)| *end > at);
        if let Some(&(start, end)) = next_skipped
            && start <= at
        {
            at = end;
            continue;
        }
        let limit = next_skipped.map_or(size, |&(start, _)| start.min(size));
        let of_a = extent(a, at)?;
        let of_b = extent(b, at)?;
        let len = of_a.len.min(of_b.len).min(limit - at);
        if of_a.kind == ExtentKind::Zero && of_b.kind == ExtentKind::Zero {
            options.progress.advance(len);
            at += len;
            continue;
        }
        let len = len.min(CHUNK);
        let in_memory = to_usize(len)?;
        let here = &mut buffers.0[..in_memory];
        let there = &mut buffers.1[..in_memory];
        read(a, of_a, at, here)?;
        read(b, of_b, at, there)?;
        if here != there {
            found.look(at, here, there);
        }
        options.progress.advance(len);
        at += len;
    }
    Ok(found.difference())
}

/// What lies at `at`: zeroes where the device has ended.
fn extent(device: &dyn BlockDevice, at: u64) -> Result<Extent> {
    if at < device.size() {
        return device.extent_at(at);
    }
    Ok(Extent {
        kind: ExtentKind::Zero,
        len: u64::MAX,
    })
}

fn read(device: &dyn BlockDevice, extent: Extent, at: u64, buf: &mut [u8]) -> Result<()> {
    match extent.kind {
        ExtentKind::Zero => buf.fill(0),
        ExtentKind::Data => device.read_at(at, buf)?,
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    bytes: u64,
    listed: Vec<ByteStretch>,
    /// The stretch that may still grow.
    open: Option<ByteStretch>,
    left_out: u64,
}

impl Found {
    fn look(&mut self, at: u64, here: &[u8], there: &[u8]) {
        for (index, (a, b)) in here.iter().zip(there).enumerate() {
            if a != b {
                self.differs(at + to_u64(index));
            }
        }
    }

    fn differs(&mut self, offset: u64) {
        self.bytes += 1;
        match &mut self.open {
            Some(open) if offset - open.end() < NEAR => open.len = offset + 1 - open.offset,
            _ => {
                self.close();
                self.open = Some(ByteStretch { offset, len: 1 });
            }
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        if self.listed.len() < STRETCHES_MAX {
            self.listed.push(open);
        } else {
            self.left_out += 1;
        }
    }

    fn difference(mut self) -> Option<ByteDifference> {
        self.close();
        (self.bytes > 0).then_some(ByteDifference {
            bytes: self.bytes,
            stretches: self.listed,
            left_out: self.left_out,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    fn compared(a: &[u8], b: &[u8], skipped: &Skipped) -> Option<ByteDifference> {
        let a = MemoryDevice::new(a.to_vec());
        let b = MemoryDevice::new(b.to_vec());
        compare(&a, &b, skipped, &DiffOptions::default()).unwrap()
    }

    #[test]
    fn equal_bytes_and_zeroes_behind_the_shorter_side_are_no_difference() {
        assert_eq!(compared(b"abc", b"abc", &[]), None);
        assert_eq!(compared(b"abc", b"abc\0\0", &[]), None);
        assert_eq!(compared(b"abc\0\0", b"abc", &[]), None);
    }

    #[test]
    fn stretches_near_each_other_are_one_and_all_bytes_are_counted() {
        let a = vec![1; 3 << 20];
        let mut b = a.clone();
        for at in [0, 100, (1 << 20) - 1, 1 << 20, (3 << 20) - 1] {
            b[at] = 2;
        }
        let found = compared(&a, &b, &[]).unwrap();
        assert_eq!((found.bytes, found.left_out), (5, 0));
        let stretches: Vec<(u64, u64)> = found
            .stretches
            .iter()
            .map(|stretch| (stretch.offset, stretch.len))
            .collect();
        assert_eq!(
            stretches,
            [(0, 101), ((1 << 20) - 1, 2), ((3 << 20) - 1, 1)]
        );
    }

    #[test]
    fn what_is_skipped_is_not_seen_and_what_is_beside_it_is() {
        let skipped = [(0, 1), (2, 4)];
        let found = compared(b"abcdefg", b"xbyzefg", &skipped);
        assert_eq!(found, None);
        let found = compared(b"abcdefg", b"xxxxxfg", &skipped).unwrap();
        assert_eq!(found.bytes, 2);
    }

    #[test]
    fn stretches_beyond_the_limit_are_counted() {
        let a = vec![0; 100 << 10];
        let mut b = a.clone();
        for piece in 0..20 {
            b[piece * 4096] = 1;
        }
        let found = compared(&a, &b, &[]).unwrap();
        assert_eq!((found.stretches.len(), found.left_out), (STRETCHES_MAX, 4));
    }
}
