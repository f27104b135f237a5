//! The superblock: the first 96 bytes (`struct squashfs_super_block` of the kernel's `squashfs_fs.h`).

use super::decode::Compression;
use crate::bytes::Fields;
use crate::error::{Error, Reason, Result};

/// Bytes of the superblock.
pub(super) const SUPERBLOCK_BYTES: usize = 96;
/// "hsqs" as a little-endian number.
pub(super) const MAGIC: u32 = 0x7371_7368;
/// Data blocks hold at least this much (`SQUASHFS_FILE_LOG` range: 12 to 20 bits).
const BLOCK_LOG_MIN: u16 = 12;
/// Data blocks hold at most this much: 1 MiB. Bounds every data buffer.
const BLOCK_LOG_MAX: u16 = 20;
/// A table that is not there.
const NO_TABLE: u64 = u64::MAX;
/// A metadata block with the compressor's options follows the superblock.
const FLAG_COMPRESSOR_OPTIONS: u16 = 0x400;

/// A checked superblock: block size and table places lie in their ranges.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub inodes: u32,
    pub block_size: u32,
    pub fragments: u32,
    pub compression: Compression,
    pub has_compressor_options: bool,
    pub no_ids: u16,
    pub root_inode: u64,
    pub bytes_used: u64,
    pub id_table_start: u64,
    pub xattr_id_table_start: Option<u64>,
    pub inode_table_start: u64,
    pub directory_table_start: u64,
    pub fragment_table_start: Option<u64>,
}

impl Superblock {
    /// Reads and checks the superblock of a device of `device_bytes` bytes.
    pub fn parse(bytes: &[u8], device_bytes: u64) -> Result<Self> {
        let fields = Fields::new("squashfs superblock", bytes);
        if fields.le32(0)? != MAGIC {
            return Err(Error::corrupt("no squashfs: the magic number is missing"));
        }
        let version = (fields.le16(28)?, fields.le16(30)?);
        if version != (4, 0) {
            return Err(Error::unsupported(format!(
                "squashfs version {}.{}, only 4.0 is known",
                version.0, version.1
            ))
            .because(Reason::Version));
        }
        let bytes_used = fields.le64(40)?;
        if bytes_used > device_bytes {
            return Err(Error::corrupt(format!(
                "squashfs of {bytes_used} bytes on a device of {device_bytes}"
            ))
            .with_hint("the file is cut short: fetch it again and compare its checksum"));
        }
        let block_size = fields.le32(12)?;
        let block_log = fields.le16(22)?;
        if !(BLOCK_LOG_MIN..=BLOCK_LOG_MAX).contains(&block_log) || block_size != 1 << block_log {
            return Err(Error::corrupt(format!(
                "block size {block_size} (2^{block_log}) is not a power of two from 4096 to 1048576"
            )));
        }
        let place = |what: &str, at: usize| -> Result<u64> {
            let start = fields.le64(at)?;
            if start < bytes_used {
                return Ok(start);
            }
            Err(Error::corrupt(format!(
                "{what} table begins at {start}, beyond the {bytes_used} bytes in use"
            )))
        };
        let optional = |what: &str, at: usize| match fields.le64(at)? {
            NO_TABLE => Ok(None),
            _ => place(what, at).map(Some),
        };
        let superblock = Self {
            inodes: fields.le32(4)?,
            block_size,
            fragments: fields.le32(16)?,
            compression: Compression::from_id(fields.le16(20)?)?,
            has_compressor_options: fields.le16(24)? & FLAG_COMPRESSOR_OPTIONS != 0,
            no_ids: fields.le16(26)?,
            root_inode: fields.le64(32)?,
            bytes_used,
            id_table_start: place("id", 48)?,
            xattr_id_table_start: optional("xattr", 56)?,
            inode_table_start: place("inode", 64)?,
            directory_table_start: place("directory", 72)?,
            fragment_table_start: optional("fragment", 80)?,
        };
        if superblock.directory_table_start <= superblock.inode_table_start {
            return Err(Error::corrupt(
                "the directory table does not follow the inode table",
            ));
        }
        Ok(superblock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC.to_le_bytes());
        put(12, &131_072u32.to_le_bytes());
        put(20, &1u16.to_le_bytes());
        put(22, &17u16.to_le_bytes());
        put(28, &4u16.to_le_bytes());
        put(40, &1000u64.to_le_bytes());
        for (at, start) in [
            (48, 900),
            (56, u64::MAX),
            (64, 100),
            (72, 200),
            (80, u64::MAX),
            (88, u64::MAX),
        ] {
            put(at, &start.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn every_rule_refuses() {
        let good = sample();
        let superblock = Superblock::parse(&good, 4096).unwrap();
        assert_eq!(
            (superblock.block_size, superblock.fragment_table_start),
            (1 << 17, None)
        );
        assert!(Superblock::parse(&good, 999).is_err(), "cut short");
        assert!(Superblock::parse(&good[..87], 4096).is_err());
        for (at, value) in [
            (0, 1),
            (12, 1),
            (20, 9),
            (22, 16),
            (22, 64),
            (28, 3),
            (49, 9),
            (65, 9),
            (73, 9),
            (72, 100),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(
                Superblock::parse(&bad, 4096).is_err(),
                "byte {at} = {value}"
            );
        }
    }
}
