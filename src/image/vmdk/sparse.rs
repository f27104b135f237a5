//! Sparse extents: of hosted products (`KDMV`), plain or compressed, and of ESX (`COWD`).
//!
//! ```text
//!   offset ──▶ grain directory ──▶ grain table (512 or 4096 entries) ──▶ grain, at a sector of the file
//!                                                                        │ 0: what the parent has, or zeroes
//!                                                                        └ 1: zeroes, where the header says so
//! ```
//!
//! In a compressed extent a grain is a sector number, a length and a zlib stream.

use std::sync::Arc;

use super::header::{AT_END, FLAG_COMPRESSED, FLAG_MARKERS, FLAG_NEWLINE_TEST, NEWLINE_TEST};
use super::on_disk::{CowDiskHeader, ESX, GrainMarker, HOSTED, SparseExtentHeader};
use crate::block::BlockDevice;
use crate::bytes::{Order, in_a_row, to_u64, to_usize};
use crate::codec::inflate;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::image::block_writer::SECTOR;
use crate::image::details::Details;
use crate::image::mapped::{Below, Map, Piece, check_size};
use crate::image::units::Units;

const HEADER_BYTES: usize = 512;
/// Where the footer lies, from the end of the file: before the marker of the end.
const FOOTER_BYTES: u64 = 1024;
/// `flags`: an entry of 1 means zeroes.
const FLAG_ZERO_GRAINS: u32 = 1 << 2;
/// `compressAlgorithm`: deflate with a zlib header.
const COMPRESSION_DEFLATE: u16 = 1;
/// Entries of a grain table of an ESX extent.
const ESX_TABLE_ENTRIES: u64 = 4096;
/// A grain table entry that means zeroes.
const ZERO_GRAIN: u32 = 1;
/// The largest grain in sectors (1 GiB, as QEMU), and the largest compressed one (2 MiB; all known ones have 64 KiB).
const MAX_GRAIN: u64 = 1 << 21;
const MAX_PACKED_GRAIN: u64 = 1 << 12;
/// A directory for 64 TiB of grains of 64 KiB takes 8 MiB.
const MAX_DIRECTORY_BYTES: u64 = 32 << 20;
/// Memory for grain tables of one extent.
const TABLES_BUDGET: usize = 1 << 20;

/// Whether a file with this magic is a sparse extent.
pub(super) fn is_sparse(magic: [u8; 4]) -> bool {
    [HOSTED, ESX].contains(&&magic)
}

/// A header of either kind, checked by itself.
#[derive(Debug)]
pub(super) struct Header {
    /// Bytes of the disk.
    pub size: u64,
    /// Offset and length of the embedded descriptor.
    pub descriptor: Option<(u64, u64)>,
    pub unclean: bool,
    grain_bytes: u64,
    table_entries: u64,
    directory_offset: u64,
    zero_grains: bool,
    compressed: bool,
    markers: bool,
}

impl Header {
    pub fn read(file: &dyn BlockDevice) -> Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        file.read_at(0, &mut bytes).at(|| "the VMDK header")?;
        let header = SparseExtentHeader::over(&bytes)?;
        match &header.magic_number() {
            ESX => return Self::esx(&CowDiskHeader::over(&bytes)?),
            HOSTED => {}
            _ => {
                return Err(Error::corrupt(
                    "this is no sparse VMDK extent: it does not begin with 'KDMV' or 'COWD'",
                ));
            }
        }
        if header.gd_offset() != AT_END {
            return Self::hosted(&header);
        }
        let at = file.size().saturating_sub(FOOTER_BYTES);
        let mut footer = [0; HEADER_BYTES];
        file.read_at(at, &mut footer).at(|| "the VMDK footer")?;
        let header = SparseExtentHeader::over(&footer)?;
        if header.magic_number() != *HOSTED || header.gd_offset() == AT_END {
            return Err(Error::corrupt(format!(
                "the VMDK stream has no footer at byte {at}, where it should end"
            ))
            .with_hint(
                "the file is cut short: compare its size and checksum with the original's",
            ));
        }
        Self::hosted(&header)
    }

    fn hosted(header: &SparseExtentHeader<&[u8; HEADER_BYTES]>) -> Result<Self> {
        let version = header.version();
        let flags = header.flags();
        if !(1..=3).contains(&version) {
            return Err(
                Error::unsupported(format!("VMDK version {version}: 1 to 3 can be read"))
                    .because(Reason::Version),
            );
        }
        if flags & FLAG_NEWLINE_TEST != 0 && header.end_line_chars() != NEWLINE_TEST {
            return Err(Error::corrupt("the VMDK header's line ends were changed")
                .with_hint("the file was copied as text: copy it again in binary mode"));
        }
        let compressed = flags & FLAG_COMPRESSED != 0;
        let algorithm = header.compress_algorithm();
        if compressed && algorithm != COMPRESSION_DEFLATE {
            return Err(Error::unsupported(format!(
                "VMDK compression {algorithm}: only deflate (1) is known"
            )));
        }
        let descriptor = match header.descriptor_offset() {
            0 => None,
            offset => Some((sectors(offset)?, sectors(header.descriptor_size())?)),
        };
        let header = Self {
            size: sectors(header.capacity())?,
            descriptor,
            unclean: header.unclean_shutdown() != 0,
            grain_bytes: sectors(header.grain_size())?,
            table_entries: header.num_gtes_per_gt().into(),
            directory_offset: sectors(header.gd_offset())?,
            zero_grains: flags & FLAG_ZERO_GRAINS != 0,
            compressed,
            markers: flags & FLAG_MARKERS != 0,
        };
        header.check()
    }

    fn esx(header: &CowDiskHeader<&[u8; HEADER_BYTES]>) -> Result<Self> {
        let version = header.version();
        if version != 1 {
            return Err(
                Error::unsupported(format!("ESX sparse version {version}: 1 can be read"))
                    .because(Reason::Version),
            );
        }
        let header = Self {
            size: sectors(header.num_sectors().into())?,
            descriptor: None,
            unclean: false,
            grain_bytes: sectors(header.grain_size().into())?,
            table_entries: ESX_TABLE_ENTRIES,
            directory_offset: sectors(header.gd_offset().into())?,
            zero_grains: false,
            compressed: false,
            markers: false,
        };
        header.check()
    }

    fn check(self) -> Result<Self> {
        check_size(self.size)?;
        let max = SECTOR
            * if self.compressed {
                MAX_PACKED_GRAIN
            } else {
                MAX_GRAIN
            };
        if !self.grain_bytes.is_power_of_two() || self.grain_bytes > max {
            return Err(Error::corrupt(format!(
                "VMDK grains of {} bytes: must be a power of two of {SECTOR} to {max}",
                self.grain_bytes
            )));
        }
        if ![512, ESX_TABLE_ENTRIES].contains(&self.table_entries) {
            return Err(Error::corrupt(format!(
                "VMDK grain tables of {} entries: must be 512",
                self.table_entries
            )));
        }
        if self.directory_offset == 0 && self.size > 0 {
            return Err(Error::corrupt("the VMDK header names no grain directory"));
        }
        Ok(self)
    }

    /// What it tells of the image.
    pub fn note(&self, details: &mut Details) {
        let kind = if self.table_entries == ESX_TABLE_ENTRIES {
            "ESX sparse extent"
        } else {
            "sparse extent"
        };
        details.variant = Some(kind.to_owned());
        details.virtual_bytes = Some(self.size);
        details.cluster_bytes = Some(self.grain_bytes);
        details.cluster_compression = self.compressed.then_some("zlib");
        details.dirty = self.unclean;
    }

    /// Bytes of the disk that one grain table maps.
    fn table_reach(&self) -> u64 {
        self.grain_bytes * self.table_entries
    }
}

fn sectors(count: u64) -> Result<u64> {
    let bytes = count.checked_mul(SECTOR);
    bytes.ok_or_else(|| {
        Error::corrupt(format!(
            "the VMDK header names sector {count}, which no file has"
        ))
    })
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    in_a_row(bytes, Order::Little).collect()
}

/// An open extent.
#[derive(Debug)]
pub(super) struct Sparse {
    file: Arc<dyn BlockDevice>,
    size: u64,
    grain_bytes: u64,
    table_entries: u64,
    table_reach: u64,
    zero_grains: bool,
    compressed: bool,
    markers: bool,
    directory: Vec<u32>,
    /// Grain tables by their sector.
    tables: Units<Vec<u32>>,
    below: Option<Below>,
}

impl Sparse {
    pub fn new(file: Arc<dyn BlockDevice>, header: &Header, below: Option<Below>) -> Result<Self> {
        let len = header.size.div_ceil(header.table_reach()) * 4;
        if len > MAX_DIRECTORY_BYTES {
            return Err(Error::unsupported(format!(
                "a VMDK grain directory of {len} bytes: {MAX_DIRECTORY_BYTES} are allowed"
            )));
        }
        let end = header.directory_offset.checked_add(len);
        if end.is_none_or(|end| end > file.size()) {
            return Err(Error::corrupt(format!(
                "the VMDK grain directory, {len} bytes at {}, lies beyond the end of the file ({} bytes)",
                header.directory_offset,
                file.size()
            ))
            .with_hint("the file is cut short: compare its size and checksum with the original's"));
        }
        let mut directory = vec![0; to_usize(len)?];
        file.read_at(header.directory_offset, &mut directory)?;
        Ok(Self {
            file,
            size: header.size,
            grain_bytes: header.grain_bytes,
            table_entries: header.table_entries,
            table_reach: header.table_reach(),
            zero_grains: header.zero_grains,
            compressed: header.compressed,
            markers: header.markers,
            directory: numbers(&directory),
            tables: Units::new(TABLES_BUDGET, to_usize(header.table_entries * 4)?),
            below,
        })
    }

    fn table(&self, sector: u32) -> Result<Arc<Vec<u32>>> {
        self.tables.get(sector.into(), || {
            let mut bytes = vec![0; to_usize(self.table_entries * 4)?];
            self.file
                .read_at(u64::from(sector) * SECTOR, &mut bytes)
                .at(|| "a VMDK grain table")?;
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

    /// The compressed bytes of the grain at `sector`, and whether they are those of byte `unit` of the disk.
    fn packed(&self, unit: u64, sector: u64) -> Result<Vec<u8>> {
        let mut offset = sector * SECTOR;
        let most = self.grain_bytes * 2;
        let mut len = most.min(self.file.size().saturating_sub(offset));
        if self.markers {
            let mut marker = GrainMarker::zeroed();
            self.file.read_at(offset, marker.bytes_mut())?;
            let lba = marker.lba();
            let size = u64::from(marker.size());
            if lba != unit / SECTOR {
                return Err(Error::corrupt(format!(
                    "its marker at byte {offset} names sector {lba}"
                )));
            }
            if size > most {
                return Err(Error::corrupt(format!(
                    "its marker names {size} compressed bytes, at most {most} can be"
                )));
            }
            offset += to_u64(marker.bytes().len());
            len = size;
        }
        let mut bytes = vec![0; to_usize(len)?];
        self.file.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

impl Map for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn piece_at(&self, offset: u64) -> Result<(Piece, u64)> {
        let left = self.size - offset;
        let entry = self.directory.get(to_usize(offset / self.table_reach)?);
        let entry = *entry.ok_or_else(|| Error::internal("the grain directory covers the disk"))?;
        if entry == 0 {
            return Ok((
                self.unallocated(),
                (self.table_reach - offset % self.table_reach).min(left),
            ));
        }
        let inside = offset % self.grain_bytes;
        let left = left.min(self.grain_bytes - inside);
        let grain = self.table(entry)?[to_usize(offset / self.grain_bytes % self.table_entries)?];
        let piece = match grain {
            0 => self.unallocated(),
            ZERO_GRAIN if self.zero_grains => Piece::Zero,
            _ if self.compressed => Piece::Packed {
                unit: offset - inside,
                entry: grain.into(),
            },
            _ => Piece::Stored(u64::from(grain) * SECTOR + inside),
        };
        Ok((piece, left))
    }

    fn storage(&self) -> &dyn BlockDevice {
        &self.file
    }

    fn below(&self) -> Option<&Below> {
        self.below.as_ref()
    }

    fn unit_bytes(&self) -> usize {
        usize::try_from(self.grain_bytes).unwrap_or(usize::MAX)
    }

    fn unpack(&self, unit: u64, entry: u64) -> Result<Vec<u8>> {
        let place = || format!("the VMDK grain at {unit} of the disk");
        let bytes = inflate(
            &self.packed(unit, entry).at(place)?,
            to_usize(self.grain_bytes)?,
            true,
        )
        .at(place)?;
        if to_u64(bytes.len()) < self.grain_bytes.min(self.size - unit) {
            return Err(
                Error::corrupt(format!("it unpacks to {} bytes only", bytes.len())).at(place()),
            );
        }
        Ok(bytes)
    }
}
