//! The client of registries.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::challenge::Challenge;
use super::descriptor::{Architecture, Descriptor, check_platform, platform_of};
use super::digest::{Algorithm, Checked, Digest, start_of};
use super::json::object;
use super::login::{Login, Logins};
use super::manifest::{Document, MAX_MANIFEST_BYTES, MEDIA_TYPES, Manifest};
use super::reference::Reference;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::fetch::transfer::{Answer, Ask, Client, Sink, Url};
use crate::lock::lock;
use crate::progress::{NoProgress, Progress};

/// Indexes in indexes are followed so deep.
const MAX_NESTING: usize = 3;
/// A token has a few kilobytes.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// Speaks to registries. It can be shared among threads, and keeps the tokens that it got.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    logins: Logins,
    /// Registries that are spoken to without TLS.
    plain: Vec<String>,
    /// Values of `Authorization` by registry and repository.
    known: Mutex<BTreeMap<(String, String), String>>,
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

/// What a token server answers.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// A document as it came.
struct Fetched {
    bytes: Vec<u8>,
    digest: Digest,
    content_type: Option<String>,
}

impl Registry {
    /// Registries by `client`, with these names and passwords.
    pub fn new(client: Client, logins: Logins) -> Self {
        Self {
            client,
            logins,
            plain: Vec::new(),
            known: Mutex::default(),
        }
    }

    /// Speaks to this registry (`localhost:5000`) without TLS.
    #[must_use]
    pub fn without_tls(mut self, registry: &str) -> Self {
        self.plain.push(registry.to_ascii_lowercase());
        self
    }

    /// What `reference` names for an architecture: its manifest, straight or by an index.
    ///
    /// What the registry does not have, or not for this architecture, is [`ErrorKind::NotFound`]; what is not what its digest
    /// says [`ErrorKind::Untrusted`]; documents that are damaged or not known are [`ErrorKind::Corrupt`] and
    /// [`ErrorKind::Unsupported`]. The rest is as with [`Client::download`].
    pub fn resolve(&self, reference: &Reference, architecture: Architecture) -> Result<Resolved> {
        let resolved = self.resolve_any(reference, architecture);
        resolved.map_err(|error| at_unless_cancelled(error, reference))
    }

    /// The one file that `reference` names for an architecture, as system extensions are kept in registries: a manifest with
    /// one layer that is no archive. [`Descriptor::title`] has its name, [`Descriptor::packing`] how it is packed.
    ///
    /// Anything else is [`ErrorKind::Unsupported`]; other errors are those of [`resolve`](Self::resolve).
    pub fn artifact(&self, reference: &Reference, architecture: Architecture) -> Result<Artifact> {
        let resolved = self.resolve(reference, architecture)?;
        let layers = &resolved.manifest.layers;
        let not_a_file = |what: String| {
            let hint = "a system extension is pushed as one raw file";
            let error = Error::unsupported(format!("a file is wanted, and this is {what}"));
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

    /// Fetches what `blob` names in the repository of `reference` into `file`, which is emptied before. Its length and digest
    /// are those of `blob`, or it is an error and the file is of no use.
    ///
    /// More than `max_bytes` is [`ErrorKind::Unsupported`] with [`Limit`](Reason::Limit); another digest is
    /// [`ErrorKind::Untrusted`]. The rest is as with [`Client::download`].
    pub fn pull_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        file: &mut File,
        max_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut sink = Checked::new(file, &blob.digest);
        let ask = Ask {
            max_bytes,
            len: Some(blob.size),
            ..Ask::default()
        };
        let path = format!("blobs/{}", blob.digest);
        let asked = self.ask(reference, &path, ask, &mut sink, progress);
        asked
            .and_then(|_| sink.finish().at(|| format!("blob {}", blob.digest)))
            .map_err(|error| at_unless_cancelled(error, reference))?;
        Ok(())
    }

    /// Fetches a small thing, as the description of an image, into memory.
    ///
    /// Errors are those of [`pull_blob`](Self::pull_blob).
    pub fn read_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        max_bytes: u64,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let ask = Ask {
            max_bytes,
            len: Some(blob.size),
            ..Ask::default()
        };
        let path = format!("blobs/{}", blob.digest);
        let asked = self.ask(reference, &path, ask, &mut bytes, &NoProgress);
        asked
            .and_then(|_| {
                blob.digest
                    .check(&bytes)
                    .at(|| format!("blob {}", blob.digest))
            })
            .map_err(|error| at_unless_cancelled(error, reference))?;
        Ok(bytes)
    }

    fn resolve_any(&self, reference: &Reference, architecture: Architecture) -> Result<Resolved> {
        let first = self.document(reference, &reference.target(), reference.digest(), None)?;
        let named = first.digest.clone();
        let mut index = None;
        let mut fetched = first;
        for _ in 0..=MAX_NESTING {
            let place = || format!("manifest {}", fetched.digest);
            let content_type = fetched.content_type.as_deref();
            match Document::parse(&fetched.bytes, content_type).at(place)? {
                Document::Manifest(manifest) => {
                    // An index has said for what it is.
                    if index.is_none() {
                        self.check_config(reference, &manifest, architecture)?;
                    }
                    return Ok(Resolved {
                        named,
                        index,
                        digest: fetched.digest,
                        bytes: fetched.bytes,
                        manifest: *manifest,
                    });
                }
                Document::Index(document) => {
                    let entry = document.select(architecture).at(place)?;
                    let (digest, size) = (&entry.digest, entry.size);
                    let next =
                        self.document(reference, &digest.to_string(), Some(digest), Some(size))?;
                    let bytes = std::mem::replace(&mut fetched, next).bytes;
                    index.get_or_insert(bytes);
                }
            }
        }
        let message =
            format!("indexes in indexes are followed {MAX_NESTING} times, and here are more");
        Err(Error::unsupported(message).because(Reason::Limit))
    }

    /// Whether an image that no index stands before is for this architecture.
    fn check_config(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        architecture: Architecture,
    ) -> Result<()> {
        if !manifest.config.is_image_config() {
            return Ok(());
        }
        let config = self.read_blob(reference, &manifest.config, MAX_MANIFEST_BYTES)?;
        check_platform(&platform_of(&config)?, architecture)
    }

    /// A manifest or index; `digest` and `len` are what it has to have, where that is known.
    fn document(
        &self,
        reference: &Reference,
        target: &str,
        digest: Option<&Digest>,
        len: Option<u64>,
    ) -> Result<Fetched> {
        let ask = Ask {
            headers: vec![("Accept", MEDIA_TYPES.join(", "))],
            max_bytes: MAX_MANIFEST_BYTES,
            len,
            ..Ask::default()
        };
        let mut bytes = Vec::new();
        let path = format!("manifests/{target}");
        let answer = self.ask(reference, &path, ask, &mut bytes, &NoProgress)?;
        let said: Option<Digest> = answer
            .header("Docker-Content-Digest")
            .and_then(|text| text.parse().ok());
        for wanted in digest.into_iter().chain(&said) {
            wanted.check(&bytes).at(|| format!("manifest {target}"))?;
        }
        let digest = digest
            .cloned()
            .unwrap_or_else(|| Digest::of(Algorithm::Sha256, &bytes));
        Ok(Fetched {
            digest,
            content_type: answer.header("Content-Type").map(str::to_owned),
            bytes,
        })
    }

    /// Asks the registry, and says who we are where it wants to know.
    fn ask(
        &self,
        reference: &Reference,
        path: &str,
        ask: Ask,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<Answer> {
        let plain = self.plain.iter().any(|plain| plain == reference.registry());
        let scheme = if plain { "http" } else { "https" };
        let (server, repository) = (reference.server(), reference.repository());
        let url = Url::parse(&format!("{scheme}://{server}/v2/{repository}/{path}"))?;
        let key = (server.to_owned(), repository.to_owned());
        let mut ask = Ask {
            challenge: true,
            ..ask
        };
        ask.authorization = self.lock().get(&key).cloned();
        let answer = self.client.ask(&url, &ask, sink, progress)?;
        match answer.status {
            401 => {}
            403 => return Err(self.refused(reference, "the registry does not let us in")),
            _ => return Ok(answer),
        }
        let authorization = self.authorize(reference, &url, &answer)?;
        self.lock().insert(key, authorization.clone());
        ask.authorization = Some(authorization);
        let answer = self.client.ask(&url, &ask, sink, progress)?;
        match answer.status {
            401 | 403 => Err(self.refused(reference, "the registry does not let us in")),
            _ => Ok(answer),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), String>> {
        lock(&self.known)
    }

    /// The value of `Authorization` that a registry wants.
    fn authorize(&self, reference: &Reference, url: &Url, answer: &Answer) -> Result<String> {
        let values = answer.headers.get_all("WWW-Authenticate").iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = texts.flat_map(Challenge::parse).collect();
        let of = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme == scheme)
        };
        if let Some(bearer) = of("bearer") {
            return self.token(reference, url, bearer);
        }
        if of("basic").is_some() {
            return match self.logins.of(reference) {
                Some(Login::Password { name, password }) => Ok(basic(&name, &password)),
                _ => Err(self.refused(reference, "the registry wants a name and password")),
            };
        }
        let known: Vec<String> = challenges.iter().map(Challenge::name).collect();
        let message = format!(
            "the registry wants to know who asks in a way that is not spoken: {}",
            known.join(", ")
        );
        Err(Error::unsupported(message))
    }

    /// A token of the realm that a registry sends us to, for us by name where we have one, and else for anyone.
    fn token(&self, reference: &Reference, url: &Url, challenge: &Challenge) -> Result<String> {
        let corrupt = || network("the registry wants a token, and does not say whence");
        let text = challenge
            .token_url(reference.repository())
            .ok_or_else(corrupt)?;
        let realm = Url::parse(&text).map_err(|error| error.with_kind(ErrorKind::Network))?;
        if url.is_https() && !realm.is_https() {
            let message = format!("the registry wants a token from {realm}, which would leave TLS");
            return Err(Error::new(ErrorKind::Untrusted, message));
        }
        let login = self.logins.of(reference);
        let ask = Ask {
            max_bytes: MAX_TOKEN_BYTES,
            challenge: true,
            authorization: match &login {
                Some(Login::Password { name, password }) => Some(basic(name, password)),
                _ => None,
            },
            ..Ask::default()
        };
        let mut bytes = Vec::new();
        let answer = self.client.ask(&realm, &ask, &mut bytes, &NoProgress)?;
        if answer.status != 200 {
            return Err(self.refused(reference, "no token is given to us"));
        }
        // An error would quote what is secret.
        let token: Token = object(&bytes)
            .map_err(|_| network("what should be a token is none").at(realm.to_string()))?;
        let value = if token.token.is_empty() {
            token.access_token
        } else {
            token.token
        };
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(network("what should be a token is none").at(realm.to_string()));
        }
        Ok(format!("Bearer {value}"))
    }

    /// That a registry does not let us in, and what may help.
    fn refused(&self, reference: &Reference, message: &str) -> Error {
        let registry = reference.registry();
        let hint = match self.logins.of(reference) {
            Some(Login::Password { .. }) => {
                format!("check the name and password for {registry}, and what they may read")
            }
            Some(Login::Helper(helper)) => format!(
                "the password of {registry} is kept by the program docker-credential-{}, which is not run: give it in docker's config.json",
                start_of(&helper)
            ),
            Some(Login::IdentityToken) => format!(
                "docker's config.json has an identity token for {registry}, which is not spoken: give a name and password"
            ),
            None => format!(
                "no name and password for {registry} are known: docker's config.json can have them"
            ),
        };
        network(message).with_hint(hint)
    }
}

fn network(message: &str) -> Error {
    Error::new(ErrorKind::Network, message)
}

fn basic(name: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{name}:{password}"))
    )
}

fn at_unless_cancelled(error: Error, reference: &Reference) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        error
    } else {
        error.at(reference.to_string())
    }
}
