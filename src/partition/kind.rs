//! Which kind of partition table a disk has, if any.

use std::fmt;

use super::mbr::{MBR_LEN, Mbr};
use super::{MbrKind, PartitionTable};
use crate::block::BlockDevice;
use crate::bytes::to_u64;
use crate::error::{ErrorKind, Result};

/// The kind of a disk's partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// A GPT with its protective MBR, or none.
    Gpt,
    /// A GPT whose MBR has partitions, too.
    GptHybrid,
    /// A GPT of which no copy is whole.
    GptDamaged,
    /// A DOS partition table.
    Dos,
    /// None: the disk is empty, or is a filesystem as a whole.
    Absent,
}

impl TableKind {
    /// That of `device`. Only failures to read are errors.
    pub fn of(device: &dyn BlockDevice) -> Result<Self> {
        match PartitionTable::read(device) {
            Ok(table) => Ok(if table.mbr().kind()? == MbrKind::Hybrid {
                Self::GptHybrid
            } else {
                Self::Gpt
            }),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Self::GptDamaged),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                if device.size() < to_u64(MBR_LEN) {
                    return Ok(Self::Absent);
                }
                let mut bytes = [0; MBR_LEN];
                device.read_at(0, &mut bytes)?;
                Ok(if Mbr::new(bytes).kind()? == MbrKind::Dos {
                    Self::Dos
                } else {
                    Self::Absent
                })
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gpt => "gpt",
            Self::GptHybrid => "gpt with hybrid mbr",
            Self::GptDamaged => "gpt, damaged",
            Self::Dos => "dos",
            Self::Absent => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    #[test]
    fn disks_without_a_gpt_are_told_apart() {
        let kind = |bytes: &[u8]| {
            TableKind::of(&MemoryDevice::new(bytes.to_vec()))
                .unwrap()
                .to_string()
        };
        let mut disk = vec![0; 64 << 10];
        assert_eq!(kind(&disk), "none");
        assert_eq!(kind(&disk[..100]), "none");
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(kind(&disk), "none");
        disk[446..462].copy_from_slice(&[0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0]);
        assert_eq!(kind(&disk), "dos");
    }
}
