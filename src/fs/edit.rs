//! The contract of all editors: what is asked for is checked here, once, before an editor sees it.
//!
//! ```text
//!   caller ─▶ FileSystemMut ── mode, name, target, device, size, attributes, moves ──▶ Edit: ext4, btrfs, FAT
//! ```
//!
//! What depends on what the filesystem holds (a parent that is missing, a name that is taken, room) is the editor's.

use super::path::FsPath;
use super::types::{Attributes, FileType, FsKind, MetadataChange};
use super::{FileContent, FileSystem, FileSystemMut};
use crate::error::{Error, Reason, Result, ResultExt};

/// Permission bits with setuid, setgid and sticky.
const MODE_MAX: u32 = 0o7777;

/// Longest file that Linux has (`MAX_LFS_FILESIZE`).
pub(in crate::fs) const LINUX_FILE_MAX: u64 = u64::MAX >> 1;
/// Longest target of a symlink, with its end counted (`PATH_MAX`).
pub(in crate::fs) const LINUX_TARGET_MAX: usize = 4096;
/// Largest major and minor number (12 and 20 bits of the kernel's device number).
pub(in crate::fs) const LINUX_DEVICE_MAX: (u32, u32) = (0xfff, 0xf_ffff);

/// What a filesystem can hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a name.
    pub name_bytes: usize,
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Bytes of a symlink's target; `None` where there are no symlinks.
    pub target_bytes: Option<usize>,
    /// Whether a file can have several names.
    pub hard_links: bool,
    /// Largest major and minor number of a device; `None` where there are neither devices nor fifos nor sockets.
    pub device: Option<(u32, u32)>,
    /// Whether there are extended attributes.
    pub xattrs: bool,
}

/// An editor of one filesystem, behind the contract: the operations are those of [`FileSystemMut`], and what is asked
/// for lies within [`limits`](Self::limits).
pub trait Edit: FileSystem {
    /// What the filesystem can hold.
    fn limits(&self) -> Limits;

    /// See [`FileSystemMut::create_dir`].
    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()>;

    /// See [`FileSystemMut::write_content`].
    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()>;

    /// See [`FileSystemMut::symlink`].
    fn symlink(&mut self, _path: &FsPath, _target: &[u8], _attributes: &Attributes) -> Result<()> {
        Err(never())
    }

    /// See [`FileSystemMut::hard_link`].
    fn hard_link(&mut self, _existing: &FsPath, _path: &FsPath) -> Result<()> {
        Err(never())
    }

    /// See [`FileSystemMut::mknod`].
    fn mknod(
        &mut self,
        _path: &FsPath,
        _file_type: FileType,
        _device: (u32, u32),
        _attributes: &Attributes,
    ) -> Result<()> {
        Err(never())
    }

    /// See [`FileSystemMut::set_metadata`].
    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()>;

    /// See [`FileSystemMut::set_xattr`].
    fn set_xattr(&mut self, _path: &FsPath, _name: &[u8], _value: &[u8]) -> Result<()> {
        Err(never())
    }

    /// See [`FileSystemMut::remove_xattr`].
    fn remove_xattr(&mut self, _path: &FsPath, _name: &[u8]) -> Result<()> {
        Err(never())
    }

    /// See [`FileSystemMut::rename`].
    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()>;

    /// See [`FileSystemMut::remove`].
    fn remove(&mut self, path: &FsPath) -> Result<()>;

    /// See [`FileSystemMut::commit`].
    fn commit(&mut self) -> Result<()>;
}

impl<E: Edit> FileSystemMut for E {
    fn as_read(&self) -> &dyn FileSystem {
        self
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        check_new(self, path, Some(attributes)).at(|| path.to_string())?;
        Edit::create_dir(self, path, attributes)
    }

    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        check_new(self, path, Some(attributes)).at(|| path.to_string())?;
        check_size(self, content.size()).at(|| path.to_string())?;
        Edit::write_content(self, path, attributes, content)
    }

    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()> {
        check_new(self, path, Some(attributes)).at(|| path.to_string())?;
        check_target(self, target).at(|| path.to_string())?;
        Edit::symlink(self, path, target, attributes)
    }

    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        if !self.limits().hard_links {
            return Err(lacking(self.kind(), "hard links").at(path.to_string()));
        }
        check_new(self, path, None).at(|| path.to_string())?;
        Edit::hard_link(self, existing, path)
    }

    fn mknod(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        check_new(self, path, Some(attributes)).at(|| path.to_string())?;
        check_device(self, file_type, device).at(|| path.to_string())?;
        Edit::mknod(self, path, file_type, device, attributes)
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        change
            .mode
            .map_or(Ok(()), check_mode)
            .at(|| path.to_string())?;
        Edit::set_metadata(self, path, change)
    }

    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()> {
        check_xattr(self, name).at(|| path.to_string())?;
        Edit::set_xattr(self, path, name, value)
    }

    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()> {
        check_xattr(self, name).at(|| path.to_string())?;
        Edit::remove_xattr(self, path, name)
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        check_new(self, to, None).at(|| to.to_string())?;
        if from.is_root() {
            return Err(Error::invalid("the root directory cannot be moved"));
        }
        if to != from && to.starts_with(from) {
            return Err(
                Error::invalid(format!("cannot be moved into itself ({to})")).at(from.to_string()),
            );
        }
        Edit::rename(self, from, to)
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        if path.is_root() {
            return Err(Error::invalid("the root directory cannot be removed"));
        }
        Edit::remove(self, path)
    }

    fn commit(&mut self) -> Result<()> {
        Edit::commit(self)
    }
}

/// Whether an entry can be called like this, and have these permissions.
fn check_new(editor: &dyn Edit, path: &FsPath, attributes: Option<&Attributes>) -> Result<()> {
    if path.is_root() {
        return Err(Error::invalid(
            "the root directory itself cannot be created or replaced",
        ));
    }
    path.check_name(editor.limits().name_bytes)
        .map_err(|error| error.because(Reason::Limit))?;
    attributes.map_or(Ok(()), |attributes| check_mode(attributes.mode))
}

fn check_mode(mode: u32) -> Result<()> {
    if mode <= MODE_MAX {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "mode {mode:#o} is out of range 0 to 0o7777"
        )))
    }
}

fn check_size(editor: &dyn Edit, size: u64) -> Result<()> {
    let max = editor.limits().file_bytes;
    if size <= max {
        return Ok(());
    }
    let kind = editor.kind();
    Err(Error::unsupported(format!(
        "a file of {size} bytes: {kind} can hold at most {max}"
    ))
    .because(Reason::Limit))
}

fn check_target(editor: &dyn Edit, target: &[u8]) -> Result<()> {
    let Some(max) = editor.limits().target_bytes else {
        return Err(lacking(editor.kind(), "symlinks"));
    };
    if (1..=max).contains(&target.len()) && !target.contains(&0) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a symlink target has 1 to {max} bytes and no NUL byte, this one has {} bytes",
        target.len()
    )))
}

fn check_device(editor: &dyn Edit, file_type: FileType, (major, minor): (u32, u32)) -> Result<()> {
    let max = match file_type {
        FileType::CharDevice | FileType::BlockDevice => editor.limits().device,
        FileType::Fifo | FileType::Socket => editor.limits().device.map(|_| (0, 0)),
        _ => {
            return Err(Error::invalid(
                "only devices, fifos and sockets are made as nodes",
            ));
        }
    };
    let Some(max) = max else {
        return Err(lacking(editor.kind(), "device nodes, fifos or sockets"));
    };
    if major <= max.0 && minor <= max.1 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "device number {major}:{minor} is out of range: major 0 to {}, minor 0 to {}",
        max.0, max.1
    )))
}

fn check_xattr(editor: &dyn Edit, name: &[u8]) -> Result<()> {
    if !editor.limits().xattrs {
        return Err(lacking(editor.kind(), "extended attributes"));
    }
    if name.is_empty() || name.len() > 255 || name.contains(&0) {
        return Err(Error::invalid(format!(
            "'{}' cannot be the name of an attribute: it has 1 to 255 bytes and no NUL byte",
            name.escape_ascii()
        )));
    }
    Ok(())
}

fn lacking(kind: FsKind, what: &str) -> Error {
    let kind = if kind == FsKind::Fat {
        "FAT".to_owned()
    } else {
        kind.to_string()
    };
    Error::unsupported(format!("{kind} has no {what}"))
        .because(Reason::Feature)
        .with_hint("put it on a partition whose filesystem has them, such as ROOT")
}

/// What an editor says to a request that its limits rule out.
fn never() -> Error {
    Error::internal("a request that the limits of the filesystem rule out")
}
