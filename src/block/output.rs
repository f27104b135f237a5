//! A file that appears under its name only when it is whole.
//!
//! ```text
//!   create        folder/           (a file without a name: O_TMPFILE)     ── killed here: nothing is left
//!   write         folder/           ………………………………
//!   commit        folder/           fsync
//!     new name    folder/disk.img   linkat
//!     replaced    folder/.flatbake-x1y2z3.part  linkat, then rename to disk.img: one step
//!                           for every reader; a kill just here leaves that name behind
//!                 folder/           fsync of the folder
//! ```
//!
//! Where the filesystem knows no files without a name, or `/proc` is missing, the file is written under a temporary name
//! beside the target, which is removed when it is dropped. When the process is killed it stays, until the next output is
//! made in that folder.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use super::shown;
use super::temporary::{lock, make_locked, sweep, temporary_name};
use crate::error::{Error, Result, ResultExt};

/// A new file that replaces its target on [`commit`](Self::commit) and vanishes when dropped before.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    target: PathBuf,
    folder: PathBuf,
    /// The temporary name, where there had to be one.
    temporary: Option<TempPath>,
}

impl OutputFile {
    /// Opens a new empty file, for reading and writing, that is to become `target`.
    ///
    /// `target` must be missing or a regular file; a symlink to a regular file is followed, as when a file is opened for
    /// writing, so that the link stays and the file it points to is replaced. Permission bits are those of any new file
    /// (0666 less the umask), whatever a replaced file had.
    pub fn create(target: &Path) -> Result<Self> {
        let (target, folder) = place_of(target)?;
        sweep(&folder);
        let created = match open_unnamed(&folder) {
            Ok(Some(file)) => Ok((file, None)),
            Ok(None) => open_named(&folder).map(|(file, path)| (file, Some(path))),
            Err(error) => Err(error),
        };
        let (file, temporary) = created.map_err(|error| refused(&target, &folder, error))?;
        Ok(Self {
            file,
            target,
            folder,
            temporary,
        })
    }

    /// Whether [`create`](Self::create) would find a place for `target` and be allowed to use it. Nothing is made.
    ///
    /// # Errors
    /// Those that `create` would give.
    pub fn check(target: &Path) -> Result<()> {
        let (target, folder) = place_of(target)?;
        rustix::fs::access(&folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| refused(&target, &folder, error.into()))
    }

    /// The file, empty at first.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Lets those execute the file who may read it.
    pub fn make_executable(&self) -> Result<()> {
        let change = || {
            let mode = self.file.metadata()?.permissions().mode();
            self.file
                .set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))
        };
        change().map_err(|error| {
            Error::io(
                format!("making {} executable", self.target.display()),
                error,
            )
        })
    }

    /// Where it will appear: the target given, after symlinks.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes all bytes durable while `work` goes on, which may be reading them.
    ///
    /// # Errors
    /// That of `work`, and of the file.
    pub fn sync_while<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        sync_while(&self.file, work).at(|| shown(&self.target))
    }

    /// Makes all bytes durable, then gives the file its name, replacing a file of that name in one step.
    pub fn commit(self) -> Result<()> {
        Self::commit_all(vec![self])
    }

    /// Makes the bytes of all files durable before any of them gets its name; then they get them in order, one right
    /// after the other.
    pub fn commit_all(outputs: Vec<Self>) -> Result<()> {
        for output in &outputs {
            output
                .file
                .sync_all()
                .map_err(|error| finishing(&output.target, error))?;
            refuse_special(&output.target)?;
        }
        let mut folders = Vec::new();
        for Self {
            file,
            target,
            folder,
            temporary,
        } in outputs
        {
            let named = match temporary {
                Some(path) => path.persist(&target).map_err(|error| error.error),
                None => link(&file, &folder, &target),
            };
            named.map_err(|error| finishing(&target, error))?;
            folders.push((folder, target));
        }
        folders.iter().try_for_each(|(folder, target)| {
            sync_folder(folder).map_err(|error| finishing(target, error))
        })
    }
}

/// Makes all bytes of `file` durable while `work` goes on.
///
/// # Errors
/// That of `work`, and of the file.
pub fn sync_while<T>(file: &File, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (synced, done) = thread::scope(|scope| {
        let synced = scope.spawn(|| make_durable(file));
        let done = work();
        let synced = synced.join();
        let synced = synced.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (synced, done)
    });
    synced?;
    done
}

/// Makes all bytes of `file` durable.
///
/// # Errors
/// Those of the file.
pub fn make_durable(file: &File) -> Result<()> {
    file.sync_all()
        .map_err(|error| Error::io("making its bytes durable", error))
}

/// The path to replace and the folder it is in, which exists.
fn place_of(target: &Path) -> Result<(PathBuf, PathBuf)> {
    let target = resolve(target)?;
    let folder = match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        let message = format!(
            "cannot create {}: the folder {} does not exist",
            target.display(),
            folder.display()
        );
        return Err(
            Error::not_found(message).with_hint("create the folder first, or choose another place")
        );
    }
    Ok((target, folder))
}

fn refused(target: &Path, folder: &Path, error: io::Error) -> Error {
    Error::io(
        format!(
            "creating {} in the folder {}",
            target.display(),
            folder.display()
        ),
        error,
    )
    .with_hint(
        "choose a folder that you may write to, on a filesystem that is not mounted read-only",
    )
}

/// What failed when the bytes were all written.
pub(super) fn finishing(target: &Path, error: io::Error) -> Error {
    Error::io(format!("finishing {}", target.display()), error)
        .with_hint("check free space and quota of its filesystem")
}

/// Makes the names in a folder durable. Some filesystems cannot; the files themselves are safe and in place.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

/// The path to replace: symlinks followed where they lead to a file.
fn resolve(target: &Path) -> Result<PathBuf> {
    if target.file_name().is_none() || target.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Error::invalid(format!(
            "the output '{}' names a folder, not a file",
            target.display()
        ))
        .with_hint("add a file name"));
    }
    refuse_special(target)?;
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_symlink() => fs::canonicalize(target).map_err(|error| {
            Error::io(
                format!(
                    "the output {} is a symlink that leads nowhere",
                    target.display()
                ),
                error,
            )
            .with_hint("remove the link, or create the file it points to")
        }),
        _ => Ok(target.to_owned()),
    }
}

/// Refuses a target that exists and is not a regular file: it could not be replaced in one step, or should not be.
fn refuse_special(target: &Path) -> Result<()> {
    let what = match fs::metadata(target) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Ok(metadata) if metadata.is_dir() => "a folder",
        Ok(_) => "a device or another special file",
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Error::io(
                format!("looking at the output {}", target.display()),
                error,
            ));
        }
    };
    Err(Error::invalid(format!(
        "the output {} is {what}, not a regular file",
        target.display()
    ))
    .with_hint("name a new file, or a regular file to be replaced"))
}

/// A file without a name, or `None` where there is no such thing or it could not be named later.
pub(super) fn open_unnamed(folder: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, folder, flags, Mode::from_raw_mode(0o666)) {
        Ok(fd) => {
            let file = File::from(fd);
            lock(&file);
            Ok(proc_path(&file).exists().then_some(file))
        }
        // Kernels and filesystems without O_TMPFILE say one of these.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A file with a temporary name in `folder`.
fn open_named(folder: &Path) -> io::Result<(File, TempPath)> {
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
    };
    let make = || temporary_name().make_in(folder, open);
    let (named, file) = make_locked(make, |named| named.as_file().try_clone())?;
    Ok((file, named.into_temp_path()))
}

/// Gives an unnamed file its name.
fn link(file: &File, folder: &Path, target: &Path) -> io::Result<()> {
    match link_to(file, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let named = temporary_name().make_in(folder, |path| link_to(file, path))?;
            named
                .into_temp_path()
                .persist(target)
                .map_err(|error| error.error)
        }
        result => result,
    }
}

/// Gives an unnamed file a name that is free.
pub(super) fn link_to(file: &File, path: &Path) -> io::Result<()> {
    Ok(rustix::fs::linkat(
        CWD,
        proc_path(file),
        CWD,
        path,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

/// The path that stands for an open file.
fn proc_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::ErrorKind;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(target: &Path, content: &[u8]) -> Result<()> {
        let output = OutputFile::create(target)?;
        output.file().write_all(content).unwrap();
        output.commit()
    }

    #[test]
    fn appears_only_on_commit_and_replaces_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.img");
        let output = OutputFile::create(&target).unwrap();
        output.file().write_all(b"half").unwrap();
        assert!(names(dir.path()).is_empty(), "a file without a name");
        drop(output);
        assert!(names(dir.path()).is_empty());

        write(&target, b"first").unwrap();
        let mut old = File::open(&target).unwrap();
        write(&target, b"second").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"second");
        assert_eq!(
            io::read_to_string(&mut old).unwrap(),
            "first",
            "a reader of the old file keeps it"
        );
        assert_eq!(names(dir.path()), ["disk.img"]);
    }

    #[test]
    fn a_named_temporary_file_does_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.img");
        let named = || {
            let (file, path) = open_named(dir.path()).unwrap();
            OutputFile {
                file,
                target: target.clone(),
                folder: dir.path().to_owned(),
                temporary: Some(path),
            }
        };
        let output = named();
        assert_eq!(names(dir.path()).len(), 1);
        drop(output);
        assert!(names(dir.path()).is_empty());
        for content in ["one", "two"] {
            let output = named();
            output.file().write_all(content.as_bytes()).unwrap();
            output.commit().unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
            assert_eq!(names(dir.path()), ["disk.img"]);
            let plain = dir.path().join("plain");
            File::create(&plain).unwrap();
            assert_eq!(mode(&target), mode(&plain));
            fs::remove_file(plain).unwrap();
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode()
    }

    #[test]
    fn permissions_are_those_of_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.img");
        let plain = dir.path().join("plain");
        File::create(&plain).unwrap();
        write(&target, b"").unwrap();
        assert_eq!(mode(&target), mode(&plain));
        fs::set_permissions(&target, fs::Permissions::from_mode(0o400)).unwrap();
        write(&target, b"").unwrap();
        assert_eq!(mode(&target), mode(&plain));
    }

    #[test]
    fn a_symlink_stays_and_its_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("elsewhere/real"), b"old").unwrap();
        symlink("elsewhere/real", path("link")).unwrap();
        write(&path("link"), b"new").unwrap();
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        assert_eq!(fs::read(path("elsewhere/real")).unwrap(), b"new");

        symlink("nowhere", path("dangling")).unwrap();
        let error = OutputFile::create(&path("dangling")).unwrap_err();
        assert!(error.to_string().contains("leads nowhere"), "{error}");
    }

    #[test]
    fn unusable_targets_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        for (target, kind, word) in [
            (folder.to_owned(), ErrorKind::InvalidInput, "a folder"),
            (
                format!("{folder}/new/"),
                ErrorKind::InvalidInput,
                "names a folder",
            ),
            ("..".to_owned(), ErrorKind::InvalidInput, "names a folder"),
            ("/dev/null".to_owned(), ErrorKind::InvalidInput, "a device"),
            (
                format!("{folder}/missing/disk.img"),
                ErrorKind::NotFound,
                "missing",
            ),
        ] {
            let error = OutputFile::create(Path::new(&target)).unwrap_err();
            assert_eq!(error.kind(), kind, "{target}: {error:?}");
            assert!(
                error.to_string().contains(word) && error.hint().is_some(),
                "{target}: {error:?}"
            );
        }
        // A folder in which nobody can create a file.
        let error = OutputFile::create(Path::new("/proc/disk.img")).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Environment),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("the folder /proc") && error.hint().is_some(),
            "{error:?}"
        );
        // What became a folder in the meantime is not replaced either.
        let output = OutputFile::create(&dir.path().join("late")).unwrap();
        fs::create_dir(dir.path().join("late")).unwrap();
        assert!(
            output
                .commit()
                .unwrap_err()
                .to_string()
                .contains("a folder")
        );
        assert_eq!(names(dir.path()), ["late"]);
    }
}
