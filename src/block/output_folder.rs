//! A folder that appears under its name only when all its files are whole.
//!
//! ```text
//!   file          parent/                        (files without names)                ── killed here: nothing is left
//!   write         parent/                        ………………………………
//!   commit        parent/                        fsync of each file
//!                 parent/.flatbake-x1y2z3.part/  linkat of each file, fsync of the folder
//!                 parent/node.hdd/               rename: one step for every reader
//! ```
//!
//! A kill during the commit leaves the hidden folder, which the next output in that place removes. Where the filesystem
//! knows no files without a name, the hidden folder is there from the first file on.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::output::{finishing, link_to, open_unnamed, sync_folder};
use super::temporary::{make_locked, sweep, temporary_name};
use crate::error::{Error, Reason, Result};

/// A new folder that gets its name on [`commit`](Self::commit) and vanishes when dropped before.
#[derive(Debug)]
pub struct OutputFolder {
    files: Vec<Entry>,
    hidden: Option<Hidden>,
    parent: PathBuf,
    target: PathBuf,
    /// Others put files into it.
    has_tree: bool,
}

#[derive(Debug)]
struct Entry {
    name: String,
    file: File,
    /// It has no name yet.
    unnamed: bool,
}

/// The folder with a temporary name, and its lock.
#[derive(Debug)]
struct Hidden {
    folder: TempDir,
    _lock: File,
}

impl OutputFolder {
    /// A new empty folder that is to become `target`, which must be missing or an empty folder: a folder that holds
    /// anything cannot be replaced in one step.
    pub fn create(target: &Path) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(Error::invalid(format!(
                "the output '{}' has no name of its own",
                target.display()
            ))
            .with_hint("add a folder name"));
        };
        refuse_taken(target)?;
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !parent.is_dir() {
            let message = format!(
                "cannot create {}: the folder {} does not exist",
                target.display(),
                parent.display()
            );
            return Err(Error::not_found(message)
                .with_hint("create the folder first, or choose another place"));
        }
        sweep(&parent);
        let target = parent.join(name);
        Ok(Self {
            files: Vec::new(),
            hidden: None,
            parent,
            target,
            has_tree: false,
        })
    }

    /// A new empty file called `name` in it, for reading and writing. Folders in front of the name are made.
    pub fn file(&mut self, name: &str) -> Result<File> {
        let made = self.make(name).and_then(|(file, unnamed)| {
            self.files.push(Entry {
                name: name.to_owned(),
                file: file.try_clone()?,
                unnamed,
            });
            Ok(file)
        });
        made.map_err(|error| {
            Error::io(format!("creating {}", self.target.join(name).display()), error)
                .with_hint("choose a folder that you may write to, on a filesystem that is not mounted read-only")
        })
    }

    /// A file, and whether it has no name yet.
    fn make(&mut self, name: &str) -> io::Result<(File, bool)> {
        if let Some(file) = open_unnamed(&self.parent)? {
            return Ok((file, true));
        }
        let path = self.hidden()?.join(name);
        make_folder_of(&path)?;
        Ok((
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)?,
            false,
        ))
    }

    /// The folder with a temporary name.
    fn hidden(&mut self) -> io::Result<PathBuf> {
        if let Some(hidden) = &self.hidden {
            return Ok(hidden.folder.path().to_owned());
        }
        // As for any new folder: what the umask leaves of it.
        let make = || {
            temporary_name()
                .permissions(Permissions::from_mode(0o777))
                .tempdir_in(&self.parent)
        };
        let (folder, lock) = make_locked(make, |folder| File::open(folder.path()))?;
        let path = folder.path().to_owned();
        self.hidden = Some(Hidden {
            folder,
            _lock: lock,
        });
        Ok(path)
    }

    /// The folder under its temporary name, empty at first, for a tree that others put into it.
    pub fn tree(&mut self) -> Result<PathBuf> {
        self.has_tree = true;
        self.hidden().map_err(|error| {
            Error::io(format!("creating {}", self.target.display()), error)
                .with_hint("choose a folder that you may write to, on a filesystem that is not mounted read-only")
        })
    }

    /// Makes all bytes durable, then gives the folder its name.
    pub fn commit(mut self) -> Result<()> {
        let target = self.target.clone();
        let fails = |error| finishing(&target, error);
        for entry in &self.files {
            entry.file.sync_all().map_err(fails)?;
        }
        refuse_taken(&target)?;
        let hidden = self.hidden().map_err(fails)?;
        let mut folders = BTreeSet::new();
        for entry in &self.files {
            let path = hidden.join(&entry.name);
            let above = path.ancestors().skip(1);
            folders.extend(
                above
                    .take_while(|folder| *folder != hidden)
                    .map(Path::to_owned),
            );
            if entry.unnamed {
                make_folder_of(&path).map_err(fails)?;
                link_to(&entry.file, &path).map_err(fails)?;
            }
        }
        for folder in &folders {
            sync_folder(folder).map_err(fails)?;
        }
        sync_folder(&hidden).map_err(fails)?;
        if self.has_tree {
            sync_filesystem(&hidden).map_err(fails)?;
        }
        fs::rename(&hidden, &target).map_err(fails)?;
        if let Some(hidden) = self.hidden {
            let _renamed = hidden.folder.keep();
        }
        sync_folder(&self.parent).map_err(fails)
    }
}

/// Makes everything durable on the filesystem that a folder is in: a tree may have more files than can be open at once.
fn sync_filesystem(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    Ok(rustix::fs::syncfs(&folder)?)
}

/// Makes the folder that a file is to lie in.
fn make_folder_of(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

fn refuse_taken(target: &Path) -> Result<()> {
    let taken = match fs::symlink_metadata(target) {
        Err(_) => false,
        Ok(metadata) if metadata.is_dir() => {
            fs::read_dir(target).map_or(true, |mut entries| entries.next().is_some())
        }
        Ok(_) => true,
    };
    if taken {
        return Err(Error::invalid(format!(
            "the output folder {} exists already",
            target.display()
        ))
        .because(Reason::Exists)
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
    fn a_tree_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("root");
        let make = || {
            let mut folder = OutputFolder::create(&target).unwrap();
            let tree = folder.tree().unwrap();
            fs::create_dir(tree.join("etc")).unwrap();
            fs::write(tree.join("etc/motd"), b"hello").unwrap();
            folder
        };
        drop(make());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        make().commit().unwrap();
        assert_eq!(fs::read(target.join("etc/motd")).unwrap(), b"hello");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn appears_whole_or_not_at_all_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("node.hdd");
        let make = || {
            let mut folder = OutputFolder::create(&target)?;
            folder.file("a").unwrap().write_all(b"bytes").unwrap();
            Ok::<_, Error>(folder)
        };
        let unfinished = make().unwrap();
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "files without a name"
        );
        drop(unfinished);
        drop(make().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir(&target).unwrap();
        make().unwrap().commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"bytes");
        let plain = dir.path().join("plain");
        fs::create_dir(&plain).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&target), mode(&plain));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "the folder, and the plain one"
        );
        assert_eq!(make().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            OutputFolder::create(Path::new("/")).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let missing = OutputFolder::create(&dir.path().join("no/node.hdd")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    /// As on filesystems that know no files without a name.
    #[test]
    fn named_files_do_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("node.hdd");
        let make = || {
            let mut folder = OutputFolder::create(&target).unwrap();
            let path = folder.hidden().unwrap().join("named");
            let file = File::create_new(path).unwrap();
            folder.files.push(Entry {
                name: "named".to_owned(),
                file,
                unnamed: false,
            });
            folder.file("below/it/unnamed").unwrap();
            folder
        };
        drop(make());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        make().commit().unwrap();
        assert!(target.join("named").exists() && target.join("below/it/unnamed").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_of_a_killed_run_are_removed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("node.hdd");
        let mut running = OutputFolder::create(&target).unwrap();
        running.hidden().unwrap();
        let left = dir.path().join(".flatbake-killed.part");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), b"half").unwrap();
        OutputFolder::create(&target).unwrap().commit().unwrap();
        assert!(!left.exists());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            2,
            "the folder, and the one of the other run"
        );
    }
}
