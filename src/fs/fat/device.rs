//! Reading from the device below.

use crate::block::{BlockDevice, check_range};
use crate::bytes::to_u64;
use crate::error::Result;

/// `len` bytes at `offset`; the range is checked before memory is taken for it.
pub(super) fn read_vec(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Vec<u8>> {
    check_range(offset, to_u64(len), device.size())?;
    let mut bytes = vec![0; len];
    device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}
