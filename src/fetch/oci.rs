//! Files of registries, through the store: a tag is asked for again, all else is what its digest says for ever.
//!
//! ```text
//!  oci://HOST/REPO:TAG ──▶ index, manifest ──▶ the one layer ──▶ unpacked ──▶ store ──▶ path
//!                          kept by tag and by digest             (a sysext)
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};

use super::fetcher::{Fetched, Fetcher};
use super::registry::{
    Architecture, Artifact, Descriptor, Digest, Documents, Packing, Paper, Reference, Registry,
    artifact, at_unless_cancelled,
};
use super::store::{Claim, Stored};
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

/// What a registry has, with the store between.
pub(super) struct Kept<'a> {
    pub fetcher: &'a Fetcher<'a>,
    pub registry: Option<&'a Registry>,
    pub progress: &'a dyn Progress,
}

impl Fetcher<'_> {
    /// The one file that `reference` names for an architecture, from `registry`, or from the store alone. A file without a
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
        let architecture = match arch {
            Arch::Amd64 => Architecture::Amd64,
            Arch::Arm64 => Architecture::Arm64,
        };
        let found = artifact(&kept, reference, architecture)?;
        let stored = kept.layer(reference, &found, name, unpack);
        let stored = stored.map_err(|error| at_unless_cancelled(error, reference))?;
        let manifest = reference.untagged().pinned(&found.resolved.digest);
        let url = format!("oci://{}", reference.pinned(&found.resolved.named));
        self.tally.hand(&url, &stored.path, Some(&stored.sha256));
        Ok(Fetched {
            url,
            path: stored.path,
            sha256: stored.sha256,
            bytes: stored.bytes,
            signature: None,
            signed: None,
            listed_in: Some(format!("oci://{manifest}")),
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
        let title = layer.title().unwrap_or(name);
        let title = match unpack {
            Unpack::Yes => without_packed_ending(title),
            Unpack::No => title,
        };
        let name = format!("{}/{title}", named_by(reference, &layer.digest));
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
                registry.pull_blob(reference, layer, &mut file, FILE_MAX, self.progress)?;
                if unpack == Unpack::No {
                    return vacancy.fill(&mut file);
                }
                let place = || format!("blob {}", layer.digest);
                match packing(&mut file, layer).at(place)? {
                    Format::Plain => vacancy.fill(&mut file),
                    _ => {
                        let mut unpacked = vacancy.file()?;
                        self.unpack(&mut file, &mut unpacked).at(place)?;
                        vacancy.fill(&mut unpacked)
                    }
                }
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
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let kept = self.fetcher.keep(name, bytes, self.progress);
        kept.map(drop)
    }

    /// What is in the store under `name`.
    fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(stored) = self.fetcher.store.find(name, self.fetcher.cancel)? else {
            return Ok(None);
        };
        let bytes = std::fs::read(&stored.path);
        let fails = |error| from_io(format!("reading {}", stored.path.display()), error);
        bytes.map(Some).map_err(fails)
    }

    /// What has this digest, from the store or else from the registry, where `fetch` gets it.
    fn fixed(
        &self,
        name: String,
        digest: &Digest,
        fetch: impl FnOnce(&Registry) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        if let Some(bytes) = self.kept(&name)?
            && digest.check(&bytes).is_ok()
        {
            return Ok(bytes);
        }
        let Some(registry) = self.registry else {
            return Err(self.fetcher.tally.lacks(&name));
        };
        let bytes = fetch(registry)?;
        self.keep(&name, &bytes)?;
        Ok(bytes)
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
        if let Some(digest) = digest {
            let name = named_by(reference, digest);
            let mut content_type = None;
            let fetch = |registry: &Registry| {
                let paper = registry.document(reference, target, Some(digest), len)?;
                content_type = paper.content_type;
                Ok(paper.bytes)
            };
            return Ok(Paper {
                bytes: self.fixed(name, digest, fetch)?,
                digest: digest.clone(),
                content_type,
            });
        }
        let name = format!("oci://{reference}");
        match self.registry {
            Some(registry) => {
                let paper = registry.document(reference, target, None, len)?;
                self.keep(&name, &paper.bytes)?;
                self.keep(&named_by(reference, &paper.digest), &paper.bytes)?;
                Ok(paper)
            }
            None => {
                let kept = self.kept(&name)?;
                let bytes = kept.ok_or_else(|| self.fetcher.tally.lacks(&name))?;
                Ok(Paper {
                    digest: Digest::sha256(&bytes),
                    bytes,
                    content_type: None,
                })
            }
        }
    }

    fn config(&self, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>> {
        let name = named_by(reference, &blob.digest);
        self.fixed(name, &blob.digest, |registry| {
            registry.config(reference, blob)
        })
    }
}

/// What a document or a blob is called in the store.
fn named_by(reference: &Reference, digest: &Digest) -> String {
    format!("oci://{}", reference.untagged().pinned(digest))
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
