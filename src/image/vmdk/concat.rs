//! Disks that are cut into several files.

use std::sync::Arc;

use crate::block::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// Devices one behind the other: a disk in several files.
#[derive(Debug)]
pub(super) struct Concat {
    /// Where each one begins, in ascending order.
    parts: Vec<(u64, Arc<dyn BlockDevice>)>,
    size: u64,
}

impl Concat {
    /// `devices` in order; the sum of their sizes has been checked.
    pub fn new(devices: Vec<Arc<dyn BlockDevice>>) -> Self {
        let mut size = 0;
        let mut parts = Vec::with_capacity(devices.len());
        for device in devices.into_iter().filter(|device| device.size() > 0) {
            let start = size;
            size += device.size();
            parts.push((start, device));
        }
        Self { parts, size }
    }

    /// The part that holds `offset`, below the size, and the offset in it.
    fn part_at(&self, offset: u64) -> Result<(&dyn BlockDevice, u64)> {
        let index = self.parts.partition_point(|(start, _)| *start <= offset);
        let part = index.checked_sub(1).and_then(|index| self.parts.get(index));
        let (start, device) =
            part.ok_or_else(|| Error::internal("an offset before the first part"))?;
        Ok((&**device, offset - start))
    }
}

impl BlockDevice for Concat {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size)?;
        while !buf.is_empty() {
            let (device, at) = self.part_at(offset)?;
            let len = (device.size() - at).min(to_u64(buf.len()));
            let (part, rest) = buf.split_at_mut(to_usize(len)?);
            device.read_at(at, part)?;
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        let (device, at) = self.part_at(offset)?;
        device.extent_at(at)
    }
}

/// A disk of zeroes.
#[derive(Debug)]
pub(super) struct Zeroes(pub u64);

impl BlockDevice for Zeroes {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.0)?;
        buf.fill(0);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.0)?;
        Ok(Extent {
            kind: ExtentKind::Zero,
            len: self.0 - offset,
        })
    }
}
