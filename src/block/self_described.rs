//! Reads at positions that the device's own content names.

use super::{BlockDevice, BlockDeviceMut, Extent, check_range};
use crate::error::{Error, ErrorKind, Reason, Result};

/// A device that is read and written where its own content says, by the reader of a filesystem or of a format: what lies
/// beyond its end is damage there, no mistake of a caller.
#[derive(Debug, Clone)]
pub(crate) struct SelfDescribed<D>(pub D);

impl<D: BlockDevice> BlockDevice for SelfDescribed<D> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf).map_err(as_damage)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.0.extent_at(offset).map_err(as_damage)
    }
}

impl<D: BlockDeviceMut> BlockDeviceMut for SelfDescribed<D> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.0.write_at(offset, buf).map_err(as_damage)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.0.write_zeroes(offset, len).map_err(as_damage)
    }
}

/// Checks that `len` bytes at `offset`, which an image names, lie on its device of `size` bytes.
pub(crate) fn check_image_range(offset: u64, len: u64, size: u64) -> Result<()> {
    check_range(offset, len, size).map(drop).map_err(as_damage)
}

/// What a range beyond the end means where an image named it.
pub(super) fn as_damage(error: Error) -> Error {
    let is_range =
        error.kind() == ErrorKind::InvalidInput && error.reason() == Some(Reason::OutOfRange);
    if !is_range {
        return error;
    }
    error
        .with_kind(ErrorKind::Corrupt)
        .because(Reason::CutShort)
        .with_hint(
            "the image is cut short or its metadata points outside it; compare its size and checksum with the original's",
        )
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDevice;
    use super::*;

    #[test]
    fn a_range_beyond_the_end_is_a_mistake_of_callers_and_damage_of_images() {
        let device = MemoryDevice::new(vec![0; 100]);
        let mistake = device.read_at(99, &mut [0; 2]).unwrap_err();
        assert_eq!(mistake.kind(), ErrorKind::InvalidInput);
        assert_eq!(mistake.reason(), Some(Reason::OutOfRange));
        assert_eq!(mistake.hint(), None);

        let described = SelfDescribed(&device);
        let damage = described.read_at(99, &mut [0; 2]).unwrap_err();
        assert_eq!(damage.kind(), ErrorKind::Corrupt);
        assert_eq!(damage.reason(), Some(Reason::CutShort));
        assert!(damage.hint().is_some());
        assert!(described.write_at(100, &[1]).unwrap_err().kind() == ErrorKind::Corrupt);
        assert!(described.extent_at(100).unwrap_err().kind() == ErrorKind::Corrupt);
        described.write_zeroes(99, 1).unwrap();
    }
}
