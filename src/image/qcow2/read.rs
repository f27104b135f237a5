//! Reading: from an offset of the guest to what is stored for it.

use std::sync::Arc;

use super::parse::{ClusterCompression, Parsed};
use super::write::{OFLAG_COMPRESSED, OFLAG_COPIED, SECTOR};
use crate::block::BlockDevice;
use crate::bytes::{Order, in_a_row, to_u64, to_usize};
use crate::codec::{inflate, unpack_zstd};
use crate::error::{Error, Result, ResultExt};
use crate::image::format::Format;
use crate::image::mapped::{Below, Map, Mapped, Piece};
use crate::image::open::{open_disk, open_reference};
use crate::image::references::References;
use crate::image::units::Units;

/// Bits 9 to 55 of L1 and L2 entries: a host offset.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 0 of L2 entries of version 3: reads as zeroes, whatever the offset.
const OFLAG_ZERO: u64 = 1;
/// Memory for L2 tables of one image.
const L2_BUDGET: usize = 16 << 20;
/// Subclusters in a cluster with extended L2 entries.
const SUBCLUSTERS: u64 = 32;

/// Opens the image in `file`.
pub(in crate::image) fn open(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let header = Parsed::read(&*file)?;
    references.note(|details| header.note(details));
    for finding in header.findings() {
        references.progress.found(&finding);
    }
    let data = match &header.data_file {
        None => None,
        Some(name) if name.is_empty() => {
            return Err(Error::corrupt(
                "qcow2 with an external data file does not name it",
            ));
        }
        // The format knows no data file that is not raw, so nothing is probed.
        Some(name) => Some(references.open("data file", name)?.0),
    };
    let below = match &header.backing_file {
        None => None,
        Some(name) => Some(open_backing(
            name,
            header.backing_format.as_deref(),
            references,
        )?),
    };
    let mut l1 = vec![0; to_usize(header.l1_size * 8)?];
    file.read_at(header.l1_table_offset, &mut l1)
        .at(|| "the L1 table")?;
    let l2_tables = Units::new(L2_BUDGET, 1 << header.cluster_bits);
    let map = Qcow2 {
        l1: numbers(&l1),
        l2_tables,
        header,
        file,
        data: data.map(|data| Arc::new(data) as _),
        below,
    };
    Ok(Arc::new(Mapped::new(map)?))
}

fn open_backing(name: &[u8], format: Option<&[u8]>, references: &References) -> Result<Below> {
    const ROLE: &str = "backing file";
    let place = || format!("{ROLE} '{}'", String::from_utf8_lossy(name));
    let format = match format {
        None => None,
        Some(qemu_name) => Some(Format::of_qemu_name(qemu_name).ok_or_else(|| {
            let other = String::from_utf8_lossy(qemu_name);
            Error::unsupported(format!("its format '{other}' cannot be read")).at(place())
        })?),
    };
    let (device, below) = references.open(ROLE, name)?;
    let device = match format {
        // Named as raw, it is raw, whatever its guest wrote to its first bytes.
        Some(format) => open_disk(Arc::new(device), format, &below),
        None => open_reference(device, &below),
    };
    Ok(Below::new(device.at(place)?, 0))
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    in_a_row(bytes, Order::Big).collect()
}

/// An open image.
#[derive(Debug)]
struct Qcow2 {
    header: Parsed,
    l1: Vec<u64>,
    /// L2 tables by their host offset.
    l2_tables: Units<Vec<u64>>,
    file: Arc<dyn BlockDevice>,
    /// The external data file.
    data: Option<Arc<dyn BlockDevice>>,
    below: Option<Below>,
}

impl Qcow2 {
    fn cluster_size(&self) -> u64 {
        1 << self.header.cluster_bits
    }

    /// The host offset in `entry`, which must be that of a cluster.
    fn host_offset(&self, entry: u64) -> Result<u64> {
        let offset = entry & OFFSET_MASK;
        if !offset.is_multiple_of(self.cluster_size()) {
            let size = self.cluster_size();
            return Err(Error::corrupt(format!(
                "a qcow2 table points to {offset}, which is no multiple of {size}"
            )));
        }
        Ok(offset)
    }

    fn l2_table(&self, offset: u64) -> Result<Arc<Vec<u64>>> {
        self.l2_tables.get(offset, || {
            let mut bytes = vec![0; to_usize(self.cluster_size())?];
            self.file
                .read_at(offset, &mut bytes)
                .at(|| "a qcow2 L2 table")?;
            Ok(numbers(&bytes))
        })
    }

    fn unallocated(&self) -> Piece {
        if self.below.is_some() {
            Piece::Below
        } else {
            Piece::Zero
        }
    }

    /// What `entry` says of its cluster.
    fn cluster(&self, entry: u64) -> Result<Piece> {
        if self.header.version >= 3 && entry & OFLAG_ZERO != 0 {
            return Ok(Piece::Zero);
        }
        match self.host_offset(entry)? {
            // Offset 0 exists in a data file only; elsewhere the header is there.
            0 if self.data.is_none() || entry & OFLAG_COPIED == 0 => Ok(self.unallocated()),
            host => Ok(Piece::Stored(host)),
        }
    }

    /// What `entry` and its bitmap say of a subcluster.
    fn subcluster(&self, entry: u64, bitmap: u64, index: u64) -> Result<Piece> {
        let bit = |at: u64| bitmap >> at & 1 == 1;
        match (bit(index), bit(index + SUBCLUSTERS)) {
            (true, true) => Err(Error::corrupt(
                "a qcow2 subcluster is both allocated and zero",
            )),
            (false, true) => Ok(Piece::Zero),
            (false, false) => Ok(self.unallocated()),
            (true, false) => match self.host_offset(entry)? {
                0 if self.data.is_none() || entry & OFLAG_COPIED == 0 => {
                    Err(Error::corrupt("a qcow2 subcluster is allocated nowhere"))
                }
                host => Ok(Piece::Stored(
                    host + index * (self.cluster_size() / SUBCLUSTERS),
                )),
            },
        }
    }
}

impl Map for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn piece_at(&self, offset: u64) -> Result<(Piece, u64)> {
        let cluster_size = self.cluster_size();
        let l2_entries = self.header.l2_entries();
        let cluster = offset / cluster_size;
        let inside = offset % cluster_size;
        let l1_index = to_usize(cluster / l2_entries)?;
        let l2_index = to_usize(cluster % l2_entries)?;
        let left = self.size() - offset;
        let l1_entry = self
            .l1
            .get(l1_index)
            .ok_or_else(|| Error::internal("the L1 table covers the disk"))?;
        let l2_offset = self.host_offset(*l1_entry)?;
        if l2_offset == 0 {
            let l2_bytes = l2_entries * cluster_size;
            return Ok((self.unallocated(), (l2_bytes - offset % l2_bytes).min(left)));
        }
        let table = self.l2_table(l2_offset)?;
        let width = if self.header.extended_l2 { 2 } else { 1 };
        let entry = table[l2_index * width];
        let left = left.min(cluster_size - inside);
        if entry & OFLAG_COMPRESSED != 0 {
            return Ok((
                Piece::Packed {
                    unit: offset - inside,
                    entry,
                },
                left,
            ));
        }
        let (piece, start, len) = if self.header.extended_l2 {
            let len = cluster_size / SUBCLUSTERS;
            let index = inside / len;
            (
                self.subcluster(entry, table[l2_index * width + 1], index)?,
                index * len,
                len,
            )
        } else {
            (self.cluster(entry)?, 0, cluster_size)
        };
        let piece = if let Piece::Stored(at) = piece {
            Piece::Stored(at + (inside - start))
        } else {
            piece
        };
        Ok((piece, left.min(start + len - inside)))
    }

    fn storage(&self) -> &dyn BlockDevice {
        self.data.as_ref().unwrap_or(&self.file)
    }

    fn below(&self) -> Option<&Below> {
        self.below.as_ref()
    }

    fn unit_bytes(&self) -> usize {
        1 << self.header.cluster_bits
    }

    fn unpack(&self, unit: u64, entry: u64) -> Result<Vec<u8>> {
        if self.data.is_some() {
            return Err(Error::corrupt(
                "a qcow2 image with an external data file has a compressed cluster",
            ));
        }
        let x = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << x) - 1);
        let sectors = ((entry & !(OFLAG_COPIED | OFLAG_COMPRESSED)) >> x) + 1;
        // The last sector of the file may be there in part only. At most two clusters, by the width of the field.
        let end = ((offset / SECTOR + sectors) * SECTOR).min(self.file.size());
        let place = || format!("the compressed qcow2 cluster at {unit} of the disk");
        let len = end.checked_sub(offset).ok_or_else(|| {
            Error::corrupt(format!(
                "it lies at {offset}, beyond the end of the file ({end} bytes)"
            ))
            .at(place())
        })?;
        let mut packed = vec![0; to_usize(len)?];
        self.file.read_at(offset, &mut packed).at(place)?;
        let size = to_usize(self.cluster_size())?;
        let bytes = match self.header.compression {
            ClusterCompression::Deflate => inflate(&packed, size, false),
            ClusterCompression::Zstd => unpack_zstd(&packed, size),
        };
        let bytes = bytes.at(place)?;
        if to_u64(bytes.len()) < self.cluster_size().min(self.size() - unit) {
            return Err(
                Error::corrupt(format!("it unpacks to {} bytes only", bytes.len())).at(place()),
            );
        }
        Ok(bytes)
    }
}
