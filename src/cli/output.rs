//! The arguments that say how an image is written, and when.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::bake::{Artifact, Output, OutputFormat};
use crate::block;
use crate::bytes::ByteSize;
use crate::fs::Timestamp;
use crate::image::qcow2::{Qcow2Compression, Qcow2Options, Qcow2Version};
use crate::image::{CompressOptions, Identity, OutputOption};
use crate::{Error, Result};
use clap::{Args, ValueEnum};

use super::{stdio, words};

/// Where something is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file or folder of this name.
    Path(PathBuf),
    /// Standard output, whose name is `-`; a file of that name is `./-`.
    Stdout,
}

impl From<OsString> for Destination {
    fn from(name: OsString) -> Self {
        if name == stdio::DASH {
            Self::Stdout
        } else {
            Self::Path(name.into())
        }
    }
}

/// An error where `path` exists and may not be replaced.
pub fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    block::refuse_existing(path, overwrite).map_err(|error| {
        error.with_hint("choose another name, or give --overwrite to replace what is there")
    })
}

/// How an image is written.
#[derive(Debug, Args)]
pub struct OutputArgs {
    #[arg(long, value_name = "FORMAT", help = words::format_help())]
    #[arg(value_parser = words::formats(), hide_possible_values = true)]
    format: Option<OutputFormat>,
    /// Compress the whole file: gz, bz2, xz, zst or zip [default: by the name's extension, else not]
    #[arg(long, value_name = "gz|bz2|xz|zst|zip[:LEVEL]")]
    #[arg(value_parser = words::compressions(), hide_possible_values = true)]
    pub compress: Option<CompressOptions>,
    /// qcow2: version, where 2 is what Flatcar's own images have [default: 2, and 3 with zstd]
    #[arg(long, value_name = "2|3", value_parser = clap::value_parser!(u8).range(2..=3))]
    qcow2_version: Option<u8>,
    /// qcow2: how clusters are compressed [default: zlib]
    #[arg(long, value_name = "TYPE", value_enum)]
    compression_type: Option<CompressionType>,
    /// qcow2: bytes in a cluster, a power of two from 512 to 2M [default: 64K]
    #[arg(long, value_name = "SIZE")]
    cluster_size: Option<ByteSize>,
    /// qcow2 and vmdk_stream: compression level, from 1 (fast) to 9 (small), or 19 for zstd
    /// [default: 6, and 2 for zstd, which takes half the time of 3 and under 2 % more room]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=19))]
    level: Option<u8>,
    /// qcow2: compress nothing
    #[arg(long, conflicts_with_all = ["level", "compression_type"])]
    uncompressed: bool,
    /// Make identifiers in the image (of disk and content) that differ from those of the same disk with another TEXT
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub seed: String,
    /// Tell the SHA-256 of what was written, with --json as well
    #[arg(long)]
    pub sha256: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompressionType {
    /// Deflate, which everything reads
    Zlib,
    /// Zstandard: QEMU 5.1 and later
    Zstd,
}

impl OutputArgs {
    /// The output at `path`; `time` is what formats that tell one say.
    pub fn output(&self, path: &Path, time: i64) -> Result<Output> {
        let hint = match (self.format, self.compress) {
            (None, None) => {
                "choose the format with --format, or make all that a vendor takes with flatbake bake --vendor"
            }
            _ => "leave --format and --compress out, or give the output a name that fits them",
        };
        let decided = OutputFormat::decide(path, self.format, self.compress);
        let (format, compress) = decided.map_err(|error| error.with_hint(hint))?;
        self.refuse_what_is_for_others(format)?;
        Ok(Output {
            format,
            compress,
            ..self.usual(path, time)?
        })
    }

    /// What goes into a pipe: a raw disk, unless a format is given.
    pub fn piped(&self, time: i64) -> Result<Output> {
        let format = self.format.unwrap_or(OutputFormat::Raw);
        self.refuse_what_is_for_others(format)?;
        if !format.is_one_file() {
            return Err(Error::invalid(format!(
                "{format} is more than one file, which cannot go into a pipe"
            ))
            .with_hint("give the output a name, or choose a format that is one file"));
        }
        // Some formats hold a name.
        Ok(Output {
            format,
            compress: self.compress,
            ..self.usual(Path::new("disk"), time)?
        })
    }

    /// An output beside the one that is meant by `--format` and `--compress`, which says what it is by its name.
    pub fn output_by_name(&self, path: &Path, time: i64) -> Result<Output> {
        let decided = OutputFormat::of_name(path);
        let (format, compress) =
            decided.map_err(|error| error.with_hint("what --also writes is what its name says"))?;
        Ok(Output {
            format,
            compress,
            ..self.usual(path, time)?
        })
    }

    /// An output whose format and compression are not decided.
    fn usual(&self, path: &Path, time: i64) -> Result<Output> {
        let usual = Output::at(path);
        let zstd = self.compression_type == Some(CompressionType::Zstd);
        let compression = match (self.uncompressed, zstd) {
            (true, _) => Qcow2Compression::None,
            (false, false) => Qcow2Compression::Deflate(self.level.unwrap_or(6)),
            (false, true) => Qcow2Compression::Zstd(self.level.unwrap_or(2)),
        };
        let version = match self.qcow2_version {
            Some(3) => Qcow2Version::V3,
            None if zstd => Qcow2Version::V3,
            _ => Qcow2Version::V2,
        };
        let cluster_size = match self.cluster_size {
            None => usual.qcow2.cluster_size,
            Some(size) => u32::try_from(size.0).map_err(|_| {
                Error::invalid(format!("clusters of {size} are too large for qcow2"))
            })?,
        };
        Ok(Output {
            qcow2: Qcow2Options {
                version,
                cluster_size,
                compression,
            },
            stream_level: self.level.unwrap_or(usual.stream_level),
            identity: Identity {
                seed: self.seed.clone(),
                time,
            },
            digest: self.sha256,
            ..usual
        })
    }

    /// What is given for an output must be of use where no output is named. `has_vendors`: images of vendors are written,
    /// whose formats their rows decide.
    pub fn check_unused(&self, has_vendors: bool) -> Result<()> {
        let given = [
            (self.format.is_some(), "--format"),
            (self.compress.is_some() && !has_vendors, "--compress"),
            (self.qcow2_version.is_some(), "--qcow2-version"),
            (self.compression_type.is_some(), "--compression-type"),
            (self.cluster_size.is_some(), "--cluster-size"),
            (self.level.is_some(), "--level"),
            (self.uncompressed, "--uncompressed"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            None => Ok(()),
            Some((_, flag)) => Err(Error::invalid(format!(
                "{flag} is for an image named with --output, and none is"
            ))
            .with_hint("vendors and manifests say themselves how their images are written")),
        }
    }

    /// An argument that would change nothing is a mistake.
    fn refuse_what_is_for_others(&self, format: OutputFormat) -> Result<()> {
        for (given, argument, option) in [
            (
                self.qcow2_version.is_some(),
                "--qcow2-version",
                OutputOption::Qcow2Version,
            ),
            (
                self.compression_type.is_some(),
                "--compression-type",
                OutputOption::CompressionType,
            ),
            (
                self.cluster_size.is_some(),
                "--cluster-size",
                OutputOption::ClusterSize,
            ),
            (
                self.uncompressed,
                "--uncompressed",
                OutputOption::Uncompressed,
            ),
            (self.level.is_some(), "--level", OutputOption::Level),
        ] {
            if given && !format.takes(option) {
                let formats = option.formats();
                return Err(Error::invalid(format!("{argument} is for {formats}, but the output is {format}"))
                    .with_hint(
                        "leave it out, or choose the format with --format; a whole file takes --compress gz:9",
                    ));
            }
        }
        Ok(())
    }
}

/// What was written, for people, with the digests as `sha256sum` prints them.
pub fn describe(artifact: &Artifact) -> String {
    let compression = artifact
        .compression
        .as_ref()
        .map(|text| format!(" in {text}"))
        .unwrap_or_default();
    let mut text = format!(
        "wrote {} ({}{compression}, {}, disk of {})",
        artifact.path.display(),
        artifact.format,
        ByteSize(artifact.file_bytes),
        ByteSize(artifact.disk_bytes)
    );
    for file in &artifact.files {
        if let Some(sha256) = &file.sha256 {
            text.push_str(&format!("\n{sha256}  {}", file.path.display()));
        }
    }
    text
}

/// Seconds since 1970: the value of `--timestamp`, else `SOURCE_DATE_EPOCH`.
pub fn timestamp(argument: Option<&str>) -> Result<Option<i64>> {
    let variable = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .filter(|value| !value.is_empty());
    let (text, from) = match (argument, variable.as_deref()) {
        (Some(text), _) => (text, "--timestamp"),
        (None, Some(text)) => (text, "SOURCE_DATE_EPOCH"),
        (None, None) => return Ok(None),
    };
    Ok(Some(
        text.parse::<Timestamp>()
            .map_err(|error| error.at(from))?
            .secs,
    ))
}
