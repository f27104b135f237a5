//! The superblock, at the start of the device.

use super::decode::Compression;
use super::on_disk::{MAGIC, NO_TABLE, SuperBlock};
use crate::error::{Error, Reason, Result};

/// Bytes of the superblock.
pub(super) const SUPERBLOCK_BYTES: usize = SuperBlock::<&[u8]>::SIZE;
/// Data blocks hold at least this much (`SQUASHFS_FILE_LOG` range: 12 to 20 bits).
const BLOCK_LOG_MIN: u16 = 12;
/// Data blocks hold at most this much: 1 MiB. Bounds every data buffer.
const BLOCK_LOG_MAX: u16 = 20;
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
        let on_disk = SuperBlock::over(bytes)?;
        if on_disk.s_magic() != MAGIC {
            return Err(Error::corrupt("no squashfs: the magic number is missing"));
        }
        if (on_disk.s_major(), on_disk.s_minor()) != (4, 0) {
            return Err(Error::unsupported(format!(
                "squashfs version {}.{}, only 4.0 is known",
                on_disk.s_major(),
                on_disk.s_minor()
            ))
            .because(Reason::Version));
        }
        let bytes_used = on_disk.bytes_used();
        if bytes_used > device_bytes {
            return Err(Error::corrupt(format!(
                "squashfs of {bytes_used} bytes on a device of {device_bytes}"
            ))
            .with_hint("the file is cut short: fetch it again and compare its checksum"));
        }
        let block_size = on_disk.block_size();
        let block_log = on_disk.block_log();
        if !(BLOCK_LOG_MIN..=BLOCK_LOG_MAX).contains(&block_log) || block_size != 1 << block_log {
            return Err(Error::corrupt(format!(
                "block size {block_size} (2^{block_log}) is not a power of two from 4096 to 1048576"
            )));
        }
        let place = |what: &str, start: u64| -> Result<u64> {
            if start < bytes_used {
                return Ok(start);
            }
            Err(Error::corrupt(format!(
                "{what} table begins at {start}, beyond the {bytes_used} bytes in use"
            )))
        };
        let optional = |what: &str, start: u64| match start {
            NO_TABLE => Ok(None),
            _ => place(what, start).map(Some),
        };
        let superblock = Self {
            inodes: on_disk.inodes(),
            block_size,
            fragments: on_disk.fragments(),
            compression: Compression::from_id(on_disk.compression())?,
            has_compressor_options: on_disk.flags() & FLAG_COMPRESSOR_OPTIONS != 0,
            no_ids: on_disk.no_ids(),
            root_inode: on_disk.root_inode(),
            bytes_used,
            id_table_start: place("id", on_disk.id_table_start())?,
            xattr_id_table_start: optional("xattr", on_disk.xattr_id_table_start())?,
            inode_table_start: place("inode", on_disk.inode_table_start())?,
            directory_table_start: place("directory", on_disk.directory_table_start())?,
            fragment_table_start: optional("fragment", on_disk.fragment_table_start())?,
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
        let mut on_disk = SuperBlock::zeroed();
        on_disk.set_s_magic(MAGIC);
        on_disk.set_block_size(131_072);
        on_disk.set_compression(1);
        on_disk.set_block_log(17);
        on_disk.set_s_major(4);
        on_disk.set_bytes_used(1000);
        on_disk.set_id_table_start(900);
        on_disk.set_xattr_id_table_start(NO_TABLE);
        on_disk.set_inode_table_start(100);
        on_disk.set_directory_table_start(200);
        on_disk.set_fragment_table_start(NO_TABLE);
        on_disk.set_lookup_table_start(NO_TABLE);
        on_disk.into_inner()
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
