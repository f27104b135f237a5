//! The checks of a block's content.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// `Check` of the stream flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckType {
    None,
    Crc32,
    Crc64,
    Sha256,
}

impl CheckType {
    pub fn new(id: u8) -> Result<Self> {
        [Self::None, Self::Crc32, Self::Crc64, Self::Sha256]
            .into_iter()
            .find(|check| check.id() == id)
            .ok_or_else(|| {
                Error::unsupported(format!(
                    "xz check {id}: none, CRC32, CRC64 and SHA-256 are known"
                ))
            })
    }

    pub fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Crc32 => 1,
            Self::Crc64 => 4,
            Self::Sha256 => 10,
        }
    }

    /// Bytes of the check behind each block.
    pub fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Crc32 => 4,
            Self::Crc64 => 8,
            Self::Sha256 => 32,
        }
    }

    pub fn start(self) -> Check {
        match self {
            Self::None => Check::None,
            Self::Crc32 => Check::Crc32(crc32fast::Hasher::new()),
            Self::Crc64 => Check::Crc64(u64::MAX),
            Self::Sha256 => Check::Sha256(Box::new(Sha256::new())),
        }
    }
}

/// A check that is being computed.
pub(crate) enum Check {
    None,
    Crc32(crc32fast::Hasher),
    Crc64(u64),
    Sha256(Box<Sha256>),
}

impl Check {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc64(state) => *state = crc64(*state, bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The bytes that stand behind the block.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32(hasher) => hasher.finalize().to_le_bytes().to_vec(),
            Self::Crc64(state) => (!state).to_le_bytes().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// The polynomial of ECMA-182, bits reversed (section 6).
const CRC64: u64 = 0xc96c_5795_d787_0f42;

/// For each byte, and for each byte with 1 to 7 zeroes behind it.
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ CRC64
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut index = 0;
    while index < 256 {
        let mut row = 1;
        while row < 8 {
            let before = tables[row - 1][index];
            tables[row][index] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            row += 1;
        }
        index += 1;
    }
    tables
}

fn crc64(mut state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = (state ^ u64::from_le_bytes(*word)).to_le_bytes();
        state = mixed
            .iter()
            .enumerate()
            .fold(0, |sum, (n, &byte)| sum ^ TABLES[7 - n][usize::from(byte)]);
    }
    for &byte in rest {
        let [low, ..] = state.to_le_bytes();
        state = state >> 8 ^ TABLES[0][usize::from(low ^ byte)];
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc64_gives_the_check_value_of_the_catalogue() {
        let mut check = CheckType::Crc64.start();
        check.update(b"1234567");
        check.update(b"89");
        assert_eq!(check.finish(), 0x995d_c9bb_df19_39fa_u64.to_le_bytes());
    }
}
