//! Reading from the device below, and what to say where it holds no sound volume.

use crate::block::{BlockDevice, check_image_range};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// `len` bytes at `offset`; the range is checked before memory is taken for it.
pub(super) fn read_vec(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Vec<u8>> {
    check_image_range(offset, to_u64(len), device.size())?;
    let mut bytes = vec![0; len];
    device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// What to do about damage.
const REPAIR: &str = "the FAT filesystem is damaged; repair a copy of the image with fsck.vfat -a";

/// An error that names damage.
pub(super) fn damaged(what: String) -> Error {
    Error::corrupt(what).with_hint(REPAIR)
}
