//! The hard disk footer: 512 bytes at the end, in dynamic images also at the start.

use super::on_disk::HardDiskFooter;
use crate::block::BlockDevice;
use crate::error::{Error, Reason, Result, ResultExt};
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

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;

impl DiskType {
    /// What the footer says.
    pub fn number(self) -> u32 {
        match self {
            Self::Fixed => FIXED,
            Self::Dynamic => DYNAMIC,
        }
    }
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
        let footer = HardDiskFooter::over(&bytes)?;
        if footer.cookie() != *COOKIE {
            return Err(Error::corrupt(format!(
                "there is no VHD footer at byte {offset}, where the file should end"
            ))
            .with_hint(
                "the file is cut short: compare its size and checksum with the original's",
            ));
        }
        if footer.checksum() != footer.computed_checksum() {
            return Err(Error::corrupt(format!(
                "the VHD footer at byte {offset} does not match its checksum"
            ))
            .because(Reason::Checksum));
        }
        let version = footer.file_format_version();
        if version >> 16 != VERSION {
            return Err(
                Error::unsupported(format!("VHD version {version:#x}: 1.x can be read"))
                    .because(Reason::Version),
            );
        }
        let disk_type = match footer.disk_type() {
            FIXED => DiskType::Fixed,
            DYNAMIC => DiskType::Dynamic,
            4 => {
                return Err(Error::unsupported(
                    "this is a differencing VHD, which holds only changes to another disk",
                )
                .with_hint("merge it into its parent first"));
            }
            other => {
                return Err(Error::corrupt(format!(
                    "VHD disk type {other}: must be 2, 3 or 4"
                )));
            }
        };
        let current_size = footer.current_size();
        check_size(current_size)?;
        Ok(Self {
            data_offset: footer.data_offset(),
            current_size,
            disk_type,
        })
    }
}
