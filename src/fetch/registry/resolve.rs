//! From a reference to a manifest, wherever the documents on the way come from.

use super::descriptor::{Architecture, Descriptor, check_platform, platform_of};
use super::digest::Digest;
use super::manifest::{Document, Manifest};
use super::reference::Reference;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};

/// Indexes in indexes are followed so deep.
const MAX_NESTING: usize = 3;

/// What has the documents of a registry: the registry itself, or a place where they are kept.
pub trait Documents {
    /// The manifest or index that `target`, a tag or a digest, names in the repository of `reference`. `digest` and `len` are
    /// what it has to have, where that is known.
    ///
    /// # Errors
    /// Those of [`Registry::resolve`](super::Registry::resolve).
    fn document(
        &self,
        reference: &Reference,
        target: &str,
        digest: Option<&Digest>,
        len: Option<u64>,
    ) -> Result<Paper>;

    /// The description of an image that `blob` names.
    ///
    /// # Errors
    /// Those of [`Registry::read_blob`](super::Registry::read_blob).
    fn config(&self, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>>;
}

/// A document as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paper {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// What the server says that it is.
    pub content_type: Option<String>,
}

/// What a reference names for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest of what the reference names, an index or the manifest itself: pins it.
    pub named: Digest,
    /// The index with its bytes, where the reference names one.
    pub index: Option<Vec<u8>>,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The manifest's bytes, as they are in the registry.
    pub bytes: Vec<u8>,
    /// What they say.
    pub manifest: Manifest,
}

/// A file that a registry keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What names it.
    pub resolved: Resolved,
    /// The file.
    pub layer: Descriptor,
}

/// What `reference` names for an architecture, by `documents`.
///
/// # Errors
/// Those of [`Registry::resolve`](super::Registry::resolve).
pub fn resolve(
    documents: &dyn Documents,
    reference: &Reference,
    architecture: Architecture,
) -> Result<Resolved> {
    let resolved = follow(documents, reference, architecture);
    resolved.map_err(|error| at_unless_cancelled(error, reference))
}

/// The one file that `reference` names for an architecture, by `documents`.
///
/// # Errors
/// Those of [`Registry::artifact`](super::Registry::artifact).
pub fn artifact(
    documents: &dyn Documents,
    reference: &Reference,
    architecture: Architecture,
) -> Result<Artifact> {
    let resolved = resolve(documents, reference, architecture)?;
    let layers = &resolved.manifest.layers;
    let not_a_file = |what: String| {
        let error = Error::unsupported(format!("a file is wanted, and this is {what}"));
        let hint = "a sysext, or the image of a disk, is pushed as one raw file";
        error.with_hint(hint).at(reference.to_string())
    };
    match &layers[..] {
        [layer] if layer.is_tar() => Err(not_a_file("a container image".to_owned())),
        [layer] => Ok(Artifact {
            layer: layer.clone(),
            resolved,
        }),
        _ => Err(not_a_file(format!("something of {} layers", layers.len()))),
    }
}

fn follow(
    documents: &dyn Documents,
    reference: &Reference,
    architecture: Architecture,
) -> Result<Resolved> {
    let first = documents.document(reference, &reference.target(), reference.digest(), None)?;
    let named = first.digest.clone();
    let mut index = None;
    let mut paper = first;
    for _ in 0..=MAX_NESTING {
        let place = || format!("manifest {}", paper.digest);
        let content_type = paper.content_type.as_deref();
        match Document::parse(&paper.bytes, content_type).at(place)? {
            Document::Manifest(manifest) => {
                // An index has said for what it is.
                if index.is_none() {
                    check_config(documents, reference, &manifest, architecture)?;
                }
                return Ok(Resolved {
                    named,
                    index,
                    digest: paper.digest,
                    bytes: paper.bytes,
                    manifest: *manifest,
                });
            }
            Document::Index(document) => {
                let entry = document.select(architecture).at(place)?;
                let (digest, size) = (&entry.digest, entry.size);
                let target = digest.to_string();
                let next = documents.document(reference, &target, Some(digest), Some(size))?;
                let bytes = std::mem::replace(&mut paper, next).bytes;
                index.get_or_insert(bytes);
            }
        }
    }
    let message = format!("indexes in indexes are followed {MAX_NESTING} times, and here are more");
    Err(Error::unsupported(message).because(Reason::Limit))
}

/// Whether an image that no index stands before is for this architecture.
fn check_config(
    documents: &dyn Documents,
    reference: &Reference,
    manifest: &Manifest,
    architecture: Architecture,
) -> Result<()> {
    if !manifest.config.is_image_config() {
        return Ok(());
    }
    let config = documents.config(reference, &manifest.config)?;
    check_platform(&platform_of(&config)?, architecture)
}

/// Adds the reference to an error; that something was cancelled has no place.
pub(in crate::fetch) fn at_unless_cancelled(error: Error, reference: &Reference) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        error
    } else {
        error.at(reference.to_string())
    }
}
