//! Directory entries and extended attributes, which share one structure (`struct btrfs_dir_item`).
//!
//! An entry is found by the hash of its name. Names with the same hash lie one behind the other in one item.

use super::key::{Key, kind, object};
use crate::bytes::{Fields, structure};
use crate::error::{Error, Result};
use crate::fs::FileType;

structure! {
    /// An entry before its name and data (`struct btrfs_dir_item`).
    struct DirItemHead: "btrfs directory item", Little, 30 {
        /// The inode or subvolume meant; zeroes for an attribute.
        0 => location / set_location: Key,
        /// The transaction that made it.
        17 => transid / set_transid: u64,
        /// Bytes of the attribute's value, behind the name.
        25 => data_len / set_data_len: u16,
        /// Bytes of the name, which follows.
        27 => name_len / set_name_len: u16,
        /// `type`: `BTRFS_FT_*`.
        29 => item_type / set_item_type: u8,
    }
}

/// Bytes before the name.
pub(super) const DIR_ITEM_LEN: usize = DirItemHead::<&[u8]>::SIZE;
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
        let mut head = DirItemHead::blank();
        head.set_location(self.location);
        head.set_transid(self.transid);
        head.set_data_len(length(self.data)?);
        head.set_name_len(length(self.name)?);
        head.set_item_type(self.item_type);
        item.extend(head.into_inner());
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
        let head = DirItemHead::over(rest)?;
        let data_len = usize::from(head.data_len());
        let name_len = usize::from(head.name_len());
        if name_len > NAME_MAX {
            return Err(Error::corrupt(format!(
                "a name of {name_len} bytes, at most {NAME_MAX} are possible"
            )));
        }
        let fields = Fields::new("btrfs directory item", rest);
        entries.push(DirItem {
            location: head.location(),
            transid: head.transid(),
            item_type: head.item_type(),
            name: fields.slice(DIR_ITEM_LEN, name_len)?,
            data: fields.slice(DIR_ITEM_LEN + name_len, data_len)?,
        });
        rest = &rest[DIR_ITEM_LEN + name_len + data_len..];
    }
    Ok(entries)
}
