//! Files of registries, through bundle and store: a tag is asked for again, all else is what its digest says for ever.
//!
//! ```text
//!  oci://HOST/REPO:TAG ──▶ index, manifest ──▶ the one layer ──▶ unpacked ──▶ path
//!                          by tag and by digest  as it came      (a sysext)
//! ```
//!
//! Names in bundle and store:
//!
//! ```text
//!  oci://HOST/REPO:TAG                       what the tag named when it was last asked for
//!  oci://HOST/REPO@DIGEST                    an index, a manifest or a description
//!  oci://HOST/REPO@DIGEST/FILE               a layer as it is in the registry
//!  oci://HOST/REPO@DIGEST/unpacked/FILE      what is in it; in the store only
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::fetcher::{Fetched, Fetcher};
use super::registry::{
    Algorithm, Artifact, Descriptor, Digest, Documents, MAX_MANIFEST_BYTES, Packing, Paper,
    Reference, Registry, SCHEME, artifact, at_unless_cancelled,
};
use super::store::{Claim, Stored, file_name};
use crate::block::Inputs;
use crate::bytes::{ByteSize, to_u64};
use crate::codec::{Format, decoder};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt, from_io};
use crate::machine::Arch;
use crate::progress::Progress;

/// The largest file, packed or not.
const FILE_MAX: u64 = 16 << 30;
/// Read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Endings of packed files, which unpacked ones do not have.
const PACKED_ENDINGS: [&str; 4] = [".zst", ".gz", ".xz", ".bz2"];

/// What becomes of a layer that is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpack {
    /// It is unpacked, as who reads it reads no packed files.
    Yes,
    /// It stays as it is.
    No,
}

/// What a registry has, with bundle and store between.
pub(super) struct Kept<'a> {
    pub fetcher: &'a Fetcher<'a>,
    pub registry: Option<&'a Registry>,
    pub progress: &'a dyn Progress,
}

impl Fetcher<'_> {
    /// The one file that `reference` names for an architecture, from the bundle, the store or `registry`; without that, from bundle and store alone. A file without a
    /// name of its own is called `name`.
    ///
    /// # Errors
    /// Those of [`Registry::artifact`] and [`Registry::pull_blob`]; [`ErrorKind::Corrupt`] for a layer that is not packed as
    /// it says, or is damaged.
    pub fn artifact(
        &self,
        registry: Option<&Registry>,
        reference: &Reference,
        arch: Arch,
        (name, unpack): (&str, Unpack),
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let kept = Kept {
            fetcher: self,
            registry,
            progress,
        };
        let found = artifact(&kept, reference, arch.into())?;
        let stored = kept.layer(reference, &found, name, unpack);
        let stored = stored.map_err(|error| at_unless_cancelled(error, reference))?;
        let manifest = reference.untagged().pinned(&found.resolved.digest);
        let url = format!("{SCHEME}{}", reference.pinned(&found.resolved.named));
        Ok(Fetched {
            url,
            path: stored.path,
            sha256: stored.sha256,
            bytes: stored.bytes,
            signature: None,
            signed: None,
            listed_in: Some(format!("{SCHEME}{manifest}")),
        })
    }
}

impl Kept<'_> {
    /// The layer of an artifact.
    fn layer(
        &self,
        reference: &Reference,
        found: &Artifact,
        name: &str,
        unpack: Unpack,
    ) -> Result<Stored> {
        let layer = &found.layer;
        let title = file_name(layer.title().unwrap_or(name));
        let place = named_by(reference, &layer.digest);
        let name = format!("{place}/{title}");
        let opened_name = match unpack {
            Unpack::Yes => Some(format!(
                "{place}/unpacked/{}",
                without_packed_ending(&title)
            )),
            Unpack::No => None,
        };
        let (blob, opened) = match self.known_blob(&name, layer)? {
            Some(blob) => self.open_kept(blob, layer, opened_name)?,
            None => self.pull(reference, layer, &name, opened_name)?,
        };
        let tally = self.fetcher.tally;
        tally.hand(&name, &blob.path, Some(&blob.sha256));
        Ok(opened.unwrap_or(blob))
    }

    /// What is known as a layer, from the bundle or else from the store, and has its digest.
    fn known_blob(&self, name: &str, layer: &Descriptor) -> Result<Option<Stored>> {
        let known = match self.fetcher.bundled(name)? {
            Some(bundled) => Some(bundled),
            None => self.fetcher.store.find(name, self.fetcher.cancel)?,
        };
        if let Some(known) = &known {
            let checked = match layer.digest.algorithm() {
                Algorithm::Sha256 => layer.digest.check_hex(&known.sha256),
                Algorithm::Sha512 => layer.digest.check_all(open(&known.path)?),
            };
            checked.at(|| known.path.display().to_string())?;
        }
        Ok(known)
    }

    /// Fetches a layer. It gets no name where it cannot be unpacked.
    fn pull(
        &self,
        reference: &Reference,
        layer: &Descriptor,
        name: &str,
        opened_name: Option<String>,
    ) -> Result<(Stored, Option<Stored>)> {
        let Some(registry) = self.registry else {
            return Err(self.fetcher.tally.lacks(name));
        };
        let store = self.fetcher.store;
        match store.claim(name, false, self.fetcher.cancel, self.progress)? {
            Claim::Stored(blob) => self.open_kept(blob, layer, opened_name),
            Claim::Vacant(vacancy) => {
                let mut file = vacancy.file()?;
                registry.pull_blob(reference, layer, &mut file, FILE_MAX, self.progress)?;
                let opened = self.opened(&mut file, layer, opened_name)?;
                Ok((vacancy.fill(&mut file)?, opened))
            }
        }
    }

    /// A layer that is here, and what is in it where it is packed and is to be unpacked.
    fn open_kept(
        &self,
        blob: Stored,
        layer: &Descriptor,
        opened_name: Option<String>,
    ) -> Result<(Stored, Option<Stored>)> {
        let mut file = open(&blob.path)?;
        let opened = self.opened(&mut file, layer, opened_name)?;
        Ok((blob, opened))
    }

    /// What is in a layer, known as `name`; `None` where it is not packed, or is not to be unpacked.
    fn opened(
        &self,
        file: &mut File,
        layer: &Descriptor,
        name: Option<String>,
    ) -> Result<Option<Stored>> {
        let place = || format!("blob {}", layer.digest);
        let Some(name) = name else {
            return Ok(None);
        };
        if packing(file, layer).at(place)? == Format::Plain {
            return Ok(None);
        }
        let store = self.fetcher.store;
        if let Some(stored) = store.find(&name, self.fetcher.cancel)? {
            return Ok(Some(stored));
        }
        match store.claim(&name, false, self.fetcher.cancel, self.progress)? {
            Claim::Stored(stored) => Ok(Some(stored)),
            Claim::Vacant(vacancy) => {
                let mut unpacked = vacancy.file()?;
                self.unpack(file, &mut unpacked).at(place)?;
                vacancy.fill(&mut unpacked).map(Some)
            }
        }
    }

    /// A blob as it is.
    pub(super) fn blob(&self, reference: &Reference, blob: &Descriptor) -> Result<Stored> {
        let name = named_by(reference, &blob.digest);
        let store = self.fetcher.store;
        if let Some(stored) = store.find(&name, self.fetcher.cancel)? {
            return Ok(stored);
        }
        let Some(registry) = self.registry else {
            return Err(self.fetcher.tally.lacks(&name));
        };
        match store.claim(&name, false, self.fetcher.cancel, self.progress)? {
            Claim::Stored(stored) => Ok(stored),
            Claim::Vacant(vacancy) => {
                let mut file = vacancy.file()?;
                registry.pull_blob(reference, blob, &mut file, FILE_MAX, self.progress)?;
                vacancy.fill(&mut file)
            }
        }
    }

    /// Unpacks a file into another one.
    fn unpack(&self, packed: &mut File, unpacked: &mut File) -> Result<()> {
        let fails = |error| from_io("unpacking it", error);
        packed.rewind().map_err(fails)?;
        let mut reader = decoder(BufReader::new(packed))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut total = 0u64;
        loop {
            self.fetcher.cancel.check()?;
            let len = reader.read(&mut piece).map_err(fails)?;
            if len == 0 {
                return Ok(());
            }
            total += to_u64(len);
            if total > FILE_MAX {
                let message = format!("it unpacks to more than {}", ByteSize(FILE_MAX));
                return Err(Error::unsupported(message).because(Reason::Limit));
            }
            unpacked.write_all(&piece[..len]).map_err(fails)?;
        }
    }

    /// Puts what was fetched into the store.
    fn keep(&self, name: &str, bytes: Vec<u8>) -> Result<Small> {
        let stored = self.fetcher.keep(name, &bytes, self.progress)?;
        Ok(Small {
            path: stored.path,
            bytes,
        })
    }

    /// What the bundle has under `name`.
    fn bundled(&self, name: &str) -> Result<Option<Small>> {
        let path = self.fetcher.bundle.and_then(|bundle| bundle.find(name));
        path.map(Small::read).transpose()
    }

    /// What is in the store under `name`.
    fn stored(&self, name: &str) -> Result<Option<Small>> {
        let stored = self.fetcher.store.find(name, self.fetcher.cancel)?;
        stored.map(|stored| Small::read(stored.path)).transpose()
    }

    /// Notes that it was used.
    fn hand(&self, name: &str, small: &Small) {
        self.fetcher.tally.hand(name, &small.path, None);
    }

    /// What a tag names now: by the bundle, or else by the registry, or else when it was last asked.
    fn tagged(&self, reference: &Reference, target: &str, len: Option<u64>) -> Result<Paper> {
        let name = format!("{SCHEME}{reference}");
        let mut content_type = None;
        let small = match (self.bundled(&name)?, self.registry) {
            (Some(bundled), _) => bundled,
            (None, Some(registry)) => {
                let paper = registry.document(reference, target, None, len)?;
                content_type = paper.content_type;
                self.keep(&named_by(reference, &paper.digest), paper.bytes.clone())?;
                self.keep(&name, paper.bytes)?
            }
            (None, None) => {
                let stored = self.stored(&name)?;
                stored.ok_or_else(|| self.fetcher.tally.lacks(&name))?
            }
        };
        let digest = Digest::sha256(&small.bytes);
        self.hand(&name, &small);
        // Who is held to the digest asks for that.
        self.hand(&named_by(reference, &digest), &small);
        Ok(Paper {
            bytes: small.bytes,
            digest,
            content_type,
        })
    }

    /// What has this digest, from the bundle or the store, or else from the registry, where `fetch` gets it.
    fn fixed(
        &self,
        name: &str,
        digest: &Digest,
        fetch: impl FnOnce(&Registry) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let small = match self.bundled(name)? {
            Some(bundled) => {
                let place = || bundled.path.display().to_string();
                digest.check(&bundled.bytes).at(place)?;
                bundled
            }
            None => self.stored_or_fetched(name, digest, fetch)?,
        };
        self.hand(name, &small);
        Ok(small.bytes)
    }

    fn stored_or_fetched(
        &self,
        name: &str,
        digest: &Digest,
        fetch: impl FnOnce(&Registry) -> Result<Vec<u8>>,
    ) -> Result<Small> {
        let stored = self.stored(name)?;
        if let Some(small) = stored.filter(|small| digest.check(&small.bytes).is_ok()) {
            return Ok(small);
        }
        match self.registry {
            Some(registry) => self.keep(name, fetch(registry)?),
            None => Err(self.fetcher.tally.lacks(name)),
        }
    }
}

/// A document or a description, which is read as a whole.
struct Small {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Small {
    fn read(path: PathBuf) -> Result<Self> {
        let bytes = Inputs::default().read("document of a registry", &path, MAX_MANIFEST_BYTES)?;
        Ok(Self { path, bytes })
    }
}

impl Documents for Kept<'_> {
    fn document(
        &self,
        reference: &Reference,
        target: &str,
        digest: Option<&Digest>,
        len: Option<u64>,
    ) -> Result<Paper> {
        let Some(digest) = digest else {
            return self.tagged(reference, target, len);
        };
        let mut content_type = None;
        let fetch = |registry: &Registry| {
            let paper = registry.document(reference, target, Some(digest), len)?;
            content_type = paper.content_type;
            Ok(paper.bytes)
        };
        let bytes = self.fixed(&named_by(reference, digest), digest, fetch)?;
        Ok(Paper {
            bytes,
            digest: digest.clone(),
            content_type,
        })
    }

    fn config(&self, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>> {
        let name = named_by(reference, &blob.digest);
        self.fixed(&name, &blob.digest, |registry| {
            registry.config(reference, blob)
        })
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| from_io(format!("reading {}", path.display()), error))
}

/// What a document or a blob is called in the store.
fn named_by(reference: &Reference, digest: &Digest) -> String {
    format!("{SCHEME}{}", reference.untagged().pinned(digest))
}

/// How a layer is packed: its bytes say it, and must not be plain where its media type says otherwise.
fn packing(file: &mut File, layer: &Descriptor) -> Result<Format> {
    let fails = |error| from_io("reading a temporary file", error);
    let mut start = Vec::new();
    file.rewind().map_err(fails)?;
    file.take(16).read_to_end(&mut start).map_err(fails)?;
    let format = Format::detect(&start);
    if format == Format::Plain && layer.packing() != Packing::None {
        let message = format!(
            "it is not packed as its media type says: {}",
            layer.media_type
        );
        return Err(
            Error::new(ErrorKind::Corrupt, message.escape_debug().to_string())
                .with_hint("push it again, with the media type of what it is"),
        );
    }
    Ok(format)
}

fn without_packed_ending(title: &str) -> &str {
    PACKED_ENDINGS
        .iter()
        .find_map(|ending| title.strip_suffix(ending))
        .filter(|bare| !bare.is_empty())
        .unwrap_or(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endings_of_packed_files_go() {
        for (title, bare) in [
            ("docker-24.raw.zst", "docker-24.raw"),
            ("docker.raw.gz", "docker.raw"),
            ("docker-24.raw", "docker-24.raw"),
            (".gz", ".gz"),
        ] {
            assert_eq!(without_packed_ending(title), bare);
        }
    }
}
