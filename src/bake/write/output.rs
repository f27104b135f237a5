//! What is written, and what was.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::bytes::to_u64;
use crate::error::{Error, Result};
use crate::image::qcow2::Qcow2Options;
use crate::image::{CompressOptions, Compression, Identity, OutputFormat, Writer};

/// An output to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where it goes; an existing regular file is replaced when the new one is whole.
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// What the whole file is compressed with.
    pub compress: Option<CompressOptions>,
    /// Details of qcow2.
    pub qcow2: Qcow2Options,
    /// The deflate level of vmdk_stream, 1 to 9.
    pub stream_level: u8,
    /// What identifiers and times are made from, besides the content.
    pub identity: Identity,
    /// Whether the SHA-256 of what is written is wanted. Holes of a sparse file count as the zeroes they read as, which
    /// takes about half a second for each GiB.
    pub digest: bool,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

impl Output {
    /// A raw disk at `path`, not compressed, whatever its name, with usual details.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: OutputFormat::Raw,
            compress: None,
            qcow2: Qcow2Options::default(),
            stream_level: 6,
            identity: Identity::default(),
            digest: false,
            origin: None,
        }
    }

    /// An output at `path` with format and compression as its name asks for, and usual details.
    ///
    /// # Errors
    /// Those of [`OutputFormat::of_name`]: a name that says nothing, or that of something else than a disk image.
    pub fn named(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let (format, compress) = OutputFormat::of_name(&path)?;
        Ok(Self {
            format,
            compress,
            ..Self::at(path)
        })
    }

    /// Whether its details go together: asked before anything is read.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for compression of what is more than one file, and for details of qcow2 and
    /// levels that are out of range.
    pub fn check(&self) -> Result<()> {
        refuse_compression(self)?;
        if self.format == OutputFormat::Qcow2 {
            self.qcow2.check()?;
        }
        if self.format == OutputFormat::VmdkStream && !(1..=9).contains(&self.stream_level) {
            return Err(Error::invalid(format!(
                "level {} is none of deflate: 1 to 9",
                self.stream_level
            )));
        }
        self.compress.map_or(Ok(()), |options| options.check())
    }

    /// All files that would be replaced.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone()];
        files.extend(self.extent_path());
        files
    }

    /// The second file, where the format has one: the disk beside its descriptor.
    pub(super) fn extent_path(&self) -> Option<PathBuf> {
        match self.format.row().writer {
            Writer::WithExtent { extent_name, .. } => {
                let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
                Some(self.path.with_file_name(extent_name(&stem)))
            }
            _ => None,
        }
    }

    /// What writing a disk of `disk_bytes` counts in a job's declared work: each pass over it, or over what was made of
    /// it, counts as much as the disk has bytes.
    pub(in crate::bake) fn work(&self, disk_bytes: u64) -> u64 {
        let through_a_file = self.compress.is_some() && self.format != OutputFormat::Raw;
        let read_again = self.digest && self.compress.is_none();
        let passes = 1 + u64::from(through_a_file) + u64::from(read_again);
        disk_bytes.saturating_mul(passes)
    }

    /// Bytes of memory that writing it takes: pieces in flight, as they are and packed. What compressors keep on each
    /// thread, whatever the number of outputs, comes on top.
    pub(in crate::bake) fn memory(&self) -> u64 {
        let threads = to_u64(rayon::current_num_threads());
        let format = format_memory(self.format, threads);
        let compress = self
            .compress
            .map_or(0, |options| compress_memory(options.compression, threads));
        match self.format {
            OutputFormat::Raw if self.compress.is_some() => compress,
            _ => format.max(compress),
        }
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Memory of a format's writer.
fn format_memory(format: OutputFormat, threads: u64) -> u64 {
    if format.row().packs_pieces {
        // A piece and a deflate state on each thread, three packed pieces in flight for each.
        return threads * (4 * 256 * KIB + 512 * KIB);
    }
    // All others copy pieces of 512 KiB, of which 16 are in flight at most.
    (2 * threads).min(16) * 512 * KIB
}

/// Memory of a file's compression: a piece and a state on each thread, three packed pieces in flight for each.
pub(in crate::bake) fn compress_memory(compression: Compression, threads: u64) -> u64 {
    let (piece, state) = match compression {
        Compression::Gzip | Compression::Zip => (MIB, MIB / 2),
        Compression::Bzip2 => (MIB, 8 * MIB),
        Compression::Xz | Compression::Zstd => (4 * MIB, 0),
    };
    threads * (4 * piece + state)
}

/// A written output.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Artifact {
    /// The file.
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// What it is compressed with and how hard, such as `gz:6`.
    pub compression: Option<String>,
    /// Length of the file (of all files, where there are several) in bytes.
    pub file_bytes: u64,
    /// Size of the disk it holds in bytes.
    pub disk_bytes: u64,
    /// All files: one, except for vmdk_flat (the descriptor first) and hdd.
    pub files: Vec<ArtifactFile>,
}

/// A file of an [`Artifact`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtifactFile {
    /// Where it is.
    #[serde(serialize_with = "path_as_text")]
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes in hexadecimal digits, where [`Output::digest`] asked for it.
    pub sha256: Option<String>,
}

/// A path as text: JSON has no other, and names of the host need not be UTF-8.
fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Only what is one file can be compressed as a whole.
pub(super) fn refuse_compression(output: &Output) -> Result<()> {
    match output.compress.filter(|_| !output.format.is_one_file()) {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "{} is more than one file, which cannot be compressed",
            output.format
        ))
        .with_hint("choose a format that is one file, or leave the compression out")
        .with_setting("compress")),
    }
}
