//! Writes a table back: both copies, the MBR, and zeroes over a backup copy that has moved.
//!
//! Bytes that already are as wanted are not written, so an unchanged table costs an overlay nothing.

use super::PartitionTable;
use super::table::Found;
use crate::block::BlockDeviceMut;
use crate::error::{Error, Result, ResultExt};

impl PartitionTable {
    /// Writes the table to `device`, which has the table's [`size`](PartitionTable::size).
    ///
    /// An unchanged whole table changes no byte; a damaged or disagreeing copy is repaired. After
    /// [`grow`](Self::grow) the old backup copy becomes zeroes where it still lies as it was read, so data that a
    /// grown partition already holds there is safe.
    pub fn write(&self, device: &dyn BlockDeviceMut) -> Result<()> {
        self.check_editable()?;
        if device.size() != self.size {
            return Err(Error::invalid(format!(
                "a partition table for {} bytes cannot be written to a disk of {} bytes",
                self.size,
                device.size()
            )));
        }
        self.write_all(device).at(|| "writing the partition table")
    }

    fn write_all(&self, device: &dyn BlockDeviceMut) -> Result<()> {
        // Old pieces first: the new copy may overlap them.
        for Found { offset, bytes } in &self.found_backup {
            let places = [self.backup.my_lba, self.backup.partition_entry_lba];
            let kept = places.iter().any(|&lba| self.offset(lba) == *offset);
            if !kept && holds(device, *offset, bytes)? {
                device.write_zeroes(*offset, crate::bytes::to_u64(bytes.len()))?;
            }
        }
        for (offset, bytes) in self.pieces()?.iter().rev() {
            put(device, *offset, bytes)?;
        }
        Ok(())
    }

    /// What the table is made of, and where on the disk each piece lies: the MBR, the primary copy, and the backup.
    pub(crate) fn pieces(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        let entries = self.entries.as_bytes();
        let mut pieces = vec![(0, self.mbr.as_bytes().to_vec())];
        for header in [&self.primary, &self.backup] {
            let place = (
                self.offset(header.my_lba),
                header.encode(self.entries.crc())?,
            );
            pieces.push(place);
            pieces.push((self.offset(header.partition_entry_lba), entries.to_vec()));
        }
        Ok(pieces)
    }

    /// The byte offset of a sector of this disk.
    fn offset(&self, lba: u64) -> u64 {
        lba.saturating_mul(self.sector_size.into())
    }
}

fn holds(device: &dyn BlockDeviceMut, offset: u64, bytes: &[u8]) -> Result<bool> {
    let mut now = vec![0; bytes.len()];
    device.read_at(offset, &mut now)?;
    Ok(now == bytes)
}

fn put(device: &dyn BlockDeviceMut, offset: u64, bytes: &[u8]) -> Result<()> {
    if !holds(device, offset, bytes)? {
        device.write_at(offset, bytes)?;
    }
    Ok(())
}
