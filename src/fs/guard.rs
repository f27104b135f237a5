//! Sees to it that the directories of an untrusted filesystem form a tree.
//!
//! Two directories that hold each other, or a ladder in which every rung is reached twice, make a walk endless. Formats
//! allow one name for a directory; so the name by which each directory is first reached is noted, and a second one is
//! refused.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::error::{Error, Result};

/// The one name of each directory seen so far: the directory it lies in and its number among that one's entries.
#[derive(Debug)]
pub(in crate::fs) struct TreeGuard {
    root: u64,
    parents: RefCell<HashMap<u64, (u64, u64)>>,
    /// How many directories there can be at most, the number of inodes.
    limit: u64,
}

impl TreeGuard {
    pub fn new(root: u64, limit: u64) -> Self {
        Self { root, parents: RefCell::new(HashMap::new()), limit }
    }

    /// Notes that `directory` is entry number `position` of `parent`; a second name is an error.
    pub fn enter(&self, directory: u64, parent: u64, position: u64) -> Result<()> {
        let mut parents = self.parents.borrow_mut();
        let by = (parent, position);
        if directory == self.root || *parents.entry(directory).or_insert(by) != by {
            return Err(Error::corrupt(format!("directory inode {directory} has two names, which can make a loop")));
        }
        if crate::bytes::to_u64(parents.len()) > self.limit {
            return Err(Error::corrupt(format!("more directories than the {} inodes there are", self.limit)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_for_each_directory() {
        let guard = TreeGuard::new(1, 3);
        for _ in 0..2 {
            guard.enter(2, 1, 0).unwrap();
            guard.enter(3, 2, 0).unwrap();
        }
        assert!(guard.enter(2, 3, 0).is_err(), "its own grandparent");
        assert!(guard.enter(3, 2, 1).is_err(), "a second name beside the first");
        assert!(guard.enter(1, 3, 0).is_err(), "the root");
        guard.enter(4, 1, 1).unwrap();
        assert!(guard.enter(5, 1, 2).is_err(), "more than there are inodes");
    }
}
