//! Names of large directories, remembered while nothing changes, so that visiting every entry by its path costs no
//! scan of the directory for each.

use std::collections::HashMap;

/// Directories remembered: those on the way to an entry, and a few beside them.
const DIRECTORIES_MAX: usize = 16;
/// Names remembered in all, about 100 MB.
const NAMES_MAX: usize = 1 << 20;

/// Inode numbers by name.
pub(super) type Index = HashMap<Vec<u8>, u32>;

/// The directories asked for of late, the latest first.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(u32, Option<Index>)>);

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
        let Some(at) = self.0.iter().position(|(known, _)| *known == ino) else {
            self.0.insert(0, (ino, None));
            self.0.truncate(DIRECTORIES_MAX);
            return Answer::Scan;
        };
        self.0[..=at].rotate_right(1);
        match &self.0[0].1 {
            None => Answer::Index,
            Some(index) => Answer::Known(index.get(name).copied()),
        }
    }

    /// Keeps the names of the directory `ino`.
    pub(super) fn remember(&mut self, ino: u32, index: Index) {
        self.0.retain(|(known, _)| *known != ino);
        self.0.insert(0, (ino, Some(index)));
        self.0.truncate(DIRECTORIES_MAX);
        let mut names = 0;
        self.0.retain(|(_, index)| {
            names += index.as_ref().map_or(0, HashMap::len);
            names <= NAMES_MAX
        });
    }

    /// Forgets all, because something changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
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
