//! A file with the changes of a log laid over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::{to_u64, to_usize};
use crate::error::Result;

/// What a stretch of the file was changed to.
#[derive(Debug)]
struct Change {
    len: u64,
    /// `None`: zeroes.
    bytes: Option<Vec<u8>>,
}

/// Changes by their offset. They do not overlap, and only zeroes are ever cut: data come in aligned sectors of one size.
#[derive(Debug)]
pub(super) struct Replayed {
    file: Arc<dyn BlockDevice>,
    size: u64,
    changes: BTreeMap<u64, Change>,
}

impl Replayed {
    pub fn new(file: Arc<dyn BlockDevice>) -> Self {
        Self {
            size: file.size(),
            file,
            changes: BTreeMap::new(),
        }
    }

    /// The size of the file itself.
    pub fn base_size(&self) -> u64 {
        self.file.size()
    }

    /// Makes the file at least `size` bytes long.
    pub fn grow(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Lays `len` bytes (zeroes where there are none) over everything at `start`.
    pub fn put(&mut self, start: u64, len: u64, bytes: Option<Vec<u8>>) {
        if len == 0 {
            return;
        }
        let end = start + len;
        let before = self.changes.range_mut(..start).next_back();
        if let Some((&at, change)) = before
            && at + change.len > start
        {
            let old_end = at + change.len;
            change.len = start - at;
            self.put_zeroes(end, old_end);
        }
        while let Some((&at, change)) = self.changes.range(start..end).next() {
            let old_end = at + change.len;
            self.changes.remove(&at);
            self.put_zeroes(end, old_end);
        }
        self.changes.insert(start, Change { len, bytes });
        self.grow(end);
    }

    /// What is left of zeroes that were covered up to `start`.
    fn put_zeroes(&mut self, start: u64, end: u64) {
        if end > start {
            self.changes.insert(
                start,
                Change {
                    len: end - start,
                    bytes: None,
                },
            );
        }
    }

    /// The change at `offset` with its start, and how far that, or the file between two changes, reaches.
    fn run_at(&self, offset: u64) -> (Option<(u64, &Change)>, u64) {
        if let Some((&at, change)) = self.changes.range(..=offset).next_back()
            && at + change.len > offset
        {
            return (Some((at, change)), at + change.len);
        }
        let next = self
            .changes
            .range(offset..)
            .next()
            .map_or(self.size, |(&at, _)| at);
        // What lies beyond the file, where it was to grow, is zero.
        let end = if offset < self.file.size() {
            next.min(self.file.size())
        } else {
            next
        };
        (None, end.min(self.size))
    }
}

impl BlockDevice for Replayed {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size)?;
        while !buf.is_empty() {
            let (change, end) = self.run_at(offset);
            let len = (end - offset).min(to_u64(buf.len()));
            let (part, rest) = buf.split_at_mut(to_usize(len)?);
            match change {
                Some((
                    at,
                    Change {
                        bytes: Some(bytes), ..
                    },
                )) => {
                    let start = to_usize(offset - at)?;
                    part.copy_from_slice(&bytes[start..start + part.len()]);
                }
                None if offset < self.file.size() => self.file.read_at(offset, part)?,
                _ => part.fill(0),
            }
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        let (change, end) = self.run_at(offset);
        let len = end - offset;
        match change {
            Some((_, Change { bytes: Some(_), .. })) => Ok(Extent {
                kind: ExtentKind::Data,
                len,
            }),
            None if offset < self.file.size() => {
                let extent = self.file.extent_at(offset)?;
                Ok(Extent {
                    len: extent.len.min(len),
                    ..extent
                })
            }
            _ => Ok(Extent {
                kind: ExtentKind::Zero,
                len,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    /// Changes in random order are what writing them one after the other gives.
    #[test]
    fn later_changes_cover_earlier_ones() {
        let sector = 16;
        let mut state = 5u32;
        let mut roll = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for _ in 0..500 {
            let mut wanted: Vec<u8> = (1..=200).collect();
            let mut file = Replayed::new(Arc::new(MemoryDevice::new(wanted.clone())));
            for change in 0..12 {
                let start = roll(20) as usize * sector;
                let (len, bytes) = match roll(2) {
                    0 => (sector, Some(vec![change; sector])),
                    _ => (roll(6) as usize * sector, None),
                };
                wanted.resize(wanted.len().max(if len > 0 { start + len } else { 0 }), 0);
                if len > 0 {
                    wanted[start..start + len].fill(if bytes.is_some() { change } else { 0 });
                }
                file.put(start as u64, len as u64, bytes);
            }
            assert_eq!(file.size(), wanted.len() as u64);
            let mut read = vec![1; wanted.len()];
            file.read_at(0, &mut read).unwrap();
            assert_eq!(read, wanted);
            let mut at = 0;
            while at < file.size() {
                let extent = file.extent_at(at).unwrap();
                let start = to_usize(at).unwrap();
                let bytes = &wanted[start..start + to_usize(extent.len).unwrap()];
                assert!(extent.kind == ExtentKind::Data || bytes.iter().all(|&byte| byte == 0));
                at += extent.len;
            }
        }
    }
}
