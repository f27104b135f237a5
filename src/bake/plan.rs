//! What was done to a disk, as data: every change, its partition, its size and its reason, and the room it took.

use std::path::PathBuf;

use crate::finding::Finding;
use crate::flatcar::Designator;
use crate::fs::{FsKind, FsPath};

/// What became of one disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The changes in the order in which they were carried out.
    pub changes: Vec<Change>,
    /// ROOT and the disk are made larger, before all changes.
    pub resize: Option<Resize>,
    /// Room on every partition that changes.
    pub space: Vec<Space>,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

/// ROOT and the disk are made larger, or the disk alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// ROOT's size now.
    pub root_bytes_before: u64,
    /// ROOT's size then.
    pub root_bytes: u64,
    /// The disk's size then: a multiple of 126 MiB, as all of Flatcar's disks, unless it is large enough as it is or a
    /// vendor wants another.
    pub disk_bytes: u64,
}

/// One change of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The partition.
    pub partition: Designator,
    /// The entry.
    pub path: FsPath,
    /// What happens to it.
    pub action: Action,
    /// An entry of that name is replaced.
    pub replaces: bool,
    /// Permission bits of the new entry.
    pub mode: u32,
    /// Owner of the new entry.
    pub uid: u32,
    /// Group of the new entry.
    pub gid: u32,
    /// Content in bytes, 0 where there is none.
    pub bytes: u64,
    /// What asked for it.
    pub why: String,
}

impl Change {
    /// Whether `flatcar-reset` keeps it: that deletes what is on ROOT, except the paths it is told to keep.
    pub fn survives_reset(&self) -> bool {
        self.partition != Designator::Root
    }
}

/// What happens to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The entry goes, a folder with all it holds.
    Remove,
    /// A folder is made.
    CreateDir,
    /// A regular file gets new content.
    WriteFile {
        /// Where the content comes from.
        source: Source,
    },
    /// An archive is unpacked into a folder.
    Unpack {
        /// The host's archive.
        source: PathBuf,
        /// Entries that it puts there.
        entries: u64,
    },
    /// A symlink is made.
    Symlink {
        /// What it points to.
        target: String,
    },
}

/// Where the content of a new file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of the host.
    Host(PathBuf),
    /// The request itself, or what was made for it; the SHA-256 of the content in hexadecimal digits.
    Inline(String),
}

/// Room on one partition, by the account of its own editor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The partition.
    pub partition: Designator,
    /// Its filesystem.
    pub filesystem: FsKind,
    /// Size of the filesystem in bytes, once it has grown.
    pub total_bytes: u64,
    /// Bytes free before the changes and after them.
    pub free_bytes: (u64, u64),
    /// Inodes free before and after; none where the filesystem makes them as needed.
    pub free_inodes: Option<(u64, u64)>,
}

impl Space {
    /// Bytes that the changes take; negative where they give some back.
    pub fn taken_bytes(&self) -> i128 {
        i128::from(self.free_bytes.0) - i128::from(self.free_bytes.1)
    }

    /// Inodes that the changes take, where the filesystem has a fixed number of them.
    pub fn taken_inodes(&self) -> Option<i128> {
        self.free_inodes
            .map(|(before, after)| i128::from(before) - i128::from(after))
    }
}
