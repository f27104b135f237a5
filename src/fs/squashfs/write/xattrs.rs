//! Extended attributes: every different set is stored once.

use super::super::on_disk::{METADATA_BYTES, XattrEntry, XattrId, XattrIdTable, XattrValue};
use super::metadata::{MetaWriter, lookup_table};
use super::pack::Packer;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};
use crate::fs::Xattr;
use crate::fs::source::XattrSets;

/// Longest value (`XATTR_SIZE_MAX` of Linux).
const VALUE_MAX: usize = 65_536;
/// Longest name behind its namespace (`XATTR_NAME_MAX` of Linux).
const NAME_MAX: usize = 255;
/// The namespaces that squashfs knows, in the order of their numbers.
const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Whether squashfs can store an attribute of this name.
pub(super) fn is_storable(name: &[u8]) -> bool {
    NAMESPACES
        .iter()
        .any(|namespace| name.starts_with(namespace))
}

/// The tables of all sets at byte `start` of the image, and the offset that the superblock names; `None` where there are
/// none.
pub(super) fn encode(
    sets: &XattrSets,
    packer: &mut Packer,
    start: u64,
) -> Result<Option<(Vec<u8>, u64)>> {
    if sets.numbers.is_empty() {
        return Ok(None);
    }
    let mut stream = MetaWriter::new(packer);
    let mut ids = Vec::new();
    for set in sets.in_order() {
        let place = stream.place()?;
        let bytes = encode_set(set)?;
        stream.put(&bytes)?;
        let mut id = XattrId::blank();
        id.set_xattr(place.reference());
        id.set_count(short(set.len())?);
        id.set_size(short(bytes.len())?);
        ids.extend_from_slice(id.bytes());
    }
    let (mut bytes, _) = stream.finish()?;
    let (table, place) = lookup_table(packer, &ids, start + to_u64(bytes.len()))?;
    // The offsets of the table's blocks come behind a header of their own: where the sets begin, and how many.
    let blocks = table.len() - ids.len().div_ceil(METADATA_BYTES) * size_of::<u64>();
    bytes.extend_from_slice(&table[..blocks]);
    let mut header = XattrIdTable::blank();
    header.set_xattr_table_start(start);
    header.set_xattr_ids(short(sets.numbers.len())?);
    bytes.extend_from_slice(header.bytes());
    bytes.extend_from_slice(&table[blocks..]);
    Ok(Some((bytes, place)))
}

fn short(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| {
        Error::unsupported("extended attributes of more than 4 GiB").because(Reason::Limit)
    })
}

pub(super) fn check(xattr: &Xattr) -> Result<()> {
    let (_, name) = split(&xattr.name)?;
    let fault = match () {
        () if name.is_empty() || name.len() > NAME_MAX => {
            format!("a name of {} bytes, 1 to {NAME_MAX}", name.len())
        }
        () if name.contains(&0) => "a NUL byte in its name, none".to_owned(),
        () if xattr.value.len() > VALUE_MAX => {
            format!(
                "a value of {} bytes, at most {VALUE_MAX}",
                xattr.value.len()
            )
        }
        () => return Ok(()),
    };
    Err(Error::unsupported(format!(
        "extended attribute '{}' has {fault} are possible",
        xattr.name.escape_ascii()
    )))
}

/// The number of the namespace, and the name behind it.
fn split(name: &[u8]) -> Result<(u16, &[u8])> {
    (0..)
        .zip(NAMESPACES)
        .find_map(|(number, namespace)| Some((number, name.strip_prefix(namespace)?)))
        .ok_or_else(|| Error::internal(format!("squashfs cannot store '{}'", name.escape_ascii())))
}

/// Keys and values of a set, one behind the other.
fn encode_set(set: &[Xattr]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for xattr in set {
        let (namespace, name) = split(&xattr.name)?;
        let mut entry = XattrEntry::blank();
        entry.set_entry_type(namespace);
        entry.set_size(u16::try_from(name.len()).map_err(|_| Error::internal("checked"))?);
        let mut value = XattrValue::blank();
        value.set_vsize(short(xattr.value.len())?);
        bytes.extend_from_slice(entry.bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value.bytes());
        bytes.extend_from_slice(&xattr.value);
    }
    Ok(bytes)
}
