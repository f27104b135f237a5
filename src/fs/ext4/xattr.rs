//! Extended attributes, read from behind the inode's fields and from one block (`struct ext4_xattr_entry`).
//!
//! ```text
//!   inode:  magic │ entry │ entry │ 0 │ …free… │ value │ value          offsets count from the first entry
//!   block:  header of 32 bytes │ entry │ entry │ 0 │ …free… │ value     offsets count from the block's start
//! ```

use super::checksum;
use super::superblock::ensure;
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result};
use crate::fs::Xattr;

/// `EXT4_XATTR_MAGIC`
const MAGIC: u32 = 0xEA02_0000;
/// Fixed part of an entry.
const ENTRY: usize = 16;
/// `struct ext4_xattr_header`
const BLOCK_HEADER: usize = 32;
/// Offset of `h_checksum`.
const H_CHECKSUM: usize = 0x10;

/// `e_name_index` and the prefix it stands for; two of them are whole names.
pub(super) const PREFIXES: &[(u8, &str)] = &[
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (7, "system."),
];

/// Attributes in the area behind an inode's fields.
pub(super) fn parse_area(area: &[u8], found: &mut Vec<Xattr>) -> Result<()> {
    if area.len() < 8 || Fields::new("xattr area", area).le32(0)? != MAGIC {
        return Ok(());
    }
    parse_entries(&area[4..], 0, found)
}

/// Attributes in the block `number`; `seed` is the filesystem's where it has checksums.
pub(super) fn parse_block(block: &[u8], number: u64, seed: Option<u32>, found: &mut Vec<Xattr>) -> Result<()> {
    let f = Fields::new("xattr block", block);
    ensure(f.le32(0)? == MAGIC && f.le32(8)? == 1 && f.le32(4)? > 0, || {
        format!("block {number} is not a block of extended attributes")
    })?;
    if let Some(seed) = seed {
        let crc = checksum::crc32c(seed, &number.to_le_bytes());
        let crc = checksum::crc32c(crc, f.slice(0, H_CHECKSUM)?);
        let crc = checksum::crc32c(crc, &[0; 4]);
        let crc = checksum::crc32c(crc, &block[H_CHECKSUM + 4..]);
        ensure(f.le32(H_CHECKSUM)? == crc, || format!("the checksum of xattr block {number} does not match"))?;
    }
    parse_entries(block, BLOCK_HEADER, found)
}

/// Entries of `bytes` from `at` to the four zero bytes that end them.
fn parse_entries(bytes: &[u8], mut at: usize, found: &mut Vec<Xattr>) -> Result<()> {
    let f = Fields::new("extended attributes", bytes);
    while f.le32(at)? != 0 {
        let name_len = usize::from(f.u8(at)?);
        let index = f.u8(at + 1)?;
        if f.le32(at + 4)? != 0 {
            return Err(Error::unsupported("an extended attribute keeps its value in an inode (ea_inode)"));
        }
        let value_len = to_usize(u64::from(f.le32(at + 8)?))?;
        let value = match value_len {
            0 => &[][..],
            _ => f.slice(usize::from(f.le16(at + 2)?), value_len)?,
        };
        let prefix = PREFIXES.iter().find(|(known, _)| *known == index).map(|(_, prefix)| *prefix);
        let prefix = prefix.ok_or_else(|| Error::unsupported(format!("extended attributes of namespace {index}")))?;
        let mut name = prefix.as_bytes().to_vec();
        name.extend_from_slice(f.slice(at + ENTRY, name_len)?);
        found.push(Xattr { name, value: value.to_vec() });
        at += ENTRY + name_len.next_multiple_of(4);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_are_refused() {
        let mut area = vec![0; 96];
        area[..4].copy_from_slice(&MAGIC.to_le_bytes());
        area[4..8].copy_from_slice(&[1, 1, 80, 0]);
        area[12] = 4;
        area[20] = b'a';
        area[84..88].copy_from_slice(b"data");
        let mut found = Vec::new();
        parse_area(&area, &mut found).unwrap();
        assert_eq!(found, [Xattr { name: b"user.a".to_vec(), value: b"data".to_vec() }]);
        area[6] = 90;
        assert!(parse_area(&area, &mut found).is_err());
        area[6] = 80;
        area[5] = 99;
        assert!(parse_area(&area, &mut found).is_err());
    }
}
