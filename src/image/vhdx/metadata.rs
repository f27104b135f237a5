//! The metadata region: what sort of disk it is.

use super::header::Region;
use super::on_disk::{
    FILE_PARAMETERS, FileParameters, LOGICAL_SECTOR_SIZE, METADATA_SIGNATURE, MetadataTableEntry,
    MetadataTableHeader, PARENT_LOCATOR, PHYSICAL_SECTOR_SIZE, VIRTUAL_DISK_ID, VIRTUAL_DISK_SIZE,
};
use crate::block::BlockDevice;
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result, ResultExt};
use crate::image::mapped::check_size;

const TABLE_BYTES: usize = 64 << 10;
const MAX_ENTRIES: u16 = 2047;
/// `IsRequired` of a table entry.
pub(super) const REQUIRED: u32 = 4;
/// `LeaveBlocksAllocated` of the file parameters.
const LEAVE_ALLOCATED: u32 = 1;
/// `HasParent` of the file parameters.
const HAS_PARENT: u32 = 2;
/// Items that are looked at are at most this long.
const ITEM_BYTES: usize = 16;

/// What the items say that matters for reading.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Bytes in a block: a power of two from 1 to 256 MiB.
    pub block_size: u64,
    /// Blocks stay allocated: what Hyper-V calls a fixed disk.
    pub fixed: bool,
    /// Bytes of the disk.
    pub virtual_disk_size: u64,
    /// 512 or 4096.
    pub logical_sector_size: u32,
}

impl Metadata {
    pub fn read(file: &dyn BlockDevice, region: &Region) -> Result<Self> {
        let mut table = vec![0; TABLE_BYTES];
        file.read_at(region.offset, &mut table)
            .at(|| "the VHDX metadata table")?;
        let header = MetadataTableHeader::over(&table)?;
        let count = header.entry_count();
        if header.signature() != *METADATA_SIGNATURE || count > MAX_ENTRIES {
            return Err(Error::corrupt("the VHDX metadata table is damaged"));
        }
        let mut block_size = None;
        let mut size = None;
        let mut sector_size = None;
        let mut fixed = false;
        for index in 0..usize::from(count) {
            let at = MetadataTableHeader::<&[u8]>::SIZE + index * MetadataTableEntry::<&[u8]>::SIZE;
            let entry = MetadataTableEntry::at(&table, at)?;
            let id = entry.item_id();
            let item = || item(file, region, entry.offset().into(), entry.length());
            match id {
                FILE_PARAMETERS => {
                    let parameters = FileParameters::over(item()?)?;
                    if parameters.flags() & HAS_PARENT != 0 {
                        return Err(differencing());
                    }
                    block_size = Some(u64::from(parameters.block_size()));
                    fixed = parameters.flags() & LEAVE_ALLOCATED != 0;
                }
                VIRTUAL_DISK_SIZE => {
                    size = Some(Fields::new("VHDX virtual disk size", &item()?).le64(0)?)
                }
                LOGICAL_SECTOR_SIZE => {
                    sector_size = Some(Fields::new("VHDX sector size", &item()?).le32(0)?)
                }
                PARENT_LOCATOR => return Err(differencing()),
                VIRTUAL_DISK_ID | PHYSICAL_SECTOR_SIZE => {}
                _ if entry.flags() & REQUIRED == 0 => {}
                _ => {
                    return Err(Error::unsupported(format!(
                        "the VHDX image has a required metadata item {id}, which is not known"
                    )));
                }
            }
        }
        let (Some(block_size), Some(virtual_disk_size), Some(logical_sector_size)) =
            (block_size, size, sector_size)
        else {
            return Err(Error::corrupt(
                "the VHDX metadata lack the block size, disk size or sector size",
            ));
        };
        Self {
            block_size,
            fixed,
            virtual_disk_size,
            logical_sector_size,
        }
        .check()
    }

    fn check(self) -> Result<Self> {
        const MIN_BLOCK: u64 = 1 << 20;
        const MAX_BLOCK: u64 = 256 << 20;
        if !self.block_size.is_power_of_two() || !(MIN_BLOCK..=MAX_BLOCK).contains(&self.block_size)
        {
            return Err(Error::corrupt(format!(
                "VHDX blocks of {} bytes: must be a power of two of {MIN_BLOCK} to {MAX_BLOCK}",
                self.block_size
            )));
        }
        if ![512, 4096].contains(&self.logical_sector_size) {
            return Err(Error::corrupt(format!(
                "VHDX sectors of {} bytes: must be 512 or 4096",
                self.logical_sector_size
            )));
        }
        check_size(self.virtual_disk_size)?;
        Ok(self)
    }
}

fn differencing() -> Error {
    Error::unsupported("this is a differencing VHDX, which holds only changes to another disk")
        .with_hint("merge it into its parent first")
}

/// The first bytes of an item.
fn item(file: &dyn BlockDevice, region: &Region, offset: u64, length: u32) -> Result<Vec<u8>> {
    let length = to_usize(length.into())?.min(ITEM_BYTES);
    if offset > region.length {
        return Err(Error::corrupt(format!(
            "a VHDX metadata item lies at {offset}, beyond the region"
        )));
    }
    let mut bytes = vec![0; length];
    file.read_at(region.offset + offset, &mut bytes)
        .at(|| "a VHDX metadata item")?;
    Ok(bytes)
}
