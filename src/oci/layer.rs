//! One layer: a tar, packed or not, that is read once and held against its digest.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::archive::{TarOptions, inject};
use crate::bytes::hex;
use crate::codec;
use crate::error::{Error, Reason, Result, from_io};
use crate::finding::Finding;
use crate::fs::{self, ByPath, FileReader, FileSystem, FsPath, StagedTree};
use crate::progress::{Cancel, Progress};

/// A digest as images name it: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest(String);

impl Digest {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(is_digit) => Ok(Self(hex.to_owned())),
            _ => Err(Error::unsupported(format!(
                "the digest '{}': must be sha256: and 64 hexadecimal digits",
                text.escape_debug()
            ))),
        }
    }

    pub(super) fn hex(&self) -> &str {
        &self.0
    }

    /// An error where `found` is another digest.
    pub(super) fn check(&self, found: &str) -> Result<()> {
        if found == self.0 {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "its SHA-256 is {found}, but the image says {}",
            self.0
        ))
        .because(Reason::Checksum))
    }
}

/// What a digest is of.
#[derive(Debug)]
enum Of {
    /// The file.
    Stored(Digest),
    /// The tar in it.
    Tar(Digest),
}

#[derive(Debug)]
pub(super) struct Layer {
    path: FsPath,
    digest: Of,
}

/// What layers are unpacked over.
pub struct Over<'a> {
    /// The tree that gets them.
    pub tree: &'a mut StagedTree,
    /// Owner and group of all entries; `None` keeps those of the layers.
    pub owner: Option<(u32, u32)>,
    /// Is told of the bytes of files.
    pub progress: &'a dyn Progress,
    /// Ends the work.
    pub cancel: &'a Cancel,
}

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Layers.
    pub layers: u64,
    /// What a person should know, each kind once.
    pub findings: Vec<Finding>,
}

impl Unpacked {
    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        self.layers += 1;
        for finding in findings {
            let is_known = |known: &Finding| known.code() == finding.code();
            if !self.findings.iter().any(is_known) {
                self.findings.push(finding);
            }
        }
    }
}

impl Layer {
    /// A layer whose file has a digest.
    pub(super) fn stored(path: FsPath, digest: Digest) -> Self {
        Self {
            path,
            digest: Of::Stored(digest),
        }
    }

    /// A layer whose tar has one.
    pub(super) fn unpacked(path: FsPath, digest: Digest) -> Self {
        Self {
            path,
            digest: Of::Tar(digest),
        }
    }

    pub(super) fn path(&self) -> &FsPath {
        &self.path
    }

    pub(super) fn unpack(
        &self,
        files: &dyn FileSystem,
        over: &mut Over<'_>,
    ) -> Result<Vec<Finding>> {
        let place = fs::resolve(files, &self.path)?;
        let file = FileReader::new(files.open_at(&place)?);
        match &self.digest {
            Of::Stored(digest) => unpack(Hashed::new(file), digest, over),
            Of::Tar(digest) => unpack(Hashed::new(codec::decoder(file)?), digest, over),
        }
    }
}

fn unpack<R: Read>(
    mut archive: Hashed<R>,
    digest: &Digest,
    over: &mut Over<'_>,
) -> Result<Vec<Finding>> {
    let options = TarOptions {
        owner: over.owner,
        oci_layer: true,
        keep_docker_identity: true,
        ..TarOptions::default()
    };
    let root = FsPath::root();
    let summary = inject(over.tree, &mut archive, &root, &options, over.progress)?;
    digest.check(&archive.finish(over.cancel)?)?;
    Ok(summary.findings)
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            sum: Sha256::new(),
        }
    }

    /// Reads what is left and returns the digest of all.
    fn finish(mut self, cancel: &Cancel) -> Result<String> {
        let mut rest = vec![0; 64 << 10];
        loop {
            cancel.check()?;
            let read = self.read(&mut rest);
            if read.map_err(|error| from_io("reading the layer", error))? == 0 {
                break;
            }
        }
        Ok(hex(&self.sum.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buf)?;
        self.sum.update(&buf[..len]);
        Ok(len)
    }
}
