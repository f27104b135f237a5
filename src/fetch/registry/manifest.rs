//! The documents of registries: indexes, which name manifests by platform, and manifests, which name what they consist of.
//! Those of the OCI (image specification 1.1) and of docker (version 2, schema 2) have the same fields.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::descriptor::{Architecture, Descriptor, Platform};
use super::digest::{Digest, start_of};
use super::json::object;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};

/// What registries are asked for; more is not taken from them.
pub(super) const MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Registries must take no larger ones.
pub(in crate::fetch) const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Names manifests by platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The manifests, and indexes below this one.
    pub manifests: Vec<Descriptor>,
}

impl Index {
    /// The first entry for Linux on this architecture that all its machines can run; an entry that says no platform, where it
    /// is the only one.
    ///
    /// Where there is none it is [`ErrorKind::NotFound`], with all that there are.
    pub fn select(&self, architecture: Architecture) -> Result<&Descriptor> {
        let fits = |entry: &&Descriptor| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|platform| platform.fits(architecture))
        };
        if let Some(entry) = self.manifests.iter().find(fits) {
            return Ok(entry);
        }
        if let [only] = &self.manifests[..]
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let platforms = self
            .manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref());
        let known = platforms.filter(|platform| platform.os != "unknown");
        let mut shown: Vec<String> = known.map(Platform::shown).take(20).collect();
        shown.dedup();
        let wanted = architecture.word();
        let message = format!(
            "it has nothing for linux/{wanted}, but for: {}",
            shown.join(", ")
        );
        Err(Error::not_found(message))
    }
}

/// Names what an image or an artifact consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What kind of artifact it is, where it is one.
    pub artifact_type: Option<String>,
    /// Its description.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
}

/// Either of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An index.
    Index(Index),
    /// A manifest.
    Manifest(Box<Manifest>),
}

impl Document {
    /// Reads a document that came with a `Content-Type`.
    ///
    /// What is damaged, or says two things at once, is [`ErrorKind::Corrupt`]; what is not known, as version 1 of docker's, is
    /// [`ErrorKind::Unsupported`].
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self> {
        let raw: RawDocument = object(bytes)
            .map_err(|error| Error::corrupt("it is no manifest or index").with_source(error))?;
        if raw.schema_version == 1 {
            let message = "it is in docker's schema 1, which was given up years ago";
            return Err(Error::unsupported(message).because(Reason::Version));
        }
        if raw.schema_version != 2 {
            let message = format!("its schemaVersion is {}, not 2", raw.schema_version);
            return Err(Error::unsupported(message).because(Reason::Version));
        }
        let kind = raw.kind(content_type)?;
        // What one reader takes for an index and another for a manifest deceives one of them.
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
            return Err(Error::corrupt("it is an index and a manifest at once"));
        }
        match kind {
            Kind::Index => {
                let manifests = raw.manifests.ok_or_else(|| missing("manifests"))?;
                Ok(Self::Index(Index {
                    manifests: all(manifests, "manifests")?,
                }))
            }
            Kind::Manifest => {
                let config = raw.config.ok_or_else(|| missing("config"))?;
                let layers = raw.layers.ok_or_else(|| missing("layers"))?;
                Ok(Self::Manifest(Box::new(Manifest {
                    artifact_type: raw.artifact_type,
                    config: config.check().at(|| "config")?,
                    layers: all(layers, "layers")?,
                    annotations: raw.annotations.unwrap_or_default(),
                })))
            }
        }
    }
}

fn missing(field: &str) -> Error {
    Error::corrupt(format!("it has no {field}"))
}

fn all(descriptors: Vec<RawDescriptor>, field: &str) -> Result<Vec<Descriptor>> {
    let numbered = descriptors.into_iter().enumerate();
    numbered
        .map(|(number, descriptor)| descriptor.check().at(|| format!("{field}[{number}]")))
        .collect()
}

enum Kind {
    Index,
    Manifest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl RawDocument {
    /// What it is, by its own word and that of the server. Both may be silent, but not disagree.
    fn kind(&self, content_type: Option<&str>) -> Result<Kind> {
        let said = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
        // Some registries know no better.
        let said = said.filter(|said| {
            !matches!(
                *said,
                "" | "application/json" | "text/plain" | "application/octet-stream"
            )
        });
        let own = self.media_type.as_deref().filter(|own| !own.is_empty());
        if let (Some(own), Some(said)) = (own, said)
            && own != said
        {
            let (own, said) = (start_of(own), start_of(said));
            let message = format!("it says that it is {own}, and the registry that it is {said}");
            return Err(Error::corrupt(message));
        }
        match own.or(said) {
            Some(OCI_INDEX | DOCKER_LIST) => Ok(Kind::Index),
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => Ok(Kind::Manifest),
            Some(other) => {
                let message = format!("a document of the kind {} is not known", start_of(other));
                Err(Error::unsupported(message).because(Reason::Version))
            }
            None if self.manifests.is_some() => Ok(Kind::Index),
            None => Ok(Kind::Manifest),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    size: i64,
    digest: String,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

impl RawDescriptor {
    fn check(self) -> Result<Descriptor> {
        let size = u64::try_from(self.size)
            .map_err(|_| Error::corrupt(format!("its size is {}", self.size)))?;
        let digest: Result<Digest> = self.digest.parse();
        let digest = digest.map_err(|error| match error.kind() {
            ErrorKind::Unsupported => error,
            _ => error.with_kind(ErrorKind::Corrupt),
        })?;
        Ok(Descriptor {
            media_type: self.media_type,
            size,
            digest,
            platform: self.platform,
            annotations: self.annotations.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn descriptor(more: &str) -> String {
        format!(r#"{{"mediaType": "{OCI_MANIFEST}", "size": 7, "digest": "sha256:{HEX}"{more}}}"#)
    }

    fn platform(os: &str, architecture: &str, variant: &str) -> String {
        let words = format!(r#""os": "{os}", "architecture": "{architecture}""#);
        if variant.is_empty() {
            descriptor(&format!(r#", "platform": {{{words}}}"#))
        } else {
            descriptor(&format!(
                r#", "platform": {{{words}, "variant": "{variant}"}}"#
            ))
        }
    }

    fn index(entries: &[String]) -> Index {
        let text = format!(
            r#"{{"schemaVersion": 2, "manifests": [{}]}}"#,
            entries.join(",")
        );
        match Document::parse(text.as_bytes(), Some(OCI_INDEX)).unwrap() {
            Document::Index(index) => index,
            Document::Manifest(_) => panic!("{text}"),
        }
    }

    fn selected(entries: &[String], architecture: Architecture) -> Option<usize> {
        let index = index(entries);
        let entry = index.select(architecture).ok()?;
        index
            .manifests
            .iter()
            .position(|other| std::ptr::eq(entry, other))
    }

    #[test]
    fn the_entry_that_every_machine_can_run_is_selected() {
        use Architecture::{Amd64, Arm64};
        let many = [
            platform("unknown", "unknown", ""),
            platform("windows", "amd64", ""),
            platform("linux", "amd64", "v3"),
            platform("linux", "arm", "v7"),
            platform("linux", "arm64", "v9"),
            platform("linux", "amd64", ""),
            platform("linux", "arm64", "v8"),
            platform("linux", "amd64", ""),
        ];
        assert_eq!(selected(&many, Amd64), Some(5));
        assert_eq!(selected(&many, Arm64), Some(6));
        assert_eq!(selected(&many[..5], Amd64), None);
        assert_eq!(selected(&[platform("linux", "arm64", "")], Arm64), Some(0));
        assert_eq!(selected(&[descriptor("")], Arm64), Some(0));
        assert_eq!(selected(&[descriptor(""), descriptor("")], Arm64), None);
        assert_eq!(selected(&[], Arm64), None);
        let error = index(&many[..5]).select(Amd64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error
                .message()
                .contains("windows/amd64, linux/amd64/v3, linux/arm/v7"),
            "{error}"
        );
        assert!(!error.message().contains("unknown"), "{error}");
    }

    fn parse(text: &str, content_type: Option<&str>) -> Result<Document, ErrorKind> {
        Document::parse(text.as_bytes(), content_type).map_err(|error| error.kind())
    }

    #[test]
    fn documents_say_one_thing_and_in_words_that_are_known() {
        let config = descriptor("");
        let body = format!(r#""config": {config}, "layers": [{config}]"#);
        let manifest = format!(r#"{{"schemaVersion": 2, {body}}}"#);
        let typed = |media_type: &str| {
            format!(r#"{{"schemaVersion": 2, "mediaType": "{media_type}", {body}}}"#)
        };
        for content_type in [
            None,
            Some(OCI_MANIFEST),
            Some("application/json; charset=utf-8"),
            Some(DOCKER_MANIFEST),
        ] {
            assert!(matches!(
                parse(&manifest, content_type),
                Ok(Document::Manifest(_))
            ));
        }
        assert!(parse(&typed(OCI_MANIFEST), Some(OCI_MANIFEST)).is_ok());
        let both = format!(r#"{{"schemaVersion": 2, {body}, "manifests": []}}"#);
        for (text, content_type, kind) in [
            (
                typed(OCI_MANIFEST),
                Some(DOCKER_MANIFEST),
                ErrorKind::Corrupt,
            ),
            (typed(OCI_INDEX), Some(OCI_INDEX), ErrorKind::Corrupt),
            (typed("text/html"), None, ErrorKind::Unsupported),
            (manifest.clone(), Some(OCI_INDEX), ErrorKind::Corrupt),
            (manifest.clone(), Some("text/html"), ErrorKind::Unsupported),
            (both, None, ErrorKind::Corrupt),
            (
                manifest.replace("Version\": 2", "Version\": 1"),
                None,
                ErrorKind::Unsupported,
            ),
            (
                manifest.replace("Version\": 2", "Version\": 3"),
                None,
                ErrorKind::Unsupported,
            ),
            (
                manifest.replace("\"size\": 7", "\"size\": -7"),
                None,
                ErrorKind::Corrupt,
            ),
            (
                manifest.replace("\"size\": 7", "\"size\": 1e3"),
                None,
                ErrorKind::Corrupt,
            ),
            (
                manifest.replace("sha256", "sha3"),
                None,
                ErrorKind::Unsupported,
            ),
            (manifest.replace("ba78", "BA78"), None, ErrorKind::Corrupt),
            (manifest.replace("config", "conf"), None, ErrorKind::Corrupt),
            (
                r#"{"schemaVersion": 2}"#.to_owned(),
                None,
                ErrorKind::Corrupt,
            ),
            ("[]".to_owned(), None, ErrorKind::Corrupt),
            (String::new(), None, ErrorKind::Corrupt),
            ("[".repeat(100_000), None, ErrorKind::Corrupt),
        ] {
            assert_eq!(parse(&text, content_type).unwrap_err(), kind, "{text:.300}");
        }
    }

    const ODD: &[u8] = b"{}[],:\"0-9ea\\\xff";

    /// No change of a document makes anything but a document or an error that blames it.
    #[test]
    fn changed_documents_are_read_or_refused() {
        let entries = [
            platform("linux", "arm64", "v8"),
            descriptor(r#", "annotations": {"a": "b"}"#),
        ];
        let index = format!(
            r#"{{"schemaVersion": 2, "mediaType": "{OCI_INDEX}", "manifests": [{}]}}"#,
            entries.join(",")
        );
        let config = descriptor("");
        let manifest = format!(
            r#"{{"schemaVersion": 2, "config": {config}, "layers": [{config}, {config}], "annotations": {{}}}}"#
        );
        let mut random = Random::new(7);
        let mut read = 0;
        for round in 0..20_000 {
            let mut text = if round % 2 == 0 {
                index.clone()
            } else {
                manifest.clone()
            }
            .into_bytes();
            for _ in 0..=random.below(3) {
                let at = random.below(text.len());
                match random.below(3) {
                    0 => text[at] = ODD[random.below(ODD.len())],
                    1 => drop(text.remove(at)),
                    _ => {
                        let end = (at + random.below(40)).min(text.len());
                        let piece = text[at..end].to_vec();
                        text.splice(at..at, piece);
                    }
                }
            }
            match Document::parse(&text, None) {
                Ok(Document::Index(index)) => {
                    read += 1;
                    let _any = index.select(Architecture::Arm64);
                    index
                        .manifests
                        .iter()
                        .for_each(|entry| assert_eq!(entry.digest.hex().len(), 64));
                }
                Ok(Document::Manifest(_)) => read += 1,
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                    "{error:?}"
                ),
            }
        }
        assert!(read > 1000, "{read}");
    }
}
