//! What an extension is packed into.
//!
//! A bare filesystem is a variant of [`Format`]; a disk image has one in a partition, see [`super::DiskImage`].

use std::fmt;
use std::path::Path;

use crate::block::Blank;
use crate::error::{Error, Reason, Result};
use crate::flatcar::sysext::Needs;
use crate::fs::btrfs::{self, BtrfsOptions};
use crate::fs::erofs::{self, ErofsCompression, ErofsOptions};
use crate::fs::ext4::{self, Ext4Options};
use crate::fs::squashfs::{self, SquashfsCompression, SquashfsOptions};
use crate::fs::{FileSystem, FsKind};
use crate::progress::Progress;

/// A compressor, by its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// Zstandard.
    Zstd,
    /// LZMA2.
    Xz,
    /// Deflate.
    Gzip,
    /// LZ4.
    Lz4,
    /// Nothing is compressed.
    None,
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::None => "none",
        })
    }
}

/// How much is packed together, and how hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effort {
    /// The compressor's level; its usual one where it is `None`.
    pub level: Option<u8>,
    /// Bytes of a block (squashfs), or most bytes of a packed extent (EROFS): a power of two from 4096 to 1048576.
    pub block_bytes: Option<u32>,
}

/// Levels as `mksquashfs` has them.
const ZSTD_LEVEL: u8 = 15;
const GZIP_LEVEL: u8 = 9;
const XZ_LEVEL: u8 = 6;
/// Bytes of a block of squashfs, as `mksquashfs` has it.
const SQUASHFS_BLOCK: u32 = 128 << 10;
/// Most bytes of an extent of EROFS, as the Bakery has it.
const EROFS_CLUSTER: u32 = 64 << 10;

/// The format of an extension's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A squashfs, which every release mounts.
    Squashfs {
        /// How blocks are compressed.
        compression: SquashfsCompression,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// An EROFS, which releases since 4152.2.2 mount.
    Erofs {
        /// How files are packed.
        compression: ErofsCompression,
    },
    /// An ext4 without a journal, which every release mounts; nothing is compressed.
    Ext4,
    /// A btrfs, which every release mounts.
    Btrfs {
        /// Whether content is compressed with zlib.
        compress: bool,
    },
}

/// How any filesystem is packed.
pub(super) struct Packing<'a> {
    /// Later times become this one.
    pub time: i64,
    /// Makes identifiers.
    pub seed: &'a str,
    /// Takes what must be held in between.
    pub temp_dir: &'a Path,
    pub progress: &'a dyn Progress,
}

impl Default for Format {
    /// squashfs with zstd.
    fn default() -> Self {
        Self::Squashfs {
            compression: SquashfsCompression::Zstd(ZSTD_LEVEL),
            block_bytes: SQUASHFS_BLOCK,
        }
    }
}

impl Format {
    /// squashfs with a compressor; zstd where it is `None`.
    ///
    /// # Errors
    /// A level for what has none.
    pub fn squashfs(compressor: Option<Compressor>, effort: Effort) -> Result<Self> {
        let compressor = compressor.unwrap_or(Compressor::Zstd);
        let level = |usual: u8| effort.level.unwrap_or(usual);
        let compression = match compressor {
            Compressor::Zstd => SquashfsCompression::Zstd(level(ZSTD_LEVEL)),
            Compressor::Gzip => SquashfsCompression::Gzip(level(GZIP_LEVEL)),
            Compressor::Xz => SquashfsCompression::Xz(level(XZ_LEVEL)),
            Compressor::Lz4 => SquashfsCompression::Lz4,
            Compressor::None => SquashfsCompression::None,
        };
        if matches!(compressor, Compressor::Lz4 | Compressor::None) {
            refuse_level(compressor, effort)?;
        }
        Ok(Self::Squashfs {
            compression,
            block_bytes: effort.block_bytes.unwrap_or(SQUASHFS_BLOCK),
        })
    }

    /// EROFS with a compressor; LZ4 where it is `None`.
    ///
    /// # Errors
    /// Compressors that Flatcar's kernels do not have in EROFS; a level.
    pub fn erofs(compressor: Option<Compressor>, effort: Effort) -> Result<Self> {
        let compressor = compressor.unwrap_or(Compressor::Lz4);
        refuse_level(compressor, effort)?;
        let compression = match compressor {
            Compressor::Lz4 => ErofsCompression::Lz4 {
                cluster_bytes: effort.block_bytes.unwrap_or(EROFS_CLUSTER),
            },
            Compressor::None if effort.block_bytes.is_some() => {
                return Err(Error::invalid(
                    "an EROFS in which nothing is packed has blocks of 4096 bytes only",
                ));
            }
            Compressor::None => ErofsCompression::None,
            other => {
                return Err(Error::unsupported(format!(
                    "EROFS with {other}: the kernels of Flatcar unpack lz4 only"
                ))
                .because(Reason::Feature)
                .with_hint("choose lz4, none, or a squashfs"));
            }
        };
        Ok(Self::Erofs { compression })
    }

    /// ext4, which compresses nothing.
    ///
    /// # Errors
    /// A compressor, a level, a block size.
    pub fn ext4(compressor: Option<Compressor>, effort: Effort) -> Result<Self> {
        let compressor = compressor.unwrap_or(Compressor::None);
        refuse_level(compressor, effort)?;
        if compressor != Compressor::None {
            return Err(
                Error::invalid(format!("ext4 with {compressor}: ext4 compresses nothing"))
                    .with_hint("choose a squashfs, or an EROFS with lz4"),
            );
        }
        refuse_block_size("an ext4", effort)?;
        Ok(Self::Ext4)
    }

    /// btrfs, which compresses with zlib (`gzip`) or not at all; it does so where the compressor is `None`.
    ///
    /// # Errors
    /// Another compressor, a level, a block size.
    pub fn btrfs(compressor: Option<Compressor>, effort: Effort) -> Result<Self> {
        let compressor = compressor.unwrap_or(Compressor::Gzip);
        let compress = match compressor {
            Compressor::Gzip => true,
            Compressor::None => false,
            other => {
                return Err(Error::unsupported(format!(
                    "btrfs with {other}: it is made with zlib only"
                ))
                .because(Reason::Feature)
                .with_hint("choose gzip, none, or a squashfs"));
            }
        };
        if let Some(level) = effort.level {
            return Err(Error::invalid(format!(
                "level {level} for btrfs, whose level is its own"
            )));
        }
        refuse_block_size("a btrfs", effort)?;
        Ok(Self::Btrfs { compress })
    }

    /// What a kernel must be able to do to mount it.
    pub fn needs(&self) -> Needs {
        let (filesystem, compressor) = match self {
            Self::Squashfs { compression, .. } => (FsKind::Squashfs, squashfs_word(*compression)),
            Self::Erofs { compression } => (FsKind::Erofs, erofs_word(*compression)),
            Self::Ext4 => (FsKind::Ext4, None),
            Self::Btrfs { .. } => (FsKind::Btrfs, None),
        };
        Needs {
            filesystem,
            compressors: compressor.into_iter().collect(),
            features: 0,
            beyond_sectors: 0,
        }
    }

    /// Writes `tree` into `out`.
    pub(super) fn write(
        &self,
        tree: &dyn FileSystem,
        out: Blank<'_>,
        packing: &Packing<'_>,
    ) -> Result<()> {
        let Packing {
            time,
            temp_dir,
            progress,
            ..
        } = *packing;
        let seed = packing.seed.as_bytes().to_vec();
        match *self {
            Self::Squashfs {
                compression,
                block_bytes,
            } => {
                let options = SquashfsOptions {
                    compression,
                    block_bytes,
                    latest_time: Some(time),
                    ..SquashfsOptions::default()
                };
                squashfs::write(tree, &[], out, &options, progress).map(drop)
            }
            Self::Erofs { compression } => {
                let options = ErofsOptions {
                    compression,
                    seed,
                    build_time: time,
                    latest_time: Some(time),
                    ..ErofsOptions::default()
                };
                erofs::write(tree, &[], out, &options, progress).map(drop)
            }
            Self::Ext4 => {
                let options = Ext4Options {
                    seed,
                    label: Vec::new(),
                    build_time: time,
                    latest_time: Some(time),
                };
                ext4::write(tree, out, &options, progress).map(drop)
            }
            Self::Btrfs { compress } => {
                let options = BtrfsOptions {
                    seed,
                    label: Vec::new(),
                    compress,
                    latest_time: Some(time),
                };
                btrfs::write(tree, out, &options, temp_dir, progress).map(drop)
            }
        }
    }
}

fn refuse_block_size(what: &str, effort: Effort) -> Result<()> {
    match effort.block_bytes {
        None => Ok(()),
        Some(bytes) => Err(Error::invalid(format!(
            "{what} with blocks of {bytes} bytes: its blocks have 4096 bytes"
        ))),
    }
}

fn refuse_level(compressor: Compressor, effort: Effort) -> Result<()> {
    match effort.level {
        None => Ok(()),
        Some(level) => Err(Error::invalid(format!(
            "level {level} for {compressor}, which has no levels"
        ))),
    }
}

/// The compressor in words of [`Needs`].
fn squashfs_word(compression: SquashfsCompression) -> Option<&'static str> {
    match compression {
        SquashfsCompression::Gzip(_) | SquashfsCompression::None => Some("gzip"),
        SquashfsCompression::Zstd(_) => Some("zstd"),
        SquashfsCompression::Xz(_) => Some("xz"),
        SquashfsCompression::Lz4 => Some("lz4"),
    }
}

fn erofs_word(compression: ErofsCompression) -> Option<&'static str> {
    match compression {
        ErofsCompression::Lz4 { .. } => Some("lz4"),
        ErofsCompression::None => None,
    }
}

/// `squashfs with zstd`
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, compressor) = match *self {
            Self::Squashfs {
                compression: SquashfsCompression::None,
                ..
            } => ("squashfs", None),
            Self::Squashfs { compression, .. } => ("squashfs", squashfs_word(compression)),
            Self::Erofs { compression } => ("erofs", erofs_word(compression)),
            Self::Ext4 => ("ext4", None),
            Self::Btrfs { compress } => ("btrfs", compress.then_some("zlib")),
        };
        match compressor {
            Some(compressor) => write!(f, "{name} with {compressor}"),
            None => write!(f, "{name}, uncompressed"),
        }
    }
}
