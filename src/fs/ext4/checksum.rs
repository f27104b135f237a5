//! The checksums of `metadata_csum`: crc32c without the final inversion, as the kernel's `ext4_chksum` computes it.
//!
//! ```text
//!   filesystem seed ──┬── superblock (own start value), group descriptors, xattr blocks
//!                     └── + inode number + generation = inode seed ── inode, extent blocks, directory blocks
//! ```

use std::ops::Range;

/// `crc` carried on over `data`.
pub(super) fn crc32c(crc: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, data)
}

/// `crc` carried on over `data` with zeroes in place of `field`, where structures have their own checksum (four bytes at
/// most).
pub(super) fn crc32c_without(crc: u32, data: &[u8], field: Range<usize>) -> u32 {
    let crc = crc32c(crc, &data[..field.start]);
    let crc = crc32c(crc, &[0; 4][..field.len()]);
    crc32c(crc, &data[field.end..])
}

/// Start value of chains that begin with no seed.
pub(super) const CRC_START: u32 = u32::MAX;

/// The seed of everything that belongs to one inode.
pub(super) fn inode_seed(seed: u32, ino: u32, generation: u32) -> u32 {
    crc32c(crc32c(seed, &ino.to_le_bytes()), &generation.to_le_bytes())
}

/// `crc` carried on over `data`: CRC-16 with polynomial 0x8005, reflected, as `uninit_bg` descriptors have it.
pub(super) fn crc16(crc: u16, data: &[u8]) -> u16 {
    data.iter().fold(crc, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xA001
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_left_out_counts_as_zeroes() {
        let whole = crc32c(CRC_START, &[1, 2, 0, 0, 0, 0, 3]);
        assert_eq!(
            crc32c_without(CRC_START, &[1, 2, 9, 9, 9, 9, 3], 2..6),
            whole
        );
    }

    #[test]
    fn known_checksums() {
        assert_eq!(!crc32c(CRC_START, b"123456789"), 0xE306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}
