//! The files that a run reads, known from the moment they are opened: none of them may be written, none may change.
//!
//! ```text
//!   open ──▶ stamp (inode, size, times) ──▶ bytes, hashed as they are read ──▶ digest
//!                      │                                                          │
//!     refuse(output) ◀─┤ the same file under any name, a folder above it,         │
//!                      │ a place inside of a folder that is read                  ▼
//!     check() ◀────────┘ still the same?                                       digests()
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use super::{FileDevice, Watched, open_for_reading, sha256};
use crate::bytes::{hex, to_u64, to_usize};
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::progress::{Cancel, Progress};

/// What tells whether a file is still the same: device, inode, size, and when content and inode were last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What it is to the run: `base image`, `sysext`, `file`.
    pub role: &'static str,
    /// Its path as it was given.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes in hexadecimal digits, where it is known.
    pub sha256: Option<String>,
}

#[derive(Debug)]
struct Known {
    role: &'static str,
    stamp: Stamp,
    sha256: Option<String>,
    /// It is a symlink that is copied as one.
    is_link: bool,
}

#[derive(Debug, Default)]
struct Registry {
    files: BTreeMap<PathBuf, Known>,
    inodes: BTreeSet<(u64, u64)>,
    /// Paths of all files without symlinks.
    real: BTreeSet<PathBuf>,
    /// The folder of the last file, as it was given and without symlinks: the next one is often in it, too.
    parent: Option<(PathBuf, PathBuf)>,
    /// Folders, without symlinks, all of whose entries are read.
    folders: BTreeSet<PathBuf>,
}

impl Registry {
    /// The path without symlinks of the file with this stamp that was opened at `path`.
    fn real_path(&mut self, path: &Path, stamp: Stamp) -> Option<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return fs::canonicalize(path).ok();
        };
        let there = fs::symlink_metadata(path).ok()?;
        if (there.dev(), there.ino()) != (stamp.device, stamp.inode) {
            // A symlink to it.
            return fs::canonicalize(path).ok();
        }
        match &self.parent {
            Some((given, real)) if given == parent => Some(real.join(name)),
            _ => {
                let real = real_path(parent).ok()?;
                let file = real.join(name);
                self.parent = Some((parent.to_owned(), real));
                Some(file)
            }
        }
    }
}

/// All files that a run reads. Copies share one register.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    registry: Arc<Mutex<Registry>>,
    cancel: Cancel,
}

impl Inputs {
    /// An empty register; its files cannot be read any more once `cancel` is raised.
    pub fn new(cancel: Cancel) -> Self {
        Self {
            registry: Arc::default(),
            cancel,
        }
    }

    /// The flag that ends all reading of these files.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Opens the regular file at `path` for reading and registers it.
    pub fn open(&self, role: &'static str, path: &Path) -> Result<File> {
        let file = open_for_reading(path)?;
        self.register(role, path, &file)?;
        Ok(file)
    }

    /// Registers a file that is open already; `path` is its name.
    ///
    /// # Errors
    /// Where it is no regular file, or not the one that had this name before in this run.
    pub fn register(&self, role: &'static str, path: &Path, file: &File) -> Result<()> {
        let metadata = file
            .metadata()
            .map_err(|error| Error::io(format!("looking at {}", shown(path)), error))?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!(
                "{} is not a regular file",
                shown(path)
            )));
        }
        let stamp = Stamp::of(&metadata);
        let mut registry = self.registry();
        if let Some(known) = registry.files.get(path) {
            return if known.stamp == stamp {
                Ok(())
            } else {
                Err(changed(path))
            };
        }
        registry.inodes.insert((stamp.device, stamp.inode));
        let real = registry.real_path(path, stamp);
        registry.real.extend(real);
        registry.files.insert(
            path.to_owned(),
            Known {
                role,
                stamp,
                sha256: None,
                is_link: false,
            },
        );
        Ok(())
    }

    /// Registers a folder all of whose entries are read, so that nothing may be written into it.
    pub fn folder(&self, path: &Path) {
        if let Ok(real) = fs::canonicalize(path) {
            self.registry().folders.insert(real);
        }
    }

    /// Records the digest of a registered file that was computed as its bytes were used.
    pub fn digested(&self, path: &Path, sha256: String) -> Result<()> {
        match self.registry().files.get_mut(path) {
            Some(known) => match &known.sha256 {
                Some(before) if *before != sha256 => Err(changed(path)),
                _ => {
                    known.sha256 = Some(sha256);
                    Ok(())
                }
            },
            None => Err(Error::internal(format!(
                "{} was read without being registered",
                shown(path)
            ))),
        }
    }

    /// Records a symlink of the host that is copied: what it points to is what counts of it.
    pub fn symlink(&self, role: &'static str, path: &Path, target: &[u8]) -> Result<()> {
        let metadata = fs::symlink_metadata(path)
            .map_err(|error| Error::io(format!("reading {}", shown(path)), error))?;
        let sha256 = Some(hex(&Sha256::digest(target)));
        let known = Known {
            role,
            stamp: Stamp::of(&metadata),
            sha256,
            is_link: true,
        };
        self.registry().files.insert(path.to_owned(), known);
        Ok(())
    }

    /// Opens a file to be read once from its start; its digest is known when it has been read to its end.
    pub fn reader(&self, role: &'static str, path: &Path) -> Result<InputReader> {
        let file = self.open(role, path)?;
        let known = self
            .registry()
            .files
            .get(path)
            .is_some_and(|known| known.sha256.is_some());
        let sum = (!known).then(Sha256::new);
        Ok(InputReader {
            inputs: self.clone(),
            path: path.to_owned(),
            file,
            sum,
        })
    }

    /// Opens a file to be read at any place.
    pub fn device(&self, role: &'static str, path: &Path) -> Result<FileDevice> {
        FileDevice::from_file(self.open(role, path)?, path)
    }

    /// The whole of a file of at most `limit` bytes.
    pub fn read(&self, role: &'static str, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let mut reader = self.reader(role, path)?;
        let bytes = self.bytes_of(path);
        if bytes > limit {
            return Err(Error::invalid(format!(
                "{} has {bytes} bytes: at most {limit} are read",
                shown(path)
            )));
        }
        let mut content = Vec::with_capacity(to_usize(bytes)?);
        let error = |error| crate::error::from_io(format!("reading {}", shown(path)), error);
        (&mut reader)
            .take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(error)?;
        if to_u64(content.len()) != bytes {
            return Err(changed(path));
        }
        reader.finish()?;
        Ok(content)
    }

    fn bytes_of(&self, path: &Path) -> u64 {
        self.registry()
            .files
            .get(path)
            .map_or(0, |known| known.stamp.bytes)
    }

    /// The digest of a registered file, where it is known.
    pub fn sha256(&self, path: &Path) -> Option<String> {
        self.registry().files.get(path)?.sha256.clone()
    }

    /// An error where writing `output` would change a file that is read: it is one under whatever name, a folder above
    /// one, or lies in a folder that is read with all it holds.
    pub fn refuse(&self, output: &Path) -> Result<()> {
        let registry = self.registry();
        let is_input = fs::metadata(output).is_ok_and(|metadata| {
            metadata.is_file() && registry.inodes.contains(&(metadata.dev(), metadata.ino()))
        });
        let real = real_path(output)?;
        // What lies below a path comes right behind it in the order of paths.
        let below = registry
            .real
            .range(real.clone()..)
            .next()
            .filter(|input| input.starts_with(&real));
        let why = if is_input || below == Some(&real) {
            "is read by this run".to_owned()
        } else if let Some(input) = below {
            format!(
                "is a folder above {}, which is read by this run",
                shown(input)
            )
        } else if let Some(folder) = real
            .ancestors()
            .find(|folder| registry.folders.contains(*folder))
        {
            format!(
                "lies in {}, which is read by this run with all it holds",
                shown(folder)
            )
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("{} {why}", shown(output)))
            .with_hint("what is read is never written: give the output another name or folder"))
    }

    /// An error where a file of one of `roles` (of any, where there are none) is not what it was when it was opened.
    pub fn check(&self, roles: &[&str]) -> Result<()> {
        let registry = self.registry();
        for (path, known) in &registry.files {
            if !roles.is_empty() && !roles.contains(&known.role) {
                continue;
            }
            let now = if known.is_link {
                fs::symlink_metadata(path)
            } else {
                fs::metadata(path)
            };
            let now =
                now.map_err(|error| Error::io(format!("looking at {} again", shown(path)), error))?;
            if Stamp::of(&now) != known.stamp {
                return Err(changed(path));
            }
        }
        Ok(())
    }

    /// All files that were read, in the order of their paths, with the digests that are known.
    pub fn list(&self) -> Vec<Input> {
        let registry = self.registry();
        let input = |(path, known): (&PathBuf, &Known)| Input {
            role: known.role,
            path: path.clone(),
            bytes: known.stamp.bytes,
            sha256: known.sha256.clone(),
        };
        registry.files.iter().map(input).collect()
    }

    /// Reads the files whose digest is not known yet.
    pub fn complete(&self, progress: &dyn Progress) -> Result<()> {
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        progress.start("hashing the inputs", self.missing_bytes());
        let digested = missing
            .iter()
            .try_for_each(|input| self.complete_one(input, progress));
        progress.finish();
        digested
    }

    /// The length of all files whose digest is not known yet, in bytes.
    pub fn missing_bytes(&self) -> u64 {
        self.missing()
            .iter()
            .map(|input| input.bytes)
            .fold(0, u64::saturating_add)
    }

    fn missing(&self) -> Vec<Input> {
        self.list()
            .into_iter()
            .filter(|input| input.sha256.is_none())
            .collect()
    }

    fn complete_one(&self, input: &Input, progress: &dyn Progress) -> Result<()> {
        let device = Watched::new(self.device(input.role, &input.path)?, &self.cancel);
        self.digested(
            &input.path,
            sha256(&device, &mut |bytes| progress.advance(bytes))?,
        )
    }
}

/// A registered file that is read once from its start.
#[derive(Debug)]
pub struct InputReader {
    inputs: Inputs,
    path: PathBuf,
    file: File,
    /// None where the digest is known.
    sum: Option<Sha256>,
}

impl InputReader {
    /// Its length in bytes when it was opened.
    pub fn bytes(&self) -> u64 {
        self.inputs.bytes_of(&self.path)
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads what is left, so that the digest is that of the whole file.
    pub fn finish(mut self) -> Result<()> {
        if self.sum.is_none() {
            return Ok(());
        }
        let rest = io::copy(&mut self, &mut io::sink());
        rest.map_err(|error| {
            crate::error::from_io(format!("reading {}", shown(&self.path)), error)
        })?;
        match self.sum.take() {
            Some(sum) => self.inputs.digested(&self.path, hex(&sum.finalize())),
            None => Ok(()),
        }
    }
}

impl Read for InputReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inputs.cancel.check()?;
        let len = self.file.read(buf)?;
        if let Some(sum) = &mut self.sum {
            sum.update(&buf[..len]);
        }
        Ok(len)
    }
}

fn changed(path: &Path) -> Error {
    Error::invalid(format!("{} was changed while it was read", shown(path)))
        .with_hint("wait until it is complete and nobody writes to it, then try again")
}

/// A host path for messages, control characters escaped.
pub fn shown(path: &Path) -> String {
    let escaped = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    path.display().to_string().chars().map(escaped).collect()
}

/// `path` without symlinks, `.` and `..`, from the root; its last parts need not exist yet.
///
/// # Errors
/// Where a part that does not exist is followed by `..`, and where a folder on the way cannot be looked at.
pub fn real_path(path: &Path) -> Result<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut there = path.to_owned();
    loop {
        let at = if there.as_os_str().is_empty() {
            Path::new(".")
        } else {
            there.as_path()
        };
        match fs::canonicalize(at) {
            Ok(real) => {
                return Ok(missing
                    .iter()
                    .rev()
                    .fold(real, |path, name| path.join(name)));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format!("looking at {}", shown(at)), error));
            }
            Err(_) => {}
        }
        match there.components().next_back() {
            Some(Component::Normal(name)) => missing.push(name.to_owned()),
            _ => {
                return Err(Error::invalid(format!(
                    "{} leads through a folder that does not exist",
                    shown(path)
                ))
                .with_hint("write the path without '..'"));
            }
        }
        there.pop();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::progress::NoProgress;

    #[test]
    fn an_input_is_refused_as_an_output_in_every_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("folder/deep")).unwrap();
        fs::create_dir(path("read")).unwrap();
        fs::write(path("folder/deep/input"), b"content").unwrap();
        symlink("folder/deep/input", path("link")).unwrap();
        symlink("folder", path("way")).unwrap();
        fs::hard_link(path("folder/deep/input"), path("hard")).unwrap();
        let inputs = Inputs::default();
        inputs.open("file", &path("way/deep/input")).unwrap();
        // Another one of the same folder, and one whose name leads elsewhere.
        fs::write(path("folder/deep/second"), b"").unwrap();
        inputs.open("file", &path("way/deep/second")).unwrap();
        fs::create_dir(path("aside")).unwrap();
        fs::write(path("aside/target"), b"").unwrap();
        symlink("../../aside/target", path("folder/deep/alias")).unwrap();
        inputs.open("file", &path("way/deep/alias")).unwrap();
        inputs.folder(&path("read"));
        for name in [
            "folder/deep/input",
            "folder/deep/second",
            "folder/deep/alias",
            "aside",
            "aside/target",
            "folder/deep/../deep/./input",
            "link",
            "hard",
            "way/deep/input",
            "folder",
            "way",
            "folder/deep",
            ".",
            "read",
            "read/new",
            "read/new/deep",
        ] {
            let error = inputs.refuse(&path(name)).unwrap_err();
            assert!(
                error.to_string().contains("read by this run"),
                "{name}: {error}"
            );
        }
        for name in [
            "folder/deep/other",
            "folder/deep/input2",
            "inpu",
            "new/output",
            "folderx",
            "readx",
        ] {
            inputs.refuse(&path(name)).unwrap();
        }
        assert!(
            inputs
                .refuse(&path("missing/../x"))
                .unwrap_err()
                .to_string()
                .contains("does not exist")
        );
        assert_eq!(fs::read(path("hard")).unwrap(), b"content");
    }

    #[test]
    fn digests_are_those_of_the_bytes_that_were_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["read", "begun", "untouched"] {
            fs::write(path(name), name.repeat(10_000)).unwrap();
        }
        let inputs = Inputs::default();
        assert_eq!(
            inputs.read("file", &path("read"), 1 << 20).unwrap().len(),
            40_000
        );
        assert!(
            inputs
                .read("file", &path("read"), 100)
                .unwrap_err()
                .to_string()
                .contains("at most 100")
        );
        let mut begun = inputs.reader("tar", &path("begun")).unwrap();
        begun.read_exact(&mut [0; 17]).unwrap();
        begun.finish().unwrap();
        inputs.device("base image", &path("untouched")).unwrap();
        let known = |inputs: &Inputs| {
            inputs
                .list()
                .iter()
                .filter(|input| input.sha256.is_some())
                .count()
        };
        assert_eq!(known(&inputs), 2);
        inputs.complete(&NoProgress).unwrap();
        for input in inputs.list() {
            let content = fs::read(&input.path).unwrap();
            assert_eq!(input.sha256, Some(hex(&Sha256::digest(&content))));
        }
        inputs.check(&[]).unwrap();
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        fs::write(&path, b"before").unwrap();
        let inputs = Inputs::default();
        inputs.read("file", &path, 100).unwrap();
        inputs.check(&[]).unwrap();
        fs::write(dir.path().join("new"), b"behind").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(inputs.check(&["file"]).is_err() && inputs.check(&["sysext"]).is_ok());
        assert!(
            inputs
                .read("file", &path, 100)
                .unwrap_err()
                .to_string()
                .contains("was changed")
        );
    }

    #[test]
    fn a_raised_flag_ends_all_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        fs::write(&path, b"content").unwrap();
        let cancel = Cancel::new();
        let inputs = Inputs::new(cancel.clone());
        let mut reader = inputs.reader("file", &path).unwrap();
        cancel.cancel();
        let error = reader.read(&mut [0; 7]).unwrap_err();
        assert_eq!(
            crate::error::from_io("reading", error).kind(),
            crate::ErrorKind::Cancelled
        );
    }
}
