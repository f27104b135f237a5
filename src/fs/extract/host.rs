//! The host's side: one open folder, and steps below it that never follow a symlink.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::{FileRead, Timestamp};

/// Bytes read at once.
const CHUNK: u64 = 1 << 20;
/// Stretches of zeroes of this size become holes (the usual block of a host filesystem).
const HOLE: usize = 4096;
/// Names tried for a file that is being written; entries of the image may have such names themselves.
const PARTIAL_MAX: u32 = 1000;

/// An open folder of the host.
pub(super) struct Folder(OwnedFd);

fn failed(what: &str, name: &[u8], error: Errno) -> Error {
    let shown = name.escape_ascii();
    match error {
        Errno::EXIST => Error::invalid(format!("{what} '{shown}': the name exists already"))
            .because(Reason::Exists)
            .with_hint("the directory of the image holds this name twice, or names that this host takes for the same"),
        Errno::LOOP | Errno::NOTDIR => Error::corrupt(format!("{what} '{shown}': a symlink or file is in the way"))
            .with_hint("the image holds this name twice in one directory"),
        _ => Error::io(format!("{what} '{shown}'"), error.into()),
    }
}

fn stamps(time: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.min(999_999_999).into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn mode(bits: u32) -> Mode {
    Mode::from_bits_truncate(bits)
}

/// Where a single entry called `name` goes for the target `to`: the folder to create it in, and its name there.
pub(super) fn place(to: &Path, name: &[u8], overwrite: bool) -> Result<(Folder, Vec<u8>)> {
    let inside = to.is_dir();
    let path = if inside {
        to.join(OsStr::from_bytes(name))
    } else {
        to.to_path_buf()
    };
    if let Ok(existing) = path.symlink_metadata() {
        if existing.is_dir() {
            return Err(Error::invalid(format!("{} is a folder", path.display())));
        }
        if !overwrite {
            return Err(Error::invalid(format!("{} exists already", path.display()))
                .because(Reason::Exists)
                .with_hint("choose another target, or allow overwriting"));
        }
    }
    let file_name = path
        .file_name()
        .ok_or_else(|| Error::invalid(format!("{} names no file", to.display())))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok((Folder::open(&parent)?, file_name.as_bytes().to_vec()))
}

impl Folder {
    /// Opens a folder that the user named; symlinks on the way are the user's own.
    fn open(path: &Path) -> Result<Self> {
        rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
        .map_err(|error| {
            Error::io(
                format!("opening the folder {}", path.display()),
                error.into(),
            )
        })
    }

    /// The folder a tree is extracted to: created, or there and empty.
    pub(super) fn create_top(path: &Path) -> Result<Self> {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut entries = std::fs::read_dir(path).map_err(|error| {
                    Error::io(format!("{} exists and is no folder", path.display()), error)
                })?;
                if entries.next().is_some() {
                    return Err(Error::invalid(format!(
                        "the folder {} is not empty",
                        path.display()
                    ))
                    .because(Reason::NotEmpty)
                    .with_hint("choose a target that does not exist or is an empty folder"));
                }
            }
            Err(error) => {
                return Err(Error::io(
                    format!("creating the folder {}", path.display()),
                    error,
                ));
            }
        }
        Self::open(path)
    }

    /// The folder that `route` leads to from this one; a symlink on the way is an error.
    pub(super) fn descend(&self, route: &[Vec<u8>]) -> Result<Self> {
        let mut at = self
            .0
            .try_clone()
            .map_err(|error| Error::io("opening a folder once more", error))?;
        for name in route {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = rustix::fs::openat(&at, name.as_slice(), flags, Mode::empty())
                .map_err(|error| failed("opening the folder", name, error))?;
        }
        Ok(Self(at))
    }

    /// Creates a folder that only its owner can use until it is finished.
    pub(super) fn create_dir(&self, name: &[u8]) -> Result<()> {
        rustix::fs::mkdirat(&self.0, name, mode(0o700))
            .map_err(|error| failed("creating the folder", name, error))
    }

    /// Gives this folder its mode and time.
    pub(super) fn finish(&self, bits: u32, time: Timestamp) -> Result<()> {
        rustix::fs::fchmod(&self.0, mode(bits))
            .map_err(|error| failed("setting the mode of", b"a folder", error))?;
        rustix::fs::futimens(&self.0, &stamps(time))
            .map_err(|error| failed("setting the time of", b"a folder", error))
    }

    /// Creates a symlink; it gets its name like a file.
    pub(super) fn symlink(
        &self,
        name: &[u8],
        target: &[u8],
        time: Timestamp,
        overwrite: bool,
    ) -> Result<()> {
        let create = |partial: &[u8]| rustix::fs::symlinkat(target, &self.0, partial);
        let (partial, ()) = self
            .partial(name, create)
            .map_err(|error| failed("creating the symlink", name, error))?;
        rustix::fs::utimensat(
            &self.0,
            partial.name(),
            &stamps(time),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|error| failed("setting the time of", name, error))?;
        partial.publish(name, overwrite)
    }

    /// Creates `name` as another name of the file that `first` leads to from this folder.
    pub(super) fn link(&self, first: &[Vec<u8>], folder: &Self, name: &[u8]) -> Result<()> {
        let Some((file, route)) = first.split_last() else {
            return Err(Error::internal("a file in a tree has a name"));
        };
        // Without AT_SYMLINK_FOLLOW, a symlink that took the file's place would itself be linked.
        let from = self.descend(route)?;
        rustix::fs::linkat(&from.0, file.as_slice(), &folder.0, name, AtFlags::empty())
            .map_err(|error| failed("linking", name, error))
    }

    /// Writes a file beside its place and moves it there when it is whole.
    pub(super) fn write_file(
        &self,
        name: &[u8],
        content: &dyn FileRead,
        bits: u32,
        time: Timestamp,
        overwrite: bool,
    ) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |partial: &[u8]| rustix::fs::openat(&self.0, partial, flags, mode(0o600));
        let (partial, file) = self
            .partial(name, create)
            .map_err(|error| failed("creating", name, error))?;
        let file = File::from(file);
        copy(content, &file, name)?;
        rustix::fs::fchmod(&file, mode(bits))
            .map_err(|error| failed("setting the mode of", name, error))?;
        rustix::fs::futimens(&file, &stamps(time))
            .map_err(|error| failed("setting the time of", name, error))?;
        partial.publish(name, overwrite)
    }

    /// Creates the entry that will be `wanted` under a passing name that is free.
    fn partial<T>(
        &self,
        wanted: &[u8],
        create: impl Fn(&[u8]) -> Result<T, Errno>,
    ) -> Result<(Partial<'_>, T), Errno> {
        let names =
            (0..PARTIAL_MAX).map(|number| format!(".flatbake-partial-{number}").into_bytes());
        for name in names.filter(|name| name != wanted) {
            match create(&name) {
                Ok(made) => {
                    return Ok((
                        Partial {
                            folder: self,
                            name: Some(name),
                        },
                        made,
                    ));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EXIST)
    }
}

/// An entry under a passing name; removed unless it is published.
struct Partial<'a> {
    folder: &'a Folder,
    name: Option<Vec<u8>>,
}

impl Partial<'_> {
    fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or_default()
    }

    /// Gives the entry its name. Only with `overwrite` may it take another's.
    fn publish(mut self, name: &[u8], overwrite: bool) -> Result<()> {
        let folder = &self.folder.0;
        if !overwrite {
            match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Ok(_) => return Err(failed("creating", name, Errno::EXIST)),
                Err(error) => return Err(failed("creating", name, error)),
            }
        }
        rustix::fs::renameat(folder, self.name(), folder, name)
            .map_err(|error| failed("creating", name, error))?;
        self.name = None;
        Ok(())
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The failure that led here is reported; a second one would add nothing.
            let _ = rustix::fs::unlinkat(&self.folder.0, name.as_slice(), AtFlags::empty());
        }
    }
}

/// Copies the content in pieces and leaves out blocks of zeroes.
fn copy(content: &dyn FileRead, file: &File, name: &[u8]) -> Result<()> {
    let size = content.size();
    let failed = |error| Error::io(format!("writing '{}'", name.escape_ascii()), error);
    file.set_len(size).map_err(failed)?;
    let mut buf = vec![0; to_usize(size.min(CHUNK))?];
    let mut offset = 0;
    while offset < size {
        let piece = &mut buf[..to_usize((size - offset).min(CHUNK))?];
        content.read_at(offset, piece)?;
        for run in data_runs(piece) {
            file.write_all_at(&piece[run.clone()], offset + to_u64(run.start))
                .map_err(failed)?;
        }
        offset += to_u64(piece.len());
    }
    Ok(())
}

/// The stretches of `bytes` that are not blocks of zeroes.
fn data_runs(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, block) in bytes
        .chunks(HOLE)
        .enumerate()
        .filter(|(_, block)| !is_zero(block))
    {
        let start = index * HOLE;
        match runs.last_mut().filter(|run| run.end == start) {
            Some(run) => run.end += block.len(),
            None => runs.push(start..start + block.len()),
        }
    }
    runs
}
