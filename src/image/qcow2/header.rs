//! The header in cluster 0 and its extensions.

use super::Qcow2Version;
use super::on_disk::{FeatureName, HeaderExtension, QcowHeader, QcowHeaderV3};
use crate::error::Result;

/// `magic`: "QFI" and 0xfb.
pub(super) const MAGIC: u32 = 0x5146_49fb;

/// `refcount_order`: refcounts of 2^4 bits, the only width that version 2 has.
pub(super) const REFCOUNT_ORDER: u32 = 4;

/// `header_length` of version 3, with `compression_type` and its padding.
const HEADER_LENGTH_V3: u32 = 112;

/// The incompatible feature bit "compression type": `compression_type` is not deflate.
const INCOMPATIBLE_COMPRESSION_TYPE: u64 = 1 << 3;

/// `compression_type` zstd.
const COMPRESSION_TYPE_ZSTD: u8 = 1;

/// The header extension that names feature bits.
const EXTENSION_FEATURE_NAME_TABLE: u32 = 0x6803_f857;

/// Feature names for readers that do not know a bit: `(type, bit, name)`; type 0 is incompatible, 1 compatible,
/// 2 autoclear.
const FEATURE_NAMES: [(u8, u8, &str); 8] = [
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
];

/// The fields that differ from image to image. No backing file, encryption, snapshots, nor other
/// feature bits than that of zstd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub version: Qcow2Version,
    /// Compressed clusters are zstd (version 3 only), not deflate.
    pub zstd: bool,
    /// Base-2 logarithm of the cluster size.
    pub cluster_bits: u32,
    /// The guest's disk in bytes, a multiple of 512.
    pub size: u64,
    /// Entries of the L1 table.
    pub l1_size: u32,
    /// Host offset in bytes.
    pub l1_table_offset: u64,
    /// Host offset in bytes.
    pub refcount_table_offset: u64,
    pub refcount_table_clusters: u32,
}

impl Header {
    /// The header and its extensions, at most 512 bytes: they fit into the smallest cluster.
    pub fn to_bytes(self) -> Result<Vec<u8>> {
        let mut bytes = match self.version {
            Qcow2Version::V2 => QcowHeader::zeroed().into_inner(),
            Qcow2Version::V3 => self.version_3(),
        };
        let mut header = QcowHeader::over(&mut bytes)?;
        header.set_magic(MAGIC);
        header.set_version(match self.version {
            Qcow2Version::V2 => 2,
            Qcow2Version::V3 => 3,
        });
        header.set_cluster_bits(self.cluster_bits);
        header.set_size(self.size);
        header.set_l1_size(self.l1_size);
        header.set_l1_table_offset(self.l1_table_offset);
        header.set_refcount_table_offset(self.refcount_table_offset);
        header.set_refcount_table_clusters(self.refcount_table_clusters);
        if self.version == Qcow2Version::V3 {
            put_feature_names(&mut bytes);
        }
        // The end of the header extensions.
        bytes.extend_from_slice(HeaderExtension::zeroed().bytes());
        Ok(bytes)
    }

    /// A header with what only version 3 has.
    fn version_3(self) -> Vec<u8> {
        let mut header = QcowHeaderV3::zeroed();
        if self.zstd {
            header.set_incompatible_features(INCOMPATIBLE_COMPRESSION_TYPE);
            header.set_compression_type(COMPRESSION_TYPE_ZSTD);
        }
        header.set_refcount_order(REFCOUNT_ORDER);
        header.set_header_length(HEADER_LENGTH_V3);
        header.into_inner()
    }
}

fn put_feature_names(bytes: &mut Vec<u8>) {
    let len = FEATURE_NAMES.len() * FeatureName::<&[u8]>::SIZE;
    let mut extension = HeaderExtension::zeroed();
    extension.set_kind(EXTENSION_FEATURE_NAME_TABLE);
    extension.set_length(u32::try_from(len).expect("a few hundred bytes"));
    bytes.extend_from_slice(extension.bytes());
    for (feature_type, bit, text) in FEATURE_NAMES {
        let mut name = [0; 46];
        name[..text.len()].copy_from_slice(text.as_bytes());
        let mut entry = FeatureName::zeroed();
        entry.set_feature_type(feature_type);
        entry.set_bit(bit);
        entry.set_name(name);
        bytes.extend_from_slice(entry.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_have_the_lengths_of_the_specification() {
        let header = Header {
            version: Qcow2Version::V2,
            zstd: false,
            cluster_bits: 16,
            size: 1 << 30,
            l1_size: 2,
            l1_table_offset: 3 << 16,
            refcount_table_offset: 1 << 16,
            refcount_table_clusters: 1,
        };
        let bytes = header.to_bytes().unwrap();
        assert_eq!(bytes.len(), 72 + 8);
        assert_eq!(bytes[..8], *b"QFI\xfb\0\0\0\x02");
        let bytes = Header {
            version: Qcow2Version::V3,
            ..header
        }
        .to_bytes()
        .unwrap();
        assert_eq!(bytes.len(), 512);
        assert_eq!(bytes[96..104], [0, 0, 0, 4, 0, 0, 0, 112]);
        assert_eq!(bytes[120..132], *b"\0\0dirty bit\0");
        let zstd = Header {
            version: Qcow2Version::V3,
            zstd: true,
            ..header
        }
        .to_bytes()
        .unwrap();
        assert_eq!((zstd[79], zstd[104]), (8, 1));
    }
}
