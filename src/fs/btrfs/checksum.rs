//! The checksums of superblocks, tree blocks and data sectors, and the hash of names.

use std::fmt;

use blake2::{Blake2b, digest::consts::U32};
use sha2::{Digest, Sha256};
use twox_hash::XxHash64;

use crate::error::{Error, Reason, Result};

/// Room for a checksum in superblocks and tree blocks (`BTRFS_CSUM_SIZE`); unused bytes are zero.
pub(super) const CSUM_ROOM: usize = 32;

/// The algorithm of a filesystem (`enum btrfs_csum_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChecksumType {
    Crc32c,
    Xxhash64,
    Sha256,
    Blake2b,
}

impl ChecksumType {
    /// From the superblock's `csum_type`.
    pub(super) fn from_disk(csum_type: u16) -> Result<Self> {
        Ok(match csum_type {
            0 => Self::Crc32c,
            1 => Self::Xxhash64,
            2 => Self::Sha256,
            3 => Self::Blake2b,
            _ => {
                return Err(Error::unsupported(format!(
                    "btrfs checksum type {csum_type}, known are 0 to 3"
                ))
                .because(Reason::Feature));
            }
        })
    }

    /// Bytes of one checksum.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Xxhash64 => 8,
            Self::Sha256 | Self::Blake2b => 32,
        }
    }

    /// The checksum of `data` in the first [`len`](Self::len) bytes, zeroes behind.
    pub(super) fn compute(self, data: &[u8]) -> [u8; CSUM_ROOM] {
        let mut csum = [0; CSUM_ROOM];
        match self {
            Self::Crc32c => csum[..4].copy_from_slice(&crc32c::crc32c(data).to_le_bytes()),
            Self::Xxhash64 => csum[..8].copy_from_slice(&XxHash64::oneshot(0, data).to_le_bytes()),
            Self::Sha256 => csum.copy_from_slice(&Sha256::digest(data)),
            Self::Blake2b => csum.copy_from_slice(&Blake2b::<U32>::digest(data)),
        }
        csum
    }

    /// Whether a superblock or tree block carries the checksum of what follows it.
    pub(super) fn matches_block(self, block: &[u8]) -> bool {
        block
            .split_at_checked(CSUM_ROOM)
            .is_some_and(|(stored, rest)| stored[..self.len()] == self.compute(rest)[..self.len()])
    }
}

impl fmt::Display for ChecksumType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Crc32c => "crc32c",
            Self::Xxhash64 => "xxhash64",
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
        })
    }
}

/// CRC-32C as Linux's `crc32c()` gives it: `seed` goes in and the remainder comes out without inversion.
pub(super) fn raw_crc32c(seed: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, data)
}

/// The key offset of a name in `DIR_ITEM` and `XATTR_ITEM` (`btrfs_name_hash`).
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(raw_crc32c(!1, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_names_as_linux_does() {
        assert_eq!(name_hash(b"default"), 2_378_154_706);
        assert_eq!(name_hash(b"btrfs.compression"), 550_297_449);
    }

    #[test]
    fn sizes_and_known_values() {
        let hex = |csum: ChecksumType, data: &[u8]| {
            csum.compute(data)[..csum.len()]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(hex(ChecksumType::Crc32c, b"123456789"), "839206e3");
        assert_eq!(hex(ChecksumType::Xxhash64, b""), "99e9d85137db46ef");
        assert!(hex(ChecksumType::Sha256, b"abc").starts_with("ba7816bf8f01cfea"));
        assert!(hex(ChecksumType::Blake2b, b"abc").starts_with("bddd813c634239723171ef3fee98579b"));
        assert!(ChecksumType::from_disk(4).is_err());
    }
}
