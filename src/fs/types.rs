//! What filesystems say of their entries and of themselves.

use std::fmt;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use crate::error::{Error, Result};

/// Which filesystem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FsKind {
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// ext2, ext3 or ext4.
    Ext4,
    /// btrfs.
    Btrfs,
    /// squashfs 4.0.
    Squashfs,
    /// EROFS.
    Erofs,
    /// None yet: a tree that is put together to be written.
    Tree,
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fat => "vfat",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Tree => "tree",
        })
    }
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
}

impl FileType {
    /// The type in the `S_IFMT` bits of a Unix mode; `None` where they name no type.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharDevice,
            0o060_000 => Self::BlockDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The type in a directory entry (`FT_*` of Linux's `fs_types.h`); `None` where the code names no type.
    pub fn from_entry_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }

    /// The code of this type in a directory entry (`FT_*` of Linux's `fs_types.h`).
    pub fn entry_code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    /// The `S_IFMT` bits of this type.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
        }
    }
}

/// A time as filesystems store it: seconds since 1970 (negative before) and nanoseconds within the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Seconds since 1970, or a calendar time such as 2026-01-31T12:00:00Z.
impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let calendar = || {
            let time = humantime::parse_rfc3339(text)
                .ok()?
                .duration_since(UNIX_EPOCH)
                .ok()?;
            i64::try_from(time.as_secs()).ok()
        };
        let secs = text
            .parse::<i64>()
            .ok()
            .filter(|&secs| secs >= 0)
            .or_else(calendar)
            .ok_or_else(|| {
                Error::invalid(format!("'{}' is not a time", text.escape_debug()))
                    .with_hint("write seconds since 1970, or 2026-01-31T12:00:00Z")
            })?;
        Ok(Self { secs, nanos: 0 })
    }
}

/// An entry of one filesystem, by a number of the filesystem's own choice. Two names of one file have one node.
///
/// It holds until the filesystem is changed, and means nothing to another filesystem: there it leads to an error or to
/// some other entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(u64);

impl Node {
    /// For those who implement [`FileSystem`](super::FileSystem).
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number that the filesystem chose.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What is known of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its type.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes (of a symlink: of its target).
    pub size: u64,
    /// Number of hard links.
    pub nlink: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Major and minor number of a device node, else (0, 0).
    pub device: (u32, u32),
    /// Number that all hard links of one file share and no other entry has.
    pub inode: u64,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name: any bytes but NUL and slash.
    pub name: Vec<u8>,
    /// Its type.
    pub file_type: FileType,
    /// What it is the name of.
    pub node: Node,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The full name with its namespace: `security.selinux`.
    pub name: Vec<u8>,
    /// Its value, any bytes.
    pub value: Vec<u8>,
}

/// Room in a filesystem. Free counts what an ordinary file may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Size of the filesystem in bytes.
    pub total_bytes: u64,
    /// Bytes not in use.
    pub free_bytes: u64,
    /// Unit of allocation in bytes.
    pub block_bytes: u64,
    /// Inodes in all and not in use; `None` where the filesystem makes them as needed.
    pub inodes: Option<(u64, u64)>,
}

/// What a new entry gets. FAT keeps only the time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permission bits: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Stored as the entry's access, change, modification and (where there is one) birth time.
    pub mtime: Timestamp,
}

/// Fields of an entry to change; `None` leaves one as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataChange {
    /// Permission bits: 0 to 0o7777.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last change of the content.
    pub mtime: Option<Timestamp>,
}
