//! What was fetched and verified, kept for the next run.
//!
//! ```text
//!   DIR/objects/<sha256>/FILE     the bytes, read-only; appears only when whole
//!   DIR/names/<sha256 of name>    JSON: the name (a URL) and its object; its time is when it was last used
//!   DIR/locks/<sha256 of name>    locked while the object is fetched: others wait for it
//! ```
//!
//! Any number of processes may share a folder. One that is killed leaves neither a name nor an object: files get their
//! names when they are whole and synced. Bytes are held against their digest whenever they are taken.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::block::{OutputFile, wait_for_lock};
use crate::bytes::{hex, to_u64};
use crate::error::{Error, Result, from_io};
use crate::progress::{Cancel, Progress};

/// A record of a name has some 300 bytes.
const RECORD_MAX: u64 = 64 << 10;
/// Bytes hashed at once.
const CHUNK: usize = 1 << 20;

/// A folder of verified files.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    /// One that is only read, such as that of a whole site.
    shared: Option<PathBuf>,
}

/// A file of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// What it was fetched as: a URL.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What is noted of a name.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    name: String,
    sha256: String,
    bytes: u64,
}

/// A name that this run may fill; others wait meanwhile.
#[derive(Debug)]
pub struct Vacancy<'a> {
    store: &'a Store,
    name: String,
    /// Holds the lock until the name is filled or given up.
    _lock: File,
}

/// What [`Store::claim`] came to.
#[derive(Debug)]
pub enum Claim<'a> {
    /// It is there, perhaps since another run has fetched it.
    Stored(Stored),
    /// This run is to fetch it.
    Vacant(Vacancy<'a>),
}

/// What came of [`Store::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// What it was fetched as.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Store {
    /// The store in `folder`, which is made when something is put into it. What `shared` holds is used too, and never
    /// changed.
    pub fn new(folder: &Path, shared: Option<&Path>) -> Self {
        Self {
            folder: folder.to_owned(),
            shared: shared.map(Path::to_owned),
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known under `name`, with its bytes held against their digest. Damage counts as absence.
    pub fn find(&self, name: &str, cancel: &Cancel) -> Result<Option<Stored>> {
        if let Some(stored) = found_in(&self.folder, name, cancel)? {
            touch(&self.folder.join("names").join(key(name)));
            return Ok(Some(stored));
        }
        match &self.shared {
            Some(folder) => found_in(folder, name, cancel),
            None => Ok(None),
        }
    }

    /// The store that is only read, where there is one, as a store of its own.
    pub fn shared(&self) -> Option<Self> {
        let folder = self.shared.as_ref()?;
        Some(Self::new(folder, None))
    }

    /// Waits for whoever is fetching `name`; then it is there, or this run may fetch it.
    ///
    /// With `again`, what is there does not count, and is replaced: for names whose content changes.
    pub fn claim(
        &self,
        name: &str,
        again: bool,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Claim<'_>> {
        let lock = self.lock(name, cancel, progress)?;
        if !again && let Some(stored) = self.find(name, cancel)? {
            return Ok(Claim::Stored(stored));
        }
        Ok(Claim::Vacant(Vacancy {
            store: self,
            name: name.to_owned(),
            _lock: lock,
        }))
    }

    fn lock(&self, name: &str, cancel: &Cancel, progress: &dyn Progress) -> Result<File> {
        let path = self.folder.join("locks").join(key(name));
        let fails = |error| {
            from_io(format!("locking {}", path.display()), error)
                .with_hint("choose a folder for the cache that can be written")
        };
        for folder in ["locks", "names", "objects"] {
            fs::create_dir_all(self.folder.join(folder)).map_err(fails)?;
        }
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fails)?;
        let step = "waiting for another run that fetches the same file";
        wait_for_lock(&lock, step, cancel, progress).map_err(fails)?;
        Ok(lock)
    }

    /// All that it holds, by name; not what is shared.
    pub fn list(&self) -> Result<Vec<Stored>> {
        let mut found: Vec<Stored> = self
            .keys()?
            .into_iter()
            .filter_map(|key| record_in(&self.folder, &key))
            .map(|record| stored(&self.folder, record))
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Holds everything against its digest.
    pub fn verify(&self, cancel: &Cancel) -> Result<Vec<Damaged>> {
        let mut damaged = Vec::new();
        for stored in self.list()? {
            if let Some(problem) = problem(&stored, cancel)? {
                damaged.push(Damaged {
                    name: stored.name,
                    problem,
                });
            }
        }
        Ok(damaged)
    }

    /// Removes what was not used for the longest time, until at most `max_bytes` are left, and what has no name; returns
    /// the bytes that are gone.
    pub fn gc(&self, max_bytes: u64) -> Result<u64> {
        let mut by_age: Vec<(SystemTime, String, Record)> = Vec::new();
        for key in self.keys()? {
            let path = self.folder.join("names").join(&key);
            let Some(record) = record_in(&self.folder, &key) else {
                remove(&path)?;
                continue;
            };
            let used = fs::metadata(&path).and_then(|metadata| metadata.modified());
            by_age.push((used.unwrap_or(SystemTime::UNIX_EPOCH), key, record));
        }
        by_age.sort_by(|one, other| other.cmp_age(one));
        let mut kept = std::collections::BTreeSet::new();
        let mut total = 0u64;
        for (_, key, record) in &by_age {
            let more = if kept.contains(&record.sha256) {
                0
            } else {
                record.bytes
            };
            if total.saturating_add(more) <= max_bytes {
                total += more;
                kept.insert(record.sha256.clone());
            } else {
                remove(&self.folder.join("names").join(key))?;
            }
        }
        let mut gone = 0u64;
        for name in names_in(&self.folder.join("objects"))? {
            if !kept.contains(&name) {
                gone =
                    gone.saturating_add(remove_object(&self.folder.join("objects").join(&name))?);
            }
        }
        Ok(gone)
    }

    /// The names of all records.
    fn keys(&self) -> Result<Vec<String>> {
        names_in(&self.folder.join("names"))
    }
}

/// Order by the time of last use, then by key.
trait ByAge {
    fn cmp_age(&self, other: &Self) -> std::cmp::Ordering;
}

impl ByAge for (SystemTime, String, Record) {
    fn cmp_age(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, &self.1).cmp(&(other.0, &other.1))
    }
}

impl Vacancy<'_> {
    /// A file without a name in the folder of the store, to fetch into.
    pub fn file(&self) -> Result<File> {
        let folder = self.store.folder.join("objects");
        let made = tempfile::tempfile_in(&folder);
        made.map_err(|error| {
            from_io(
                format!("making a temporary file in {}", folder.display()),
                error,
            )
        })
    }

    /// Puts the bytes of `file`, which are verified, in place under the name, and before it what proves them: bytes
    /// under the name with an ending.
    pub fn fill_with_proof(
        self,
        file: &mut File,
        (ending, bytes): (&str, &[u8]),
    ) -> Result<(Stored, Stored)> {
        let mut copy = self.file()?;
        let written = copy.write_all(bytes);
        written.map_err(|error| from_io("writing a temporary file", error))?;
        let proof = format!("{}{ending}", self.name);
        let proof = self.store.put(&proof, &mut copy)?;
        Ok((self.store.put(&self.name, file)?, proof))
    }

    /// The same for bytes that need no proof beside them.
    pub fn fill(self, file: &mut File) -> Result<Stored> {
        self.store.put(&self.name, file)
    }
}

impl Store {
    fn put(&self, name: &str, file: &mut File) -> Result<Stored> {
        let fails = |error| {
            from_io(
                format!("adding to the cache {}", self.folder.display()),
                error,
            )
        };
        let (sha256, bytes) = sha256(file).map_err(fails)?;
        let record = Record {
            name: name.to_owned(),
            sha256,
            bytes,
        };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::internal("making a record").with_source(error))?;
        let stored = stored(&self.folder, record);
        if let Some(folder) = stored.path.parent() {
            fs::create_dir_all(folder).map_err(fails)?;
        }
        // One that is there may be damaged: it is replaced.
        let output = OutputFile::create(&stored.path)?;
        file.rewind().map_err(fails)?;
        io::copy(file, &mut output.file()).map_err(fails)?;
        let read_only = fs::Permissions::from_mode(0o444);
        output.file().set_permissions(read_only).map_err(fails)?;
        output.commit()?;

        let output = OutputFile::create(&self.folder.join("names").join(key(name)))?;
        let mut names = output.file();
        names.write_all(&text).map_err(fails)?;
        output.commit()?;
        Ok(stored)
    }
}

/// The file name of what is noted of `name`.
fn key(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes()))
}

fn stored(folder: &Path, record: Record) -> Stored {
    let object = folder.join("objects").join(&record.sha256);
    Stored {
        path: object.join(file_name(&record.name)),
        name: record.name,
        sha256: record.sha256,
        bytes: record.bytes,
    }
}

/// The name of the file that was fetched as `name`.
pub(super) fn file_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let safe: String = last
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .take(200)
        .collect();
    if safe.trim_matches('.').is_empty() {
        "file".to_owned()
    } else {
        safe
    }
}

/// Removes the folder of an object, and returns the bytes that were in it.
fn remove_object(path: &Path) -> Result<u64> {
    let fails = |error| from_io(format!("removing {}", path.display()), error);
    let mut bytes = 0u64;
    for name in names_in(path)? {
        let file = path.join(name);
        bytes = bytes.saturating_add(fs::metadata(&file).map_or(0, |metadata| metadata.len()));
    }
    fs::remove_dir_all(path).map_err(fails)?;
    Ok(bytes)
}

/// What is noted under `key`; nothing where it is not a record.
fn record_in(folder: &Path, key: &str) -> Option<Record> {
    let file = File::open(folder.join("names").join(key)).ok()?;
    let mut text = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut text).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let is_digest = record.sha256.len() == 64
        && record
            .sha256
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then_some(record)
}

/// A file that is in no store, with its length and digest; `name` is what it was fetched as.
pub(super) fn examined(name: &str, path: &Path, cancel: &Cancel) -> Result<Stored> {
    let fails = |error| from_io(format!("reading {}", path.display()), error);
    let file = File::open(path).map_err(fails)?;
    let (sha256, bytes) = sha256(&mut Watched { file, cancel }).map_err(fails)?;
    Ok(Stored {
        name: name.to_owned(),
        path: path.to_owned(),
        sha256,
        bytes,
    })
}

/// What a folder has under `name`, undamaged.
fn found_in(folder: &Path, name: &str, cancel: &Cancel) -> Result<Option<Stored>> {
    let Some(stored) = record_in(folder, &key(name)).map(|record| stored(folder, record)) else {
        return Ok(None);
    };
    let is_it = stored.name == name && problem(&stored, cancel)?.is_none();
    Ok(is_it.then_some(stored))
}

/// What is wrong with the bytes of a file of the store.
fn problem(stored: &Stored, cancel: &Cancel) -> Result<Option<String>> {
    let mut file = match File::open(&stored.path) {
        Ok(file) => Watched { file, cancel },
        Err(error) => return Ok(Some(error.to_string())),
    };
    let found = sha256(&mut file);
    cancel.check()?;
    Ok(match found {
        Err(error) => Some(error.to_string()),
        Ok((sha256, _)) if sha256 != stored.sha256 => Some(format!("its SHA-256 is {sha256}")),
        Ok(_) => None,
    })
}

/// A file that cannot be read any more once the work is cancelled.
struct Watched<'a> {
    file: File,
    cancel: &'a Cancel,
}

impl Read for Watched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.file.read(buf)
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The digest and length of a file from its start.
pub(super) fn sha256(file: &mut (impl Read + Seek)) -> io::Result<(String, u64)> {
    file.rewind()?;
    let mut sum = Sha256::new();
    let mut bytes = 0u64;
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((hex(&sum.finalize()), bytes)),
            Ok(len) => {
                sum.update(&chunk[..len]);
                bytes += to_u64(len);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Notes that it was used. A folder that cannot be written serves all the same.
fn touch(path: &Path) {
    let now = SystemTime::now();
    let _read_only = File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(now));
}

/// Visible names in a folder, in order; none where it is missing.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let fails = |error| from_io(format!("listing {}", folder.display()), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fails(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(fails)?.file_name();
        if let Ok(name) = name.into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(from_io(format!("removing {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::progress::NoProgress;

    fn put(store: &Store, name: &str, bytes: &[u8]) -> Stored {
        let claim = store.claim(name, true, &Cancel::new(), &NoProgress);
        let Claim::Vacant(vacancy) = claim.unwrap() else {
            panic!("{name} is there");
        };
        let mut file = vacancy.file().unwrap();
        file.write_all(bytes).unwrap();
        store.put(name, &mut file).unwrap()
    }

    fn find(store: &Store, name: &str) -> Option<Vec<u8>> {
        let stored = store.find(name, &Cancel::new()).unwrap()?;
        Some(fs::read(stored.path).unwrap())
    }

    #[test]
    fn what_is_put_in_comes_out_and_damage_is_absence() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), None);
        assert_eq!(find(&store, "https://x/a"), None);
        assert!(store.list().unwrap().is_empty());
        let stored = put(&store, "https://x/a", b"one");
        put(&store, "https://x/b", b"one");
        assert_eq!(find(&store, "https://x/a").unwrap(), b"one");
        assert_eq!(store.list().unwrap().len(), 2);
        assert_eq!(names_in(&dir.path().join("objects")).unwrap().len(), 1);
        assert!(store.verify(&Cancel::new()).unwrap().is_empty());

        fs::set_permissions(&stored.path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&stored.path, b"two").unwrap();
        assert_eq!(find(&store, "https://x/a"), None);
        assert_eq!(store.verify(&Cancel::new()).unwrap().len(), 1);
        put(&store, "https://x/a", b"one");
        assert_eq!(find(&store, "https://x/b").unwrap(), b"one");
    }

    #[test]
    fn a_shared_folder_is_read_and_never_written() {
        let (own, site) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(&Store::new(site.path(), None), "https://x/a", b"one");
        let store = Store::new(own.path(), Some(site.path()));
        assert_eq!(find(&store, "https://x/a").unwrap(), b"one");
        put(&store, "https://x/a", b"newer");
        assert_eq!(find(&store, "https://x/a").unwrap(), b"newer");
        let site = Store::new(site.path(), None);
        assert_eq!(find(&site, "https://x/a").unwrap(), b"one");
        store.gc(0).unwrap();
        assert_eq!(find(&store, "https://x/a").unwrap(), b"one");
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), None);
        for (age, name) in [(30, "a"), (20, "b"), (10, "c")] {
            put(&store, name, name.repeat(100).as_bytes());
            let used = SystemTime::now() - Duration::from_secs(age);
            let record = dir.path().join("names").join(key(name));
            let record = File::options().write(true).open(record).unwrap();
            record.set_modified(used).unwrap();
        }
        assert_eq!(find(&store, "a").unwrap().len(), 100);
        let stray = dir.path().join("objects").join("stray");
        fs::create_dir(&stray).unwrap();
        fs::write(stray.join("file"), b"12345").unwrap();
        assert_eq!(store.gc(200).unwrap(), 105);
        assert_eq!(find(&store, "b"), None);
        assert!(find(&store, "a").is_some() && find(&store, "c").is_some());
        assert_eq!(store.gc(0).unwrap(), 200);
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn one_run_waits_for_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), None);
        let first = store.claim("a", false, &Cancel::new(), &NoProgress);
        let Claim::Vacant(vacancy) = first.unwrap() else {
            panic!("nothing is there");
        };
        let other = store.clone();
        let second = thread::spawn(move || {
            let claim = other.claim("a", false, &Cancel::new(), &NoProgress);
            matches!(claim.unwrap(), Claim::Stored(_))
        });
        thread::sleep(Duration::from_millis(150));
        let mut file = vacancy.file().unwrap();
        file.write_all(b"one").unwrap();
        vacancy.fill(&mut file).unwrap();
        assert!(second.join().unwrap());

        let claim = store.claim("b", false, &Cancel::new(), &NoProgress);
        let ended = Cancel::new();
        ended.cancel();
        assert!(store.claim("b", false, &ended, &NoProgress).is_err());
        drop(claim);
    }

    #[test]
    fn records_that_are_none_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), None);
        put(&store, "a", b"one");
        let record = dir.path().join("names").join(key("a"));
        for text in [
            "",
            "{}",
            r#"{"name": "a", "sha256": "../../etc/passwd", "bytes": 3}"#,
            r#"{"name": "b", "sha256": "", "bytes": -1}"#,
        ] {
            fs::write(&record, text).unwrap();
            assert_eq!(find(&store, "a"), None, "{text}");
        }
        store.gc(u64::MAX).unwrap();
        assert!(!record.exists());
    }
}
