//! The footer, which is also the first sector of a dynamic image, and the dynamic header.

use super::footer::{COOKIE, DiskType};
use super::on_disk::{DynamicDiskHeader, HardDiskFooter};
use crate::bytes::{Guid, to_u64};

/// `Cookie` of the dynamic header.
pub(super) const DYNAMIC_COOKIE: &[u8; 8] = b"cxsparse";

/// `Features`: the reserved bit that is always set.
const FEATURES: u32 = 2;

/// `File Format Version` and `Header Version`: 1.0.
pub(super) const VERSION: u32 = 0x0001_0000;

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
    pub fn to_bytes(self) -> Vec<u8> {
        let data_offset = match self.disk_type {
            DiskType::Fixed => NOWHERE,
            DiskType::Dynamic => to_u64(FOOTER_BYTES),
        };
        let since_2000 = self.time.saturating_sub(EPOCH).clamp(0, u32::MAX.into());
        let mut footer = HardDiskFooter::zeroed();
        footer.set_cookie(*COOKIE);
        footer.set_features(FEATURES);
        footer.set_file_format_version(VERSION);
        footer.set_data_offset(data_offset);
        footer.set_time_stamp(u32::try_from(since_2000).unwrap_or_default());
        footer.set_creator_application(*CREATOR_APPLICATION);
        footer.set_creator_version(CREATOR_VERSION);
        footer.set_creator_host_os(*CREATOR_HOST_OS);
        footer.set_original_size(self.size);
        footer.set_current_size(self.size);
        footer.set_disk_geometry(GEOMETRY);
        footer.set_disk_type(self.disk_type.number());
        footer.set_unique_id(self.unique_id);
        footer.set_checksum(footer.computed_checksum());
        footer.into_inner()
    }
}

/// The dynamic header: where the table is and how large blocks are.
pub(super) fn dynamic_header(table_offset: u64, entries: u32, block_size: u32) -> Vec<u8> {
    let mut header = DynamicDiskHeader::zeroed();
    header.set_cookie(*DYNAMIC_COOKIE);
    header.set_data_offset(NOWHERE);
    header.set_table_offset(table_offset);
    header.set_header_version(VERSION);
    header.set_max_table_entries(entries);
    header.set_block_size(block_size);
    header.set_checksum(header.computed_checksum());
    header.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_an_image_by_qemu() {
        // Taken from images of a disk of 10 MiB by QEMU 10.0 with force_size.
        let header = dynamic_header(1536, 5, 2 << 20);
        assert_eq!(header[36..40], [0xff, 0xff, 0xf4, 0x72]);
        let id = [
            0x12, 0x20, 0x58, 0xf6, 0x26, 0x19, 0x4e, 0x22, 0x96, 0x72, 0x7d, 0xc6, 0x95, 0x04,
            0x6c, 0x54,
        ];
        let footer = Footer {
            disk_type: DiskType::Dynamic,
            size: 10 << 20,
            time: EPOCH + 0x3294_2d9a,
            unique_id: Guid::from_disk(id),
        };
        assert_eq!(
            footer.to_bytes()[56..68],
            [0xff, 0xff, 0x10, 0xff, 0, 0, 0, 3, 0xff, 0xff, 0xee, 0x13]
        );
    }
}
