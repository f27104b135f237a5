//! Extended attributes: inode → id table (`squashfs_xattr_id`) → list of keys and values, long values out of line.
//!
//! ```text
//!  │type │size │name│vsize │value│         type & 0x100: the value is a u64 reference to vsize + value elsewhere
//! ```

use super::on_disk::{XattrEntry, XattrId, XattrIdTable, XattrReference, XattrValue};
use super::volume::{MetaReader, Place, Volume};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::Xattr;

/// Longest value (`XATTR_SIZE_MAX` of Linux).
const VALUE_MAX: u32 = 65_536;
/// Longest name behind its namespace (`XATTR_NAME_MAX` of Linux).
const NAME_MAX: u16 = 255;
/// Most attributes of one entry: their names alone fill the list that Linux can return (`XATTR_LIST_MAX`, 64 KiB).
const COUNT_MAX: u32 = 16_384;
/// All values of one entry together; many references may name one long value.
const TOTAL_MAX: usize = 16 << 20;
/// Set in the type of an attribute whose value lies elsewhere (`SQUASHFS_XATTR_VALUE_OOL`).
const OUT_OF_LINE: u16 = 0x100;

/// Where the attributes of all entries lie.
struct Table {
    /// Start of the keys and values.
    start: u64,
    ids: u32,
    /// Start of the lookup table of ids.
    lookup: u64,
}

/// The attributes that inodes call `index`, sorted by name.
pub(super) fn read<D: BlockDevice>(volume: &Volume<D>, index: u32) -> Result<Vec<Xattr>> {
    let table = table(volume)?;
    if index >= table.ids {
        return Err(Error::corrupt(format!(
            "xattr set {index} of {}",
            table.ids
        )));
    }
    let id: [u8; XattrId::<&[u8]>::SIZE] = volume
        .table_entry(table.lookup, index)
        .at(|| "xattr id table")?;
    let id = XattrId::over(id)?;
    let count = id.count();
    if count > COUNT_MAX {
        return Err(Error::corrupt(format!(
            "{count} xattrs of one entry, at most {COUNT_MAX} are possible"
        )));
    }
    let mut meta = at(volume, &table, id.xattr())?;
    let mut xattrs = Vec::new();
    let mut total = 0;
    for _ in 0..count {
        let xattr = entry(volume, &table, &mut meta)?;
        total += xattr.value.len();
        if total > TOTAL_MAX {
            return Err(Error::unsupported(format!(
                "xattrs of more than {TOTAL_MAX} bytes at one entry"
            ))
            .because(Reason::Limit));
        }
        xattrs.push(xattr);
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

fn table<D: BlockDevice>(volume: &Volume<D>) -> Result<Table> {
    let start = volume.superblock.xattr_id_table_start;
    let start = start.ok_or_else(|| {
        Error::corrupt("an entry has xattrs, the filesystem has no table of them")
    })?;
    let mut header = XattrIdTable::blank();
    volume
        .read(start, header.bytes_mut())
        .at(|| "xattr table")?;
    Ok(Table {
        start: header.xattr_table_start(),
        ids: header.xattr_ids(),
        lookup: start.saturating_add(to_u64(XattrIdTable::<&[u8]>::SIZE)),
    })
}

/// A reader at a reference: 48 bits of block offset from the table's start, 16 bits of byte offset.
fn at<'a, D: BlockDevice>(
    volume: &'a Volume<D>,
    table: &Table,
    reference: u64,
) -> Result<MetaReader<'a, D>> {
    let block = table.start.saturating_add(reference >> 16);
    Ok(volume.meta(
        Place {
            block,
            offset: to_usize(reference & 0xffff)?,
        },
        table.lookup,
    ))
}

fn entry<D: BlockDevice>(
    volume: &Volume<D>,
    table: &Table,
    meta: &mut MetaReader<'_, D>,
) -> Result<Xattr> {
    let mut head = XattrEntry::blank();
    meta.fill(head.bytes_mut())?;
    let xattr_type = head.entry_type();
    let size = head.size();
    let namespace: &[u8] = match xattr_type & 0xff {
        0 => b"user.",
        1 => b"trusted.",
        2 => b"security.",
        other => {
            return Err(Error::unsupported(format!(
                "xattr namespace {other}, only 0 to 2 are known"
            )));
        }
    };
    if size == 0 || size > NAME_MAX {
        return Err(Error::corrupt(format!(
            "xattr name of {size} bytes, 1 to {NAME_MAX} are possible"
        )));
    }
    let name = [namespace, &meta.bytes(size.into())?].concat();
    if name.contains(&0) {
        return Err(Error::corrupt(format!(
            "xattr name '{}' contains a NUL byte",
            name.escape_ascii()
        )));
    }
    let value = if xattr_type & OUT_OF_LINE == 0 {
        value(meta)
    } else {
        let mut elsewhere = XattrReference::blank();
        meta.fill(elsewhere.bytes_mut())?;
        value(&mut at(volume, table, elsewhere.reference())?)
    };
    Ok(Xattr {
        value: value.at(|| name.escape_ascii().to_string())?,
        name,
    })
}

fn value<D: BlockDevice>(meta: &mut MetaReader<'_, D>) -> Result<Vec<u8>> {
    let mut head = XattrValue::blank();
    meta.fill(head.bytes_mut())?;
    let len = head.vsize();
    if len > VALUE_MAX {
        return Err(Error::corrupt(format!(
            "xattr value of {len} bytes, at most {VALUE_MAX} are possible"
        )));
    }
    meta.bytes(to_usize(len.into())?)
}
