//! Details of formats, as flags and manifests give them: what is not given is as usual, what is of no use is refused.

use std::str::FromStr;

use super::Output;
use crate::bytes::ByteSize;
use crate::error::{Error, Result};
use crate::image::qcow2::{Qcow2Compression, Qcow2Options, Qcow2Version};
use crate::image::{OutputFormat, OutputOption};

/// Deflate's usual level in qcow2.
const ZLIB_LEVEL: u8 = 6;
/// Zstandard's: it takes half the time of 3 and under 2 % more room.
const ZSTD_LEVEL: u8 = 2;

/// Details of how an image is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputDetails {
    /// qcow2: its version; by default 2, and 3 with zstd.
    pub qcow2_version: Option<Qcow2Version>,
    /// qcow2: how clusters are compressed; by default with zlib.
    pub compression_type: Option<CompressionType>,
    /// qcow2: bytes in a cluster, a power of two from 512 to 2 MiB; by default 64 KiB.
    pub cluster_size: Option<ByteSize>,
    /// qcow2 and vmdk_stream: compression level; by default 6, and 2 for zstd.
    pub level: Option<Level>,
    /// qcow2: compress nothing.
    pub uncompressed: bool,
}

/// What compresses the clusters of qcow2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// Deflate, which everything reads.
    Zlib,
    /// Zstandard: QEMU 5.1 and later.
    Zstd,
}

impl FromStr for CompressionType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "zlib" => Ok(Self::Zlib),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Error::invalid(format!(
                "'{}' is not a compression type of qcow2",
                text.escape_debug()
            ))
            .with_hint("write zlib or zstd")),
        }
    }
}

/// A compression level, from 1 (fast) to 9 (small), or 19 for zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse()
            .ok()
            .filter(|level| (1..=19).contains(level))
            .map(Self)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "'{}' is not a compression level",
                    text.escape_debug()
                ))
                .with_hint("write a number from 1 (fast) to 9 (small), or to 19 for zstd")
            })
    }
}

impl OutputDetails {
    /// `output` with these details.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for a detail that its format has not, and for details that exclude each other.
    pub fn apply(&self, output: Output) -> Result<Output> {
        self.refuse_what_is_for_others(output.format)?;
        if self.uncompressed && (self.level.is_some() || self.compression_type.is_some()) {
            return Err(Error::invalid(
                "nothing is to be compressed, but how it is compressed is given",
            )
            .with_hint("leave out one of the two"));
        }
        let is_zstd = self.compression_type == Some(CompressionType::Zstd);
        let usual_level = if is_zstd { ZSTD_LEVEL } else { ZLIB_LEVEL };
        let level = self.level.map_or(usual_level, |level| level.0);
        let compression = match (self.uncompressed, is_zstd) {
            (true, _) => Qcow2Compression::None,
            (false, false) => Qcow2Compression::Deflate(level),
            (false, true) => Qcow2Compression::Zstd(level),
        };
        let usual_version = if is_zstd {
            Qcow2Version::V3
        } else {
            Qcow2Version::V2
        };
        let cluster_size = match self.cluster_size {
            None => output.qcow2.cluster_size,
            Some(size) => u32::try_from(size.0).map_err(|_| {
                Error::invalid(format!(
                    "clusters of {size} are too large for qcow2: at most 2 MiB"
                ))
            })?,
        };
        let version = self.qcow2_version.unwrap_or(usual_version);
        Ok(Output {
            qcow2: Qcow2Options {
                version,
                cluster_size,
                compression,
            },
            stream_level: self.level.map_or(output.stream_level, |level| level.0),
            ..output
        })
    }

    /// A detail that would change nothing is a mistake.
    fn refuse_what_is_for_others(&self, format: OutputFormat) -> Result<()> {
        for (given, detail, option) in [
            (
                self.qcow2_version.is_some(),
                "a qcow2 version",
                OutputOption::Qcow2Version,
            ),
            (
                self.compression_type.is_some(),
                "a compression type",
                OutputOption::CompressionType,
            ),
            (
                self.cluster_size.is_some(),
                "a cluster size",
                OutputOption::ClusterSize,
            ),
            (
                self.uncompressed,
                "no compression of clusters",
                OutputOption::Uncompressed,
            ),
            (self.level.is_some(), "a level", OutputOption::Level),
        ] {
            if given && !format.takes(option) {
                let formats = option.formats();
                return Err(Error::invalid(format!("{detail} is given, which is for {formats}, and this is {format}"))
                    .with_hint("leave it out, or choose another format; a whole file is compressed as gz:9 says"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(format: OutputFormat, details: OutputDetails) -> Result<Output> {
        details.apply(Output {
            format,
            ..Output::at("a.img")
        })
    }

    #[test]
    fn what_is_not_given_is_as_usual() {
        let zstd = OutputDetails {
            compression_type: Some(CompressionType::Zstd),
            ..OutputDetails::default()
        };
        let plain = of(OutputFormat::Qcow2, OutputDetails::default()).unwrap();
        assert_eq!(plain.qcow2, Qcow2Options::default());
        let qcow2 = of(OutputFormat::Qcow2, zstd).unwrap().qcow2;
        assert_eq!(
            (qcow2.version, qcow2.compression),
            (Qcow2Version::V3, Qcow2Compression::Zstd(2))
        );
        let level = OutputDetails {
            level: Some("9".parse().unwrap()),
            ..OutputDetails::default()
        };
        assert_eq!(of(OutputFormat::VmdkStream, level).unwrap().stream_level, 9);
        assert_eq!(
            of(OutputFormat::Qcow2, level).unwrap().qcow2.compression,
            Qcow2Compression::Deflate(9)
        );
    }

    #[test]
    fn what_is_of_no_use_is_refused() {
        let given = [
            OutputDetails {
                qcow2_version: Some(Qcow2Version::V3),
                ..OutputDetails::default()
            },
            OutputDetails {
                compression_type: Some(CompressionType::Zlib),
                ..OutputDetails::default()
            },
            OutputDetails {
                cluster_size: Some(ByteSize(4096)),
                ..OutputDetails::default()
            },
            OutputDetails {
                level: Some(Level(3)),
                ..OutputDetails::default()
            },
            OutputDetails {
                uncompressed: true,
                ..OutputDetails::default()
            },
        ];
        for details in given {
            assert!(
                of(OutputFormat::Raw, details).unwrap_err().hint().is_some(),
                "{details:?}"
            );
            assert!(of(OutputFormat::Qcow2, details).is_ok(), "{details:?}");
        }
        let both = OutputDetails {
            uncompressed: true,
            level: Some(Level(3)),
            ..OutputDetails::default()
        };
        assert!(of(OutputFormat::Qcow2, both).is_err());
        let large = OutputDetails {
            cluster_size: Some(ByteSize(1 << 40)),
            ..OutputDetails::default()
        };
        assert!(
            of(OutputFormat::Qcow2, large)
                .unwrap_err()
                .to_string()
                .contains("at most 2 MiB")
        );
        for bad in ["", "0", "20", "-1", "x"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
        assert!("gzip".parse::<CompressionType>().is_err() && "4".parse::<Qcow2Version>().is_err());
    }
}
