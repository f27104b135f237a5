//! The plan of a bake: every change, its partition, its size and its reason, before anything is written.
//!
//! The same plan is what `--dry-run` prints, what `--json` gives as data and what [`apply`](super::apply) carries out.

use std::path::{Path, PathBuf};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::root_size::Resize;
use crate::archive::TarOptions;
use crate::bytes::ByteSize;
use crate::error::{Error, Result};
use crate::flatcar::Designator;
use crate::fs::{FsKind, FsPath, Timestamp};

/// What a bake will do to one image.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The image's name in messages.
    pub image: String,
    /// The image's release (`VERSION` of its os-release), where USR could be read.
    pub release: Option<String>,
    /// The time of everything new.
    #[serde(serialize_with = "seconds")]
    pub timestamp: Timestamp,
    /// The changes in the order they are carried out.
    pub changes: Vec<Change>,
    /// ROOT and the disk are made larger, before all changes.
    pub resize: Option<Resize>,
    /// A filesystem that was in use when it was copied is refused.
    pub no_replay: bool,
    /// Room needed and free, for every partition that changes.
    pub space: Vec<Space>,
    /// What a person should know; with `force` also what would otherwise have stopped the bake.
    pub warnings: Vec<String>,
}

/// One change of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The partition.
    pub partition: Designator,
    /// The entry.
    #[serde(serialize_with = "display")]
    pub path: FsPath,
    /// What happens to it.
    #[serde(flatten)]
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
    /// Why it happens: the option that asked for it.
    pub why: String,
}

impl Change {
    /// Whether `flatcar-reset` keeps it: that deletes what is on ROOT, except the paths it is told to keep.
    pub fn survives_reset(&self) -> bool {
        self.partition != Designator::Root
    }
}

/// What happens to an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
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
        #[serde(serialize_with = "host_path")]
        source: PathBuf,
        /// Entries that it puts there.
        entries: u64,
        /// What of it is taken and how.
        #[serde(skip)]
        options: TarOptions,
    },
    /// A symlink is made.
    Symlink {
        /// What it points to.
        target: String,
    },
}

/// The content of a new file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// That of a host file.
    #[serde(serialize_with = "host_path")]
    Host(PathBuf),
    /// This text.
    Text(String),
    /// These bytes, which are no text.
    #[serde(serialize_with = "base64")]
    Base64(Vec<u8>),
}

impl Source {
    /// Content that comes from no file.
    pub fn inline(content: &[u8]) -> Self {
        match std::str::from_utf8(content) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(content.to_owned()),
        }
    }
}

/// Room on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// The partition.
    pub partition: Designator,
    /// Its filesystem.
    #[serde(serialize_with = "display")]
    pub filesystem: FsKind,
    /// Bytes that the changes take, in whole blocks and with folders.
    pub needed_bytes: u64,
    /// Bytes free, with those that removals give back.
    pub free_bytes: u64,
    /// Inodes that the changes take.
    pub needed_inodes: u64,
    /// Inodes free; none where the filesystem makes them as needed.
    pub free_inodes: Option<u64>,
}

impl Space {
    /// An error with the numbers where the changes do not fit.
    pub fn check(&self) -> Result<()> {
        let lacks = |what: String| {
            Err(Error::no_space(what).at(self.partition.to_string()).with_hint(match self.partition {
                Designator::Oem => "put sysexts and large files on ROOT instead of OEM",
                _ => "bake less, or remove something with --remove",
            }))
        };
        // btrfs compresses: what its content really takes is known only when it is laid out.
        if self.needed_bytes > self.free_bytes && self.filesystem != FsKind::Btrfs {
            return lacks(format!(
                "the changes need {} ({} bytes), only {} ({} bytes) are free",
                ByteSize(self.needed_bytes),
                self.needed_bytes,
                ByteSize(self.free_bytes),
                self.free_bytes
            ));
        }
        match self.free_inodes {
            Some(free) if self.needed_inodes > free => {
                lacks(format!("the changes need {} inodes, only {free} are free", self.needed_inodes))
            }
            _ => Ok(()),
        }
    }
}

/// A path as text: JSON has no other, and names of the host need not be UTF-8.
pub(super) fn host_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn seconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.secs)
}
