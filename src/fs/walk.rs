//! Operations on top of any [`FileSystem`]: whole files, trees, symlinks.

use std::collections::HashSet;

use super::{DirEntry, FileRead, FileSystem, FileType, FsPath, Metadata, Node, Xattr};
use crate::bytes::to_usize;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};

/// Symlinks followed on one path before it counts as a loop (`MAXSYMLINKS` of Linux).
const SYMLINKS_MAX: usize = 40;
/// Directories below one another; deeper trees cannot be named by a path anyway.
const DEPTH_MAX: usize = 2048;

/// An entry met by [`walk`].
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path.
    pub path: FsPath,
    /// Its node.
    pub node: Node,
    /// The entry itself, a symlink not followed.
    pub metadata: Metadata,
}

/// [`FileSystem`]'s operations for entries that are known by their paths. Errors name the path; one that no entry has is
/// [`crate::ErrorKind::NotFound`], and no symlink is followed.
pub trait ByPath {
    /// The entry at `path`; `None` where there is none.
    fn find(&self, path: &FsPath) -> Result<Option<Node>>;

    /// The entry at `path`.
    fn node_at(&self, path: &FsPath) -> Result<Node>;

    /// See [`FileSystem::entries`].
    fn entries_at(&self, path: &FsPath) -> Result<Vec<DirEntry>>;

    /// See [`FileSystem::metadata`].
    fn metadata_at(&self, path: &FsPath) -> Result<Metadata>;

    /// The same; `None` where there is no such entry.
    fn find_metadata(&self, path: &FsPath) -> Result<Option<Metadata>>;

    /// See [`FileSystem::read_link`].
    fn read_link_at(&self, path: &FsPath) -> Result<Vec<u8>>;

    /// See [`FileSystem::xattrs`].
    fn xattrs_at(&self, path: &FsPath) -> Result<Vec<Xattr>>;

    /// See [`FileSystem::open`].
    fn open_at(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>>;
}

impl<F: FileSystem + ?Sized> ByPath for F {
    fn find(&self, path: &FsPath) -> Result<Option<Node>> {
        let mut node = self.root();
        for name in path.components() {
            match self.lookup(node, name) {
                Ok(Some(next)) => node = next,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.at(path.to_string())),
            }
        }
        Ok(Some(node))
    }

    fn node_at(&self, path: &FsPath) -> Result<Node> {
        self.find(path)?
            .ok_or_else(|| Error::not_found("no such file or directory").at(path.to_string()))
    }

    fn entries_at(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        self.entries(self.node_at(path)?).at(|| path.to_string())
    }

    fn metadata_at(&self, path: &FsPath) -> Result<Metadata> {
        self.metadata(self.node_at(path)?).at(|| path.to_string())
    }

    fn find_metadata(&self, path: &FsPath) -> Result<Option<Metadata>> {
        self.find(path)?
            .map(|node| self.metadata(node))
            .transpose()
            .at(|| path.to_string())
    }

    fn read_link_at(&self, path: &FsPath) -> Result<Vec<u8>> {
        self.read_link(self.node_at(path)?).at(|| path.to_string())
    }

    fn xattrs_at(&self, path: &FsPath) -> Result<Vec<Xattr>> {
        self.xattrs(self.node_at(path)?).at(|| path.to_string())
    }

    fn open_at(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        self.open(self.node_at(path)?).at(|| path.to_string())
    }
}

/// Whether there is an entry of any type at `path`.
pub fn exists(fs: &dyn FileSystem, path: &FsPath) -> Result<bool> {
    Ok(fs.find(path)?.is_some())
}

/// The whole content of a regular file of at most `limit` bytes.
pub fn read_file(fs: &dyn FileSystem, path: &FsPath, limit: u64) -> Result<Vec<u8>> {
    let file = fs.open_at(path)?;
    if file.size() > limit {
        return Err(Error::unsupported(format!(
            "a file of {} bytes, at most {limit} are expected here",
            file.size()
        ))
        .because(Reason::Limit)
        .at(path.to_string()));
    }
    let mut content = vec![0; to_usize(file.size())?];
    file.read_at(0, &mut content).at(|| path.to_string())?;
    Ok(content)
}

/// Follows every symlink on the way to `path`, the last one too, and returns the path of what is meant.
///
/// Absolute targets begin at this filesystem's root and `..` stops there, as in a chroot. The last name may be missing.
pub fn resolve(fs: &dyn FileSystem, path: &FsPath) -> Result<FsPath> {
    let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
    // The directories on the way, each with its node.
    let mut way = vec![(FsPath::root(), fs.root())];
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let Some((at, directory)) = way.last() else {
            return Err(Error::internal("the root is never left"));
        };
        if name == b".." {
            way.truncate(way.len().max(2) - 1);
            continue;
        }
        let next = at.join(&name).at(|| path.to_string())?;
        let Some(node) = fs.lookup(*directory, &name).at(|| path.to_string())? else {
            if todo.is_empty() {
                return Ok(next);
            }
            return Err(Error::not_found("no such file or directory")
                .at(next.to_string())
                .at(path.to_string()));
        };
        if fs.metadata(node).at(|| next.to_string())?.file_type != FileType::Symlink {
            way.push((next, node));
            continue;
        }
        links += 1;
        if links > SYMLINKS_MAX {
            return Err(Error::invalid(format!(
                "more than {SYMLINKS_MAX} symlinks on the way, probably a loop"
            ))
            .at(path.to_string()));
        }
        let target = fs.read_link(node).at(|| next.to_string())?;
        if target.first() == Some(&b'/') {
            way.truncate(1);
        }
        let names = target.split(|&byte| byte == b'/').rev();
        todo.extend(
            names
                .filter(|name| !name.is_empty() && *name != b".")
                .map(<[u8]>::to_vec),
        );
    }
    way.pop()
        .map(|(path, _)| path)
        .ok_or_else(|| Error::internal("the root is never left"))
}

/// Calls `visit` for `top` and everything below it, parents first, names in order. Symlinks are not followed.
///
/// A directory met twice is an error: in a damaged filesystem it can lie within itself, and be endless.
pub fn walk(
    fs: &dyn FileSystem,
    top: &FsPath,
    visit: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let mut todo = vec![(top.clone(), fs.node_at(top)?, 0)];
    let mut directories = HashSet::new();
    while let Some((path, node, depth)) = todo.pop() {
        let metadata = fs.metadata(node).at(|| path.to_string())?;
        let is_dir = metadata.file_type == FileType::Directory;
        if is_dir && !directories.insert(node) {
            return Err(Error::corrupt("a directory that is also elsewhere").at(path.to_string()));
        }
        visit(Entry {
            path: path.clone(),
            node,
            metadata,
        })?;
        if is_dir {
            if depth == DEPTH_MAX {
                return Err(
                    Error::corrupt(format!("directories nest deeper than {DEPTH_MAX}"))
                        .at(path.to_string()),
                );
            }
            for entry in fs.entries(node).at(|| path.to_string())?.into_iter().rev() {
                todo.push((path.join(&entry.name)?, entry.node, depth + 1));
            }
        }
    }
    Ok(())
}
