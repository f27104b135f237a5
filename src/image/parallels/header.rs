//! The header of an expandable image: 64 bytes.

use super::on_disk::ParallelsHeader;

/// `magic` of images whose table counts clusters.
pub(super) const MAGIC: &[u8; 16] = b"WithouFreSpacExt";

/// `magic` of older ones, whose table counts sectors.
pub(super) const OLD_MAGIC: &[u8; 16] = b"WithoutFreeSpace";

pub(super) const VERSION: u32 = 2;

/// `in_use` of an image that was closed properly.
const CLOSED: u32 = 0x312e_3276;

pub(super) const HEADER_BYTES: usize = 64;

/// `heads` and the sectors that go with them, from which the cylinders follow.
pub(super) const HEADS: u32 = 16;
pub(super) const SECTORS_PER_TRACK: u32 = 32;

/// Fields that differ from image to image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub cylinders: u32,
    /// `tracks`: sectors in a cluster.
    pub cluster_sectors: u32,
    pub nb_bat_entries: u32,
    pub nb_sectors: u64,
    /// `data_off`: where clusters begin, in sectors.
    pub data_offset: u32,
}

impl Header {
    pub fn to_bytes(self) -> Vec<u8> {
        let mut header = ParallelsHeader::zeroed();
        header.set_magic(*MAGIC);
        header.set_version(VERSION);
        header.set_heads(HEADS);
        header.set_cylinders(self.cylinders);
        header.set_tracks(self.cluster_sectors);
        header.set_nb_bat_entries(self.nb_bat_entries);
        header.set_nb_sectors(self.nb_sectors);
        header.set_in_use(CLOSED);
        header.set_data_off(self.data_offset);
        header.into_inner()
    }
}
