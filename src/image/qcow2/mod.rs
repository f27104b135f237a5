//! qcow2, QEMU's disk image format (specification: `docs/interop/qcow2.txt` of QEMU).
//!
//! ```text
//!   guest address ──▶ L1 table ──▶ L2 table ──▶ cluster of the host file
//!                     (one)        (one for     ├ normal: a whole cluster, aligned
//!                                  cs²/8 bytes) ├ compressed: raw deflate, packed byte after byte
//!                                               └ unallocated: reads as zeroes
//! ```
//!
//! Every cluster of the host file has a count of its users in a refcount block; compressed clusters share them.

mod header;
mod on_disk;
mod parse;
mod read;
mod refcount;
mod write;

pub use write::write;

use std::str::FromStr;

use crate::codec::{Deflater, ZstdCompressor};
use crate::error::{Error, Result};
use crate::image::format::{Format, OutputFormat, OutputOption, OutputRow, Probe, Row, Writer};

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Qcow2,
    word: "qcow2",
    qemu_name: "qcow2",
    probes: &[Probe::at(0, &header::MAGIC.to_be_bytes())],
    open: read::open,
    outputs: &[OutputRow {
        format: OutputFormat::Qcow2,
        word: "qcow2",
        aliases: &[],
        extensions: &["qcow2"],
        open_extensions: &[],
        options: &[
            OutputOption::Qcow2Version,
            OutputOption::CompressionType,
            OutputOption::ClusterSize,
            OutputOption::Uncompressed,
            OutputOption::Level,
        ],
        holds_any_sectors: true,
        packs_pieces: true,
        writer: Writer::File(|job, out| write(job.disk, out, job.qcow2, job.progress).map(drop)),
    }],
};

/// Smallest cluster that the format allows: 512 bytes.
const MIN_CLUSTER_BITS: u32 = 9;

/// Largest cluster that QEMU allows: 2 MiB.
const MAX_CLUSTER_BITS: u32 = 21;

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qcow2Version {
    /// Version 2, `compat=0.10`: what Flatcar's own images are, readable by everything.
    V2,
    /// Version 3, `compat=1.1`: QEMU 1.1 and later.
    V3,
}

impl FromStr for Qcow2Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "2" => Ok(Self::V2),
            "3" => Ok(Self::V3),
            _ => Err(Error::invalid(format!(
                "'{}' is not a version of qcow2",
                text.escape_debug()
            ))
            .with_hint("write 2 or 3")),
        }
    }
}

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qcow2Compression {
    /// Not at all.
    None,
    /// Deflate with a level of 1 (fast) to 9 (small), which every reader knows.
    Deflate(u8),
    /// Zstandard with a level of 1 (fast) to 19 (small): version 3 only, QEMU 5.1 and later.
    Zstd(u8),
}

/// How to write a qcow2 image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Options {
    /// The version of the format; default: 2, as Flatcar's own images.
    pub version: Qcow2Version,
    /// Bytes in a cluster, a power of two from 512 to 2,097,152; default: 65,536.
    pub cluster_size: u32,
    /// How clusters are compressed; default: deflate, level 6.
    pub compression: Qcow2Compression,
}

impl Default for Qcow2Options {
    fn default() -> Self {
        Self {
            version: Qcow2Version::V2,
            cluster_size: 65_536,
            compression: Qcow2Compression::Deflate(6),
        }
    }
}

impl Qcow2Options {
    /// Whether version, cluster size and compression are in range and go together.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] with the value and what is allowed.
    pub fn check(&self) -> Result<()> {
        self.cluster_bits().map(|_| ())
    }

    /// The base-2 logarithm of the cluster size, which is checked, as are level and version.
    fn cluster_bits(&self) -> Result<u32> {
        Compressor::new(self.compression)?;
        if let (Qcow2Compression::Zstd(_), Qcow2Version::V2) = (self.compression, self.version) {
            return Err(
                Error::invalid("qcow2 of version 2 cannot be compressed with zstd")
                    .with_hint("use version 3, or deflate"),
            );
        }
        let bits = self.cluster_size.trailing_zeros();
        if !self.cluster_size.is_power_of_two()
            || !(MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&bits)
        {
            return Err(Error::invalid(format!(
                "qcow2 cluster size {} is invalid: must be a power of two from 512 to 2097152",
                self.cluster_size
            )));
        }
        Ok(bits)
    }
}

/// What compresses clusters, if anything does.
#[derive(Debug)]
enum Compressor {
    None,
    Deflate(Box<Deflater>),
    Zstd(ZstdCompressor),
}

impl Compressor {
    fn new(compression: Qcow2Compression) -> Result<Self> {
        Ok(match compression {
            Qcow2Compression::None => Self::None,
            Qcow2Compression::Deflate(level) => Self::Deflate(Box::new(Deflater::new(level)?)),
            Qcow2Compression::Zstd(level) => Self::Zstd(ZstdCompressor::new(level)?),
        })
    }

    /// Appends `cluster`, compressed, to `bytes` and returns `true` where that makes it smaller.
    fn compress(&mut self, cluster: &[u8], bytes: &mut Vec<u8>) -> bool {
        match self {
            Self::None => false,
            Self::Deflate(deflater) => deflater.compress_block(cluster, bytes),
            Self::Zstd(compressor) => compressor.compress_block(cluster, bytes),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2Summary {
    /// The size that a guest sees, in bytes: the device's, rounded up to a multiple of 512.
    pub virtual_size: u64,
    /// The size of the image file in bytes.
    pub file_size: u64,
    /// How many clusters are stored compressed.
    pub compressed_clusters: u64,
    /// How many clusters are stored as they are.
    pub normal_clusters: u64,
}
