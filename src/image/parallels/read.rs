//! Parallels expanding disks, `.hdd` and `.hds` (specification: `docs/interop/parallels.txt` of QEMU).
//!
//! ```text
//!   header (64 bytes) │ block table: one 32-bit number for each cluster │ cluster │ cluster │ …
//! ```

use std::sync::Arc;

use super::header::{HEADER_BYTES, MAGIC, OLD_MAGIC, VERSION};
use super::on_disk::ParallelsHeader;
use crate::block::BlockDevice;
use crate::bytes::{Order, in_a_row, to_u64};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::image::blocks::{self, ABSENT};
use crate::image::mapped::check_size;
use crate::image::references::References;

const SECTOR: u64 = 512;
/// `in_use` while the image is open for writing.
const IN_USE: u32 = 0x746f_6e59;
/// Clusters have 1 MiB, or 32 KiB in old images; more than this no writer makes.
const MAX_CLUSTER: u64 = 256 << 20;

/// Opens the image in `file`.
pub(in crate::image) fn open(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(0, &mut bytes).at(|| "the Parallels header")?;
    let header = ParallelsHeader::over(&bytes)?;
    let cluster_sectors = u64::from(header.tracks());
    // The older kind counts in sectors and has 32 bits for the size; the newer one counts in clusters.
    let (sectors, unit) = match &header.magic() {
        OLD_MAGIC => (u64::from(header.nb_sectors_low()), SECTOR),
        MAGIC => (header.nb_sectors(), cluster_sectors * SECTOR),
        _ => {
            return Err(Error::corrupt(
                "this is no Parallels image: its signature is missing",
            ));
        }
    };
    let version = header.version();
    if version != VERSION {
        return Err(Error::unsupported(format!(
            "Parallels version {version}: {VERSION} can be read"
        ))
        .because(Reason::Version));
    }
    let cluster_bytes = cluster_sectors * SECTOR;
    if !(SECTOR..=MAX_CLUSTER).contains(&cluster_bytes) {
        return Err(Error::corrupt(format!(
            "Parallels clusters of {cluster_bytes} bytes: must be up to {MAX_CLUSTER}"
        )));
    }
    let size = sectors.checked_mul(SECTOR);
    let size =
        size.ok_or_else(|| Error::corrupt(format!("a Parallels disk of {sectors} sectors")))?;
    check_size(size)?;
    let entries = size.div_ceil(cluster_bytes);
    if entries > header.nb_bat_entries().into() {
        return Err(Error::corrupt(format!(
            "the Parallels block table has {} entries: a disk of {size} bytes needs {entries}",
            header.nb_bat_entries()
        )));
    }
    let dirty = header.in_use() == IN_USE;
    references.note(|details| {
        let older = if header.magic() == *OLD_MAGIC {
            ", older kind"
        } else {
            ""
        };
        details.variant = Some(format!("expanding{older}"));
        details.virtual_bytes = Some(size);
        details.cluster_bytes = Some(cluster_bytes);
        details.dirty = dirty;
    });
    if dirty {
        references
            .progress
            .found(&Finding::new(code::IMAGE_NOT_CLOSED).with("format", "Parallels"));
    }
    let table = blocks::read_table(&*file, to_u64(HEADER_BYTES), entries, 4)?;
    let place = |entry: u32| match entry {
        0 => ABSENT,
        index => u64::from(index) * unit,
    };
    blocks::open(
        file,
        size,
        cluster_bytes,
        in_a_row(&table, Order::Little).map(place).collect(),
    )
}
