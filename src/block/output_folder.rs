//! A folder that appears under its name only when all its files are whole.
//!
//! The files are written in a folder with a temporary name beside the target, which is removed when it is dropped; then
//! it gets its name in one step.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::output::temporary_name;
use crate::error::{Error, Result};

/// A new folder that gets its name on [`commit`](Self::commit) and vanishes when dropped before.
#[derive(Debug)]
pub struct OutputFolder {
    temporary: TempDir,
    files: Vec<File>,
    parent: PathBuf,
    target: PathBuf,
}

impl OutputFolder {
    /// Makes a new empty folder that is to become `target`, which must be missing or an empty folder: a folder that
    /// holds anything cannot be replaced in one step.
    pub fn create(target: &Path) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(Error::invalid(format!("the output '{}' has no name of its own", target.display()))
                .with_hint("add a folder name"));
        };
        refuse_taken(target)?;
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !parent.is_dir() {
            let message = format!("cannot create {}: the folder {} does not exist", target.display(), parent.display());
            return Err(Error::not_found(message).with_hint("create the folder first, or choose another place"));
        }
        // As for any new folder: what the umask leaves of it.
        let made = temporary_name().permissions(Permissions::from_mode(0o777)).tempdir_in(&parent);
        let temporary = made.map_err(|error| {
            Error::io(format!("creating {} in the folder {}", target.display(), parent.display()), error)
                .with_hint("choose a folder that you may write to, on a filesystem that is not mounted read-only")
        })?;
        let target = parent.join(name);
        Ok(Self { temporary, files: Vec::new(), parent, target })
    }

    /// A new empty file called `name` in it, for reading and writing.
    pub fn file(&mut self, name: &str) -> Result<File> {
        let path = self.temporary.path().join(name);
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let fails = |error| Error::io(format!("creating {}", self.target.join(name).display()), error);
        let file = made.map_err(fails)?;
        self.files.push(file.try_clone().map_err(fails)?);
        Ok(file)
    }

    /// Makes all bytes durable, then gives the folder its name.
    pub fn commit(self) -> Result<()> {
        let Self { temporary, files, parent, target } = self;
        let fails = |error| {
            Error::io(format!("finishing {}", target.display()), error)
                .with_hint("check free space and quota of its filesystem")
        };
        for file in files {
            file.sync_all().map_err(fails)?;
        }
        refuse_taken(&target)?;
        fs::rename(temporary.path(), &target).map_err(fails)?;
        let _renamed = temporary.keep();
        for folder in [&target, &parent] {
            match File::open(folder).and_then(|folder| folder.sync_all()) {
                // Some filesystems cannot sync a folder; the files themselves are safe and in place.
                Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => return Err(fails(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn refuse_taken(target: &Path) -> Result<()> {
    let taken = match fs::symlink_metadata(target) {
        Err(_) => false,
        Ok(metadata) if metadata.is_dir() => fs::read_dir(target).map_or(true, |mut entries| entries.next().is_some()),
        Ok(_) => true,
    };
    if taken {
        return Err(Error::invalid(format!("the output folder {} exists already", target.display()))
            .with_hint("remove it, or choose another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn appears_whole_or_not_at_all_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("node.hdd");
        let make = || {
            let mut folder = OutputFolder::create(&target)?;
            folder.file("a").unwrap().write_all(b"bytes").unwrap();
            Ok::<_, Error>(folder)
        };
        drop(make().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir(&target).unwrap();
        make().unwrap().commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"bytes");
        let plain = dir.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&plain));
        assert_eq!(make().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(OutputFolder::create(Path::new("/")).unwrap_err().kind(), ErrorKind::InvalidInput);
        let missing = OutputFolder::create(&dir.path().join("no/node.hdd")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
