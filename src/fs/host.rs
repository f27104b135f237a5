//! Files and folders of the host as they are read into images and trees: listed first, opened later.
//!
//! ```text
//!   walk_host ──▶ HostEntry: folder, symlink (nobody follows it), special
//!                     └─ file ──▶ HostFile ── reader, open ──▶ bytes, if it is still the file that was listed
//! ```
//!
//! All that is read is registered in the run's [`Inputs`].

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::FileType;
use crate::block::{InputReader, Inputs, shown};
use crate::error::{Error, Result, from_io};

/// Folders below one another; deeper ones cannot be named by a path.
const DEPTH_MAX: usize = 2048;

/// An entry of the host as it was when its folder was listed.
#[derive(Debug, Clone)]
pub struct HostEntry {
    /// Its path.
    pub path: PathBuf,
    /// Its path from the top of the walk; empty for the top itself.
    pub below: PathBuf,
    /// What it is.
    pub file_type: FileType,
    /// What the host says of it; where it is a symlink, of the link.
    pub metadata: Metadata,
}

impl HostEntry {
    fn new(path: PathBuf, top: &Path, metadata: Metadata) -> Result<Self> {
        let file_type = FileType::from_mode(metadata.mode()).ok_or_else(|| {
            Error::invalid(format!(
                "{} is of a type that Linux does not have",
                shown(&path)
            ))
        })?;
        let below = path.strip_prefix(top).unwrap_or(&path).to_owned();
        Ok(Self {
            path,
            below,
            file_type,
            metadata,
        })
    }

    /// The regular file that it is.
    pub fn file(&self) -> HostFile {
        HostFile::of(&self.path, &self.metadata)
    }

    /// How many names lead to it from the top of the walk.
    pub fn depth(&self) -> usize {
        self.below.iter().count()
    }

    /// The target of the symlink that it is, which counts as an input.
    ///
    /// # Errors
    /// Those of the host.
    pub fn target(&self, role: &'static str, inputs: &Inputs) -> Result<Vec<u8>> {
        let target = fs::read_link(&self.path).map_err(|error| failed(&self.path, error))?;
        let target = target.into_os_string().into_vec();
        inputs.symlink(role, &self.path, &target)?;
        Ok(target)
    }
}

/// A regular file of the host as it was when it was found.
#[derive(Debug, Clone)]
pub struct HostFile {
    path: PathBuf,
    size: u64,
    /// Device and inode.
    identity: (u64, u64),
}

impl HostFile {
    /// The regular file at `path`, symlinks followed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where there is none, [`crate::ErrorKind::InvalidInput`] for anything else.
    pub fn find(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(|error| failed(path, error))?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!(
                "{} is not a regular file",
                shown(path)
            )));
        }
        Ok(Self::of(path, &metadata))
    }

    fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            size: metadata.len(),
            identity: (metadata.dev(), metadata.ino()),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Opens it to be read once from its start.
    ///
    /// # Errors
    /// Those of the host; [`crate::ErrorKind::InvalidInput`] where it is not the file any more that was found.
    pub fn reader(&self, role: &'static str, inputs: &Inputs) -> Result<InputReader> {
        let reader = inputs.reader(role, &self.path)?;
        self.check(reader.file())?;
        Ok(reader)
    }

    /// Opens it to be read at any place. Errors as of [`reader`](Self::reader).
    pub fn open(&self, role: &'static str, inputs: &Inputs) -> Result<File> {
        let file = inputs.open(role, &self.path)?;
        self.check(&file)?;
        Ok(file)
    }

    fn check(&self, file: &File) -> Result<()> {
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
        if (metadata.dev(), metadata.ino()) != self.identity || metadata.len() != self.size {
            return Err(self.changed());
        }
        Ok(())
    }

    /// The error of reading it.
    pub(super) fn failed(&self, error: io::Error) -> Error {
        failed(&self.path, error)
    }

    /// The error where it is another one than it was.
    pub(super) fn changed(&self) -> Error {
        Error::invalid(format!(
            "{} was changed while it was read",
            shown(&self.path)
        ))
        .with_hint("wait until it is complete and nobody writes to it, then try again")
    }
}

/// Calls `visit` for `top` and, where it is a folder, for all below it: folders first, names in order.
///
/// `top` itself may be a symlink to what is meant; symlinks below it are entries that nobody follows. A folder is
/// registered in `inputs` with all it holds.
///
/// # Errors
/// Those of the host and of `visit`; [`crate::ErrorKind::InvalidInput`] for folders that nest too deep.
pub fn walk_host(
    top: &Path,
    inputs: &Inputs,
    visit: &mut dyn FnMut(&HostEntry) -> Result<()>,
) -> Result<()> {
    let mut waiting = vec![(top.to_owned(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        inputs.cancel().check()?;
        let metadata = if depth == 0 {
            fs::metadata(&path)
        } else {
            fs::symlink_metadata(&path)
        };
        let metadata = metadata.map_err(|error| failed(&path, error))?;
        if depth == 0 && metadata.is_dir() {
            inputs.folder(&path);
        }
        let entry = HostEntry::new(path, top, metadata)?;
        visit(&entry)?;
        if entry.file_type == FileType::Directory {
            if depth == DEPTH_MAX {
                return Err(Error::invalid(format!(
                    "{} is more than {DEPTH_MAX} folders deep",
                    shown(&entry.path)
                )));
            }
            let names = names(&entry.path)?.into_iter().rev();
            waiting.extend(names.map(|name| (entry.path.join(name), depth + 1)));
        }
    }
    Ok(())
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Result<Vec<OsString>> {
    let listed = || -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    };
    let mut names = listed().map_err(|error| failed(folder, error))?;
    names.sort();
    Ok(names)
}

fn failed(path: &Path, error: io::Error) -> Error {
    from_io(format!("reading {}", shown(path)), error)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn folders_come_before_what_they_hold_and_nobody_follows_links_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("top/b")).unwrap();
        fs::create_dir(path("other")).unwrap();
        fs::write(path("other/secret"), b"").unwrap();
        for name in ["top/b/z", "top/a", "top/c"] {
            fs::write(path(name), b"").unwrap();
        }
        symlink("../../other", path("top/b/link")).unwrap();
        symlink("top", path("way")).unwrap();
        let inputs = Inputs::default();
        let mut found = Vec::new();
        walk_host(&path("way"), &inputs, &mut |entry| {
            found.push((entry.below.clone(), entry.file_type, entry.depth()));
            Ok(())
        })
        .unwrap();
        let expected = [
            ("", FileType::Directory, 0),
            ("a", FileType::File, 1),
            ("b", FileType::Directory, 1),
            ("b/link", FileType::Symlink, 2),
            ("b/z", FileType::File, 2),
            ("c", FileType::File, 1),
        ];
        assert_eq!(
            found,
            expected.map(|(below, file_type, depth)| (PathBuf::from(below), file_type, depth))
        );
        assert!(inputs.refuse(&path("top/new")).is_err());
        inputs.refuse(&path("other/new")).unwrap();
    }

    #[test]
    fn a_file_that_is_another_one_by_now_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), b"one").unwrap();
        fs::write(path("other"), b"two").unwrap();
        let file = HostFile::find(&path("file")).unwrap();
        let mut content = Vec::new();
        let reader = file.reader("file", &Inputs::default());
        reader.unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content, b"one");

        fs::remove_file(path("file")).unwrap();
        symlink("other", path("file")).unwrap();
        for error in [
            file.reader("file", &Inputs::default()).unwrap_err(),
            file.open("file", &Inputs::default()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("was changed"), "{error}");
        }
        assert!(HostFile::find(dir.path()).is_err());
    }
}
