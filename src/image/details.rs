//! What an image says of itself, besides the bytes of its disk.

use serde::Serialize;

/// Facts of an image's header and descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Details {
    /// The variant of the format, such as `version 3`, `streamOptimized` or `dynamic`; none for raw disks.
    pub variant: Option<String>,
    /// Size of the disk in bytes, as the image tells it.
    pub virtual_bytes: Option<u64>,
    /// Bytes in a cluster, block or grain: the unit in which the disk is stored.
    pub cluster_bytes: Option<u64>,
    /// Bytes in a logical sector, where the format says it (vhdx).
    pub sector_bytes: Option<u32>,
    /// What compressed clusters are compressed with: `zlib` or `zstd`.
    pub cluster_compression: Option<&'static str>,
    /// Other files that the image refers to.
    pub external_references: Vec<ExternalReference>,
    /// Snapshots inside of the image, which are not read.
    pub snapshots: u32,
    /// Not closed properly: what was written last may be missing.
    pub dirty: bool,
    /// Marked as damaged, or read by means of a copy since a part is lost.
    pub damaged: bool,
}

/// Another file that an image refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExternalReference {
    /// What it is for: `backing file`, `data file`, `extent` or `parent`.
    pub role: &'static str,
    /// The name in the image, relative to its folder. Bytes that are no text are replaced.
    pub name: String,
}

impl ExternalReference {
    pub(super) fn new(role: &'static str, name: &[u8]) -> Self {
        Self {
            role,
            name: String::from_utf8_lossy(name).into_owned(),
        }
    }
}
