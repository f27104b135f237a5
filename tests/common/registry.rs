//! A registry of the tests: what is put on its shelf is served as the Distribution API says, to who may have it.
//!
//! ```text
//!  let mut shelf = Shelf::default();
//!  let layer = shelf.blob("application/octet-stream", bytes);
//!  let manifest = shelf.manifest("tools/docker", Some("24"), OCI_MANIFEST, json!({…}));
//!  let registry = shelf.serve(Door::Open, None);                registry.server.requests() …
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::server::{Reply, Request, Server};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The name and password that the doors of these tests know: `me:word`.
pub const LOGIN: &str = "Basic bWU6d29yZA==";

/// Who is let in.
#[derive(Debug, Clone)]
pub enum Door {
    Open,
    /// Who has the password.
    Basic,
    /// Who has a token, which anyone gets at `realm` (empty: at the registry itself), or only who has the password. It is good
    /// for so many requests.
    Token {
        realm: String,
        for_anyone: bool,
        uses: usize,
    },
    /// Nobody.
    Shut,
    /// Who says it in a way that nobody knows.
    Odd,
}

impl Door {
    pub fn token(for_anyone: bool) -> Self {
        Self::Token {
            realm: String::new(),
            for_anyone,
            uses: usize::MAX,
        }
    }
}

/// What a registry has.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    blobs: BTreeMap<String, Vec<u8>>,
    /// By repository and tag or digest: media type, bytes.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Blobs come from this other server.
    pub elsewhere: Option<String>,
    /// `Docker-Content-Digest` says this.
    pub lie: Option<String>,
}

/// `sha256:…`
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// `sha512:…`
pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Shelf {
    /// Puts a blob there; what names it.
    pub fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        self.blob_as(&sha256(bytes), media_type, bytes)
    }

    /// Puts a blob there under a digest that may be another's.
    pub fn blob_as(&mut self, digest: &str, media_type: &str, bytes: &[u8]) -> Value {
        self.blobs.insert(digest.to_owned(), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Puts a manifest or index there, by its digest and perhaps a tag; what names it.
    pub fn manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        mut content: Value,
    ) -> Value {
        content["schemaVersion"] = json!(2);
        content["mediaType"] = json!(media_type);
        let bytes = serde_json::to_vec(&content).unwrap();
        let digest = sha256(&bytes);
        for target in [Some(digest.as_str()), tag].into_iter().flatten() {
            self.document(repository, target, media_type, &bytes);
        }
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Puts any document there under any name.
    pub fn document(&mut self, repository: &str, target: &str, media_type: &str, bytes: &[u8]) {
        let key = (repository.to_owned(), target.to_owned());
        self.manifests
            .insert(key, (media_type.to_owned(), bytes.to_vec()));
    }

    /// Serves it on loopback.
    pub fn serve(self, door: Door, tls: Option<Arc<ServerConfig>>) -> Registry {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let left = Mutex::new(0);
        let handler = move |request: &Request| self.answer(&door, scheme, &left, request);
        let server = match tls {
            Some(certificate) => Server::https(certificate, handler),
            None => Server::http(handler),
        };
        Registry { server }
    }

    /// `left` is how often the last token can still be used.
    fn answer(&self, door: &Door, scheme: &str, left: &Mutex<usize>, request: &Request) -> Reply {
        if request.path() == "/token" {
            return give_token(door, left, request);
        }
        let own = format!("{scheme}://{}", request.header("Host").unwrap());
        if let Some(refused) = refuse(door, &own, left, request) {
            return refused;
        }
        let path = request.path().strip_prefix("/v2/").unwrap_or_default();
        if let Some((repository, target)) = path.split_once("/manifests/") {
            let key = (repository.to_owned(), target.to_owned());
            return match self.manifests.get(&key) {
                Some((media_type, bytes)) => {
                    let digest = self.lie.clone().unwrap_or_else(|| sha256(bytes));
                    Reply::ok(bytes.clone())
                        .header("Content-Type", media_type)
                        .header("Docker-Content-Digest", &digest)
                }
                None => unknown("MANIFEST_UNKNOWN"),
            };
        }
        match path.split_once("/blobs/") {
            Some((_, digest)) => self.blob_answer(digest, request),
            None => unknown("NAME_UNKNOWN"),
        }
    }

    fn blob_answer(&self, digest: &str, request: &Request) -> Reply {
        if let Some(elsewhere) = &self.elsewhere {
            return Reply::redirect(&format!("{elsewhere}/{digest}?Signature=secret"));
        }
        match self.blobs.get(digest) {
            Some(bytes) => Reply::file(request, bytes, &format!("\"{digest}\"")),
            None => unknown("BLOB_UNKNOWN"),
        }
    }
}

fn unknown(code: &str) -> Reply {
    let body = json!({"errors": [{"code": code, "message": "not here"}]});
    Reply::new(404, serde_json::to_vec(&body).unwrap())
}

/// An answer to who may not come in.
fn refuse(door: &Door, own: &str, left: &Mutex<usize>, request: &Request) -> Option<Reply> {
    let said = request.header("Authorization");
    let (known, asks) = match door {
        Door::Open => return None,
        Door::Shut => return Some(Reply::new(403, "")),
        Door::Odd => (false, "Negotiate, Digest realm=\"x\"".to_owned()),
        Door::Basic => (said == Some(LOGIN), "Basic realm=\"registry\"".to_owned()),
        Door::Token { realm, .. } => {
            let mut left = left.lock().unwrap();
            let fresh = said == Some("Bearer token") && *left > 0;
            *left = left.saturating_sub(1);
            let realm = if realm.is_empty() {
                format!("{own}/token")
            } else {
                realm.clone()
            };
            (
                fresh,
                format!("Bearer realm=\"{realm}\",service=\"shelf of tests\""),
            )
        }
    };
    let reply = Reply::new(401, "{}").header("WWW-Authenticate", &asks);
    (!known).then_some(reply)
}

fn give_token(door: &Door, left: &Mutex<usize>, request: &Request) -> Reply {
    let Door::Token {
        for_anyone, uses, ..
    } = door
    else {
        return Reply::new(404, "");
    };
    let said = request.header("Authorization");
    let wanted = "service=shelf%20of%20tests&scope=repository:";
    if !request.target.contains(wanted) || !request.target.ends_with(":pull") {
        return Reply::new(400, "");
    }
    if said == Some(LOGIN) || (said.is_none() && *for_anyone) {
        *left.lock().unwrap() = *uses;
        let field = if said.is_some() {
            "token"
        } else {
            "access_token"
        };
        let body = json!({field: "token", "expires_in": 300});
        return Reply::ok(serde_json::to_vec(&body).unwrap());
    }
    Reply::new(401, "{}")
}

/// A shelf that is served.
pub struct Registry {
    pub server: Server,
}

impl Registry {
    /// `127.0.0.1:PORT`
    pub fn name(&self) -> String {
        self.server.address().to_string()
    }

    /// A reference to `what` here.
    pub fn reference(&self, what: &str) -> String {
        format!("oci://{}/{what}", self.name())
    }
}
