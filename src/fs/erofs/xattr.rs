//! Extended attributes: those of an inode alone behind it, those of several in a table, by number.
//!
//! ```text
//!   inode │ filter u32, shared u8, 7 │ number of a shared one u32 … │ entry │ entry …
//!   entry   name len u8, index u8, value len u16 │ name │ value │ pad to 4         index: user., trusted., … or a long prefix
//! ```

use super::inode::Inode;
use super::volume::Volume;
use crate::block::BlockDevice;
use crate::bytes::{Fields, structure, to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::Xattr;

/// Set where the index of a name is that of a long prefix (`EROFS_XATTR_LONG_PREFIX`).
const LONG_PREFIX: u8 = 0x80;
/// Longest name (`XATTR_NAME_MAX` of Linux).
const NAME_MAX: usize = 255;
/// Bytes of the header.
pub(super) const HEADER_BYTES: u64 = 12;
/// Bytes of an entry before its name.
pub(super) const ENTRY_BYTES: usize = 4;
/// Begins of names that have a number, by it.
const NAMES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

structure! {
    /// `struct erofs_xattr_ibody_header`
    pub(super) struct Header: "xattr header", Little, 12 {
        /// Which names there are not; a help for the kernel that is passed over here.
        0 => h_name_filter / set_name_filter: u32,
        /// Attributes in the table of shared ones.
        4 => h_shared_count / set_shared_count: u8,
    }
}

structure! {
    /// `struct erofs_xattr_entry`
    pub(super) struct Entry: "xattr entry", Little, 4 {
        /// Bytes of the name behind its prefix.
        0 => e_name_len / set_name_len: u8,
        /// The prefix.
        1 => e_name_index / set_name_index: u8,
        /// Bytes of the value.
        2 => e_value_size / set_value_size: u16,
    }
}

/// A long prefix of names.
#[derive(Debug)]
pub(super) struct Prefix(Vec<u8>);

/// The number of the prefix that `name` begins with, and the rest of it.
pub(super) fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    NAMES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        // Access control lists have no name behind the prefix, all others do.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((*index, rest))
    })
}

/// Reads the long prefixes: each 16 bits of length, the number of a short prefix, and what follows it.
pub(super) fn read_prefixes<D: BlockDevice>(volume: &Volume<D>) -> Result<Vec<Prefix>> {
    let (count, mut at) = volume.superblock.prefixes;
    let mut prefixes = Vec::with_capacity(count.into());
    for _ in 0..count {
        at = at.next_multiple_of(4);
        let mut len = [0; 2];
        read_at(volume, at, &mut len)?;
        let len = usize::from(u16::from_le_bytes(len));
        if len == 0 || len > 1 + NAME_MAX {
            return Err(Error::corrupt(format!(
                "a prefix of {len} bytes, 1 to {} are possible",
                1 + NAME_MAX
            )));
        }
        let mut bytes = vec![0; len];
        read_at(volume, at + 2, &mut bytes)?;
        prefixes.push(Prefix([short_prefix(bytes[0])?, &bytes[1..]].concat()));
        at += 2 + to_u64(len);
    }
    Ok(prefixes)
}

/// Reads where long prefixes lie: in the packed inode, or on the device.
fn read_at<D: BlockDevice>(volume: &Volume<D>, at: u64, buf: &mut [u8]) -> Result<()> {
    match volume
        .packed
        .as_ref()
        .filter(|_| volume.superblock.has_packed_prefixes())
    {
        Some(packed) if at + to_u64(buf.len()) <= packed.size => packed.read(volume, at, buf),
        Some(packed) => Err(Error::corrupt(format!(
            "at {at} of the packed inode, which has {} bytes",
            packed.size
        ))),
        None => volume.read_meta(at, buf),
    }
}

fn short_prefix(index: u8) -> Result<&'static [u8]> {
    let known = NAMES.iter().find(|(number, _)| *number == index);
    known.map(|(_, prefix)| *prefix).ok_or_else(|| {
        Error::unsupported(format!("xattr namespace {index}")).because(Reason::Feature)
    })
}

/// The attributes of an inode, sorted by name.
pub(super) fn read<D: BlockDevice>(volume: &Volume<D>, inode: &Inode) -> Result<Vec<Xattr>> {
    if inode.xattr_bytes <= HEADER_BYTES {
        return Ok(Vec::new());
    }
    // At most 256 KiB: it comes from a number of 16 bits.
    let mut body = vec![0; to_usize(inode.xattr_bytes)?];
    volume.read_meta(inode.xattr_position, &mut body)?;
    let fields = Fields::new("xattrs of an inode", &body);
    let shared = usize::from(Header::over(&body[..])?.h_shared_count());
    let mut at = to_usize(HEADER_BYTES)?;
    let mut xattrs = Vec::new();
    for _ in 0..shared {
        let number = fields.le32(at)?;
        at += 4;
        xattrs.push(read_shared(volume, number).at(|| format!("shared xattr {number}"))?);
    }
    while at < body.len() {
        let (xattr, len) = parse(volume, &body[at..])?;
        xattrs.push(xattr);
        at += len;
    }
    xattrs.sort();
    if let Some(pair) = xattrs.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::corrupt(format!(
            "two xattrs named '{}'",
            pair[0].name.escape_ascii()
        )));
    }
    Ok(xattrs)
}

/// An attribute of the table, which counts in units of 4 bytes.
fn read_shared<D: BlockDevice>(volume: &Volume<D>, number: u32) -> Result<Xattr> {
    let position =
        (volume.superblock.xattr_block << volume.superblock.block_bits) + u64::from(number) * 4;
    let entry = Entry::over(volume.meta::<ENTRY_BYTES>(position)?)?;
    let mut bytes = vec![0; entry_bytes(&entry)];
    volume.read_meta(position, &mut bytes)?;
    Ok(parse(volume, &bytes)?.0)
}

/// Bytes of an entry with its name and value.
fn entry_bytes<B: AsRef<[u8]>>(entry: &Entry<B>) -> usize {
    ENTRY_BYTES + usize::from(entry.e_name_len()) + usize::from(entry.e_value_size())
}

/// The attribute that `bytes` begin with, and its bytes with padding.
fn parse<D>(volume: &Volume<D>, bytes: &[u8]) -> Result<(Xattr, usize)> {
    let entry = Entry::over(bytes)?;
    let fields = Fields::new("xattr entry", bytes);
    let name_len = usize::from(entry.e_name_len());
    let index = entry.e_name_index();
    let prefix = match index & LONG_PREFIX {
        0 => short_prefix(index)?,
        _ => long_prefix(&volume.prefixes, index)?,
    };
    let name = [prefix, fields.slice(ENTRY_BYTES, name_len)?].concat();
    if name.contains(&0) {
        return Err(Error::corrupt(format!(
            "xattr name '{}' contains a NUL byte",
            name.escape_ascii()
        )));
    }
    let value = fields
        .slice(ENTRY_BYTES + name_len, entry.e_value_size().into())?
        .to_vec();
    Ok((
        Xattr { name, value },
        entry_bytes(&entry).next_multiple_of(ENTRY_BYTES),
    ))
}

fn long_prefix(prefixes: &[Prefix], index: u8) -> Result<&[u8]> {
    let number = usize::from(index & !LONG_PREFIX);
    let prefix = prefixes.get(number);
    let prefix = prefix.ok_or_else(|| {
        Error::corrupt(format!("prefix {number} of {} for names", prefixes.len()))
    })?;
    Ok(&prefix.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_behind_known_prefixes() {
        assert_eq!(split_name(b"user.a"), Some((1, &b"a"[..])));
        assert_eq!(
            split_name(b"security.capability"),
            Some((6, &b"capability"[..]))
        );
        assert_eq!(split_name(b"system.posix_acl_default"), Some((3, &b""[..])));
        for other in [
            "user.",
            "system.posix_acl_default2",
            "btrfs.compression",
            "",
        ] {
            assert_eq!(split_name(other.as_bytes()), None, "{other}");
        }
    }
}
