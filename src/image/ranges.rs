//! Where the data of a device lies, cut into pieces that are worked on in parallel.

use crate::block::{BlockDevice, ExtentKind};
use crate::bytes::align_up;
use crate::error::{Error, Result};

/// A piece of a device that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataRange {
    /// Where it begins, in bytes: a multiple of the granule.
    pub offset: u64,
    /// Its length in bytes: a multiple of the granule except at the end of the device.
    pub len: usize,
}

impl DataRange {
    /// Where it ends, in bytes.
    pub fn end(self) -> u64 {
        self.offset + crate::bytes::to_u64(self.len)
    }
}

/// All ranges of `device` that hold data, in ascending order, disjoint, without gaps inside.
///
/// Whole granules of `granule` bytes, at most `max_granules` of them in one piece; holes are skipped unread.
pub(super) fn data_ranges<D: BlockDevice + ?Sized>(
    device: &D,
    granule: u64,
    max_granules: u64,
) -> Ranges<'_, D> {
    Ranges {
        device,
        granule,
        max_len: granule.saturating_mul(max_granules.max(1)),
        position: 0,
        data_end: 0,
    }
}

/// The iterator of [`data_ranges`].
pub(super) struct Ranges<'a, D: ?Sized> {
    device: &'a D,
    granule: u64,
    max_len: u64,
    /// Everything before has been seen: a multiple of the granule or the end of the device.
    position: u64,
    /// Data reach from `position` to here where this is larger.
    data_end: u64,
}

impl<D: BlockDevice + ?Sized> Ranges<'_, D> {
    /// Moves to the next granule with data; `false` at the end of the device.
    fn find_data(&mut self) -> Result<bool> {
        let size = self.device.size();
        let mut offset = self.position;
        while self.data_end <= self.position {
            if offset >= size {
                return Ok(false);
            }
            let extent = self.device.extent_at(offset)?;
            if extent.len == 0 {
                return Err(Error::internal(format!(
                    "the device reports an empty extent at {offset}"
                )));
            }
            let end = offset.saturating_add(extent.len).min(size);
            if extent.kind == ExtentKind::Data {
                self.position = offset - offset % self.granule;
                self.data_end = end;
            }
            offset = end;
        }
        Ok(true)
    }
}

impl<D: BlockDevice + ?Sized> Iterator for Ranges<'_, D> {
    type Item = Result<DataRange>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.find_data() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => return Some(Err(error)),
        }
        let size = self.device.size();
        let offset = self.position;
        let end = align_up(self.data_end, self.granule)
            .unwrap_or(size)
            .min(size);
        self.position = end.min(offset.saturating_add(self.max_len));
        Some(crate::bytes::to_usize(self.position - offset).map(|len| DataRange { offset, len }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device whose extents are given as lengths, holes first.
    #[derive(Debug)]
    struct Extents(Vec<u64>);

    impl BlockDevice for Extents {
        fn size(&self) -> u64 {
            self.0.iter().sum()
        }

        fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<()> {
            unreachable!("only extents are looked at")
        }

        fn extent_at(&self, offset: u64) -> Result<crate::block::Extent> {
            let mut end = 0;
            for (index, len) in self.0.iter().enumerate() {
                end += len;
                if offset < end {
                    let kind = if index % 2 == 0 {
                        ExtentKind::Zero
                    } else {
                        ExtentKind::Data
                    };
                    return Ok(crate::block::Extent {
                        kind,
                        len: end - offset,
                    });
                }
            }
            Err(Error::corrupt("beyond the end"))
        }
    }

    fn ranges(extents: &[u64], max: u64) -> Vec<(u64, usize)> {
        let device = Extents(extents.to_vec());
        let ranges: Result<Vec<_>> = data_ranges(&device, 10, max).collect();
        ranges
            .unwrap()
            .into_iter()
            .map(|range| (range.offset, range.len))
            .collect()
    }

    #[test]
    fn ranges_are_whole_granules_and_skip_holes() {
        assert_eq!(ranges(&[], 4), []);
        assert_eq!(ranges(&[100], 4), []);
        assert_eq!(ranges(&[0, 100], 4), [(0, 40), (40, 40), (80, 20)]);
        assert_eq!(ranges(&[25, 1, 1000], 4), [(20, 10)]);
        assert_eq!(ranges(&[25, 10, 1000], 4), [(20, 20)]);
        assert_eq!(
            ranges(&[0, 7], 4),
            [(0, 7)],
            "the last granule ends with the device"
        );
    }

    #[test]
    fn extents_that_share_a_granule_give_it_once() {
        assert_eq!(ranges(&[1, 1, 1, 1, 1, 1, 94], 4), [(0, 10)]);
        assert_eq!(ranges(&[8, 1, 1, 5, 85], 4), [(0, 10), (10, 10)]);
        assert_eq!(ranges(&[8, 1, 0, 50, 41], 4), [(0, 10), (10, 40), (50, 10)]);
    }
}
