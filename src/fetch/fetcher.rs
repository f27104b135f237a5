//! Files of releases: from the store or from the server, and verified either way.
//!
//! ```text
//!   name ──▶ store ──────────────────────────────┐
//!     └────▶ lock ─▶ FILE.sig, FILE ─▶ signature ─▶ store ─▶ path
//!                    (a file without a name)   └── bad: an error, and nothing is kept
//! ```

use std::fs::File;
use std::io::{Seek, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bakery::{Chosen, Extension, Files, Listed, SUMS_MAX, Transfer, mismatch};
use super::bundle::Bundle;
use super::openpgp::{Keyring, PROOF_MAX, Signed, Time};
use super::release::{Release, VERSION_FILE, VERSION_MAX, Wanted, version_of};
use super::store::{Claim, Store, Stored, Vacancy, examined};
use super::tally::Tally;
use super::transfer::{Client, Source, Together, in_parallel};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt, from_io};
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
    /// Where from; without it, from store and bundle alone.
    pub client: Option<&'a Client>,
    /// What was fetched before.
    pub store: &'a Store,
    /// What is taken before all else.
    pub bundle: Option<&'a Bundle>,
    /// Who may sign.
    pub keyring: &'a Keyring,
    /// The time by which keys are judged.
    pub now: Time,
    /// The folder for what is fetched without being verified, where that is asked for; such files get into no store.
    pub unverified: Option<&'a Path>,
    /// What ends the work.
    pub cancel: &'a Cancel,
    /// Gets to know what is handed out, and what is missing.
    pub tally: &'a Tally,
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
        tally: &'a Tally,
    ) -> Self {
        Self {
            client,
            store,
            bundle: None,
            keyring,
            now,
            unverified: None,
            cancel,
            tally,
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

    /// Several files of a release, in the order of their names here, some at once. Of files that are missing, all are
    /// noted.
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

    /// What an extension of the Bakery comes to, by the list of the server.
    pub fn choose(
        &self,
        extension: &Extension,
        arch: Arch,
        progress: &dyn Progress,
    ) -> Result<Chosen> {
        let list = extension.sums()?;
        let sums = read(&self.latest(&list, progress)?)?;
        extension.choose(&sums, arch).at(|| list.to_string())
    }

    /// What a file of the Bakery comes to that is asked for by its own name, for the extension `name`, as the Bakery's script
    /// does.
    pub fn choose_file(&self, name: &str, file: &Path, progress: &dyn Progress) -> Result<Files> {
        let extension = Extension::newest(name)?;
        let list = extension.sums()?;
        let sums = read(&self.latest(&list, progress)?)?;
        extension.find(&sums, file).at(|| list.to_string())
    }

    /// The files of an extension, which must have the digests that were chosen.
    pub fn chosen(&self, files: &Files, progress: &dyn Progress) -> Result<FetchedExtension> {
        let file = self.listed(&files.sysext, progress);
        // Of files that are missing, all are noted.
        let transfer = match &files.transfer {
            Some(Transfer::Listed(listed)) => self.listed(listed, progress).map(Some),
            Some(Transfer::Unlisted(source)) => self.unlisted(source, progress),
            None => Ok(None),
        };
        Ok(FetchedExtension {
            file: file?,
            transfer: transfer?,
        })
    }

    /// An extension as the server has it.
    pub fn extension(
        &self,
        extension: &Extension,
        arch: Arch,
        progress: &dyn Progress,
    ) -> Result<FetchedExtension> {
        let chosen = self.choose(extension, arch, progress)?;
        self.chosen(&chosen.files, progress)
    }

    /// A file that must have the digest that is known.
    pub(super) fn listed(&self, listed: &Listed, progress: &dyn Progress) -> Result<Fetched> {
        let name = listed.source.to_string();
        let stored = match self.bundled(&name)? {
            Some(stored) if stored.sha256 != listed.sha256 => {
                let error = mismatch(&stored.sha256, &listed.sha256, &listed.listed_in);
                return Err(error.at(stored.path.display().to_string()));
            }
            Some(stored) => stored,
            None => {
                let known = self.store.find(&name, self.cancel)?;
                match known.filter(|stored| stored.sha256 == listed.sha256) {
                    Some(stored) => stored,
                    None => self.fetch_listed(listed, progress).at(|| name)?,
                }
            }
        };
        let fetched = in_list(stored, Some(listed.listed_in.clone()));
        self.hand(&fetched);
        Ok(fetched)
    }

    /// A small file that no list has, where there is one: TLS alone vouches for it, as it does for the lists.
    fn unlisted(&self, source: &Source, progress: &dyn Progress) -> Result<Option<Fetched>> {
        let name = source.to_string();
        let stored = match (self.bundled(&name)?, self.client) {
            (Some(bundled), _) => Some(bundled),
            // That there was none when all else was fetched is not noted.
            (None, None) => self.store.find(&name, self.cancel)?,
            (None, Some(_)) => match self.latest(source, progress) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                found => Some(found?),
            },
        };
        let fetched = stored.map(|stored| in_list(stored, None));
        fetched.iter().for_each(|fetched| self.hand(fetched));
        Ok(fetched)
    }

    /// A file that is not here, and must have the digest that is known.
    fn fetch_listed(&self, listed: &Listed, progress: &dyn Progress) -> Result<Stored> {
        let Listed { source, sha256, .. } = listed;
        let name = source.to_string();
        let Some(client) = self.client else {
            return Err(self.tally.lacks(&name));
        };
        match self.store.claim(&name, true, self.cancel, progress)? {
            Claim::Stored(stored) => Ok(stored),
            Claim::Vacant(vacancy) => {
                let mut file = vacancy.file()?;
                let received = client.download(source, &mut file, FILE_MAX, progress)?;
                if received.sha256 != *sha256 {
                    return Err(mismatch(&received.sha256, sha256, &listed.listed_in));
                }
                vacancy.fill(&mut file)
            }
        }
    }

    /// The bytes of a small file that changes.
    pub(super) fn small(&self, source: &Source, progress: &dyn Progress) -> Result<Vec<u8>> {
        read(&self.latest(source, progress)?)
    }

    /// A file that is taken as it is, where that is asked for.
    pub(super) fn without_digest(
        &self,
        source: &Source,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let folder = self.unverified.ok_or_else(unsigned)?;
        self.get_unverified(source, folder, FILE_MAX, progress)
    }

    /// A small file that changes: from the server, or the last one that came from there.
    fn latest(&self, source: &Source, progress: &dyn Progress) -> Result<Stored> {
        let name = source.to_string();
        let here = match (self.bundled(&name)?, self.client) {
            (Some(bundled), _) => Some(bundled),
            (None, Some(_)) => None,
            (None, None) => self.store.find(&name, self.cancel)?,
        };
        let stored = match (here, self.client) {
            (Some(stored), _) => stored,
            (None, None) => return Err(self.tally.lacks(&name)),
            (None, Some(client)) => {
                let bytes = client.read(source, SUMS_MAX)?;
                self.keep(&name, &bytes, progress)?
            }
        };
        self.tally.hand(&name, &stored.path, None);
        Ok(stored)
    }

    /// Puts a small file into the store, in the place of what has its name there.
    pub(super) fn keep(&self, name: &str, bytes: &[u8], progress: &dyn Progress) -> Result<Stored> {
        match self.store.claim(name, true, self.cancel, progress)? {
            Claim::Stored(stored) => Ok(stored),
            Claim::Vacant(vacancy) => {
                let mut file = vacancy.file()?;
                let written = file.write_all(bytes);
                written.map_err(|error| from_io("writing a temporary file", error))?;
                vacancy.fill(&mut file)
            }
        }
    }

    /// Notes a file that is handed out, and its signature.
    fn hand(&self, file: &Fetched) {
        self.tally.hand(&file.url, &file.path, Some(&file.sha256));
        if let Some(signature) = &file.signature {
            self.tally.hand(&signature_of(&file.url), signature, None);
        }
    }

    /// What the bundle has.
    pub(super) fn bundled(&self, name: &str) -> Result<Option<Stored>> {
        let path = self.bundle.and_then(|bundle| bundle.find(name));
        path.map(|path| examined(name, &path, self.cancel))
            .transpose()
    }

    /// A signed file. With `changes`, there may be another one under its name since it was stored.
    fn get(
        &self,
        source: &Source,
        changes: bool,
        max_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let fetched = match self.signed_in_bundle(&source.to_string(), progress)? {
            Some(fetched) => fetched,
            None => self.find_or_fetch(source, changes, max_bytes, progress)?,
        };
        self.hand(&fetched);
        Ok(fetched)
    }

    /// What the bundle has, with a signature that holds.
    fn signed_in_bundle(&self, name: &str, progress: &dyn Progress) -> Result<Option<Fetched>> {
        let Some(file) = self.bundled(name)? else {
            return Ok(None);
        };
        match self.bundled(&signature_of(name))? {
            Some(proof) => self.verified(file, proof, progress).map(Some),
            None => Err(unsigned().at(file.path.display().to_string())),
        }
    }

    fn find_or_fetch(
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
                None => Err(self.tally.lacks(&name)),
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
        let Some(proof) = self.store.find(&signature_of(name), self.cancel)? else {
            return Ok(None);
        };
        let Some(file) = self.store.find(name, self.cancel)? else {
            return Ok(None);
        };
        self.verified(file, proof, progress).map(Some)
    }

    /// A file whose signature holds.
    fn verified(&self, file: Stored, proof: Stored, progress: &dyn Progress) -> Result<Fetched> {
        let fails = |error| from_io(format!("reading {}", file.path.display()), error);
        let bytes = std::fs::read(&proof.path).map_err(fails)?;
        let mut content = File::open(&file.path).map_err(fails)?;
        let signed = self.verify(&bytes, &file.name, &mut content, file.bytes, progress);
        let signed = signed.at(|| file.path.display().to_string())?;
        Ok(fetched(file, proof, signed))
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
            return Err(self.tally.lacks(&source.to_string()));
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
}

/// What the signature of a file is published as.
fn signature_of(name: &str) -> String {
    format!("{name}{SIGNATURE}")
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
