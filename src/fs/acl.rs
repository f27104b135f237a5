//! POSIX access control lists in the forms in which filesystems, programs and archives have them.
//!
//! ```text
//!   getxattr, btrfs, squashfs   version 2: 2u32, then for each entry: tag u16, permissions u16, id u32 (ones where there is none)
//!   ext4 on disk                version 1: 1u32, then for each entry: tag u16, permissions u16, id u32 only for users and groups
//!   archives of star and BSD    text: user::rw-,user:joe:r--:1000,group::r--,mask::r--,other::---
//! ```
//!
//! Sources: Linux `include/uapi/linux/posix_acl_xattr.h`, `fs/ext4/acl.h`; POSIX.1e draft 17, "long text form".

use crate::bytes::Fields;
use crate::error::{Error, Result};

/// The access control list of an entry.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// What entries that are made in a folder get.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// `POSIX_ACL_XATTR_VERSION`
const VERSION: u32 = 2;
/// `EXT4_ACL_VERSION`
const EXT4_VERSION: u32 = 1;
/// `ACL_UNDEFINED_ID`
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Whether an attribute of this name is an access control list.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    tag: u16,
    id: u32,
    permissions: u16,
}

impl Entry {
    fn has_id(self) -> bool {
        matches!(self.tag, USER | GROUP)
    }

    fn check(self) -> Result<Self> {
        let is_known = [USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER].contains(&self.tag)
            && self.permissions <= 7;
        if is_known {
            Ok(self)
        } else {
            Err(fault(&format!("an entry has the tag {:#x}", self.tag)))
        }
    }
}

fn fault(what: &str) -> Error {
    Error::invalid(format!("this is no access control list: {what}"))
}

/// ext4's form of a list in `getxattr`'s.
pub(super) fn to_ext4(value: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = EXT4_VERSION.to_le_bytes().to_vec();
    for entry in parse(value)? {
        bytes.extend_from_slice(&entry.tag.to_le_bytes());
        bytes.extend_from_slice(&entry.permissions.to_le_bytes());
        if entry.has_id() {
            bytes.extend_from_slice(&entry.id.to_le_bytes());
        }
    }
    Ok(bytes)
}

/// The form of `getxattr` of a list in ext4's.
pub(super) fn from_ext4(value: &[u8]) -> Result<Vec<u8>> {
    let fields = Fields::new("access control list", value);
    if fields.le32(0)? != EXT4_VERSION {
        return Err(Error::corrupt(format!(
            "an access control list of version {}, not 1",
            fields.le32(0)?
        )));
    }
    let mut entries = Vec::new();
    let mut at = 4;
    while at < value.len() {
        let entry = Entry {
            tag: fields.le16(at)?,
            permissions: fields.le16(at + 2)?,
            id: NO_ID,
        }
        .check()?;
        at += 4;
        let id = if entry.has_id() {
            fields.le32(at)?
        } else {
            NO_ID
        };
        at += if entry.has_id() { 4 } else { 0 };
        entries.push(Entry { id, ..entry });
    }
    Ok(to_bytes(&entries))
}

fn parse(value: &[u8]) -> Result<Vec<Entry>> {
    let fields = Fields::new("access control list", value);
    if value.len() < 4 || !(value.len() - 4).is_multiple_of(8) || fields.le32(0)? != VERSION {
        return Err(fault("it has not the form that Linux gives it"));
    }
    let entry = |at: usize| {
        Entry {
            tag: fields.le16(at)?,
            permissions: fields.le16(at + 2)?,
            id: fields.le32(at + 4)?,
        }
        .check()
    };
    (4..value.len()).step_by(8).map(entry).collect()
}

fn to_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        bytes.extend_from_slice(&entry.tag.to_le_bytes());
        bytes.extend_from_slice(&entry.permissions.to_le_bytes());
        bytes.extend_from_slice(&entry.id.to_le_bytes());
    }
    bytes
}

/// A list that an archive holds as text, in `getxattr`'s form. Users and groups must have numbers: names mean nothing to an
/// image.
///
/// # Errors
/// What is no such text, and entries for a user or group that only has a name.
pub(crate) fn from_text(text: &str) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    let lines = text
        .split([',', '\n'])
        .map(|entry| entry.split('#').next().unwrap_or_default().trim());
    for line in lines.filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(':').map(str::trim).collect();
        // Solaris' form has no empty field for masks and others.
        let (kind, qualifier, permissions, number) = match fields.as_slice() {
            [kind @ ("mask" | "m" | "other" | "o"), permissions] => (*kind, "", *permissions, None),
            [kind, qualifier, permissions] => (*kind, *qualifier, *permissions, None),
            [kind, qualifier, permissions, number] => {
                (*kind, *qualifier, *permissions, Some(*number))
            }
            _ => return Err(fault(&format!("'{}'", line.escape_debug()))),
        };
        let tag = match (kind, qualifier) {
            ("user" | "u", "") => USER_OBJ,
            ("user" | "u", _) => USER,
            ("group" | "g", "") => GROUP_OBJ,
            ("group" | "g", _) => GROUP,
            ("mask" | "m", "") => MASK,
            ("other" | "o", "") => OTHER,
            _ => return Err(fault(&format!("'{}'", line.escape_debug()))),
        };
        let id = match tag {
            USER | GROUP => number.unwrap_or(qualifier).parse().map_err(|_| {
                Error::unsupported(format!(
                    "the access control list names '{}' without a number",
                    qualifier.escape_debug()
                ))
            })?,
            _ => NO_ID,
        };
        entries.push(Entry {
            tag,
            id,
            permissions: permission_bits(permissions)?,
        });
    }
    if entries.is_empty() {
        return Err(fault("it is empty"));
    }
    // The order in which Linux wants them.
    entries.sort_unstable();
    Ok(to_bytes(&entries))
}

fn permission_bits(text: &str) -> Result<u16> {
    text.chars().try_fold(0, |bits, c| match c {
        'r' => Ok(bits | 4),
        'w' => Ok(bits | 2),
        'x' => Ok(bits | 1),
        '-' => Ok(bits),
        _ => Err(fault(&format!(
            "'{}' are no permissions",
            text.escape_debug()
        ))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "user::rw-,user:joe:r--:1000,group::r--,group:7:rwx,mask::r-x,other::---";

    #[test]
    fn all_forms_say_the_same() {
        let list = from_text(TEXT).unwrap();
        assert_eq!(list.len(), 4 + 6 * 8);
        assert_eq!(&list[..12], &[2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255]);
        assert_eq!(&list[12..20], &[2, 0, 4, 0, 0xe8, 3, 0, 0]);
        let ext4 = to_ext4(&list).unwrap();
        assert_eq!(ext4.len(), 4 + 4 * 4 + 2 * 8);
        assert_eq!(
            &ext4[..16],
            &[1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0]
        );
        assert_eq!(from_ext4(&ext4).unwrap(), list);
        let lines = "other:---\nmask:r-x # a word\nu:1000:r\ng::r\ng:7:rwx\nu::rw";
        assert_eq!(
            from_text(lines).unwrap(),
            list,
            "in any order, and in short words"
        );
        assert!(is_acl(ACCESS) && is_acl(DEFAULT) && !is_acl(b"user.acl"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            ",",
            "user",
            "user:joe:r--",
            "user::rwz",
            "nobody::r--",
            "mask:1:r",
            "user:::::",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
        let list = from_text(TEXT).unwrap();
        for (at, byte) in [(0, 1), (4, 3), (6, 8)] {
            let mut broken = list.clone();
            broken[at] = byte;
            assert!(to_ext4(&broken).is_err(), "{at}");
        }
        assert!(to_ext4(&list[..list.len() - 1]).is_err() && to_ext4(b"").is_err());
        let ext4 = to_ext4(&list).unwrap();
        for len in 0..ext4.len() {
            let _ = from_ext4(&ext4[..len]);
        }
        assert!(from_ext4(&ext4[..ext4.len() - 1]).is_err() && from_ext4(&list).is_err());
    }
}
