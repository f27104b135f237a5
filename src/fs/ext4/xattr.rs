//! Extended attributes, behind the inode's fields and in one block (`struct ext4_xattr_entry`).
//!
//! ```text
//!   inode:  magic │ entry │ entry │ 0 │ …free… │ value │ value          offsets count from the first entry
//!   block:  header of 32 bytes │ entry │ entry │ 0 │ …free… │ value     offsets count from the block's start
//! ```
//!
//! A block can be shared by inodes with the same attributes; its header counts them. With ea_inode a large value is
//! the content of an inode of its own.

use super::checksum;
use super::superblock::{Superblock, ensure};
use crate::bytes::{Fields, Place, structure, to_usize};
use crate::error::{Error, Result};

/// `EXT4_XATTR_MAGIC`
const MAGIC: u32 = 0xEA02_0000;
/// Fixed part of an entry.
const ENTRY: usize = Entry::<&[u8]>::SIZE;
/// Where the entries of a block begin.
const BLOCK_HEADER: usize = BlockHeader::<&[u8]>::SIZE;
/// Where the entries in an inode begin.
const AREA_HEADER: usize = AreaHeader::<&[u8]>::SIZE;
/// Ends the entries.
const END: [u8; 4] = [0; 4];
/// Namespace `system.`, whose attribute `data` is the rest of inline content.
const SYSTEM: u8 = 7;

structure! {
    /// What stands in front of the entries in an inode (`struct ext4_xattr_ibody_header`).
    struct AreaHeader: "xattr area", Little, 4 {
        /// [`MAGIC`].
        0x0 => h_magic / set_magic: u32,
    }
}

structure! {
    /// What stands in front of the entries in a block (`struct ext4_xattr_header`).
    struct BlockHeader: "xattr block", Little, 32 {
        /// [`MAGIC`].
        0x0 => h_magic / set_magic: u32,
        /// Inodes that share the block.
        0x4 => h_refcount / set_refcount: u32,
        /// Blocks: 1.
        0x8 => h_blocks / set_blocks: u32,
        /// Hash of all entries, 0 where it is not known.
        0xC => h_hash / set_hash: u32,
        /// CRC32C of the block's number and of the block.
        0x10 => h_checksum / set_checksum: u32,
    }
}

structure! {
    /// One attribute, in front of its name (`struct ext4_xattr_entry`).
    struct Entry: "extended attribute", Little, 16 {
        /// Bytes of the name.
        0x0 => e_name_len / set_name_len: u8,
        /// The prefix of the name, one of [`PREFIXES`].
        0x1 => e_name_index / set_name_index: u8,
        /// Where the value lies.
        0x2 => e_value_offs / set_value_offs: u16,
        /// Inode that holds the value, 0 where it lies here.
        0x4 => e_value_inum: u32,
        /// Bytes of the value.
        0x8 => e_value_size / set_value_size: u32,
        /// Hash of name and value, 0 in an inode.
        0xC => e_hash / set_hash: u32,
    }
}

/// `e_name_index` and the prefix it stands for; two of them are whole names.
pub(super) const PREFIXES: &[(u8, &str)] = &[
    (1, "user."),
    (2, "system.posix_acl_access"),
    (3, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (8, "system.richacl"),
    (7, "system."),
];

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    /// Here.
    Bytes(Vec<u8>),
    /// In an inode: its number and the length.
    Inode(u32, u64),
}

/// One attribute as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    /// `e_name_index`
    pub index: u8,
    /// Name without the prefix that the index stands for.
    pub name: Vec<u8>,
    pub value: Value,
}

impl Attribute {
    /// Whether it is the rest of inline content, which no caller sees.
    pub(super) fn is_inline_data(&self) -> bool {
        self.index == SYSTEM && self.name == b"data"
    }

    /// The whole name.
    pub(super) fn full_name(&self) -> Result<Vec<u8>> {
        let prefix = PREFIXES.iter().find(|(known, _)| *known == self.index);
        let (_, prefix) = prefix.ok_or_else(|| {
            Error::unsupported(format!("extended attributes of namespace {}", self.index))
        })?;
        Ok([prefix.as_bytes(), &self.name].concat())
    }
}

/// Namespace and rest of a whole name.
pub(super) fn split_name(name: &[u8]) -> Result<(u8, &[u8])> {
    let known = PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(prefix.as_bytes())?;
        (rest.is_empty() != prefix.ends_with('.')).then_some((*index, rest))
    });
    match known {
        Some((index, rest))
            if rest.len() <= 255 && !rest.contains(&0) && (index, rest) != (SYSTEM, b"data") =>
        {
            Ok((index, rest))
        }
        _ => Err(Error::invalid(format!(
            "'{}' is not a name of an extended attribute",
            String::from_utf8_lossy(name)
        ))
        .with_hint("names begin with user., trusted., security. or system.")),
    }
}

/// Attributes in the area behind an inode's fields.
pub(super) fn parse_area(area: &[u8], found: &mut Vec<Attribute>) -> Result<()> {
    if area.len() < AREA_HEADER + END.len() || AreaHeader::over(area)?.h_magic() != MAGIC {
        return Ok(());
    }
    parse_entries(&area[AREA_HEADER..], 0, found)
}

/// Attributes in the block `number`; returns how many inodes share it (`h_refcount`).
pub(super) fn parse_block(
    superblock: &Superblock,
    block: &[u8],
    number: u64,
    found: &mut Vec<Attribute>,
) -> Result<u32> {
    let header = BlockHeader::over(block)?;
    let count = header.h_refcount();
    ensure(
        header.h_magic() == MAGIC && header.h_blocks() == 1 && count > 0,
        || format!("block {number} is not a block of extended attributes"),
    )?;
    if let Some(seed) = superblock.seed() {
        ensure(
            header.h_checksum() == block_checksum(seed, number, block),
            || format!("the checksum of xattr block {number} does not match"),
        )?;
    }
    parse_entries(block, BLOCK_HEADER, found)?;
    Ok(count)
}

/// `h_checksum`: over the block's number and its bytes with the field zero.
fn block_checksum(seed: u32, number: u64, block: &[u8]) -> u32 {
    let crc = checksum::crc32c(seed, &number.to_le_bytes());
    checksum::crc32c_without(crc, block, BlockHeader::<Place>::h_checksum())
}

/// Entries of `bytes` from `at` to the four zero bytes that end them.
fn parse_entries(bytes: &[u8], mut at: usize, found: &mut Vec<Attribute>) -> Result<()> {
    let f = Fields::new("extended attributes", bytes);
    while f.array(at)? != END {
        let entry = Entry::at(bytes, at)?;
        let name_len = usize::from(entry.e_name_len());
        let inode = entry.e_value_inum();
        let len = u64::from(entry.e_value_size());
        let value = match (inode, len) {
            (0, 0) => Value::Bytes(Vec::new()),
            (0, _) => Value::Bytes(
                f.slice(usize::from(entry.e_value_offs()), to_usize(len)?)?
                    .to_vec(),
            ),
            _ => Value::Inode(inode, len),
        };
        found.push(Attribute {
            index: entry.e_name_index(),
            name: f.slice(at + ENTRY, name_len)?.to_vec(),
            value,
        });
        at += ENTRY + name_len.next_multiple_of(4);
    }
    Ok(())
}

/// Changes how many inodes share a block, sealing it again.
pub(super) fn set_refcount(
    superblock: &Superblock,
    number: u64,
    block: &mut [u8],
    count: u32,
) -> Result<()> {
    BlockHeader::over(&mut block[..])?.set_refcount(count);
    seal_block(superblock, number, block)
}

fn seal_block(superblock: &Superblock, number: u64, block: &mut [u8]) -> Result<()> {
    if let Some(seed) = superblock.seed() {
        let crc = block_checksum(seed, number, block);
        BlockHeader::over(block)?.set_checksum(crc);
    }
    Ok(())
}

/// Parts attributes into those behind the inode's fields and those in a block, each in order. Inline content stays in
/// the inode; of the others, in order, each that fits does too.
pub(super) fn divide(
    mut attributes: Vec<Attribute>,
    area: usize,
    block: usize,
) -> Result<(Vec<Attribute>, Vec<Attribute>)> {
    attributes.sort_by(|a, b| {
        let key = |attribute: &Attribute| {
            (
                !attribute.is_inline_data(),
                attribute.index,
                attribute.name.len(),
            )
        };
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    // The magic and the end of the entries.
    let mut left = area.saturating_sub(AREA_HEADER + END.len());
    let mut block_left = block - BLOCK_HEADER - END.len();
    for attribute in attributes {
        let size = size_of(&attribute)?;
        if size <= left {
            left -= size;
            inside.push(attribute);
        } else if size <= block_left && !attribute.is_inline_data() {
            block_left -= size;
            outside.push(attribute);
        } else {
            let message = format!(
                "the extended attributes do not fit: one block of {block} bytes is left for what the inode cannot hold"
            );
            return Err(Error::unsupported(message).with_hint("use fewer or shorter ones"));
        }
    }
    Ok((inside, outside))
}

fn bytes_of(attribute: &Attribute) -> Result<&[u8]> {
    match &attribute.value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Inode(..) => Err(Error::unsupported(
            "an inode whose extended attribute lies in another inode (ea_inode) can be read but not changed",
        )),
    }
}

fn size_of(attribute: &Attribute) -> Result<usize> {
    Ok(ENTRY
        + attribute.name.len().next_multiple_of(4)
        + bytes_of(attribute)?.len().next_multiple_of(4))
}

/// Fills the area behind an inode's fields.
pub(super) fn write_area(area: &mut [u8], attributes: &[Attribute]) -> Result<()> {
    area.fill(0);
    if attributes.is_empty() {
        return Ok(());
    }
    AreaHeader::over(&mut area[..])?.set_magic(MAGIC);
    write_entries(&mut area[AREA_HEADER..], 0, attributes, false).map(drop)
}

/// The block `number` with these attributes, for one inode.
pub(super) fn write_block(
    superblock: &Superblock,
    number: u64,
    attributes: &[Attribute],
) -> Result<Vec<u8>> {
    let mut block = vec![0; superblock.block_bytes()];
    let hashes = write_entries(&mut block, BLOCK_HEADER, attributes, true)?;
    let all = hashes
        .iter()
        .fold(0u32, |all, hash| all.rotate_left(16) ^ hash);
    let known = hashes.iter().all(|hash| *hash != 0);
    let mut header = BlockHeader::over(&mut block[..])?;
    header.set_magic(MAGIC);
    header.set_refcount(1);
    header.set_blocks(1);
    header.set_hash(if known { all } else { 0 });
    seal_block(superblock, number, &mut block)?;
    Ok(block)
}

/// Writes entries from `at`, values from the end; returns the entries' hashes.
fn write_entries(
    bytes: &mut [u8],
    mut at: usize,
    attributes: &[Attribute],
    hashed: bool,
) -> Result<Vec<u32>> {
    let mut end = bytes.len();
    let short = |value: usize| {
        u16::try_from(value).map_err(|_| Error::internal("offsets of attributes have 16 bits"))
    };
    let mut hashes = Vec::new();
    for attribute in attributes {
        let value = bytes_of(attribute)?;
        end -= value.len().next_multiple_of(4);
        bytes[end..end + value.len()].copy_from_slice(value);
        let hash = if hashed {
            entry_hash(&attribute.name, value)
        } else {
            0
        };
        hashes.push(hash);
        let mut entry = Entry::over(&mut bytes[at..])?;
        entry.set_name_len(u8::try_from(attribute.name.len()).unwrap_or(u8::MAX));
        entry.set_name_index(attribute.index);
        entry.set_value_offs(short(if value.is_empty() { 0 } else { end })?);
        entry.set_value_size(short(value.len())?.into());
        entry.set_hash(hash);
        bytes[at + ENTRY..at + ENTRY + attribute.name.len()].copy_from_slice(&attribute.name);
        at += ENTRY + attribute.name.len().next_multiple_of(4);
    }
    Ok(hashes)
}

/// `e_hash`: of the name's bytes, then of the value's words.
fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let hash = name
        .iter()
        .fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    value.chunks(4).fold(hash, |hash, chunk| {
        let word = chunk
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        hash.rotate_left(16) ^ word
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(index: u8, name: &str, len: usize) -> Attribute {
        Attribute {
            index,
            name: name.into(),
            value: Value::Bytes(vec![7; len]),
        }
    }

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
        assert_eq!(found[0].full_name().unwrap(), b"user.a");
        assert_eq!(found[0].value, Value::Bytes(b"data".to_vec()));
        area[6] = 90;
        assert!(parse_area(&area, &mut found).is_err());
        area[6] = 80;
        area[5] = 99;
        parse_area(&area, &mut found).unwrap();
        assert!(found[1].full_name().is_err());
    }

    #[test]
    fn what_is_divided_and_written_comes_back() {
        let all = vec![
            attribute(6, "capability", 40),
            attribute(1, "big", 300),
            attribute(7, "data", 12),
        ];
        let (inside, outside) = divide(all.clone(), 96, 1024).unwrap();
        let names = |list: &[Attribute]| {
            list.iter()
                .map(|a| a.full_name().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (names(&inside), names(&outside)),
            (
                vec![b"system.data".to_vec()],
                vec![b"user.big".to_vec(), b"security.capability".to_vec()]
            )
        );
        let mut area = vec![1; 96];
        write_area(&mut area, &inside).unwrap();
        let mut found = Vec::new();
        parse_area(&area, &mut found).unwrap();
        assert_eq!(found, inside);
        assert!(divide(vec![attribute(1, "big", 5000)], 96, 4096).is_err());
        assert!(divide(vec![attribute(7, "data", 200)], 96, 4096).is_err());
    }

    #[test]
    fn names_are_split_by_namespace() {
        assert_eq!(split_name(b"user.x").unwrap(), (1, &b"x"[..]));
        assert_eq!(
            split_name(b"system.posix_acl_access").unwrap(),
            (2, &b""[..])
        );
        for name in [
            &b"user."[..],
            b"nonsense",
            b"user.a\0b",
            b"system.data",
            b"system.posix_acl_accessx.",
            b"",
        ] {
            let split = split_name(name);
            assert!(split.is_err() || split.unwrap().0 == 7, "{name:?}");
        }
    }
}
