//! Names of large directories, remembered while nothing changes, so that visiting every entry by its path costs no
//! scan of the directory for each.

use std::collections::HashMap;

use crate::fs::FsPath;

/// Directories remembered: those on the way to an entry, and a few beside them.
const DIRECTORIES_MAX: usize = 16;
/// Names remembered in all, about 100 MB.
const NAMES_MAX: usize = 1 << 20;

/// Inode numbers by name.
pub(super) type Index = HashMap<Vec<u8>, u32>;

/// What lookups remember.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The directories asked for of late, the latest first.
    directories: Vec<(u32, Option<Index>)>,
    /// The directory of the last lookup: the next is often in the same one.
    parent: Option<(FsPath, u32)>,
}

/// What to do for a lookup in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The inode number of the name, if it exists.
    Known(Option<u32>),
    /// Asked for the first time: scan for the one name.
    Scan,
    /// Asked for again: worth an index ([`Names::remember`]).
    Index,
}

impl Names {
    /// Looks for `name` in the directory `ino`.
    pub(super) fn find(&mut self, ino: u32, name: &[u8]) -> Answer {
        let Some(at) = self.directories.iter().position(|(known, _)| *known == ino) else {
            self.directories.insert(0, (ino, None));
            self.directories.truncate(DIRECTORIES_MAX);
            return Answer::Scan;
        };
        self.directories[..=at].rotate_right(1);
        match &self.directories[0].1 {
            None => Answer::Index,
            Some(index) => Answer::Known(index.get(name).copied()),
        }
    }

    /// Keeps the names of the directory `ino`.
    pub(super) fn remember(&mut self, ino: u32, index: Index) {
        self.directories.retain(|(known, _)| *known != ino);
        self.directories.insert(0, (ino, Some(index)));
        self.directories.truncate(DIRECTORIES_MAX);
        let mut names = 0;
        self.directories.retain(|(_, index)| {
            names += index.as_ref().map_or(0, HashMap::len);
            names <= NAMES_MAX
        });
    }

    /// The inode of the directory `path`, if it was the last one.
    pub(super) fn known_parent(&self, path: &FsPath) -> Option<u32> {
        self.parent.as_ref().filter(|(known, _)| known == path).map(|(_, ino)| *ino)
    }

    /// Keeps the inode of the directory `path`.
    pub(super) fn remember_parent(&mut self, path: FsPath, ino: u32) {
        self.parent = Some((path, ino));
    }

    /// Forgets all, because something was moved, removed or written.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_asked_for_twice_is_indexed_until_a_change() {
        let mut names = Names::default();
        assert_eq!(names.find(7, b"a"), Answer::Scan);
        assert_eq!(names.find(7, b"a"), Answer::Index);
        names.remember(7, Index::from([(b"a".to_vec(), 30)]));
        for ino in 100..100 + 15 {
            assert_eq!(names.find(ino, b"x"), Answer::Scan);
        }
        assert_eq!(names.find(7, b"a"), Answer::Known(Some(30)));
        assert_eq!(names.find(7, b"b"), Answer::Known(None));
        names.clear();
        assert_eq!(names.find(7, b"a"), Answer::Scan);
    }
}
