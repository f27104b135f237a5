//! A device in memory, for tests and small structures.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{BlockDevice, BlockDeviceMut, Extent, ExtentKind, check_range};
use crate::bytes::{to_u64, to_usize};
use crate::error::Result;
use crate::lock::even_if_poisoned;

/// A device whose bytes lie in one vector.
#[derive(Debug)]
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
    size: u64,
}

impl MemoryDevice {
    /// A device that holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            size: to_u64(bytes.len()),
            bytes: RwLock::new(bytes),
        }
    }

    /// The bytes, as they are now.
    pub fn into_bytes(self) -> Vec<u8> {
        even_if_poisoned(self.bytes.into_inner())
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        even_if_poisoned(self.bytes.read())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<u8>> {
        even_if_poisoned(self.bytes.write())
    }
}

impl BlockDevice for MemoryDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = check_range(offset, to_u64(buf.len()), self.size)?;
        buf.copy_from_slice(&self.read()[to_usize(offset)?..to_usize(end)?]);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}

impl BlockDeviceMut for MemoryDevice {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let end = check_range(offset, to_u64(buf.len()), self.size)?;
        self.write()[to_usize(offset)?..to_usize(end)?].copy_from_slice(buf);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        let end = check_range(offset, len, self.size)?;
        self.write()[to_usize(offset)?..to_usize(end)?].fill(0);
        Ok(())
    }
}
