//! The header of an expandable image: 64 bytes.

/// `magic` of images whose table counts clusters.
const MAGIC: &[u8; 16] = b"WithouFreSpacExt";

const VERSION: u32 = 2;

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
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        let mut put32 = |offset: usize, value: u32| bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        put32(16, VERSION);
        put32(20, HEADS);
        put32(24, self.cylinders);
        put32(28, self.cluster_sectors);
        put32(32, self.nb_bat_entries);
        put32(44, CLOSED);
        put32(48, self.data_offset);
        bytes[36..44].copy_from_slice(&self.nb_sectors.to_le_bytes());
        bytes
    }
}
