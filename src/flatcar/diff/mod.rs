//! Two disks, or two trees of files, compared: what the partition table says, bytes, files, and what they mean.
//!
//! ```text
//!   disks ──▶ table: fields that differ                 table.rs
//!         ├─▶ partitions: bytes first, holes skipped    bytes.rs
//!         │     differ ─▶ both have a filesystem ──▶ trees, entry by entry      tree.rs ──▶ text.rs
//!         │            └─ else, or no file differs ─▶ which bytes
//!         ├─▶ bytes outside of partitions
//!         └─▶ release, OEM, sysexts                      meaning.rs
//! ```
//!
//! Partitions and entries come in the order of numbers and names, so the same sides give the same answer. What is kept is
//! bounded: [`ENTRIES_MAX`] entries of a tree, [`STRETCHES_MAX`] stretches of bytes; what is beyond is counted.

mod bytes;
mod disk;
mod meaning;
mod table;
pub(in crate::flatcar) mod text;
mod tree;

use serde::Serialize;

pub use bytes::{ByteDifference, ByteStretch, STRETCHES_MAX};
pub use disk::{DiskDifference, PartitionDifference, compare_disks};
pub use tree::{ENTRIES_MAX, EntryDifference, Side, TreeDifference, compare_trees, type_word};

use crate::progress::{Cancel, NoProgress, Progress};

/// What is compared, and the means of it.
#[derive(Clone)]
pub struct DiffOptions<'a> {
    /// Show how texts differ, line by line.
    pub content: bool,
    /// What of entries is passed over.
    pub ignored: Vec<Aspect>,
    /// Is told how far the comparison is.
    pub progress: &'a dyn Progress,
    /// Ends it.
    pub cancel: Cancel,
}

impl Default for DiffOptions<'_> {
    fn default() -> Self {
        Self {
            content: false,
            ignored: Vec::new(),
            progress: &NoProgress,
            cancel: Cancel::new(),
        }
    }
}

impl std::fmt::Debug for DiffOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiffOptions")
            .field("content", &self.content)
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}

impl DiffOptions<'_> {
    fn sees(&self, aspect: Aspect) -> bool {
        !self.ignored.contains(&aspect)
    }
}

/// Something about entries that can be passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aspect {
    /// When the content changed last.
    Times,
    /// Owner and group.
    Owners,
    /// Permission bits.
    Modes,
    /// Extended attributes.
    Xattrs,
    /// The number of names that a file has.
    Links,
}

/// What became of something from the first side to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

/// Something that the two sides say differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// What it is.
    pub name: String,
    /// What the first side says; none where it has no such thing.
    pub a: Option<String>,
    /// What the second side says.
    pub b: Option<String>,
}

/// The fields that differ, while they are looked at.
#[derive(Debug, Default)]
struct Fields(Vec<Field>);

impl Fields {
    /// Records `name` where the two differ.
    fn see<T: PartialEq>(&mut self, name: &str, a: &T, b: &T, show: impl Fn(&T) -> String) {
        if a != b {
            self.add(name, Some(show(a)), Some(show(b)));
        }
    }

    fn add(&mut self, name: &str, a: Option<String>, b: Option<String>) {
        self.0.push(Field {
            name: name.to_owned(),
            a,
            b,
        });
    }
}
