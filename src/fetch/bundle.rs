//! Folders with all that a bake fetches, for machines without a network.
//!
//! ```text
//!   DIR/stable.release.flatcar-linux.net/amd64-usr/4593.2.5/FILE     https:// and the rest of the URL, with FILE.sig
//!      /extensions.flatcar.org/extensions/wasmtime/SHA256SUMS
//!      /oci/ghcr.io/example/docker:28                               oci:// and the rest of the name: what the tag named
//!          /ghcr.io/example/docker@sha256:…                         its index or manifest
//!          /ghcr.io/example/docker@sha256:…/docker-28.raw           its layer, as it is in the registry
//!      /keys/…                                                       the keys that the signatures were held against
//!      /flatbake.lock                                                the lock of the manifest
//!      /SHA256SUMS                                                   the digests of all of these
//! ```
//!
//! A bundle is a copy of what servers have, and is believed no more than they are: signatures and digests are held against
//! whatever comes from it. It is made in one step, and only ever read after that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::registry;
use super::tally::Handed;
use super::transfer::Source;
use crate::block::OutputFolder;
use crate::bytes::hex;
use crate::error::{Error, ErrorKind, Reason, Result, from_io};
use crate::progress::{Cancel, Progress};

/// How the URLs begin that a bundle has the files of.
const SCHEME: &str = "https://";
/// The folder of what comes from registries.
const REGISTRIES: &str = "oci";
/// The folder of keys.
const KEYS: &str = "keys";
/// The list of all files.
const SUMS: &str = "SHA256SUMS";
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// A bundle that is read.
#[derive(Debug, Clone)]
pub struct Bundle {
    folder: PathBuf,
}

impl Bundle {
    /// The bundle in `folder`.
    ///
    /// # Errors
    /// There is no such folder, or it has not the list of its files.
    pub fn open(folder: &Path) -> Result<Self> {
        if folder.join(SUMS).is_file() {
            return Ok(Self {
                folder: folder.to_owned(),
            });
        }
        let message = format!("{} is no bundle: it has no {SUMS}", folder.display());
        Err(Error::not_found(message).with_hint("name the folder itself, as it was made"))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of keys in it, in the order of their names.
    pub fn keys(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join(KEYS);
        let fails = |error| from_io(format!("listing {}", folder.display()), error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(fails)? {
            found.push(entry.map_err(fails)?.path());
        }
        found.sort();
        Ok(found)
    }

    /// The file that is published as `name`, where the bundle has it.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let place = place_of(name)?;
        let Ok(Source::File(path)) = Source::from(&*self.folder).join(&place) else {
            return None;
        };
        path.is_file().then_some(path)
    }
}

/// The path in a bundle of what is published as `name`.
fn place_of(name: &str) -> Option<String> {
    match name.strip_prefix(registry::SCHEME) {
        Some(rest) => Some(format!("{REGISTRIES}/{rest}")),
        None => name.strip_prefix(SCHEME).map(str::to_owned),
    }
}

/// A bundle that is made; it appears when it is whole.
#[derive(Debug)]
pub struct NewBundle {
    output: OutputFolder,
    /// Digests by the paths of their files.
    sums: BTreeMap<String, String>,
}

impl NewBundle {
    /// One that is to become `folder`.
    ///
    /// # Errors
    /// Something is there.
    pub fn create(folder: &Path) -> Result<Self> {
        Ok(Self {
            output: OutputFolder::create(folder)?,
            sums: BTreeMap::new(),
        })
    }

    /// Copies what a run was given.
    ///
    /// # Errors
    /// Those of reading and writing, and [`ErrorKind::Untrusted`] where a file is no longer what was verified.
    pub fn copy(
        &mut self,
        files: &BTreeMap<String, Handed>,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.start(&format!("copying {} files", files.len()), 0);
        for (name, handed) in files {
            let Some(place) = place_of(name) else {
                return Err(
                    Error::unsupported(format!("{name} cannot be in a bundle")).with_hint(
                        "a bundle has what comes from servers by https, and from registries",
                    ),
                );
            };
            let fails = |error| from_io(format!("reading {}", handed.path.display()), error);
            let source = File::open(&handed.path).map_err(fails)?;
            let found = self.put_from(&place, source, cancel)?;
            if handed
                .sha256
                .as_ref()
                .is_some_and(|sha256| *sha256 != found)
            {
                let message = format!("{} changed while it was copied", handed.path.display());
                return Err(Error::new(ErrorKind::Untrusted, message).because(Reason::Checksum));
            }
        }
        progress.finish();
        Ok(())
    }

    /// Puts a file of keys into it.
    pub fn put_keys(&mut self, name: &str, bytes: &[u8], cancel: &Cancel) -> Result<()> {
        self.put(&format!("{KEYS}/{name}"), bytes, cancel)
    }

    /// Puts a file with this content into it.
    pub fn put(&mut self, place: &str, bytes: &[u8], cancel: &Cancel) -> Result<()> {
        self.put_from(place, bytes, cancel).map(drop)
    }

    /// Copies a file, and returns its digest.
    fn put_from(&mut self, place: &str, mut from: impl Read, cancel: &Cancel) -> Result<String> {
        let mut file = self.output.file(place)?;
        let fails = |error| from_io(format!("copying {place} into the bundle"), error);
        let mut sum = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            cancel.check()?;
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(len) => {
                    sum.update(&chunk[..len]);
                    file.write_all(&chunk[..len]).map_err(fails)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fails(error)),
            }
        }
        let sum = hex(&sum.finalize());
        self.sums.insert(place.to_owned(), sum.clone());
        Ok(sum)
    }

    /// Gives it its name.
    pub fn commit(mut self, cancel: &Cancel) -> Result<()> {
        let lines = self.sums.iter();
        let text: String = lines
            .map(|(place, sum)| format!("{sum}  {place}\n"))
            .collect();
        self.put(SUMS, text.as_bytes(), cancel)?;
        self.output.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::progress::NoProgress;

    fn handed(path: &Path, sha256: Option<&str>) -> Handed {
        Handed {
            path: path.to_owned(),
            sha256: sha256.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_put_in_is_found_under_its_url_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("bundle"));
        std::fs::write(&from, b"bytes").unwrap();
        assert_eq!(Bundle::open(&to).unwrap_err().kind(), ErrorKind::NotFound);
        let mut bundle = NewBundle::create(&to).unwrap();
        let files = [("https://host/a/b.raw".to_owned(), handed(&from, None))].into();
        let cancel = Cancel::new();
        bundle.copy(&files, &cancel, &NoProgress).unwrap();
        bundle.put_keys("one", b"key", &cancel).unwrap();
        assert!(!to.exists());
        bundle.commit(&cancel).unwrap();
        let bundle = Bundle::open(&to).unwrap();
        let found = bundle.find("https://host/a/b.raw").unwrap();
        assert_eq!(std::fs::read(found).unwrap(), b"bytes");
        assert_eq!(bundle.keys().unwrap(), [to.join("keys/one")]);
        for name in [
            "https://host/a",
            "http://host/a/b.raw",
            "host/a/b.raw",
            "https://../from",
            "https:///etc/passwd",
            "",
        ] {
            assert_eq!(bundle.find(name), None, "{name}");
        }
    }

    #[test]
    fn what_changed_since_it_was_verified_is_not_taken_along() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::write(&from, b"bytes").unwrap();
        let copy = |name: &str, sha256| {
            let mut bundle = NewBundle::create(&dir.path().join("bundle")).unwrap();
            let files = [(name.to_owned(), handed(&from, sha256))].into();
            bundle.copy(&files, &Cancel::new(), &NoProgress)
        };
        let other = "0".repeat(64);
        let refused = copy("https://host/a", Some(&other)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Untrusted);
        let refused = copy("/local", None).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
