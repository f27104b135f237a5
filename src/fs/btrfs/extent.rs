//! What an inode's content is made of (`struct btrfs_file_extent_item`).

use crate::bytes::{structure, to_u64};
use crate::error::{Error, Result};

structure! {
    /// What every file extent item begins with (`struct btrfs_file_extent_item` up to `type`).
    struct FileExtentHead: "btrfs file extent item", Little, 21 {
        /// The transaction that made it.
        0 => generation / set_generation: u64,
        /// Bytes once decompressed.
        8 => ram_bytes / set_ram_bytes: u64,
        /// `BTRFS_COMPRESS_*`.
        16 => compression / set_compression: u8,
        /// 0: encryption was never defined.
        17 => encryption: u8,
        /// 0: other encodings were never defined.
        18 => other_encoding: u16,
        /// `type`: see [`extent_type`].
        20 => extent_type / set_extent_type: u8,
    }
}

structure! {
    /// What follows unless the data is inline (`struct btrfs_file_extent_item` from `disk_bytenr`).
    struct FileExtentDisk: "btrfs file extent item", Little, 32 {
        /// Logical address of the extent; 0 for a hole.
        0 => disk_bytenr / set_disk_bytenr: u64,
        /// Bytes it takes there.
        8 => disk_num_bytes / set_disk_num_bytes: u64,
        /// Where in it (once decompressed) the file's part begins.
        16 => offset / set_offset: u64,
        /// Bytes of the file's part.
        24 => num_bytes / set_num_bytes: u64,
    }
}

/// Kinds of file extents (`BTRFS_FILE_EXTENT_*`).
mod extent_type {
    pub const INLINE: u8 = 0;
    pub const REG: u8 = 1;
    pub const PREALLOC: u8 = 2;
}

/// Bytes before inline data.
pub(super) const INLINE_HEADER_LEN: usize = FileExtentHead::<&[u8]>::SIZE;
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

impl DiskExtent {
    /// From an `EXTENT_DATA` item that is not inline.
    fn parse(item: &[u8]) -> Result<Self> {
        let on_disk = FileExtentDisk::at(item, INLINE_HEADER_LEN)?;
        Ok(Self {
            disk_bytenr: on_disk.disk_bytenr(),
            disk_num_bytes: on_disk.disk_num_bytes(),
            offset: on_disk.offset(),
            num_bytes: on_disk.num_bytes(),
        })
    }

    /// Its part of an `EXTENT_DATA` item.
    fn to_disk(self) -> [u8; FileExtentDisk::<&[u8]>::SIZE] {
        let mut on_disk = FileExtentDisk::blank();
        on_disk.set_disk_bytenr(self.disk_bytenr);
        on_disk.set_disk_num_bytes(self.disk_num_bytes);
        on_disk.set_offset(self.offset);
        on_disk.set_num_bytes(self.num_bytes);
        on_disk.into_inner()
    }
}

impl<'a> FileExtent<'a> {
    /// Parses and checks an `EXTENT_DATA` item of a filesystem with sectors of `sectorsize` bytes.
    pub(super) fn parse(item: &'a [u8], sectorsize: u32) -> Result<Self> {
        let head = FileExtentHead::over(item)?;
        let compression = match head.compression() {
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
        if head.encryption() != 0 || head.other_encoding() != 0 {
            return Err(Error::unsupported(
                "an encrypted or specially encoded file extent",
            ));
        }
        let mut extent = Self {
            generation: head.generation(),
            ram_bytes: head.ram_bytes(),
            compression,
            body: Body::Inline(&[]),
        };
        extent.body = match head.extent_type() {
            extent_type::INLINE => Body::Inline(&item[INLINE_HEADER_LEN..]),
            kind @ (extent_type::REG | extent_type::PREALLOC) => {
                let disk = DiskExtent::parse(item)?;
                match (disk.disk_bytenr, kind) {
                    (0, _) => Body::Hole {
                        num_bytes: disk.num_bytes,
                    },
                    (_, extent_type::REG) => Body::Disk(disk),
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
        match &self.body {
            Body::Inline(data) => self.item(extent_type::INLINE, data),
            Body::Hole { num_bytes } => {
                let nowhere = DiskExtent {
                    disk_bytenr: 0,
                    disk_num_bytes: 0,
                    offset: 0,
                    num_bytes: *num_bytes,
                };
                self.item(extent_type::REG, &nowhere.to_disk())
            }
            Body::Disk(disk) => self.item(extent_type::REG, &disk.to_disk()),
            Body::Prealloc(disk) => self.item(extent_type::PREALLOC, &disk.to_disk()),
        }
    }

    /// An item of this kind with `body` behind its head.
    fn item(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut head = FileExtentHead::blank();
        head.set_generation(self.generation);
        head.set_ram_bytes(self.ram_bytes);
        head.set_compression(self.compression.to_disk());
        head.set_extent_type(kind);
        [head.bytes(), body].concat()
    }
}
