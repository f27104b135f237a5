//! What a file is, told by its magic bytes.
//!
//! ```text
//!   offset 0      42 5a 68 3N … bzip2   1f 8b 08 gzip   fd "7zXZ" 00 xz   28 b5 2f fd zstd   "PK" 03 04 zip
//!   the probes of each disk image format, in the row of its folder
//! ```
//!
//! Anything else is a raw disk, but for "LUKS" ba be, which is none that anyone could use, and for what is known to be no
//! disk (see `not_a_disk.rs`). The bytes are those that QEMU's block drivers and the formats' own specifications name.

use std::fmt;

use super::format::Format;
use super::not_a_disk::NotADisk;
use crate::block::BlockDevice;
use crate::bytes::to_usize;
use crate::error::{Error, Result};

/// The smallest disk: one sector.
pub const SECTOR: u64 = 512;

/// What a whole file may be compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// `.bz2`
    Bzip2,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
    /// `.zip`, an archive with one file, as Hyper-V's images are published. It is written only.
    Zip,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bzip2 => "bzip2",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Zip => "zip",
        })
    }
}

/// What the bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A disk image.
    Disk(Format),
    /// A compressed file.
    Compressed(Compression),
}

/// Names the content of a device by its first and last sector. Something that is no disk, being shorter than a sector
/// and not compressed, is [`crate::ErrorKind::InvalidInput`]; an encrypted disk and files that are known to be no disk,
/// such as archives and documents, are [`crate::ErrorKind::Unsupported`].
pub fn detect(device: &dyn BlockDevice) -> Result<Content> {
    let mut head = vec![0; to_usize(device.size().min(SECTOR))?];
    device.read_at(0, &mut head)?;
    let content = detect_start(&head);
    if content != Content::Disk(Format::Raw) {
        return Ok(content);
    }
    if head.starts_with(LUKS) {
        return Err(
            Error::unsupported("the disk is encrypted as a whole (LUKS)")
                .with_hint("decrypt it first: cryptsetup, or qemu-img convert --object secret,…"),
        );
    }
    if let Some(format) = told_by_the_end(device)? {
        return Ok(Content::Disk(format));
    }
    if let Some(other) = NotADisk::of(device)? {
        return Err(other.refusal());
    }
    if device.size() < SECTOR {
        return Err(Error::invalid(format!(
            "{} bytes are not a disk image: one sector is {SECTOR}",
            device.size()
        ))
        .with_hint("check that the file is complete and the right one"));
    }
    Ok(content)
}

fn told_by_the_end(device: &dyn BlockDevice) -> Result<Option<Format>> {
    let Some(offset) = device.size().checked_sub(SECTOR) else {
        return Ok(None);
    };
    let mut last_sector = vec![0; to_usize(SECTOR)?];
    device.read_at(offset, &mut last_sector)?;
    Ok(Format::of_last_sector(&last_sector))
}

const LUKS: &[u8] = b"LUKS\xba\xbe";
const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const BZIP2_END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

/// Names content by its first bytes (a sector of them where there are so many).
pub fn detect_start(head: &[u8]) -> Content {
    const COMPRESSIONS: [(&[u8], Compression); 4] = [
        (b"PK\x03\x04", Compression::Zip),
        (&[0x1f, 0x8b, 0x08], Compression::Gzip),
        (b"\xfd7zXZ\0", Compression::Xz),
        (&[0x28, 0xb5, 0x2f, 0xfd], Compression::Zstd),
    ];
    if is_bzip2(head) {
        return Content::Compressed(Compression::Bzip2);
    }
    if let Some((_, compression)) = COMPRESSIONS
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
    {
        return Content::Compressed(*compression);
    }
    Content::Disk(Format::of_start(head).unwrap_or(Format::Raw))
}

/// `BZh1` to `BZh9` and then the mark of a block or of the end, as far as there are bytes.
fn is_bzip2(head: &[u8]) -> bool {
    let Some((start, rest)) = head.split_at_checked(4) else {
        return false;
    };
    let mark = &rest[..rest.len().min(6)];
    start.starts_with(b"BZh")
        && matches!(start[3], b'1'..=b'9')
        && (BZIP2_BLOCK.starts_with(mark) || BZIP2_END.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    fn disk_with(offset: usize, magic: &[u8]) -> Content {
        let mut bytes = vec![0; 2048];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        detect(&MemoryDevice::new(bytes)).unwrap()
    }

    #[test]
    fn magic_is_told_from_raw() {
        use Content::{Compressed, Disk};
        for (offset, magic, content) in [
            (0, &b"BZh91AY&SY"[..], Compressed(Compression::Bzip2)),
            (0, b"BZh5\x17rE8P\x90", Compressed(Compression::Bzip2)),
            (0, b"BZh0", Disk(Format::Raw)),
            (0, b"BZh9", Disk(Format::Raw)),
            (0, b"\x1f\x8b\x08", Compressed(Compression::Gzip)),
            (0, b"QFI\xfb", Disk(Format::Qcow2)),
            (1, b"QFI\xfb", Disk(Format::Raw)),
            (64, b"\x7f\x10\xda\xbe", Disk(Format::Vdi)),
            (0, b"conectix", Disk(Format::Vhd)),
            (1536, b"conectix", Disk(Format::Vhd)),
            (1024, b"conectix", Disk(Format::Raw)),
            (512, b"EFI PART", Disk(Format::Raw)),
        ] {
            assert_eq!(disk_with(offset, magic), content, "{magic:?} at {offset}");
        }
    }

    #[test]
    fn encrypted_disks_are_refused() {
        let mut bytes = vec![0; 2048];
        bytes[..6].copy_from_slice(LUKS);
        let error = detect(&MemoryDevice::new(bytes)).unwrap_err();
        assert!(
            error.kind() == crate::ErrorKind::Unsupported && error.to_string().contains("LUKS"),
            "{error:?}"
        );
    }

    #[test]
    fn short_files_are_no_disks() {
        for len in [0, 1, 63, 511] {
            let error = detect(&MemoryDevice::new(vec![0; len])).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("not a disk image"), "{error}");
        }
        assert_eq!(
            detect(&MemoryDevice::new(vec![0; 512])).unwrap(),
            Content::Disk(Format::Raw)
        );
        let short = MemoryDevice::new(b"BZh9".to_vec());
        assert_eq!(
            detect(&short).unwrap(),
            Content::Compressed(Compression::Bzip2)
        );
    }
}
