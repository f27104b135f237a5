//! The client of registries.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Mutex;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::challenge::Challenge;
use super::descriptor::{Architecture, Descriptor};
use super::digest::{Algorithm, Checked, Digest, start_of};
use super::json::object;
use super::login::{Login, Logins};
use super::manifest::{MAX_MANIFEST_BYTES, MEDIA_TYPES};
use super::reference::Reference;
use super::resolve::{
    Artifact, Documents, Paper, Resolved, artifact, at_unless_cancelled, resolve,
};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fetch::transfer::{Answer, Ask, Client, Sink, Url};
use crate::lock::lock;
use crate::progress::{NoProgress, Progress};

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

/// What is asked, and where.
struct Asked<'a> {
    reference: &'a Reference,
    /// The registry, or a mirror of it.
    url: Url,
    /// Whose name and password count there: `registry.example/folder/name`.
    place: String,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
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
        resolve(self, reference, architecture)
    }

    /// The one file that `reference` names for an architecture, as system extensions are kept in registries: a manifest with
    /// one layer that is no archive. [`Descriptor::title`] has its name, [`Descriptor::packing`] how it is packed.
    ///
    /// Anything else is [`ErrorKind::Unsupported`]; other errors are those of [`resolve`](Self::resolve).
    pub fn artifact(&self, reference: &Reference, architecture: Architecture) -> Result<Artifact> {
        artifact(self, reference, architecture)
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
        let own = Url::parse(&format!("{scheme}://{server}/v2/{repository}/{path}"))?;
        let url = self.client.mirror_of(&own)?;
        let asked = Asked {
            reference,
            place: match url.same_server(&own) {
                true => reference.place(),
                // A mirror is told its own password, never that of the registry.
                false => format!("{}/{repository}", url.authority()),
            },
            url,
        };
        let key = (asked.url.authority().to_owned(), repository.to_owned());
        let mut ask = Ask {
            challenge: true,
            ..ask
        };
        ask.authorization = self.lock().get(&key).cloned();
        let answer = self.client.ask(&asked.url, &ask, sink, progress)?;
        match answer.status {
            401 => {}
            403 => return Err(self.refused(&asked, "the registry does not let us in")),
            _ => return Ok(answer),
        }
        let authorization = self.authorize(&asked, &answer)?;
        self.lock().insert(key, authorization.clone());
        ask.authorization = Some(authorization);
        let answer = self.client.ask(&asked.url, &ask, sink, progress)?;
        match answer.status {
            401 | 403 => Err(self.refused(&asked, "the registry does not let us in")),
            _ => Ok(answer),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), String>> {
        lock(&self.known)
    }

    /// The value of `Authorization` that a registry wants.
    fn authorize(&self, asked: &Asked<'_>, answer: &Answer) -> Result<String> {
        let values = answer.headers.get_all("WWW-Authenticate").iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = texts.flat_map(Challenge::parse).collect();
        let of = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme == scheme)
        };
        if let Some(bearer) = of("bearer") {
            return self.token(asked, bearer);
        }
        if of("basic").is_some() {
            return match self.logins.of(&asked.place) {
                Some(Login::Password { name, password }) => Ok(basic(&name, &password)),
                _ => Err(self.refused(asked, "the registry wants a name and password")),
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
    fn token(&self, asked: &Asked<'_>, challenge: &Challenge) -> Result<String> {
        let corrupt = || network("the registry wants a token, and does not say whence");
        let text = challenge
            .token_url(asked.reference.repository())
            .ok_or_else(corrupt)?;
        let realm = Url::parse(&text).map_err(|error| error.with_kind(ErrorKind::Network))?;
        if asked.url.is_https() && !realm.is_https() {
            let message = format!("the registry wants a token from {realm}, which would leave TLS");
            return Err(Error::new(ErrorKind::Untrusted, message));
        }
        let login = self.logins.of(&asked.place);
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
            return Err(self.refused(asked, "no token is given to us"));
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
    fn refused(&self, asked: &Asked<'_>, message: &str) -> Error {
        let registry = asked.place.split('/').next().unwrap_or_default();
        let hint = match self.logins.of(&asked.place) {
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

impl Documents for Registry {
    fn document(
        &self,
        reference: &Reference,
        target: &str,
        digest: Option<&Digest>,
        len: Option<u64>,
    ) -> Result<Paper> {
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
        Ok(Paper {
            digest,
            content_type: answer.header("Content-Type").map(str::to_owned),
            bytes,
        })
    }

    fn config(&self, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>> {
        self.read_blob(reference, blob, MAX_MANIFEST_BYTES)
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
