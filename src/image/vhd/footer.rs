//! The hard disk footer: 512 bytes at the end, in dynamic images also at the start.

use crate::block::BlockDevice;
use crate::bytes::Fields;
use crate::error::{Error, Result, ResultExt};
use crate::image::mapped::check_size;

const FOOTER_BYTES: usize = 512;
pub(super) const COOKIE: &[u8; 8] = b"conectix";
/// The major part of `File Format Version`.
const VERSION: u32 = 1;

/// `Disk Type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskType {
    Fixed,
    Dynamic,
}

/// What the footer says that matters for reading.
#[derive(Debug)]
pub(super) struct Footer {
    /// Where the dynamic disk header lies, in bytes.
    pub data_offset: u64,
    /// Bytes of the disk.
    pub current_size: u64,
    pub disk_type: DiskType,
}

impl Footer {
    pub fn read(file: &dyn BlockDevice, offset: u64) -> Result<Self> {
        let mut bytes = [0; FOOTER_BYTES];
        file.read_at(offset, &mut bytes).at(|| "the VHD footer")?;
        let fields = Fields::new("VHD footer", &bytes);
        if fields.array(0)? != *COOKIE {
            return Err(Error::corrupt(format!("there is no VHD footer at byte {offset}, where the file should end"))
                .with_hint("the file is cut short: compare its size and checksum with the original's"));
        }
        if fields.be32(64)? != checksum(&bytes, 64) {
            return Err(Error::corrupt(format!("the VHD footer at byte {offset} does not match its checksum")));
        }
        if fields.be32(12)? >> 16 != VERSION {
            return Err(Error::unsupported(format!("VHD version {:#x}: 1.x can be read", fields.be32(12)?)));
        }
        let disk_type = match fields.be32(60)? {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => {
                return Err(Error::unsupported("this is a differencing VHD, which holds only changes to another disk")
                    .with_hint("merge it into its parent first"));
            }
            other => return Err(Error::corrupt(format!("VHD disk type {other}: must be 2, 3 or 4"))),
        };
        let current_size = fields.be64(48)?;
        check_size(current_size)?;
        Ok(Self { data_offset: fields.be64(16)?, current_size, disk_type })
    }
}

/// The complement of the sum of all bytes but the four at `at`, which hold it.
pub(in crate::image) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(bytes) - sum(&bytes[at..at + 4]))
}
