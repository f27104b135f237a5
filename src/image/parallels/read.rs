//! Parallels expanding disks, `.hdd` and `.hds` (specification: `docs/interop/parallels.txt` of QEMU).
//!
//! ```text
//!   header (64 bytes) │ block table: one 32-bit number for each cluster │ cluster │ cluster │ …
//! ```

use std::sync::Arc;

use crate::block::BlockDevice;
use crate::bytes::{Fields, to_u64};
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::image::blocks::{self, ABSENT};
use crate::image::mapped::check_size;
use crate::image::references::References;

const HEADER_BYTES: usize = 64;
const SECTOR: u64 = 512;
const VERSION: u32 = 2;
/// `in_use` while the image is open for writing.
const IN_USE: u32 = 0x746f_6e59;
/// Clusters have 1 MiB, or 32 KiB in old images; more than this no writer makes.
const MAX_CLUSTER: u64 = 256 << 20;

/// Opens the image in `file`.
pub(in crate::image) fn open(file: Arc<dyn BlockDevice>, references: &References) -> Result<Arc<dyn BlockDevice>> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(0, &mut bytes).at(|| "the Parallels header")?;
    let fields = Fields::new("Parallels header", &bytes);
    let cluster_sectors = u64::from(fields.le32(28)?);
    // The older kind counts in sectors and has 32 bits for the size; the newer one counts in clusters.
    let (sectors, unit) = match &fields.array::<16>(0)? {
        b"WithoutFreeSpace" => (u64::from(fields.le32(36)?), SECTOR),
        b"WithouFreSpacExt" => (fields.le64(36)?, cluster_sectors * SECTOR),
        _ => return Err(Error::corrupt("this is no Parallels image: its signature is missing")),
    };
    if fields.le32(16)? != VERSION {
        return Err(Error::unsupported(format!("Parallels version {}: {VERSION} can be read", fields.le32(16)?)));
    }
    let cluster_bytes = cluster_sectors * SECTOR;
    if !(SECTOR..=MAX_CLUSTER).contains(&cluster_bytes) {
        return Err(Error::corrupt(format!(
            "Parallels clusters of {cluster_bytes} bytes: must be up to {MAX_CLUSTER}"
        )));
    }
    let size = sectors.checked_mul(SECTOR);
    let size = size.ok_or_else(|| Error::corrupt(format!("a Parallels disk of {sectors} sectors")))?;
    check_size(size)?;
    let entries = size.div_ceil(cluster_bytes);
    if entries > fields.le32(32)?.into() {
        return Err(Error::corrupt(format!(
            "the Parallels block table has {} entries: a disk of {size} bytes needs {entries}",
            fields.le32(32)?
        )));
    }
    let dirty = fields.le32(44)? == IN_USE;
    references.note(|details| {
        let older = if bytes.starts_with(b"WithoutFreeSpace") { ", older kind" } else { "" };
        details.variant = Some(format!("expanding{older}"));
        details.virtual_bytes = Some(size);
        details.cluster_bytes = Some(cluster_bytes);
        details.dirty = dirty;
    });
    if dirty {
        references.progress.found(&Finding::new(code::IMAGE_NOT_CLOSED).with("format", "Parallels"));
    }
    let table = blocks::read_table(&*file, to_u64(HEADER_BYTES), entries, 4)?;
    let place = |entry: &[u8; 4]| match u32::from_le_bytes(*entry) {
        0 => ABSENT,
        index => u64::from(index) * unit,
    };
    blocks::open(file, size, cluster_bytes, table.as_chunks().0.iter().map(place).collect())
}
