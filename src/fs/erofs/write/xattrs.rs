//! Extended attributes: what several inodes have is stored once, the rest behind its inode.

use std::collections::BTreeMap;

use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};
use crate::fs::Xattr;
use crate::fs::erofs::xattr::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, split_name};
use crate::fs::source::{Node, XattrSets};

/// Longest value: its length has 16 bits.
const VALUE_MAX: usize = 65_535;
/// Longest name behind its prefix.
const NAME_MAX: usize = 255;
/// Most shared attributes of an inode: their count has 8 bits.
const SHARED_MAX: usize = 255;
/// Most units of 4 bytes behind an inode.
const UNITS_MAX: u64 = 65_535;

/// Whether an attribute of this name can be stored.
pub(super) fn is_storable(name: &[u8]) -> bool {
    split_name(name).is_some()
}

/// An error where an attribute has too much of something.
pub(super) fn check(xattr: &Xattr) -> Result<()> {
    let name = split_name(&xattr.name).map_or(&[][..], |(_, rest)| rest);
    let fault = match () {
        () if name.len() > NAME_MAX => {
            format!("a name of {} bytes, at most {NAME_MAX}", name.len())
        }
        () if name.contains(&0) => "a NUL byte in its name, none".to_owned(),
        () if xattr.value.len() > VALUE_MAX => format!(
            "a value of {} bytes, at most {VALUE_MAX}",
            xattr.value.len()
        ),
        () => return Ok(()),
    };
    Err(Error::unsupported(format!(
        "extended attribute '{}' has {fault} are possible",
        xattr.name.escape_ascii()
    ))
    .because(Reason::Limit))
}

/// All attributes as they are stored.
#[derive(Debug)]
pub(super) struct Stored {
    /// The table of shared ones.
    pub table: Vec<u8>,
    /// What lies behind an inode, by the number of its set.
    pub bodies: Vec<Vec<u8>>,
}

/// Encodes the attributes of all nodes that have a name.
pub(super) fn encode(sets: &XattrSets, nodes: &[Node]) -> Result<Stored> {
    let sets = sets.in_order();
    let mut uses: BTreeMap<&Xattr, u32> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.nlink > 0) {
        let set = node
            .xattrs
            .and_then(|number| sets.get(usize::try_from(number).ok()?));
        for xattr in set.into_iter().flat_map(|set| set.iter()) {
            *uses.entry(xattr).or_default() += 1;
        }
    }
    let mut table = Vec::new();
    let mut shared: BTreeMap<&Xattr, u32> = BTreeMap::new();
    for (xattr, _) in uses.into_iter().filter(|(_, count)| *count > 1) {
        let number = u32::try_from(table.len() / ENTRY_BYTES).map_err(|_| {
            Error::unsupported("shared attributes of more than 16 GiB").because(Reason::Limit)
        })?;
        shared.insert(xattr, number);
        put(&mut table, xattr)?;
    }
    let bodies = sets
        .into_iter()
        .map(|set| body(set, &shared))
        .collect::<Result<_>>()?;
    Ok(Stored { table, bodies })
}

/// What lies behind an inode with a set of attributes.
fn body(set: &[Xattr], shared: &BTreeMap<&Xattr, u32>) -> Result<Vec<u8>> {
    let mut numbers = Vec::new();
    let mut own = Vec::new();
    for xattr in set {
        match shared.get(xattr) {
            Some(number) if numbers.len() < SHARED_MAX => numbers.push(*number),
            _ => own.push(xattr),
        }
    }
    let mut header = Header::zeroed();
    header
        .set_shared_count(u8::try_from(numbers.len()).map_err(|_| Error::internal("at most 255"))?);
    let mut body = header.into_inner();
    body.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
    for xattr in own {
        put(&mut body, xattr)?;
    }
    units(to_u64(body.len()))?;
    Ok(body)
}

/// `i_xattr_icount` of an inode with so many bytes of attributes.
pub(super) fn units(bytes: u64) -> Result<u16> {
    if bytes == 0 {
        return Ok(0);
    }
    let units = 1 + (bytes - HEADER_BYTES) / to_u64(ENTRY_BYTES);
    u16::try_from(units).map_err(|_| {
        Error::unsupported(format!(
            "extended attributes of {bytes} bytes at one file: at most {} are possible",
            UNITS_MAX * 4 + 8
        ))
        .because(Reason::Limit)
    })
}

/// Appends an entry with its padding.
fn put(out: &mut Vec<u8>, xattr: &Xattr) -> Result<()> {
    let (index, name) =
        split_name(&xattr.name).ok_or_else(|| Error::internal("an attribute that was left out"))?;
    let mut entry = Entry::zeroed();
    entry.set_name_len(
        u8::try_from(name.len()).map_err(|_| Error::internal("a name was not checked"))?,
    );
    entry.set_name_index(index);
    entry.set_value_size(
        u16::try_from(xattr.value.len()).map_err(|_| Error::internal("a value was not checked"))?,
    );
    out.extend_from_slice(entry.bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&xattr.value);
    out.resize(out.len().next_multiple_of(ENTRY_BYTES), 0);
    Ok(())
}
