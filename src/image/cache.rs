//! A folder of decompressed disks, each named after the SHA-256 of its compressed file.
//!
//! ```text
//!   DIR/<sha256>.raw     the sparse disk, read-only; appears only when whole
//!   DIR/<sha256>.lock    locked while the disk is made; holds the disk's size and time once it is in place
//! ```
//!
//! Two runs that want the same disk meet at the lock: the second waits and finds the first one's result. A run that is
//! killed loses its lock and leaves no disk. A disk is used only while its size and time are those in the record, it is
//! read-only and belongs to this user or to root: one that was written to, cut or replaced is made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::block::{FileDevice, OutputFile, wait_for_lock};
use crate::error::{Error, Result, from_io};
use crate::progress::{Cancel, Progress};

/// What is told while another run has the lock.
const WAITING: &str = "waiting for another run that decompresses the same image";

/// The place of one disk in a cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    disk: PathBuf,
    lock: PathBuf,
}

/// An entry that this run is about to fill; no other run fills it meanwhile.
#[derive(Debug)]
pub(super) struct Vacancy {
    lock: File,
    output: OutputFile,
}

/// What [`Entry::claim`] came to.
#[derive(Debug)]
pub(super) enum Claim {
    /// Another run filled the entry meanwhile.
    Filled(FileDevice),
    /// This run is to fill it.
    Vacant(Vacancy),
}

impl Entry {
    pub(super) fn new(folder: &Path, sha256: &str) -> Self {
        Self {
            disk: folder.join(format!("{sha256}.raw")),
            lock: folder.join(format!("{sha256}.lock")),
        }
    }

    /// The disk, where there is one that can be trusted.
    pub(super) fn open(&self) -> Option<FileDevice> {
        // A record has two or three short numbers.
        const RECORD_LEN: u64 = 100;
        let mut found = String::new();
        File::open(&self.lock)
            .ok()?
            .take(RECORD_LEN)
            .read_to_string(&mut found)
            .ok()?;
        let disk = File::open(&self.disk).ok()?;
        let metadata = disk.metadata().ok()?;
        let ours = metadata.uid() == 0 || metadata.uid() == rustix::process::geteuid().as_raw();
        let read_only = metadata.mode() & 0o222 == 0;
        if !ours || !read_only || found != record(&metadata) {
            return None;
        }
        FileDevice::from_file(disk, &self.disk).ok()
    }

    /// Waits for the lock; then either another run has filled the entry or this one may.
    /// An error means that the folder cannot serve as a cache.
    pub(super) fn claim(&self, cancel: &Cancel, progress: &dyn Progress) -> Result<Claim> {
        let fails = |error| Error::io(format!("locking {}", self.lock.display()), error);
        if let Some(folder) = self.lock.parent() {
            fs::create_dir_all(folder).map_err(fails)?;
        }
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.lock);
        let lock = lock.map_err(fails)?;
        wait_for_lock(&lock, WAITING, cancel, progress)
            .map_err(|error| from_io(format!("locking {}", self.lock.display()), error))?;
        if let Some(device) = self.open() {
            return Ok(Claim::Filled(device));
        }
        Ok(Claim::Vacant(Vacancy {
            lock,
            output: OutputFile::create(&self.disk)?,
        }))
    }
}

impl Vacancy {
    /// The file to fill.
    pub(super) fn file(&self) -> &File {
        self.output.file()
    }

    /// Puts the filled disk in place, read-only, and lets waiting runs have it.
    pub(super) fn fill(self) -> Result<FileDevice> {
        let Self { lock, output } = self;
        let path = output.target().to_owned();
        let fails = |error| {
            Error::io(format!("adding {} to the cache", path.display()), error).with_hint(
                "check free space and permissions of the cache folder, or choose another",
            )
        };
        let mode = output.file().metadata().map_err(fails)?.mode() & 0o444;
        output
            .file()
            .set_permissions(fs::Permissions::from_mode(mode))
            .map_err(fails)?;
        output.commit()?;
        let disk = File::open(&path).map_err(fails)?;
        let record = record(&disk.metadata().map_err(fails)?);
        lock.set_len(0).map_err(fails)?;
        lock.write_all_at(record.as_bytes(), 0).map_err(fails)?;
        lock.sync_all().map_err(fails)?;
        FileDevice::from_file(disk, &path)
    }
}

/// What a disk must still be like: its size and the time of its last change.
fn record(metadata: &fs::Metadata) -> String {
    format!(
        "{} {}.{:09}\n",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    )
}

/// A decompressed disk that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedDisk {
    /// The SHA-256 of its compressed file.
    pub sha256: String,
    /// The room that it takes, in bytes.
    pub bytes: u64,
    #[serde(skip)]
    entry: Entry,
}

impl CachedDisk {
    /// Removes it; a run that reads it goes on with it.
    pub fn remove(&self) -> Result<()> {
        for path in [&self.entry.disk, &self.entry.lock] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(from_io(format!("removing {}", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The decompressed disks in a cache folder, the oldest first.
pub fn cached_disks(folder: &Path) -> Result<Vec<CachedDisk>> {
    let fails = |error| from_io(format!("listing {}", folder.display()), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fails(error)),
    };
    let mut disks = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fails)?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(sha256) = name.strip_suffix(".raw") else {
            continue;
        };
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(metadata) = entry.metadata().ok().filter(|_| is_digest) else {
            continue;
        };
        let disk = CachedDisk {
            sha256: sha256.to_owned(),
            bytes: metadata.blocks().saturating_mul(512),
            entry: Entry::new(folder, sha256),
        };
        disks.push((metadata.mtime(), disk));
    }
    disks.sort_by(|(one, this), (other, that)| (one, &this.sha256).cmp(&(other, &that.sha256)));
    Ok(disks.into_iter().map(|(_, disk)| disk).collect())
}
