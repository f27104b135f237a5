//! A first pass that writes nothing: what an archive needs and what is amiss.

use std::collections::BTreeMap;
use std::io::Read;

use super::select::{Action, TarOptions, for_each};
use super::tar::{TarEntry, TarKind};
use crate::bytes::{align_up, to_u64};
use crate::error::{Error, Result};
use crate::fs::FsPath;

/// Block size of the filesystems of a Flatcar disk that hold trees: ext4 and btrfs.
const BLOCK: u64 = 4096;
/// Bytes of all directory paths: about a million directories, more than any filesystem on a Flatcar disk has inodes.
const PATHS_MAX: u64 = 256 << 20;

/// What an archive brings. What it replaces, or what is there already, is not subtracted: room for this is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TarPlan {
    /// Entries in the archive.
    pub entries: u64,
    /// Entries left out by the options.
    pub skipped: u64,
    /// Regular files.
    pub files: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Hard links, which need no inode.
    pub hard_links: u64,
    /// Device nodes and fifos.
    pub nodes: u64,
    /// OCI whiteouts, opaque directories too.
    pub whiteouts: u64,
    /// Inodes: files, symlinks, nodes and directories.
    pub inodes: u64,
    /// Bytes of all files with their holes.
    pub content_bytes: u64,
    /// Bytes of all files without their holes, each stretch filled up to blocks of 4096.
    pub allocated_bytes: u64,
    /// Bytes of symlink targets.
    pub target_bytes: u64,
    /// Bytes of names and values of extended attributes.
    pub xattr_bytes: u64,
    /// Size of the largest file with its holes.
    pub largest_file: u64,
    /// Every directory that gets entries or is one, missing parents and those of the destination too.
    pub directories: BTreeMap<FsPath, DirectoryPlan>,
    /// Directories just below the destination, sorted.
    pub top_level: Vec<FsPath>,
    /// What a person should know, a sentence each.
    pub warnings: Vec<String>,
}

/// What goes into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryPlan {
    /// Entries; one that is in the archive several times counts as often, directories once.
    pub entries: u64,
    /// Bytes of their names.
    pub name_bytes: u64,
}

/// Reads all of `archive` (plain, gzip, bzip2, xz or zstd) and tells what [`inject`](super::inject) with the same `dest`
/// and `options` would write. Whatever makes `inject` fail for the archive alone fails here.
pub fn scan(archive: impl Read, dest: &FsPath, options: &TarOptions) -> Result<TarPlan> {
    let mut scan = Scan { plan: TarPlan::default(), path_bytes: 0 };
    scan.directory(dest)?;
    let outcome = for_each(archive, dest, options, |entry, action, _| scan.see(entry, action))?;
    let mut plan = scan.plan;
    plan.entries = outcome.entries;
    plan.skipped = outcome.skipped;
    plan.warnings = outcome.warnings;
    plan.inodes = plan.files + plan.symlinks + plan.nodes + to_u64(plan.directories.len());
    plan.top_level = plan.directories.keys().filter(|path| path.parent().as_ref() == Some(dest)).cloned().collect();
    Ok(plan)
}

struct Scan {
    plan: TarPlan,
    path_bytes: u64,
}

impl Scan {
    fn see(&mut self, entry: &TarEntry, action: Action) -> Result<()> {
        let path = match action {
            Action::Skip => return Ok(()),
            Action::Whiteout(_) | Action::Opaque(_) => {
                self.plan.whiteouts += 1;
                return Ok(());
            }
            Action::Put(path, _) => path,
        };
        let plan = &mut self.plan;
        plan.xattr_bytes += entry.xattrs.iter().map(|xattr| to_u64(xattr.name.len() + xattr.value.len())).sum::<u64>();
        match &entry.kind {
            TarKind::Directory => return self.directory(&path),
            TarKind::File { size, sparse } => {
                plan.files += 1;
                plan.largest_file = plan.largest_file.max(*size);
                plan.content_bytes = plan.content_bytes.saturating_add(*size);
                let allocated = sparse.as_ref().map_or_else(
                    || align_up(*size, BLOCK).unwrap_or(*size),
                    |map| map.segments().iter().map(|segment| blocks(segment.offset, segment.len)).sum(),
                );
                plan.allocated_bytes = plan.allocated_bytes.saturating_add(allocated);
            }
            TarKind::Symlink { target } => {
                plan.symlinks += 1;
                plan.target_bytes += to_u64(target.len());
            }
            TarKind::HardLink { .. } => plan.hard_links += 1,
            TarKind::CharDevice(..) | TarKind::BlockDevice(..) | TarKind::Fifo => plan.nodes += 1,
        }
        self.entry(&path)
    }

    /// Counts a directory and its parents the first time they are met.
    fn directory(&mut self, path: &FsPath) -> Result<()> {
        let mut missing = Vec::new();
        let mut at = Some(path.clone());
        while let Some(path) = at.filter(|path| !self.plan.directories.contains_key(path)) {
            at = path.parent();
            missing.push(path);
        }
        while let Some(path) = missing.pop() {
            self.path_bytes += to_u64(path.as_bytes().len());
            if self.path_bytes > PATHS_MAX {
                return Err(Error::unsupported(format!("directories whose paths have more than {PATHS_MAX} bytes")));
            }
            self.count(&path);
            self.plan.directories.insert(path, DirectoryPlan::default());
        }
        Ok(())
    }

    fn entry(&mut self, path: &FsPath) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(&parent)?;
        }
        self.count(path);
        Ok(())
    }

    /// Counts an entry in its directory, which is known.
    fn count(&mut self, path: &FsPath) {
        let directory = path.parent().and_then(|parent| self.plan.directories.get_mut(&parent));
        if let Some((directory, name)) = directory.zip(path.name()) {
            directory.entries += 1;
            directory.name_bytes += to_u64(name.len());
        }
    }
}

/// Bytes of the blocks that a stretch of a file touches.
fn blocks(offset: u64, len: u64) -> u64 {
    let end = offset.saturating_add(len);
    align_up(end, BLOCK).unwrap_or(end) - offset / BLOCK * BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_take_the_blocks_they_touch() {
        assert_eq!(blocks(0, 4096), 4096);
        assert_eq!(blocks(4095, 2), 8192);
        assert_eq!(blocks(5000, 1), 4096);
    }

    #[test]
    fn directories_are_counted_once() {
        let path = |text: &str| FsPath::new(text).unwrap();
        let mut scan = Scan { plan: TarPlan::default(), path_bytes: 0 };
        scan.entry(&path("/a/b/c")).unwrap();
        scan.entry(&path("/a/b/dd")).unwrap();
        scan.directory(&path("/a/b")).unwrap();
        scan.directory(&path("/")).unwrap();
        let found: Vec<_> = scan
            .plan
            .directories
            .iter()
            .map(|(path, plan)| (path.to_string(), plan.entries, plan.name_bytes))
            .collect();
        assert_eq!(found, [("/".to_owned(), 1, 1), ("/a".to_owned(), 1, 1), ("/a/b".to_owned(), 2, 3)]);
    }
}
