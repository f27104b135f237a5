//! What an inode's content is made of (`struct btrfs_file_extent_item`).

use crate::bytes::{Fields, to_u64};
use crate::error::{Error, Result};

/// Bytes before inline data.
pub(super) const INLINE_HEADER_LEN: usize = 21;
/// A compressed extent holds at most this much, and takes at most this much (`BTRFS_MAX_UNCOMPRESSED`,
/// `BTRFS_MAX_COMPRESSED`).
pub(super) const COMPRESSED_MAX: u64 = 128 << 10;

/// How an extent is compressed (`BTRFS_COMPRESS_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zlib,
    Lzo,
    Zstd,
}

/// One stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileExtent<'a> {
    pub generation: u64,
    /// Bytes once decompressed, of the whole extent on disk.
    pub ram_bytes: u64,
    pub compression: Compression,
    pub body: Body<'a>,
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// In the item itself.
    Inline(&'a [u8]),
    /// Reads as zeroes.
    Hole { num_bytes: u64 },
    /// Space that was preallocated and not yet written; reads as zeroes.
    Prealloc(DiskExtent),
    /// On disk.
    Disk(DiskExtent),
}

/// `num_bytes` of what the extent at `disk_bytenr` holds (once decompressed), from `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskExtent {
    pub disk_bytenr: u64,
    pub disk_num_bytes: u64,
    pub offset: u64,
    pub num_bytes: u64,
}

impl<'a> FileExtent<'a> {
    /// Parses and checks an `EXTENT_DATA` item of a filesystem with sectors of `sectorsize` bytes.
    pub(super) fn parse(item: &'a [u8], sectorsize: u32) -> Result<Self> {
        let fields = Fields::new("btrfs file extent item", item);
        let compression = match fields.u8(16)? {
            0 => Compression::None,
            1 => Compression::Zlib,
            2 => Compression::Lzo,
            3 => Compression::Zstd,
            other => {
                return Err(Error::unsupported(format!(
                    "a file extent with the unknown compression {other}"
                )));
            }
        };
        if (fields.u8(17)?, fields.le16(18)?) != (0, 0) {
            return Err(Error::unsupported(
                "an encrypted or specially encoded file extent",
            ));
        }
        let mut extent = Self {
            generation: fields.le64(0)?,
            ram_bytes: fields.le64(8)?,
            compression,
            body: Body::Inline(&[]),
        };
        extent.body = match fields.u8(20)? {
            0 => Body::Inline(&item[INLINE_HEADER_LEN..]),
            kind @ (1 | 2) => {
                let disk = DiskExtent {
                    disk_bytenr: fields.le64(21)?,
                    disk_num_bytes: fields.le64(29)?,
                    offset: fields.le64(37)?,
                    num_bytes: fields.le64(45)?,
                };
                match (disk.disk_bytenr, kind) {
                    (0, _) => Body::Hole {
                        num_bytes: disk.num_bytes,
                    },
                    (_, 1) => Body::Disk(disk),
                    _ => Body::Prealloc(disk),
                }
            }
            other => {
                return Err(Error::corrupt(format!(
                    "a file extent of the unknown type {other}"
                )));
            }
        };
        extent.check(u64::from(sectorsize))?;
        Ok(extent)
    }

    fn check(&self, sectorsize: u64) -> Result<()> {
        let compressed = self.compression != Compression::None;
        match &self.body {
            Body::Inline(_) if self.ram_bytes > COMPRESSED_MAX => Err(Error::corrupt(format!(
                "an inline extent of {} bytes",
                self.ram_bytes
            ))),
            Body::Inline(data) if !compressed && to_u64(data.len()) != self.ram_bytes => {
                Err(Error::corrupt(format!(
                    "an inline extent of {} bytes that holds {}",
                    self.ram_bytes,
                    data.len()
                )))
            }
            Body::Inline(_) => Ok(()),
            Body::Hole { num_bytes } if *num_bytes == 0 || num_bytes % sectorsize != 0 => Err(
                Error::corrupt(format!("a file extent of {num_bytes} bytes")),
            ),
            Body::Hole { .. } => Ok(()),
            Body::Disk(disk) | Body::Prealloc(disk) => {
                let aligned = [
                    disk.disk_bytenr,
                    disk.disk_num_bytes,
                    disk.offset,
                    disk.num_bytes,
                ]
                .iter()
                .all(|value| value % sectorsize == 0);
                let held = if compressed {
                    self.ram_bytes
                } else {
                    disk.disk_num_bytes
                };
                let inside = disk
                    .offset
                    .checked_add(disk.num_bytes)
                    .is_some_and(|end| end <= held)
                    && disk.disk_bytenr.checked_add(disk.disk_num_bytes).is_some();
                if !aligned || !inside || disk.num_bytes == 0 || disk.disk_num_bytes == 0 {
                    return Err(Error::corrupt(format!(
                        "a file extent with impossible sizes: {disk:?}"
                    )));
                }
                if compressed
                    && (self.ram_bytes > COMPRESSED_MAX || disk.disk_num_bytes > COMPRESSED_MAX)
                {
                    return Err(Error::corrupt(format!(
                        "a compressed extent of {} bytes that holds {}, at most {COMPRESSED_MAX} are possible",
                        disk.disk_num_bytes, self.ram_bytes
                    )));
                }
                Ok(())
            }
        }
    }

    /// How much of the file it covers.
    pub(super) fn len(&self) -> u64 {
        match &self.body {
            Body::Inline(_) => self.ram_bytes,
            Body::Hole { num_bytes } => *num_bytes,
            Body::Disk(disk) | Body::Prealloc(disk) => disk.num_bytes,
        }
    }
}

impl Compression {
    fn to_disk(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Zlib => 1,
            Self::Lzo => 2,
            Self::Zstd => 3,
        }
    }
}

impl FileExtent<'_> {
    /// Its form on disk.
    pub(super) fn to_disk(&self) -> Vec<u8> {
        let mut item = Vec::new();
        item.extend(self.generation.to_le_bytes());
        item.extend(self.ram_bytes.to_le_bytes());
        item.extend([self.compression.to_disk(), 0, 0, 0]);
        let (kind, disk) = match &self.body {
            Body::Inline(data) => {
                item.push(0);
                item.extend(*data);
                return item;
            }
            Body::Hole { num_bytes } => (
                1,
                DiskExtent {
                    disk_bytenr: 0,
                    disk_num_bytes: 0,
                    offset: 0,
                    num_bytes: *num_bytes,
                },
            ),
            Body::Disk(disk) => (1, *disk),
            Body::Prealloc(disk) => (2, *disk),
        };
        item.push(kind);
        for value in [
            disk.disk_bytenr,
            disk.disk_num_bytes,
            disk.offset,
            disk.num_bytes,
        ] {
            item.extend(value.to_le_bytes());
        }
        item
    }
}
