//! A bounds-checked slice of a device: one partition.

use super::self_described::as_damage;
use super::{BlockDevice, BlockDeviceMut, Extent, check_range};
use crate::bytes::to_u64;
use crate::error::Result;

/// `len` bytes of a device from `start`, as a device of its own. Nothing outside can be read or written through it.
#[derive(Debug, Clone)]
pub struct Window<D> {
    device: D,
    start: u64,
    len: u64,
}

impl<D: BlockDevice> Window<D> {
    /// A window of `len` bytes from byte `start`; an error where it does not lie on the device.
    pub fn new(device: D, start: u64, len: u64) -> Result<Self> {
        check_range(start, len, device.size())?;
        Ok(Self { device, start, len })
    }

    /// The window that an image names: damage where it does not lie on the device.
    pub(crate) fn of_image(device: D, start: u64, len: u64) -> Result<Self> {
        Self::new(device, start, len).map_err(as_damage)
    }

    /// Where `len` bytes at `offset` of the window begin on the device.
    fn locate(&self, offset: u64, len: u64) -> Result<u64> {
        check_range(offset, len, self.len)?;
        Ok(self.start + offset)
    }
}

impl<D: BlockDevice> BlockDevice for Window<D> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.device
            .read_at(self.locate(offset, to_u64(buf.len()))?, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let extent = self.device.extent_at(self.locate(offset, 1)?)?;
        Ok(Extent {
            len: extent.len.min(self.len - offset),
            ..extent
        })
    }
}

impl<D: BlockDeviceMut> BlockDeviceMut for Window<D> {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.device
            .write_at(self.locate(offset, to_u64(buf.len()))?, buf)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.device.write_zeroes(self.locate(offset, len)?, len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDevice;
    use super::*;

    #[test]
    fn nothing_outside_can_be_reached() {
        let disk = MemoryDevice::new((0..100).collect());
        let window = Window::new(&disk, 10, 20).unwrap();
        let mut buf = [0; 4];
        window.read_at(16, &mut buf).unwrap();
        assert_eq!(buf, [26, 27, 28, 29]);
        assert_eq!(window.extent_at(5).unwrap().len, 15);
        for offset in [17, 20, 90, u64::MAX] {
            assert!(window.read_at(offset, &mut buf).is_err());
            assert!(window.write_at(offset, &buf).is_err());
            assert!(window.write_zeroes(offset, 4).is_err());
        }
        assert!(window.extent_at(20).is_err());
        window.write_at(0, &[1]).unwrap();
        window.write_zeroes(19, 1).unwrap();
        let bytes = disk.into_bytes();
        assert_eq!(
            (bytes[9], bytes[10], bytes[28], bytes[29], bytes[30]),
            (9, 1, 28, 0, 30)
        );
    }

    #[test]
    fn a_window_must_lie_on_the_device() {
        let disk = MemoryDevice::new(vec![0; 100]);
        assert!(Window::new(&disk, 100, 0).is_ok());
        assert!(Window::new(&disk, 99, 2).is_err());
        assert!(Window::new(&disk, u64::MAX, 2).is_err());
    }
}
