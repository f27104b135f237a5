//! Whole files, compressed: a raw disk straight from its device, any other image from the file it was written to.

use std::fmt;
use std::fs::File;
use std::str::FromStr;

use super::{Compression, check_empty, write_out};
use crate::block::{BlockDevice, ExtentKind};
use crate::bytes::to_u64;
use crate::codec::{Source, encode_bzip2, encode_gzip, encode_xz, encode_zip, encode_zstd};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// How to compress a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressOptions {
    /// With what.
    pub compression: Compression,
    /// How hard: 1 to 9 for gzip, bzip2 and zip, 0 to 9 for xz, 1 to 19 for zstd.
    pub level: u8,
}

impl CompressOptions {
    /// With the usual level: 6 for gzip, xz and zip, 9 for bzip2, 3 for zstd.
    pub fn new(compression: Compression) -> Self {
        let level = match compression {
            Compression::Gzip | Compression::Xz | Compression::Zip => 6,
            Compression::Bzip2 => 9,
            Compression::Zstd => 3,
        };
        Self { compression, level }
    }

    /// Whether the level is one that the compression has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] with the level and the range.
    pub fn check(self) -> Result<()> {
        let range = match self.compression {
            Compression::Gzip | Compression::Bzip2 | Compression::Zip => 1..=9,
            Compression::Xz => 0..=9,
            Compression::Zstd => 1..=19,
        };
        if range.contains(&self.level) {
            return Ok(());
        }
        let level = self.level;
        let word = self.compression.extension();
        Err(Error::invalid(format!(
            "level {level} is none of {word}: {} to {}",
            range.start(),
            range.end()
        )))
    }
}

impl Compression {
    /// The compression that a file extension (without its dot) of an output stands for.
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "bz2" => Some(Self::Bzip2),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The file extension, without its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Bzip2 => "bz2",
            Self::Xz => "xz",
            Self::Zstd => "zst",
            Self::Zip => "zip",
        }
    }
}

impl FromStr for CompressOptions {
    type Err = Error;

    /// `gz`, `bz2`, `xz`, `zst` or `zip`, and a level after a colon: `zst:9`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, level) = text
            .split_once(':')
            .map_or((text, None), |(name, level)| (name, Some(level)));
        let is_zip = name.eq_ignore_ascii_case(Compression::Zip.extension());
        let known = if is_zip {
            Some(Compression::Zip)
        } else {
            Compression::of_extension(name)
        };
        let compression = known.ok_or_else(|| {
            Error::invalid(format!("'{name}' is not a compression"))
                .with_hint("write gz, bz2, xz, zst or zip")
        })?;
        let mut options = Self::new(compression);
        if let Some(level) = level {
            options.level = level.parse().map_err(|_| {
                Error::invalid(format!("'{level}' is not a compression level"))
                    .with_hint("write a number, as in zst:9")
            })?;
        }
        Ok(options)
    }
}

impl fmt::Display for CompressOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.compression.extension(), self.level)
    }
}

/// Writes the bytes of `device`, compressed, into `out`, an empty file.
///
/// Holes are not read. The bytes written depend on the device's content and the options alone. `out` is neither synced
/// nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] for a level out of range and where `out` is not empty.
pub fn compress(
    device: &dyn BlockDevice,
    out: &File,
    options: &CompressOptions,
    progress: &dyn Progress,
) -> Result<()> {
    check_empty(out)?;
    let mut offset = 0;
    compress_with(device, options, "disk", progress, &mut |bytes| {
        write_out(out, offset, bytes)?;
        offset += to_u64(bytes.len());
        Ok(())
    })
}

/// As [`compress`], with the compressed bytes given to `sink`, in order. `name` is what the file is called in a zip archive.
///
/// # Errors
///
/// The device's read errors; those of `sink`; [`crate::ErrorKind::InvalidInput`] for a level out of range.
pub fn compress_with(
    device: &dyn BlockDevice,
    options: &CompressOptions,
    name: &str,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut sink = |bytes: &[u8], done: u64| {
        sink(bytes)?;
        progress.advance(done);
        Ok(())
    };
    let source = &Disk(device);
    let level = options.level;
    progress.start(
        &format!("compressing with {}", options.compression),
        device.size(),
    );
    let result = match options.compression {
        Compression::Gzip => encode_gzip(source, level, &mut sink),
        Compression::Bzip2 => encode_bzip2(source, level, &mut sink),
        Compression::Xz => encode_xz(source, level, &mut sink),
        Compression::Zstd => encode_zstd(source, level, &mut sink),
        Compression::Zip => encode_zip(source, level, name, &mut sink),
    };
    progress.finish();
    result
}

/// A device as what encoders read.
struct Disk<'a>(&'a dyn BlockDevice);

impl Source for Disk<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }

    fn zeroes_at(&self, offset: u64) -> Result<u64> {
        let extent = self.0.extent_at(offset)?;
        Ok(if extent.kind == ExtentKind::Zero {
            extent.len
        } else {
            0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;
    use crate::progress::NoProgress;

    #[test]
    fn words_are_parsed_and_levels_checked() {
        let options = |text: &str| text.parse::<CompressOptions>();
        assert_eq!(options("bz2").unwrap().to_string(), "bz2:9");
        assert_eq!(options("ZST:19").unwrap().to_string(), "zst:19");
        for wrong in ["", "lz4", "gz:", "gz:x", "gz:-1", "xz:300"] {
            assert!(options(wrong).unwrap_err().hint().is_some(), "{wrong}");
        }
        let device = MemoryDevice::new(vec![1; 512]);
        for wrong in ["gz:0", "gz:10", "bz2:0", "xz:10", "zst:0", "zst:20"] {
            let out = tempfile::tempfile().unwrap();
            let error = compress(&device, &out, &options(wrong).unwrap(), &NoProgress).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{wrong}");
        }
    }
}
