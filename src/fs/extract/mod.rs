//! Copies files and trees out of a filesystem to the host, whatever the image holds.
//!
//! ```text
//!   image                      host, all below one open folder
//!   /a/link -> /etc            TO/a/link -> /etc        created, never passed through
//!   /a/link/passwd             refused: `link` is no folder (O_NOFOLLOW on every step)
//!   /a/file                    TO/a/.flatbake-partial   renamed to `file` when it is whole
//! ```
//!
//! Kept: content with its holes, permission bits, times of last change, symlinks, hard links between regular files.
//! Not kept: owners (the files belong to whoever extracts them), extended attributes, and what needs root to create
//! (device nodes, fifos, sockets), which is listed in the [`Extracted`].

mod host;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use self::host::Folder;
use super::{FileSystem, FileType, FsPath, Metadata};
use crate::error::{Error, Result, ResultExt};

/// How [`extract`] treats what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtractOptions {
    /// A single file replaces an existing one. Trees are never written over anything.
    pub overwrite: bool,
    /// Keeps setuid, setgid and sticky bits. They would take effect for whoever extracts, so they are dropped otherwise.
    pub special_bits: bool,
}

/// What was copied and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Regular files, each counted once however many names it has.
    pub files: u64,
    /// Directories, the top one too.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Bytes of the files, holes included.
    pub bytes: u64,
    /// Device nodes, fifos and sockets, left out.
    pub skipped: Vec<(FsPath, FileType)>,
}

/// Copies the entry `from` of `fs`, a directory with everything below it, to `to` on the host.
///
/// A file goes to `to`, or into it under its own name where `to` is a folder; an existing file is refused unless
/// [`ExtractOptions::overwrite`] is set. A directory needs a `to` that does not exist or is an empty folder. A symlink is
/// copied as a symlink. Nothing outside `to` is ever written. When extraction of a tree fails half-way, the whole files
/// written so far stay.
pub fn extract(fs: &dyn FileSystem, from: &FsPath, to: &Path, options: &ExtractOptions) -> Result<Extracted> {
    let metadata = fs.metadata(from)?;
    let mut job = Job { fs, options, summary: Extracted::default(), links: HashMap::new(), seen: HashSet::new() };
    match metadata.file_type {
        FileType::Directory => job.tree(from, &Folder::create_top(to)?, &metadata)?,
        FileType::File | FileType::Symlink => {
            let (folder, name) = host::place(to, from.name().unwrap_or_default(), options.overwrite)?;
            job.single(from, &folder, &name, &metadata)?;
        }
        other => {
            return Err(Error::unsupported(format!("a {other:?} cannot be extracted"))
                .with_hint("only files, directories and symlinks can be copied out of an image")
                .at(from.to_string()));
        }
    }
    Ok(job.summary)
}

/// Where an entry of the tree goes: the names from the top folder down.
type Route = Vec<Vec<u8>>;

struct Job<'a> {
    fs: &'a dyn FileSystem,
    options: &'a ExtractOptions,
    summary: Extracted,
    /// Where a file with several names was written first.
    links: HashMap<u64, Route>,
    /// Directories entered; each has one place in a sound tree.
    seen: HashSet<u64>,
}

/// A directory to be gone through.
struct Pending {
    path: FsPath,
    route: Route,
    metadata: Metadata,
}

impl Job<'_> {
    fn mode(&self, metadata: &Metadata) -> u32 {
        metadata.mode & if self.options.special_bits { 0o7777 } else { 0o777 }
    }

    fn single(&mut self, from: &FsPath, folder: &Folder, name: &[u8], metadata: &Metadata) -> Result<()> {
        if metadata.file_type == FileType::Symlink {
            return self.symlink(from, folder, name, metadata);
        }
        self.file(from, folder, name, metadata)
    }

    fn file(&mut self, from: &FsPath, folder: &Folder, name: &[u8], metadata: &Metadata) -> Result<()> {
        let content = self.fs.open(from)?;
        folder
            .write_file(name, &*content, self.mode(metadata), metadata.mtime, self.options.overwrite)
            .at(|| from.to_string())?;
        self.summary.files += 1;
        self.summary.bytes = self.summary.bytes.saturating_add(content.size());
        Ok(())
    }

    fn symlink(&mut self, from: &FsPath, folder: &Folder, name: &[u8], metadata: &Metadata) -> Result<()> {
        let target = self.fs.read_link(from)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Error::corrupt("a symlink whose target is empty or contains a NUL byte").at(from.to_string()));
        }
        folder.symlink(name, &target, metadata.mtime, self.options.overwrite).at(|| from.to_string())?;
        self.summary.symlinks += 1;
        Ok(())
    }

    fn tree(&mut self, from: &FsPath, top: &Folder, metadata: &Metadata) -> Result<()> {
        let mut done = Vec::new();
        let mut todo = vec![Pending { path: from.clone(), route: Route::new(), metadata: metadata.clone() }];
        while let Some(directory) = todo.pop() {
            if !self.seen.insert(directory.metadata.inode) {
                return Err(Error::corrupt("this directory lies in the tree twice").at(directory.path.to_string()));
            }
            let folder = top.descend(&directory.route).at(|| directory.path.to_string())?;
            for entry in self.fs.read_dir(&directory.path)? {
                let path = directory.path.join(&entry.name).map_err(|error| {
                    error.with_kind(crate::ErrorKind::Corrupt).at("a name that no file of the host can have")
                })?;
                // FAT's names may be longer than those of Linux.
                path.check_linux_name()
                    .map_err(|error| error.with_kind(crate::ErrorKind::Unsupported).at(path.to_string()))?;
                if let Some(below) = self.entry(path, &entry.name, &folder, top, &directory.route)? {
                    todo.push(below);
                }
            }
            self.summary.directories += 1;
            done.push((directory.route, self.mode(&directory.metadata), directory.metadata.mtime));
        }
        // Children before parents: a parent's mode may forbid entering it, and writing below it changes its time.
        for (route, mode, mtime) in done.into_iter().rev() {
            top.descend(&route)?.finish(mode, mtime)?;
        }
        Ok(())
    }

    /// Copies one entry of a directory; a directory is created and returned.
    fn entry(
        &mut self,
        path: FsPath,
        name: &[u8],
        folder: &Folder,
        top: &Folder,
        route: &Route,
    ) -> Result<Option<Pending>> {
        let metadata = self.fs.metadata(&path)?;
        let mut own = route.clone();
        own.push(name.to_vec());
        match metadata.file_type {
            FileType::Directory => {
                folder.create_dir(name).at(|| path.to_string())?;
                return Ok(Some(Pending { path, route: own, metadata }));
            }
            FileType::File => match self.links.get(&metadata.inode) {
                Some(first) => {
                    top.link(first, folder, name).at(|| path.to_string())?;
                    self.summary.hard_links += 1;
                }
                None => {
                    self.file(&path, folder, name, &metadata)?;
                    if metadata.nlink > 1 {
                        self.links.insert(metadata.inode, own);
                    }
                }
            },
            FileType::Symlink => self.symlink(&path, folder, name, &metadata)?,
            other => self.summary.skipped.push((path, other)),
        }
        Ok(None)
    }
}
