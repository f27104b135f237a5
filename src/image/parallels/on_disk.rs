//! The header of an expandable Parallels image as it lies in the file, by the names of QEMU's description. Numbers are
//! little-endian.

use crate::bytes::structure;

structure! {
    /// The first 64 bytes.
    pub(super) struct ParallelsHeader: "Parallels header", Little, 64 {
        0 => magic / set_magic: [u8; 16],
        16 => version / set_version: u32,
        20 => heads / set_heads: u32,
        24 => cylinders / set_cylinders: u32,
        /// Sectors in a cluster.
        28 => tracks / set_tracks: u32,
        32 => nb_bat_entries / set_nb_bat_entries: u32,
        /// Sectors of the disk; the older kind of image has only the lower half.
        36 => nb_sectors / set_nb_sectors: u64,
        36 => nb_sectors_low: u32,
        44 => in_use / set_in_use: u32,
        /// Where clusters begin, in sectors.
        48 => data_off / set_data_off: u32,
    }
}
