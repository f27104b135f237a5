//! Files and folders of the host that are copied into an image.

use std::fs::{self, FileType as HostType, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::block::shown;
use crate::error::{Error, Result};
use crate::fs::FileType;

/// A host entry to copy.
#[derive(Debug, Clone)]
pub(super) struct HostEntry {
    /// The host path.
    pub(super) source: PathBuf,
    /// Names from the folder that is copied down to this entry.
    pub(super) below: Vec<Vec<u8>>,
    pub(super) file_type: FileType,
    /// Length of a file's content or a symlink's target.
    pub(super) bytes: u64,
    /// Folders, and files that their owner may execute: no other bit of the host's mode counts, as the rest
    /// depends on the umask of whoever made the file.
    pub(super) executable: bool,
    /// A symlink's target.
    pub(super) target: String,
}

impl HostEntry {
    /// Stands for a file of `bytes` that the host has not.
    pub(super) fn inline(bytes: u64) -> Self {
        let file_type = FileType::File;
        let executable = false;
        Self {
            source: PathBuf::new(),
            below: Vec::new(),
            file_type,
            bytes,
            executable,
            target: String::new(),
        }
    }
}

/// A path as text: JSON has no other, and names of the host need not be UTF-8.
pub(super) fn path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// One regular file, symlinks followed.
pub(super) fn file(path: &Path) -> Result<HostEntry> {
    let metadata = fs::metadata(path).map_err(|error| missing(path, error))?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!(
            "{} is not a regular file",
            shown(path)
        )));
    }
    entry(path, Vec::new(), &metadata)
}

/// Calls `visit` for `top` and, where it is a folder, for all below it: folders first, names in order.
/// `top` itself may be a symlink to what is copied; symlinks below it are copied as symlinks.
pub(super) fn walk(top: &Path, visit: &mut dyn FnMut(&HostEntry) -> Result<()>) -> Result<()> {
    let metadata = fs::metadata(top).map_err(|error| missing(top, error))?;
    let mut todo = vec![entry(top, Vec::new(), &metadata)?];
    while let Some(entry_here) = todo.pop() {
        visit(&entry_here)?;
        if entry_here.file_type == FileType::Directory {
            let names = names(&entry_here.source)?;
            for name in names.into_iter().rev() {
                let path = entry_here.source.join(std::ffi::OsStr::from_bytes(&name));
                let metadata =
                    fs::symlink_metadata(&path).map_err(|error| missing(&path, error))?;
                let below = entry_here.below.iter().cloned().chain([name]).collect();
                todo.push(entry(&path, below, &metadata)?);
            }
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let error = |error| Error::io(format!("listing {}", shown(folder)), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        names.push(entry.map_err(error)?.file_name().as_bytes().to_vec());
    }
    names.sort();
    Ok(names)
}

fn entry(path: &Path, below: Vec<Vec<u8>>, metadata: &Metadata) -> Result<HostEntry> {
    let file_type = file_type(metadata.file_type()).ok_or_else(|| {
        Error::invalid(format!(
            "{} is neither a file nor a folder nor a symlink",
            shown(path)
        ))
        .with_hint("device nodes, pipes and sockets are not copied from the host")
    })?;
    let mut target = String::new();
    if file_type == FileType::Symlink {
        let link = fs::read_link(path).map_err(|error| missing(path, error))?;
        let text = link
            .to_str()
            .ok_or_else(|| Error::invalid(format!("{}: its target is not UTF-8", shown(path))));
        target = text?.to_owned();
    }
    Ok(HostEntry {
        source: path.to_owned(),
        below,
        file_type,
        bytes: metadata.len(),
        executable: file_type == FileType::Directory || metadata.permissions().mode() & 0o100 != 0,
        target,
    })
}

fn file_type(host: HostType) -> Option<FileType> {
    match () {
        () if host.is_file() => Some(FileType::File),
        () if host.is_dir() => Some(FileType::Directory),
        () if host.is_symlink() => Some(FileType::Symlink),
        () => None,
    }
}

fn missing(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("reading {}", shown(path)), error)
}
