//! Files of releases: from the store or from the server, and verified either way.
//!
//! ```text
//!   name ──▶ store ──────────────────────────────┐
//!     └────▶ lock ─▶ FILE.sig, FILE ─▶ signature ─▶ store ─▶ path
//!                    (a file without a name)   └── bad: an error, and nothing is kept
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;

use super::bakery::{Extension, SUMS_MAX, mismatch};
use super::openpgp::{Keyring, PROOF_MAX, Signed, Time};
use super::release::{Release, VERSION_FILE, VERSION_MAX, Wanted, version_of};
use super::store::{Claim, Store, Stored, Vacancy};
use super::transfer::{Client, Source, Together, in_parallel};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt, from_io};
use crate::lock::lock;
use crate::machine::Arch;
use crate::progress::{Cancel, Progress};

/// Files of a release that are fetched at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// What the name of a detached signature ends in.
pub(super) const SIGNATURE: &str = ".sig";
/// The largest file that is fetched: images of vendors have less than two gigabytes.
const FILE_MAX: u64 = 16 << 30;

/// How files are fetched, and what they are held against.
#[derive(Debug)]
pub struct Fetcher<'a> {
    /// Where from; without it, from the store alone.
    pub client: Option<&'a Client>,
    /// What was fetched before.
    pub store: &'a Store,
    /// Who may sign.
    pub keyring: &'a Keyring,
    /// The time by which keys are judged.
    pub now: Time,
    /// The folder for what is fetched without being verified, where that is asked for; such files get into no store.
    pub unverified: Option<&'a Path>,
    /// What ends the work.
    pub cancel: &'a Cancel,
    missing: Mutex<BTreeSet<String>>,
}

/// A file that can be used.
#[derive(Debug, Clone, Serialize)]
pub struct Fetched {
    /// The URL that it is published under.
    pub url: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Where its signature is.
    pub signature: Option<PathBuf>,
    /// Who signed it; nobody, where it was not verified.
    pub signed: Option<Signed>,
    /// The list that has its digest, where nobody signed it.
    pub listed_in: Option<String>,
}

/// An extension of the Bakery.
#[derive(Debug, Clone)]
pub struct FetchedExtension {
    /// The sysext.
    pub file: Fetched,
    /// What systemd-sysupdate finds newer ones by.
    pub transfer: Option<Fetched>,
}

impl<'a> Fetcher<'a> {
    /// A fetcher that verifies everything.
    pub fn new(
        client: Option<&'a Client>,
        store: &'a Store,
        keyring: &'a Keyring,
        now: Time,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            client,
            store,
            keyring,
            now,
            unverified: None,
            cancel,
            missing: Mutex::default(),
        }
    }

    /// The release that is asked for; which one is the newest of a channel is read from its signed `version.txt`.
    pub fn release(&self, wanted: &Wanted, arch: Arch, progress: &dyn Progress) -> Result<Release> {
        let source = match (wanted.current(arch)?, wanted) {
            (Some(source), _) => source,
            (None, Wanted::Version(version)) => return Release::new(version, arch),
            (None, _) => return Err(Error::internal(format!("{wanted} has no version"))),
        };
        let file = self.get(&source, true, VERSION_MAX, progress)?;
        let release = || {
            let text = std::fs::read(&file.path)
                .map_err(|error| from_io(format!("reading {VERSION_FILE}"), error))?;
            let release = Release::new(&version_of(&text)?, arch)?;
            wanted.check(&release)?;
            Ok(release)
        };
        release().at(|| source.to_string())
    }

    /// A file of a release.
    pub fn file(&self, release: &Release, name: &str, progress: &dyn Progress) -> Result<Fetched> {
        self.get(&release.source(name)?, false, FILE_MAX, progress)
    }

    /// Several files of a release, in the order of their names here, some at once.
    pub fn files(
        &self,
        release: &Release,
        names: Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Vec<Fetched>> {
        let fetched = match names.as_slice() {
            [] => Vec::new(),
            [name] => vec![self.file(release, name, progress)],
            _ => {
                let step = format!("fetching {} files of {}", names.len(), release.version);
                progress.start(&step, 0);
                let fetch = |name: String| self.file(release, &name, &Together(progress));
                let fetched = in_parallel(names, AT_ONCE, fetch);
                progress.finish();
                fetched
            }
        };
        fetched.into_iter().collect()
    }

    /// An extension of the Bakery, whose digest is in the list of the server, and the file for its updates, where there is
    /// one.
    pub fn extension(
        &self,
        extension: &Extension,
        arch: Arch,
        progress: &dyn Progress,
    ) -> Result<FetchedExtension> {
        let list = extension.sums()?;
        let sums = read(&self.latest(&list, progress)?)?;
        let chosen = extension.choose(&sums, arch).at(|| list.to_string())?;
        self.chosen(extension, chosen, &sums, progress)
    }

    /// A file of the Bakery by its own name, for the extension `name`, as the Bakery's script fetches it.
    pub fn extension_file(
        &self,
        name: &str,
        file: &Path,
        progress: &dyn Progress,
    ) -> Result<FetchedExtension> {
        let extension: Extension = format!("{name}@latest").parse()?;
        let list = extension.sums()?;
        let sums = read(&self.latest(&list, progress)?)?;
        let chosen = extension.find(&sums, file).at(|| list.to_string())?;
        self.chosen(&extension, chosen, &sums, progress)
    }

    /// The file of an extension that was chosen from a list, and the file for its updates.
    fn chosen(
        &self,
        extension: &Extension,
        (source, sha256): (Source, String),
        sums: &[u8],
        progress: &dyn Progress,
    ) -> Result<FetchedExtension> {
        let list = extension.sums()?;
        let file = self.listed(&source, &sha256, &list, progress)?;
        let (source, sha256) = extension.transfer(sums).at(|| list.to_string())?;
        let transfer = match sha256 {
            Some(sha256) => Some(self.listed(&source, &sha256, &list, progress)?),
            None => self.unlisted(&source, progress)?,
        };
        Ok(FetchedExtension { file, transfer })
    }

    /// A file that must have the digest that a list has.
    fn listed(
        &self,
        source: &Source,
        sha256: &str,
        list: &Source,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let name = source.to_string();
        let known = self.store.find(&name, self.cancel)?;
        let stored = match known.filter(|stored| stored.sha256 == sha256) {
            Some(stored) => stored,
            None => {
                let fetched = self.fetch_listed(source, sha256, progress);
                fetched.at(|| name)?
            }
        };
        Ok(in_list(stored, Some(list.to_string())))
    }

    /// A small file that no list has, where there is one: TLS alone vouches for it, as it does for the lists.
    fn unlisted(&self, source: &Source, progress: &dyn Progress) -> Result<Option<Fetched>> {
        let stored = match self.client {
            Some(_) => match self.latest(source, progress) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                found => Some(found?),
            },
            // That there was none when all else was fetched is not noted.
            None => self.store.find(&source.to_string(), self.cancel)?,
        };
        Ok(stored.map(|stored| in_list(stored, None)))
    }

    /// A file that must have this digest.
    fn fetch_listed(
        &self,
        source: &Source,
        sha256: &str,
        progress: &dyn Progress,
    ) -> Result<Stored> {
        let name = source.to_string();
        let Some(client) = self.client else {
            return Err(self.note_missing(name));
        };
        match self.store.claim(&name, true, self.cancel, progress)? {
            Claim::Stored(stored) => Ok(stored),
            Claim::Vacant(vacancy) => {
                let mut file = vacancy.file()?;
                let received = client.download(source, &mut file, FILE_MAX, progress)?;
                if received.sha256 != sha256 {
                    return Err(mismatch(&received.sha256, sha256));
                }
                vacancy.fill(&mut file)
            }
        }
    }

    /// A small file that changes: from the server, or the last one that came from there.
    fn latest(&self, source: &Source, progress: &dyn Progress) -> Result<Stored> {
        let name = source.to_string();
        let Some(client) = self.client else {
            let stored = self.store.find(&name, self.cancel)?;
            return stored.ok_or_else(|| self.note_missing(name));
        };
        let bytes = client.read(source, SUMS_MAX)?;
        match self.store.claim(&name, true, self.cancel, progress)? {
            Claim::Stored(stored) => Ok(stored),
            Claim::Vacant(vacancy) => {
                let mut file = vacancy.file()?;
                let written = file.write_all(&bytes);
                written.map_err(|error| from_io("writing a temporary file", error))?;
                vacancy.fill(&mut file)
            }
        }
    }

    /// A signed file. With `changes`, there may be another one under its name since it was stored.
    fn get(
        &self,
        source: &Source,
        changes: bool,
        max_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let name = source.to_string();
        if let Some(folder) = self.unverified {
            return self.get_unverified(source, folder, max_bytes, progress);
        }
        let Some(client) = self.client else {
            return match self.stored(&name, progress)? {
                Some(fetched) => Ok(fetched),
                None => Err(self.note_missing(name)),
            };
        };
        if !changes && let Some(fetched) = self.stored(&name, progress)? {
            return Ok(fetched);
        }
        match self.store.claim(&name, changes, self.cancel, progress)? {
            Claim::Stored(_) => self
                .stored(&name, progress)?
                .ok_or_else(|| Error::internal("what was stored is gone").at(name)),
            Claim::Vacant(vacancy) => {
                let fetched = self.fetch(client, source, vacancy, max_bytes, progress);
                fetched.at(|| name)
            }
        }
    }

    /// Whether a file and its signature are at `path`, are what is published as `source`, and hold.
    ///
    /// # Errors
    /// The work was cancelled. All else that is wrong with them means that they do not hold.
    pub(super) fn holds(
        &self,
        path: &Path,
        source: &Source,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let mut signature = path.as_os_str().to_owned();
        signature.push(SIGNATURE);
        let Ok(mut content) = File::open(path) else {
            return Ok(false);
        };
        let (Ok(proof), Ok(metadata)) = (std::fs::read(signature), content.metadata()) else {
            return Ok(false);
        };
        let name = source.to_string();
        let verified = self.verify(&proof, &name, &mut content, metadata.len(), progress);
        self.cancel.check()?;
        Ok(verified.is_ok())
    }

    /// What the store has, with a signature that holds.
    fn stored(&self, name: &str, progress: &dyn Progress) -> Result<Option<Fetched>> {
        let proof = format!("{name}{SIGNATURE}");
        let Some(proof) = self.store.find(&proof, self.cancel)? else {
            return Ok(None);
        };
        let Some(file) = self.store.find(name, self.cancel)? else {
            return Ok(None);
        };
        let fails = |error| from_io(format!("reading {}", file.path.display()), error);
        let bytes = std::fs::read(&proof.path).map_err(fails)?;
        let mut content = File::open(&file.path).map_err(fails)?;
        let signed = self.verify(&bytes, name, &mut content, file.bytes, progress);
        Ok(Some(fetched(file, proof, signed.at(|| name.to_owned())?)))
    }

    fn fetch(
        &self,
        client: &Client,
        source: &Source,
        vacancy: Vacancy<'_>,
        max_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let proof = client.read(&beside(source, SIGNATURE)?, PROOF_MAX);
        let proof = proof.map_err(|error| match error.kind() {
            ErrorKind::NotFound => unsigned().with_source(error),
            _ => error,
        })?;
        let mut file = vacancy.file()?;
        let received = client.download(source, &mut file, max_bytes, progress)?;
        let name = source.to_string();
        let rewound = file.rewind();
        rewound.map_err(|error| from_io("reading a temporary file", error))?;
        let signed = self.verify(&proof, &name, &mut file, received.len, progress)?;
        let (stored, proof) = vacancy.fill_with_proof(&mut file, (SIGNATURE, &proof))?;
        Ok(fetched(stored, proof, signed))
    }

    fn verify(
        &self,
        proof: &[u8],
        name: &str,
        content: &mut File,
        bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Signed> {
        let published = name.rsplit('/').next().unwrap_or(name);
        progress.start(&format!("verifying {published}"), bytes);
        let content = Advancing {
            content,
            progress,
            cancel: self.cancel,
        };
        let signed = self
            .keyring
            .verify_published(proof, published, content, self.now);
        progress.finish();
        signed
    }

    fn get_unverified(
        &self,
        source: &Source,
        folder: &Path,
        max_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let Some(client) = self.client else {
            return Err(self.note_missing(source.to_string()));
        };
        let url = source.to_string();
        let name = url.rsplit('/').next().unwrap_or("file").to_owned();
        let path = folder.join(name);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|error| from_io(format!("writing {}", path.display()), error))?;
        let received = client.download(source, &mut file, max_bytes, progress)?;
        Ok(Fetched {
            url,
            path,
            sha256: received.sha256,
            bytes: received.len,
            signature: None,
            signed: None,
            listed_in: None,
        })
    }

    pub(super) fn note_missing(&self, name: String) -> Error {
        let mut missing = lock(&self.missing);
        missing.insert(name);
        let names: Vec<&str> = missing.iter().map(String::as_str).collect();
        Error::not_found(format!("not in the cache: {}", names.join(", ")))
            .with_hint("fetch it first where there is a network, and use that cache here")
    }
}

/// The bytes of a small file of the store.
fn read(stored: &Stored) -> Result<Vec<u8>> {
    std::fs::read(&stored.path)
        .map_err(|error| from_io(format!("reading {}", stored.path.display()), error))
}

/// A file that nobody signed.
fn in_list(stored: Stored, list: Option<String>) -> Fetched {
    Fetched {
        url: stored.name,
        path: stored.path,
        sha256: stored.sha256,
        bytes: stored.bytes,
        signature: None,
        signed: None,
        listed_in: list,
    }
}

fn fetched(stored: Stored, proof: Stored, signed: Signed) -> Fetched {
    Fetched {
        url: stored.name,
        path: stored.path,
        sha256: stored.sha256,
        bytes: stored.bytes,
        signature: Some(proof.path),
        signed: Some(signed),
        listed_in: None,
    }
}

/// What is published as `source` with an ending.
fn beside(source: &Source, ending: &str) -> Result<Source> {
    Source::parse(&format!("{source}{ending}"))
}

fn unsigned() -> Error {
    Error::new(ErrorKind::Untrusted, "no signature is published beside it")
        .because(Reason::NoSignature)
        .with_hint(
            "Flatcar signs every file of a release; another server, or a mirror, may lack it",
        )
}

/// A content whose bytes count as progress, and which ends with the work.
struct Advancing<'a> {
    content: &'a mut File,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl std::io::Read for Advancing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.cancel.check()?;
        let len = self.content.read(buf)?;
        self.progress.advance(crate::bytes::to_u64(len));
        Ok(len)
    }
}
