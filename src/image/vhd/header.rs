//! The footer, which is also the first sector of a dynamic image, and the dynamic header.

use super::footer::checksum;
use crate::bytes::Guid;

/// `Cookie` of the footer.
const COOKIE: &[u8; 8] = b"conectix";

/// `Features`: the reserved bit that is always set.
const FEATURES: u32 = 2;

/// `File Format Version` and `Header Version`: 1.0.
const VERSION: u32 = 0x0001_0000;

/// `Creator Application`: the mark by which QEMU, and what learned from it, takes `Current Size` for the disk's size.
const CREATOR_APPLICATION: &[u8; 4] = b"qem2";

/// `Creator Version` that goes with it.
const CREATOR_VERSION: u32 = 0x0005_0003;

/// `Creator Host OS`: Windows.
const CREATOR_HOST_OS: &[u8; 4] = b"Wi2k";

/// `Disk Geometry` that stands for "too large to tell": 65,535 cylinders, 16 heads, 255 sectors.
const GEOMETRY: [u8; 4] = [0xff, 0xff, 0x10, 0xff];

/// What has no further header says so in `Data Offset`.
const NOWHERE: u64 = u64::MAX;

/// 2000-01-01 00:00:00 UTC, from which `Time Stamp` counts, in seconds since 1970.
const EPOCH: i64 = 946_684_800;

/// Length of the footer.
pub(super) const FOOTER_BYTES: usize = 512;

/// Length of the dynamic header.
pub(super) const DYNAMIC_HEADER_BYTES: usize = 1024;

/// How the blocks of the disk are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskType {
    Fixed,
    Dynamic,
}

/// The fields of the footer that differ from image to image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Footer {
    pub disk_type: DiskType,
    /// Of the disk, in bytes: `Original Size` and `Current Size`.
    pub size: u64,
    /// Seconds since 1970.
    pub time: i64,
    pub unique_id: Guid,
}

impl Footer {
    pub fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let (data_offset, disk_type) = match self.disk_type {
            DiskType::Fixed => (NOWHERE, 2u32),
            DiskType::Dynamic => (FOOTER_BYTES as u64, 3),
        };
        let since_2000 = self.time.saturating_sub(EPOCH).clamp(0, u32::MAX.into());
        bytes[..8].copy_from_slice(COOKIE);
        bytes[8..12].copy_from_slice(&FEATURES.to_be_bytes());
        bytes[12..16].copy_from_slice(&VERSION.to_be_bytes());
        bytes[16..24].copy_from_slice(&data_offset.to_be_bytes());
        bytes[24..28].copy_from_slice(&u32::try_from(since_2000).unwrap_or_default().to_be_bytes());
        bytes[28..32].copy_from_slice(CREATOR_APPLICATION);
        bytes[32..36].copy_from_slice(&CREATOR_VERSION.to_be_bytes());
        bytes[36..40].copy_from_slice(CREATOR_HOST_OS);
        bytes[40..48].copy_from_slice(&self.size.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.size.to_be_bytes());
        bytes[56..60].copy_from_slice(&GEOMETRY);
        bytes[60..64].copy_from_slice(&disk_type.to_be_bytes());
        bytes[68..84].copy_from_slice(&self.unique_id.to_disk());
        let sum = checksum(&bytes, 64);
        bytes[64..68].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// The dynamic header: where the table is and how large blocks are.
pub(super) fn dynamic_header(table_offset: u64, entries: u32, block_size: u32) -> [u8; DYNAMIC_HEADER_BYTES] {
    let mut bytes = [0; DYNAMIC_HEADER_BYTES];
    bytes[..8].copy_from_slice(b"cxsparse");
    bytes[8..16].copy_from_slice(&NOWHERE.to_be_bytes());
    bytes[16..24].copy_from_slice(&table_offset.to_be_bytes());
    bytes[24..28].copy_from_slice(&VERSION.to_be_bytes());
    bytes[28..32].copy_from_slice(&entries.to_be_bytes());
    bytes[32..36].copy_from_slice(&block_size.to_be_bytes());
    let sum = checksum(&bytes, 36);
    bytes[36..40].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_an_image_by_qemu() {
        // Taken from images of a disk of 10 MiB by QEMU 10.0 with force_size.
        let header = dynamic_header(1536, 5, 2 << 20);
        assert_eq!(header[36..40], [0xff, 0xff, 0xf4, 0x72]);
        let id = [0x12, 0x20, 0x58, 0xf6, 0x26, 0x19, 0x4e, 0x22, 0x96, 0x72, 0x7d, 0xc6, 0x95, 0x04, 0x6c, 0x54];
        let footer = Footer {
            disk_type: DiskType::Dynamic,
            size: 10 << 20,
            time: EPOCH + 0x3294_2d9a,
            unique_id: Guid::from_disk(id),
        };
        assert_eq!(footer.to_bytes()[56..68], [0xff, 0xff, 0x10, 0xff, 0, 0, 0, 3, 0xff, 0xff, 0xee, 0x13]);
    }
}
