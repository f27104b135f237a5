//! Operations on top of any [`FileSystem`]: whole files, trees, symlinks.

use std::collections::HashSet;

use super::{FileSystem, FileType, FsPath, Metadata};
use crate::bytes::to_usize;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Symlinks followed on one path before it counts as a loop (`MAXSYMLINKS` of Linux).
const SYMLINKS_MAX: usize = 40;
/// Directories below one another; deeper trees cannot be named by a path anyway.
const DEPTH_MAX: usize = 2048;

/// An entry met by [`walk`].
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path.
    pub path: FsPath,
    /// The entry itself, a symlink not followed.
    pub metadata: Metadata,
}

/// Whether there is an entry of any type at `path`.
pub fn exists(fs: &dyn FileSystem, path: &FsPath) -> Result<bool> {
    match fs.metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The whole content of a regular file of at most `limit` bytes.
pub fn read_file(fs: &dyn FileSystem, path: &FsPath, limit: u64) -> Result<Vec<u8>> {
    let file = fs.open(path)?;
    if file.size() > limit {
        return Err(Error::unsupported(format!("a file of {} bytes, at most {limit} are expected here", file.size()))
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
    let mut done = FsPath::root();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            done = done.parent().unwrap_or(done);
            continue;
        }
        let next = done.join(&name).at(|| path.to_string())?;
        match fs.metadata(&next) {
            Ok(metadata) if metadata.file_type == FileType::Symlink => {
                links += 1;
                if links > SYMLINKS_MAX {
                    return Err(Error::invalid(format!(
                        "more than {SYMLINKS_MAX} symlinks on the way, probably a loop"
                    ))
                    .at(path.to_string()));
                }
                let target = fs.read_link(&next)?;
                if target.first() == Some(&b'/') {
                    done = FsPath::root();
                }
                let names = target.split(|&byte| byte == b'/').rev();
                todo.extend(names.filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec));
            }
            Ok(_) => done = next,
            Err(error) if error.kind() == ErrorKind::NotFound && todo.is_empty() => done = next,
            Err(error) => return Err(error.at(path.to_string())),
        }
    }
    Ok(done)
}

/// Calls `visit` for `top` and everything below it, parents first, names in order. Symlinks are not followed.
///
/// A directory met twice is an error: in a damaged filesystem it can lie within itself, and be endless.
pub fn walk(fs: &dyn FileSystem, top: &FsPath, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
    let mut todo = vec![(top.clone(), 0)];
    let mut directories = HashSet::new();
    while let Some((path, depth)) = todo.pop() {
        let metadata = fs.metadata(&path)?;
        let is_dir = metadata.file_type == FileType::Directory;
        if is_dir && !directories.insert(metadata.inode) {
            return Err(Error::corrupt("a directory that is also elsewhere").at(path.to_string()));
        }
        visit(Entry { path: path.clone(), metadata })?;
        if is_dir {
            if depth == DEPTH_MAX {
                return Err(Error::corrupt(format!("directories nest deeper than {DEPTH_MAX}")).at(path.to_string()));
            }
            for entry in fs.read_dir(&path)?.into_iter().rev() {
                todo.push((path.join(&entry.name)?, depth + 1));
            }
        }
    }
    Ok(())
}
