//! Directory entries and extended attributes, which share one structure (`struct btrfs_dir_item`).
//!
//! An entry is found by the hash of its name. Names with the same hash lie one behind the other in one item.

use super::key::{KEY_LEN, Key, kind, object};
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result};
use crate::fs::FileType;

/// Bytes before the name.
pub(super) const DIR_ITEM_LEN: usize = KEY_LEN + 13;
/// Longest name of an entry or attribute (`BTRFS_NAME_LEN`).
const NAME_MAX: usize = 255;

/// The `BTRFS_FT_XATTR` of an attribute.
pub(super) const XATTR_TYPE: u8 = 8;

/// An entry of a directory, or an attribute with its value in `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirItem<'a> {
    /// The inode or subvolume meant.
    pub location: Key,
    pub transid: u64,
    /// `BTRFS_FT_*`.
    pub item_type: u8,
    pub name: &'a [u8],
    pub data: &'a [u8],
}

impl DirItem<'_> {
    /// The type that the entry claims for its inode.
    pub(super) fn file_type(&self) -> Result<FileType> {
        FileType::from_entry_code(self.item_type).ok_or_else(|| {
            Error::corrupt(format!(
                "directory entry of the unknown type {}",
                self.item_type
            ))
        })
    }

    /// Its form on disk. Names and attributes are checked to fit a leaf, so their lengths fit 16 bits.
    pub(super) fn to_disk(&self) -> Result<Vec<u8>> {
        let length = |bytes: &[u8]| {
            u16::try_from(bytes.len()).map_err(|_| {
                Error::invalid(format!("{} bytes, at most 65535 are possible", bytes.len()))
            })
        };
        let mut item = Vec::with_capacity(DIR_ITEM_LEN + self.name.len() + self.data.len());
        item.extend(self.location.to_disk());
        item.extend(self.transid.to_le_bytes());
        item.extend(length(self.data)?.to_le_bytes());
        item.extend(length(self.name)?.to_le_bytes());
        item.push(self.item_type);
        item.extend(self.name);
        item.extend(self.data);
        Ok(item)
    }

    /// Whether it leads to another subvolume.
    pub(super) fn is_subvolume(&self) -> bool {
        self.location.kind == kind::ROOT_ITEM
    }

    /// Checks an entry of a directory: a name that can stand in a path, an inode or subvolume below the root.
    pub(super) fn check_entry(&self) -> Result<()> {
        let bad_name = self.name.is_empty()
            || self.name == b"."
            || self.name == b".."
            || self.name.iter().any(|&byte| byte == b'/' || byte == 0);
        if bad_name || !self.data.is_empty() {
            return Err(Error::corrupt(format!(
                "directory entry '{}' has an impossible name or data",
                self.name.escape_ascii()
            )));
        }
        let inodes = object::FIRST_FREE + 1..=object::LAST_FREE;
        let possible = match self.location.kind {
            kind::INODE_ITEM => {
                inodes.contains(&self.location.objectid) && self.location.offset == 0
            }
            kind::ROOT_ITEM => self.item_type == 2,
            _ => false,
        };
        if !possible {
            return Err(Error::corrupt(format!(
                "directory entry '{}' leads to {}",
                self.name.escape_ascii(),
                self.location
            )));
        }
        Ok(())
    }
}

/// Takes an item apart into its entries.
pub(super) fn parse_all(item: &[u8]) -> Result<Vec<DirItem<'_>>> {
    let mut entries = Vec::new();
    let mut rest = item;
    while !rest.is_empty() {
        let fields = Fields::new("btrfs directory item", rest);
        let data_len = to_usize(fields.le16(KEY_LEN + 8)?.into())?;
        let name_len = to_usize(fields.le16(KEY_LEN + 10)?.into())?;
        if name_len > NAME_MAX {
            return Err(Error::corrupt(format!(
                "a name of {name_len} bytes, at most {NAME_MAX} are possible"
            )));
        }
        entries.push(DirItem {
            location: Key::parse(&fields, 0)?,
            transid: fields.le64(KEY_LEN)?,
            item_type: fields.u8(KEY_LEN + 12)?,
            name: fields.slice(DIR_ITEM_LEN, name_len)?,
            data: fields.slice(DIR_ITEM_LEN + name_len, data_len)?,
        });
        rest = &rest[DIR_ITEM_LEN + name_len + data_len..];
    }
    Ok(entries)
}
