//! The master boot record in LBA 0: GRUB's first stage, and the record that shields a GPT from old programs.
//!
//! ```text
//!  0                      440        446                      510
//!  │ boot code            │ disk id  │ four records, 16 bytes │ 55 aa │
//!
//!  protective: one record of type 0xee from LBA 1 over the whole disk
//!  hybrid:     other records beside it; Flatcar before 4277: the ESP (0x0c, bootable), then 0xee from LBA 1 up to it
//! ```

use std::fmt;

use crate::bytes::gpt::{MasterBootRecord, PartitionRecord};
use crate::error::Result;

/// Size of the record on disk, whatever the sector size.
pub(super) const MBR_LEN: usize = 512;

const BOOT_CODE_LEN: usize = 440;
const RECORD_LEN: usize = PartitionRecord::<&[u8]>::SIZE;
/// The last two bytes.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

const GPT_PROTECTIVE: u8 = 0xee;
/// Sector 1 as cylinder, head and sector, which are counted from 0, 0 and 1.
const CHS_SECOND_SECTOR: [u8; 3] = [0, 2, 0];
/// "Beyond what cylinder, head and sector can say".
const CHS_BEYOND: [u8; 3] = [0xff; 3];

/// What the four records of an MBR say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MbrKind {
    /// One record of type 0xee: the usual companion of a GPT.
    Protective,
    /// A record of type 0xee beside others.
    Hybrid,
    /// Records, none of type 0xee: a DOS partition table.
    Dos,
    /// No records, or no boot signature.
    Absent,
}

/// One of the four records. Sectors are logical ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrRecord {
    /// 0x80 for the bootable one, else 0.
    pub boot_indicator: u8,
    /// The partition type, 0 for an unused record.
    pub os_type: u8,
    /// The first sector.
    pub starting_lba: u32,
    /// The number of sectors.
    pub size_in_lba: u32,
}

/// The MBR, kept bit for bit.
#[derive(Clone, PartialEq, Eq)]
pub struct Mbr {
    raw: [u8; MBR_LEN],
}

impl Mbr {
    pub(super) fn new(raw: [u8; MBR_LEN]) -> Self {
        Self { raw }
    }

    /// A protective one, without boot code, for a disk of `total_sectors`.
    pub(super) fn protective(total_sectors: u64) -> Result<Self> {
        let mut record = PartitionRecord::over([0; RECORD_LEN])?;
        record.set_starting_chs(CHS_SECOND_SECTOR);
        record.set_os_type(GPT_PROTECTIVE);
        record.set_ending_chs(CHS_BEYOND);
        record.set_starting_lba(1);
        let mut records = [0; 4 * RECORD_LEN];
        records[..RECORD_LEN].copy_from_slice(&record.into_inner());
        let mut mbr = MasterBootRecord::over([0; MBR_LEN])?;
        mbr.set_partition_record(records);
        mbr.set_signature(SIGNATURE);
        let mut mbr = Self::new(mbr.into_inner());
        mbr.stretch(total_sectors)?;
        Ok(mbr)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; MBR_LEN] {
        &self.raw
    }

    /// Bytes 0 to 439: GRUB's boot.img on an amd64 image, zeroes on arm64.
    pub fn boot_code(&self) -> &[u8] {
        &self.raw[..BOOT_CODE_LEN]
    }

    /// The 32-bit disk signature at byte 440; 0 where there is none.
    pub fn disk_signature(&self) -> Result<u32> {
        Ok(MasterBootRecord::over(&self.raw)?.unique_mbr_disk_signature())
    }

    /// The four records in their order.
    pub fn records(&self) -> Result<[MbrRecord; 4]> {
        Ok([
            self.record(0)?,
            self.record(1)?,
            self.record(2)?,
            self.record(3)?,
        ])
    }

    /// What the records say.
    pub fn kind(&self) -> Result<MbrKind> {
        let records = self.records()?;
        let signature = MasterBootRecord::over(&self.raw)?.signature();
        let used = records.iter().filter(|record| record.os_type != 0).count();
        let shielded = records
            .iter()
            .any(|record| record.os_type == GPT_PROTECTIVE);
        Ok(match (used, shielded) {
            _ if signature != SIGNATURE => MbrKind::Absent,
            (0, _) => MbrKind::Absent,
            (1, true) => MbrKind::Protective,
            (_, true) => MbrKind::Hybrid,
            (_, false) => MbrKind::Dos,
        })
    }

    /// Stretches the record of a protective MBR over a disk of `total_sectors`; any other form stays as it is.
    pub(super) fn stretch(&mut self, total_sectors: u64) -> Result<()> {
        if self.kind()? != MbrKind::Protective {
            return Ok(());
        }
        let size = u32::try_from(total_sectors.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut mbr = MasterBootRecord::over(&mut self.raw)?;
        let mut records = mbr.partition_record();
        for bytes in records.as_chunks_mut::<RECORD_LEN>().0 {
            let mut record = PartitionRecord::over(bytes)?;
            if record.os_type() == GPT_PROTECTIVE && record.size_in_lba() != size {
                record.set_size_in_lba(size);
                // An end that was real once is wrong now; "beyond" is right for every disk size.
                record.set_ending_chs(CHS_BEYOND);
            }
        }
        mbr.set_partition_record(records);
        Ok(())
    }

    fn record(&self, index: usize) -> Result<MbrRecord> {
        let records = MasterBootRecord::over(&self.raw)?.partition_record();
        let record = PartitionRecord::at(&records, index * RECORD_LEN)?;
        Ok(MbrRecord {
            boot_indicator: record.boot_indicator(),
            os_type: record.os_type(),
            starting_lba: record.starting_lba(),
            size_in_lba: record.size_in_lba(),
        })
    }
}

impl fmt::Debug for Mbr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbr")
            .field("kind", &self.kind())
            .field("records", &self.records())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbr(records: &[[u8; RECORD_LEN]]) -> Mbr {
        let mut raw = [0; MBR_LEN];
        raw[..440].fill(0xb0);
        raw[440..446].copy_from_slice(&[1, 2, 3, 4, 0, 0]);
        raw[510..].copy_from_slice(&[0x55, 0xaa]);
        for (index, record) in records.iter().enumerate() {
            raw[446 + index * RECORD_LEN..][..RECORD_LEN].copy_from_slice(record);
        }
        Mbr::new(raw)
    }

    const SHIELD: [u8; RECORD_LEN] = [
        0, 0, 2, 0, 0xee, 0xfe, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 1, 0,
    ];
    const ESP: [u8; RECORD_LEN] = [0x80, 1, 1, 0, 0x0c, 9, 9, 9, 0, 16, 0, 0, 0, 0, 4, 0];

    #[test]
    fn forms_are_told_apart() {
        for (records, kind) in [
            (vec![], MbrKind::Absent),
            (vec![SHIELD], MbrKind::Protective),
            (vec![ESP, SHIELD], MbrKind::Hybrid),
            (vec![ESP], MbrKind::Dos),
        ] {
            assert_eq!(mbr(&records).kind().unwrap(), kind);
        }
        let mut unsigned = mbr(&[SHIELD]);
        unsigned.raw[511] = 0;
        assert_eq!(unsigned.kind().unwrap(), MbrKind::Absent);
        assert_eq!(mbr(&[]).disk_signature().unwrap(), 0x0403_0201);
    }

    #[test]
    fn only_a_protective_record_is_stretched() {
        let mut protective = mbr(&[SHIELD]);
        let before = protective.clone();
        protective.stretch(0x2_0000).unwrap();
        assert_eq!(protective, before, "it covered the disk already");
        protective.stretch(u64::from(u32::MAX) + 2).unwrap();
        assert_eq!(protective.records().unwrap()[0].size_in_lba, u32::MAX);
        assert_eq!(protective.boot_code(), before.boot_code());
        let mut hybrid = mbr(&[ESP, SHIELD]);
        let before = hybrid.clone();
        hybrid.stretch(1 << 40).unwrap();
        assert_eq!(hybrid, before);
    }
}
