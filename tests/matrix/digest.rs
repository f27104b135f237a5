//! What a disk holds, in one number, without reading its holes.

use std::path::Path;

use flatbake::block::{BlockDevice, ExtentKind, FileDevice};
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;

/// The SHA-256 of every block of 4 KiB that is not zero and of its place, up to a size: two disks of one size have the
/// same digest when they hold the same bytes, wherever zeroes are stored or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub size: u64,
    digest: [u8; 32],
}

impl Content {
    /// Of a file as it is.
    pub fn of_file(path: &Path) -> Self {
        Self::of(&FileDevice::open(path).unwrap())
    }

    pub fn of(device: &dyn BlockDevice) -> Self {
        let size = device.size();
        let block = BLOCK as u64;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * BLOCK];
        let mut at = 0;
        while at < size {
            let extent = device.extent_at(at).unwrap();
            if extent.kind == ExtentKind::Zero && extent.len >= block {
                // The block in which the hole begins may hold data before it, and has been read.
                at = (at + extent.len).min(size) / block * block
                    + if at + extent.len >= size { block } else { 0 };
                continue;
            }
            let len = usize::try_from((size - at).min(64 * block)).unwrap();
            device.read_at(at, &mut buffer[..len]).unwrap();
            buffer[len..].fill(0);
            for (index, bytes) in buffer.chunks(BLOCK).enumerate() {
                if bytes.iter().any(|&byte| byte != 0) {
                    hasher.update((at + (index * BLOCK) as u64).to_le_bytes());
                    hasher.update(bytes);
                }
            }
            at += 64 * block;
        }
        Self {
            size,
            digest: hasher.finalize().into(),
        }
    }

    /// The same bytes, with zeroes behind them.
    pub fn padded(&self, size: u64) -> Self {
        assert!(size >= self.size);
        Self {
            size,
            ..self.clone()
        }
    }
}
