//! What is asked to be put on a partition, against the room that it has.

use crate::bytes::ByteSize;
use crate::error::Error;
use crate::flatcar::Designator;
use crate::fs::{Capacity, FileSystemMut};

/// Most of what takes room that one message names.
const LARGEST_SHOWN: usize = 3;

/// Why a bench gave up.
pub(in crate::bake::prepare) struct Failure {
    pub(in crate::bake::prepare) error: Error,
    /// The partition that was too small.
    pub(in crate::bake::prepare) full: Option<Designator>,
    /// Bytes that were asked to be put on ROOT until then.
    pub(in crate::bake::prepare) asked_on_root: u64,
}

/// The editor of one partition.
pub(super) struct Editor {
    pub(super) fs: Box<dyn FileSystemMut>,
    pub(super) before: Capacity,
    pub(super) asked: Asked,
}

/// What was asked to be put on a partition.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) bytes: u64,
    entries: u64,
    /// Size and name of what is largest, the largest first.
    largest: Vec<(u64, String)>,
}

impl Asked {
    pub(super) fn add(&mut self, bytes: u64, what: &str) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries += 1;
        let at = self.largest.partition_point(|(other, _)| *other >= bytes);
        if bytes > 0 && at < LARGEST_SHOWN {
            self.largest.insert(at, (bytes, what.to_owned()));
            self.largest.truncate(LARGEST_SHOWN);
        }
    }
}

impl Editor {
    /// The error of a full partition, with the numbers; `place` is the partition as messages name it.
    pub(super) fn no_space(&self, partition: Designator, place: String, error: Error) -> Error {
        let asked = &self.asked;
        let before = &self.before;
        let needed = ByteSize(asked.bytes);
        let free = ByteSize(before.free_bytes);
        let total = ByteSize(before.total_bytes);
        let mut message = format!(
            "what is put there does not fit: at least {needed} ({} bytes) of content",
            asked.bytes
        );
        message.push_str(&format!(
            " in {} entries, and {free} of {total} were free",
            asked.entries
        ));
        if let Some((inodes, free)) = before.inodes {
            message.push_str(&format!(", with {free} of {inodes} inodes"));
        }
        let largest: Vec<String> = asked
            .largest
            .iter()
            .map(|(bytes, what)| format!("{what} ({})", ByteSize(*bytes)))
            .collect();
        if !largest.is_empty() {
            message.push_str(&format!("; the largest: {}", largest.join(", ")));
        }
        let hint = match partition {
            Designator::Root => "remove something, or let ROOT grow",
            Designator::Oem => "put sysexts and large files on ROOT instead of OEM",
            _ => "put less there, or remove something",
        };
        let error = Error::no_space(message)
            .with_source(error)
            .with_hint(hint)
            .at(place);
        if partition == Designator::Root {
            error.with_setting("root_size")
        } else {
            error
        }
    }
}
