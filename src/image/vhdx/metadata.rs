//! The metadata region: what sort of disk it is.

use super::header::Region;
use crate::block::BlockDevice;
use crate::bytes::{Fields, Guid, to_usize};
use crate::error::{Error, Result, ResultExt};
use crate::image::mapped::check_size;

const TABLE_BYTES: usize = 64 << 10;
const MAX_ENTRIES: u16 = 2047;
/// `IsRequired` of a table entry.
const REQUIRED: u32 = 4;
/// `LeaveBlocksAllocated` of the file parameters.
const LEAVE_ALLOCATED: u32 = 1;
/// `HasParent` of the file parameters.
const HAS_PARENT: u32 = 2;
/// Items that are looked at are at most this long.
const ITEM_BYTES: usize = 16;

const FILE_PARAMETERS: Guid = Guid::from_fields(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
const VIRTUAL_DISK_SIZE: Guid = Guid::from_fields(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const VIRTUAL_DISK_ID: Guid = Guid::from_fields(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);
const LOGICAL_SECTOR_SIZE: Guid = Guid::from_fields(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR_SIZE: Guid = Guid::from_fields(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);
const PARENT_LOCATOR: Guid = Guid::from_fields(0xa8d3_5f2d, 0xb30b, 0x454d, 0xabf7_d3d8_4834_ab0c);

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
        file.read_at(region.offset, &mut table).at(|| "the VHDX metadata table")?;
        let fields = Fields::new("VHDX metadata table", &table);
        let count = fields.le16(10)?;
        if fields.array(0)? != *b"metadata" || count > MAX_ENTRIES {
            return Err(Error::corrupt("the VHDX metadata table is damaged"));
        }
        let (mut block_size, mut size, mut sector_size, mut fixed) = (None, None, None, false);
        for index in 0..usize::from(count) {
            let at = 32 + index * 32;
            let id = Guid::from_disk(fields.array(at)?);
            let (offset, length) = (u64::from(fields.le32(at + 16)?), fields.le32(at + 20)?);
            let item = || item(file, region, offset, length);
            match id {
                FILE_PARAMETERS => {
                    let bytes = item()?;
                    let fields = Fields::new("VHDX file parameters", &bytes);
                    if fields.le32(4)? & HAS_PARENT != 0 {
                        return Err(differencing());
                    }
                    block_size = Some(u64::from(fields.le32(0)?));
                    fixed = fields.le32(4)? & LEAVE_ALLOCATED != 0;
                }
                VIRTUAL_DISK_SIZE => size = Some(Fields::new("VHDX virtual disk size", &item()?).le64(0)?),
                LOGICAL_SECTOR_SIZE => sector_size = Some(Fields::new("VHDX sector size", &item()?).le32(0)?),
                PARENT_LOCATOR => return Err(differencing()),
                VIRTUAL_DISK_ID | PHYSICAL_SECTOR_SIZE => {}
                _ if fields.le32(at + 24)? & REQUIRED == 0 => {}
                _ => {
                    return Err(Error::unsupported(format!(
                        "the VHDX image has a required metadata item {id}, which is not known"
                    )));
                }
            }
        }
        let (Some(block_size), Some(virtual_disk_size), Some(logical_sector_size)) = (block_size, size, sector_size)
        else {
            return Err(Error::corrupt("the VHDX metadata lack the block size, disk size or sector size"));
        };
        Self { block_size, fixed, virtual_disk_size, logical_sector_size }.check()
    }

    fn check(self) -> Result<Self> {
        const MIN_BLOCK: u64 = 1 << 20;
        const MAX_BLOCK: u64 = 256 << 20;
        if !self.block_size.is_power_of_two() || !(MIN_BLOCK..=MAX_BLOCK).contains(&self.block_size) {
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
        return Err(Error::corrupt(format!("a VHDX metadata item lies at {offset}, beyond the region")));
    }
    let mut bytes = vec![0; length];
    file.read_at(region.offset + offset, &mut bytes).at(|| "a VHDX metadata item")?;
    Ok(bytes)
}
