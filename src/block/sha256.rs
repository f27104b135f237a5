//! The SHA-256 of what a device holds.

use sha2::{Digest, Sha256};

use super::{BlockDevice, ExtentKind};
use crate::bytes::{hex, to_u64, to_usize};
use crate::error::Result;

/// Read and hashed at once.
const PIECE_BYTES: usize = 256 << 10;

/// The SHA-256 of all bytes of `device` in hexadecimal digits; `advance` is told how many bytes were added. Holes are not
/// read: their zeroes come from memory.
pub fn sha256(device: &dyn BlockDevice, advance: &mut dyn FnMut(u64)) -> Result<String> {
    let zeroes = vec![0; PIECE_BYTES];
    let mut buffer = vec![0; PIECE_BYTES];
    let mut sum = Sha256::new();
    let mut offset = 0;
    while offset < device.size() {
        let extent = device.extent_at(offset)?;
        let end = offset + extent.len.min(device.size() - offset);
        while offset < end {
            let len = to_usize((end - offset).min(to_u64(PIECE_BYTES)))?;
            if extent.kind == ExtentKind::Zero {
                sum.update(&zeroes[..len]);
            } else {
                device.read_at(offset, &mut buffer[..len])?;
                sum.update(&buffer[..len]);
            }
            offset += to_u64(len);
            advance(to_u64(len));
        }
    }
    Ok(hex(&sum.finalize()))
}
