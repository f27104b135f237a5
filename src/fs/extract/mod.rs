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
use super::path::LINUX_NAME_MAX;
use super::{ByPath, FileSystem, FileType, FsPath, Metadata, Node};
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
pub fn extract(
    fs: &dyn FileSystem,
    from: &FsPath,
    to: &Path,
    options: &ExtractOptions,
) -> Result<Extracted> {
    let node = fs.node_at(from)?;
    let metadata = fs.metadata(node).at(|| from.to_string())?;
    let top = Source {
        path: from.clone(),
        node,
        metadata,
    };
    let mut job = Job {
        fs,
        options,
        summary: Extracted::default(),
        links: HashMap::new(),
        seen: HashSet::new(),
    };
    match top.metadata.file_type {
        FileType::Directory => job.tree(top, &Folder::create_top(to)?)?,
        FileType::File | FileType::Symlink => {
            let (folder, name) =
                host::place(to, from.name().unwrap_or_default(), options.overwrite)?;
            job.single(&top, &folder, &name)?;
        }
        other => {
            return Err(
                Error::unsupported(format!("a {other:?} cannot be extracted"))
                    .with_hint("only files, directories and symlinks can be copied out of an image")
                    .at(from.to_string()),
            );
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
    links: HashMap<Node, Route>,
    /// Directories entered; each has one place in a sound tree.
    seen: HashSet<Node>,
}

/// An entry to be copied.
struct Source {
    path: FsPath,
    node: Node,
    metadata: Metadata,
}

/// A directory to be gone through.
struct Pending {
    source: Source,
    route: Route,
}

impl Job<'_> {
    fn mode(&self, metadata: &Metadata) -> u32 {
        metadata.mode
            & if self.options.special_bits {
                0o7777
            } else {
                0o777
            }
    }

    fn single(&mut self, from: &Source, folder: &Folder, name: &[u8]) -> Result<()> {
        if from.metadata.file_type == FileType::Symlink {
            return self.symlink(from, folder, name);
        }
        self.file(from, folder, name)
    }

    fn file(&mut self, from: &Source, folder: &Folder, name: &[u8]) -> Result<()> {
        let content = self.fs.open(from.node).at(|| from.path.to_string())?;
        folder
            .write_file(
                name,
                &*content,
                self.mode(&from.metadata),
                from.metadata.mtime,
                self.options.overwrite,
            )
            .at(|| from.path.to_string())?;
        self.summary.files += 1;
        self.summary.bytes = self.summary.bytes.saturating_add(content.size());
        Ok(())
    }

    fn symlink(&mut self, from: &Source, folder: &Folder, name: &[u8]) -> Result<()> {
        let target = self.fs.read_link(from.node).at(|| from.path.to_string())?;
        if target.is_empty() || target.contains(&0) {
            return Err(
                Error::corrupt("a symlink whose target is empty or contains a NUL byte")
                    .at(from.path.to_string()),
            );
        }
        folder
            .symlink(name, &target, from.metadata.mtime, self.options.overwrite)
            .at(|| from.path.to_string())?;
        self.summary.symlinks += 1;
        Ok(())
    }

    fn tree(&mut self, from: Source, top: &Folder) -> Result<()> {
        let mut done = Vec::new();
        let mut todo = vec![Pending {
            source: from,
            route: Route::new(),
        }];
        while let Some(Pending {
            source: directory,
            route,
        }) = todo.pop()
        {
            if !self.seen.insert(directory.node) {
                return Err(Error::corrupt("this directory lies in the tree twice")
                    .at(directory.path.to_string()));
            }
            let folder = top.descend(&route).at(|| directory.path.to_string())?;
            for entry in self
                .fs
                .entries(directory.node)
                .at(|| directory.path.to_string())?
            {
                let path = directory.path.join(&entry.name).map_err(|error| {
                    error
                        .with_kind(crate::ErrorKind::Corrupt)
                        .at("a name that no file of the host can have")
                })?;
                // FAT's names may be longer than those of Linux.
                path.check_name(LINUX_NAME_MAX).map_err(|error| {
                    error
                        .with_kind(crate::ErrorKind::Unsupported)
                        .at(path.to_string())
                })?;
                let metadata = self.fs.metadata(entry.node).at(|| path.to_string())?;
                let source = Source {
                    path,
                    node: entry.node,
                    metadata,
                };
                if let Some(below) = self.entry(source, &entry.name, &folder, top, &route)? {
                    todo.push(below);
                }
            }
            self.summary.directories += 1;
            done.push((
                route,
                self.mode(&directory.metadata),
                directory.metadata.mtime,
            ));
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
        source: Source,
        name: &[u8],
        folder: &Folder,
        top: &Folder,
        route: &Route,
    ) -> Result<Option<Pending>> {
        let mut own = route.clone();
        own.push(name.to_vec());
        match source.metadata.file_type {
            FileType::Directory => {
                folder.create_dir(name).at(|| source.path.to_string())?;
                return Ok(Some(Pending { source, route: own }));
            }
            FileType::File => match self.links.get(&source.node) {
                Some(first) => {
                    top.link(first, folder, name)
                        .at(|| source.path.to_string())?;
                    self.summary.hard_links += 1;
                }
                None => {
                    self.file(&source, folder, name)?;
                    if source.metadata.nlink > 1 {
                        self.links.insert(source.node, own);
                    }
                }
            },
            FileType::Symlink => self.symlink(&source, folder, name)?,
            other => self.summary.skipped.push((source.path, other)),
        }
        Ok(None)
    }
}
