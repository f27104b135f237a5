//! A device whose reads end when the work is cancelled.

use super::{BlockDevice, Extent};
use crate::error::Result;
use crate::progress::Cancel;

/// Longest extent in bytes that is told at once: so often those who go through a hole notice the flag.
const STRIDE: u64 = 64 << 20;

/// A device that can be read until a flag is raised.
#[derive(Debug)]
pub struct Watched<D> {
    device: D,
    cancel: Cancel,
}

impl<D: BlockDevice> Watched<D> {
    /// `device`, whose reads fail with [`crate::ErrorKind::Cancelled`] once `cancel` is raised.
    pub fn new(device: D, cancel: &Cancel) -> Self {
        Self {
            device,
            cancel: cancel.clone(),
        }
    }
}

impl<D: BlockDevice> BlockDevice for Watched<D> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.cancel.check()?;
        self.device.read_at(offset, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.cancel.check()?;
        let extent = self.device.extent_at(offset)?;
        Ok(Extent {
            len: extent.len.min(STRIDE),
            ..extent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::block::FileDevice;

    #[test]
    fn reads_fail_once_the_flag_is_raised() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 30).unwrap();
        let cancel = Cancel::new();
        let device = Watched::new(
            FileDevice::from_file(file, "disk".as_ref()).unwrap(),
            &cancel,
        );
        assert_eq!(device.size(), 1 << 30);
        device.read_at(7, &mut [0; 3]).unwrap();
        assert_eq!(
            device.extent_at(0).unwrap().len,
            STRIDE,
            "holes are told in parts"
        );
        cancel.cancel();
        assert_eq!(
            device.read_at(7, &mut [0; 3]).unwrap_err().kind(),
            ErrorKind::Cancelled
        );
        assert_eq!(
            device.extent_at(0).unwrap_err().kind(),
            ErrorKind::Cancelled
        );
    }
}
