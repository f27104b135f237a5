//! tar archives, read as a stream and laid out to be written.
//!
//! ```text
//!   [x header][records][L header][name] … [header][data, filled up to 512] … [zeroes 512][zeroes 512] padding
//!    └── extensions of the entry that follows ──┘ └─ an entry ──────────┘     └─ end of the archive ─┘
//! ```
//!
//! Read are V7, ustar, GNU and star headers, GNU long names and sparse files, pax headers (of an entry and global) with
//! extended attributes of GNU tar, star and libarchive, and all three pax forms of sparse files. Owners are taken by
//! number; user and group names, access and change times are passed over.
//!
//! The end: two blocks of zeroes, then only zeroes. Anything else behind them is an error, because it would be lost
//! without a word (archives joined with `cat`). An archive that simply stops after a whole entry, or after
//! one block of zeroes, is read as GNU tar reads it, and [`TarReader::end`] says so: a stream cut just there cannot be told
//! from one that was written without an end. Input without a single header is an error.

mod content;
mod header;
mod input;
mod pax;
mod read;
mod sparse;
mod tree;
mod write;

pub use content::Content;
pub use input::TarEnd;
pub use read::TarReader;
pub(super) use read::shown;
pub use sparse::SparseMap;
pub use tree::{TreeSummary, write_tree};
pub use write::TarLayout;

use crate::fs::{Timestamp, Xattr};

/// An entry of an archive, as stored: nothing about its path is checked but that it is not empty and has no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The name, perhaps absolute, with `.` and `..`; a directory's ends with a slash in most archives.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: TarKind,
    /// Permission bits: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// Whether it has access control lists in text form, which are not read.
    pub has_text_acls: bool,
    /// Where its first header begins in the unpacked archive.
    pub offset: u64,
}

impl TarEntry {
    /// How errors name it: by its path and offset.
    pub fn place(&self) -> String {
        read::place(&self.path, self.offset)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarKind {
    /// A regular file.
    File {
        /// Its size with its holes.
        size: u64,
        /// Its stored stretches where it is sparse.
        sparse: Option<SparseMap>,
    },
    /// A directory.
    Directory,
    /// A symlink.
    Symlink {
        /// Where it leads; not empty.
        target: Vec<u8>,
    },
    /// Another name of an entry before it or of what is there already.
    HardLink {
        /// The path of that entry, as stored.
        target: Vec<u8>,
    },
    /// A character device with its major and minor number.
    CharDevice(u32, u32),
    /// A block device with its major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}
