//! Directories in memory, so that one in which many names are looked up is read once.

use std::collections::HashMap;
use std::sync::Arc;

use super::directory::Directory;

/// Slots of all directories in memory; one directory has at most 65,536.
const SLOTS_KEPT: u32 = 1 << 17;

/// Directories by their first cluster, 0 for the fixed root directory.
#[derive(Debug, Default)]
pub(super) struct Known {
    directories: HashMap<u32, Arc<Directory>>,
    slots: u32,
}

impl Known {
    /// The directory that begins at this cluster.
    pub(super) fn get(&self, start: u32) -> Option<Arc<Directory>> {
        self.directories.get(&start).cloned()
    }

    /// Keeps a directory; when there are too many, all others go.
    pub(super) fn keep(&mut self, directory: Arc<Directory>) {
        self.remove(directory.start);
        let slots = directory.capacity();
        if self.slots + slots > SLOTS_KEPT {
            self.directories.clear();
            self.slots = 0;
        }
        self.slots += slots;
        self.directories.insert(directory.start, directory);
    }

    /// Takes a directory out.
    pub(super) fn remove(&mut self, start: u32) -> Option<Arc<Directory>> {
        let directory = self.directories.remove(&start)?;
        self.slots -= directory.capacity();
        Some(directory)
    }
}
