//! The header in cluster 0 and its extensions.

use super::Qcow2Version;

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

/// A feature name's entry: type, bit and a name padded with zeroes.
const FEATURE_NAME_BYTES: usize = 48;

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
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        let version: u32 = match self.version {
            Qcow2Version::V2 => 2,
            Qcow2Version::V3 => 3,
        };
        put32(&mut bytes, &[MAGIC, version]);
        put64(&mut bytes, &[0]); // backing_file_offset
        put32(&mut bytes, &[0, self.cluster_bits]); // backing_file_size, cluster_bits
        put64(&mut bytes, &[self.size]);
        put32(&mut bytes, &[0, self.l1_size]); // crypt_method, l1_size
        put64(&mut bytes, &[self.l1_table_offset, self.refcount_table_offset]);
        put32(&mut bytes, &[self.refcount_table_clusters, 0]); // .., nb_snapshots
        put64(&mut bytes, &[0]); // snapshots_offset
        if self.version == Qcow2Version::V3 {
            let (incompatible, compression_type) =
                if self.zstd { (INCOMPATIBLE_COMPRESSION_TYPE, COMPRESSION_TYPE_ZSTD) } else { (0, 0) };
            put64(&mut bytes, &[incompatible, 0, 0]); // .., compatible_features, autoclear_features
            put32(&mut bytes, &[REFCOUNT_ORDER, HEADER_LENGTH_V3]);
            bytes.extend_from_slice(&[compression_type, 0, 0, 0, 0, 0, 0, 0]); // .., padding
            put_feature_names(&mut bytes);
        }
        put64(&mut bytes, &[0]); // end of the header extensions
        bytes
    }
}

fn put_feature_names(bytes: &mut Vec<u8>) {
    let len = u32::try_from(FEATURE_NAMES.len() * FEATURE_NAME_BYTES).expect("a few hundred bytes");
    put32(bytes, &[EXTENSION_FEATURE_NAME_TABLE, len]);
    for (kind, bit, name) in FEATURE_NAMES {
        let end = bytes.len() + FEATURE_NAME_BYTES;
        bytes.extend_from_slice(&[kind, bit]);
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(end, 0);
    }
}

fn put32(bytes: &mut Vec<u8>, values: &[u32]) {
    bytes.extend(values.iter().flat_map(|value| value.to_be_bytes()));
}

fn put64(bytes: &mut Vec<u8>, values: &[u64]) {
    bytes.extend(values.iter().flat_map(|value| value.to_be_bytes()));
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
        let bytes = header.to_bytes();
        assert_eq!(bytes.len(), 72 + 8);
        assert_eq!(bytes[..8], *b"QFI\xfb\0\0\0\x02");
        let bytes = Header { version: Qcow2Version::V3, ..header }.to_bytes();
        assert_eq!(bytes.len(), 512);
        assert_eq!(bytes[96..104], [0, 0, 0, 4, 0, 0, 0, 112]);
        assert_eq!(bytes[120..132], *b"\0\0dirty bit\0");
        let zstd = Header { version: Qcow2Version::V3, zstd: true, ..header }.to_bytes();
        assert_eq!((zstd[79], zstd[104]), (8, 1));
    }
}
