//! VDI, VirtualBox's disk image format.
//!
//! ```text
//!   header (512 bytes) │ block table: one 32-bit number for each block │ block │ block │ …
//! ```

use std::sync::Arc;

use super::header::{HEADER_BYTES, SECTOR, SIGNATURE, VERSION};
use super::on_disk::VdiHeader;
use crate::block::BlockDevice;
use crate::bytes::{Guid, Order, in_a_row};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::image::blocks::{self, ABSENT};
use crate::image::mapped::check_size;
use crate::image::references::References;

/// The image type of disks whose blocks are all there.
const TYPE_FIXED: u32 = 2;
const MIN_BLOCK: u32 = 4096;
const MAX_BLOCK: u32 = 256 << 20;
/// A block that was never written, and one that was discarded.
const FREE: u32 = u32::MAX;
const DISCARDED: u32 = u32::MAX - 1;

/// Opens the image in `file`.
pub(in crate::image) fn open(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(0, &mut bytes).at(|| "the VDI header")?;
    let header = VdiHeader::over(&bytes)?;
    if header.signature() != SIGNATURE {
        return Err(Error::corrupt(
            "this is no VDI image: its signature is missing",
        ));
    }
    if header.version() != VERSION {
        return Err(Error::unsupported(format!(
            "VDI version {:#x}: 1.1 can be read",
            header.version()
        ))
        .because(Reason::Version));
    }
    check_type(&header)?;
    let block_bytes = header.cb_block();
    let extra = header.cb_block_extra();
    let disk_size = header.cb_disk();
    check_size(disk_size)?;
    if !block_bytes.is_power_of_two()
        || !(MIN_BLOCK..=MAX_BLOCK).contains(&block_bytes)
        || extra > MAX_BLOCK
    {
        return Err(Error::corrupt(format!(
            "VDI blocks of {block_bytes} bytes and {extra} more: must be a power of two of {MIN_BLOCK} to {MAX_BLOCK}"
        )));
    }
    let sector = header.legacy_cb_sector();
    if sector != SECTOR {
        return Err(Error::unsupported(format!(
            "VDI sectors of {sector} bytes: must be {SECTOR}"
        )));
    }
    let fixed = header.image_type() == TYPE_FIXED;
    references.note(|details| {
        details.variant = Some(if fixed { "fixed" } else { "dynamic" }.to_owned());
        details.virtual_bytes = Some(disk_size);
        details.cluster_bytes = Some(block_bytes.into());
    });
    let entries = disk_size.div_ceil(block_bytes.into());
    if entries > header.c_blocks().into() {
        return Err(Error::corrupt(format!(
            "the VDI block table has {} entries: a disk of {disk_size} bytes needs {entries}",
            header.c_blocks()
        )));
    }
    let data = u64::from(header.off_data());
    let table = blocks::read_table(&*file, header.off_blocks().into(), entries, 4)?;
    let place = |entry: u32| match entry {
        FREE | DISCARDED => ABSENT,
        index => {
            data + u64::from(index) * (u64::from(block_bytes) + u64::from(extra)) + u64::from(extra)
        }
    };
    blocks::open(
        file,
        disk_size,
        block_bytes.into(),
        in_a_row(&table, Order::Little).map(place).collect(),
    )
}

/// Only disks that stand alone: dynamic ones and such of fixed size.
fn check_type(header: &VdiHeader<&[u8; HEADER_BYTES]>) -> Result<()> {
    let parents = [header.uuid_linkage(), header.uuid_parent_modify()];
    match header.image_type() {
        1 | 2 if parents == [Guid::ZERO; 2] => Ok(()),
        1..=4 => Err(Error::unsupported(
            "this is a differencing VDI, which holds only changes to another disk",
        )
        .with_hint("make a copy that stands alone: VBoxManage clonemedium")),
        other => Err(Error::corrupt(format!(
            "VDI image type {other}: must be 1 to 4"
        ))),
    }
}
