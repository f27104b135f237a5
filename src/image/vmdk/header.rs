//! The header of a sparse extent, `SparseExtentHeader`: one sector.

use super::on_disk::{HOSTED, SparseExtentHeader};
use crate::error::{Error, Result};
use crate::image::block_writer::SECTOR;

/// `flags`: the characters that show whether a text transfer has damaged line ends are there.
pub(super) const FLAG_NEWLINE_TEST: u32 = 1;

/// `flags`: there is a second directory.
pub(super) const FLAG_REDUNDANT_TABLE: u32 = 2;

/// `flags`: grains are compressed, and told by markers.
pub(super) const FLAG_COMPRESSED: u32 = 1 << 16;
pub(super) const FLAG_MARKERS: u32 = 1 << 17;

/// `gdOffset` of a header whose footer knows the place.
pub(super) const AT_END: u64 = u64::MAX;

/// Line ends in all forms.
pub(super) const NEWLINE_TEST: [u8; 4] = *b"\n \r\n";

/// `grainSize`: sectors in a grain.
pub(super) const GRAIN_SECTORS: u64 = 128;

/// Bytes in a grain.
pub(super) const GRAIN_BYTES: u64 = GRAIN_SECTORS * SECTOR;

/// `numGTEsPerGT`: grains in a table.
pub(super) const TABLE_ENTRIES: u32 = 512;

/// Sectors of a table.
pub(super) const TABLE_SECTORS: u64 = 4 * TABLE_ENTRIES as u64 / SECTOR;

/// Where the descriptor is, and the room it has, in sectors.
pub(super) const DESCRIPTOR_OFFSET: u64 = 1;
pub(super) const DESCRIPTOR_SECTORS: u64 = 20;

/// Fields that differ between extents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub version: u32,
    pub flags: u32,
    /// Size of the disk in sectors.
    pub capacity: u64,
    /// Where the redundant directory is, in sectors; 0 where there is none.
    pub rgd_offset: u64,
    /// Where the directory is, in sectors.
    pub gd_offset: u64,
    /// Where the first grain may begin, in sectors.
    pub overhead: u64,
    /// `compressAlgorithm`: 0 for none, 1 for deflate.
    pub compression: u16,
}

impl Header {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut header = SparseExtentHeader::zeroed();
        header.set_magic_number(*HOSTED);
        header.set_version(self.version);
        header.set_flags(self.flags);
        header.set_capacity(self.capacity);
        header.set_grain_size(GRAIN_SECTORS);
        header.set_descriptor_offset(DESCRIPTOR_OFFSET);
        header.set_descriptor_size(DESCRIPTOR_SECTORS);
        header.set_num_gtes_per_gt(TABLE_ENTRIES);
        header.set_rgd_offset(self.rgd_offset);
        header.set_gd_offset(self.gd_offset);
        header.set_over_head(self.overhead);
        header.set_end_line_chars(NEWLINE_TEST);
        header.set_compress_algorithm(self.compression);
        header.into_inner()
    }
}

/// A place in sectors as tables hold it.
pub(super) fn table_entry(sector: u64) -> Result<u32> {
    u32::try_from(sector).map_err(|_| {
        Error::unsupported("the image would be larger than 2 TiB, which vmdk cannot address")
            .with_hint("choose raw, qcow2 or vhdx")
    })
}
