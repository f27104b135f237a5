//! Names and passwords of registries, as docker and podman keep them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::digest::start_of;
use super::json::object;
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// More than any such file has.
const MAX_BYTES: u64 = 4 << 20;

/// What is known of registries' names and passwords.
#[derive(Clone, Default)]
pub struct Logins {
    /// By `host[:port][/path]`.
    known: BTreeMap<String, Login>,
    /// The helper of all registries that have none of their own.
    helper: Option<String>,
}

/// How one registry is told who we are.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// A name and a password.
    Password { name: String, password: String },
    /// A token that another one is had for, in a way that is not spoken here.
    IdentityToken,
    /// A program that knows them.
    Helper(String),
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credsStore")]
    store: String,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl Logins {
    /// Reads docker's `config.json`, or podman's `auth.json`. Programs that it names for passwords are not run: a registry
    /// that wants to know who asks is an error that names the program.
    ///
    /// What is not such a file is [`crate::ErrorKind::InvalidInput`].
    pub fn from_docker(content: &[u8]) -> Result<Self> {
        if to_u64(content.len()) > MAX_BYTES {
            return Err(Error::invalid(
                "a file of registries' passwords has at most 4 MiB",
            ));
        }
        // The error would quote what is secret.
        let config: Config = object(content).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = format!("this is no config.json of docker: line {line}, column {column}");
            Error::invalid(message)
        })?;
        let mut known = BTreeMap::new();
        for (server, auth) in config.auths {
            if let Some(login) = read(&server, auth)? {
                known.insert(key(&server), login);
            }
        }
        for (server, helper) in config.helpers {
            known.insert(key(&server), Login::Helper(helper));
        }
        let helper = Some(config.store).filter(|store| !store.is_empty());
        Ok(Self { known, helper })
    }

    /// A name and password for `server`: `registry.example`, with its port where it is not the usual one, and perhaps a path
    /// below which it counts.
    pub fn add(&mut self, server: &str, name: &str, password: &str) {
        let login = Login::Password {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        self.known.insert(key(server), login);
    }

    /// The one for a repository, `registry.example/folder/name`: that with the longest path.
    pub(super) fn of(&self, place: &str) -> Option<Login> {
        let mut place = place.to_owned();
        loop {
            if let Some(login) = self.known.get(&place) {
                return Some(login.clone());
            }
            match place.rfind('/') {
                Some(end) => place.truncate(end),
                None => return self.helper.clone().map(Login::Helper),
            }
        }
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logins of {:?}", self.known.keys())
    }
}

/// The login of an entry; none where it is empty, as it is where a program knows the password.
fn read(server: &str, auth: Auth) -> Result<Option<Login>> {
    if !auth.identity_token.is_empty() {
        return Ok(Some(Login::IdentityToken));
    }
    let (name, password) = if auth.auth.is_empty() {
        (auth.username, auth.password)
    } else {
        let bad = || {
            let server = start_of(server);
            Error::invalid(format!(
                "the entry of '{server}' in auths is no name and password"
            ))
        };
        let bytes = BASE64_STANDARD
            .decode(auth.auth.trim())
            .map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (name, password) = text.split_once(':').ok_or_else(bad)?;
        (name.to_owned(), password.trim_end_matches('\0').to_owned())
    };
    let login = Login::Password { name, password };
    let empty = matches!(&login, Login::Password { name, .. } if name.is_empty());
    Ok((!empty).then_some(login))
}

/// `https://index.docker.io/v1/` and the like as `docker.io`.
fn key(server: &str) -> String {
    let bare = server.split_once("://").map_or(server, |(_, rest)| rest);
    let bare = bare.trim_end_matches('/');
    let bare = ["/v1", "/v2"]
        .iter()
        .find_map(|end| bare.strip_suffix(end))
        .unwrap_or(bare);
    let (host, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    format!("{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::super::reference::Reference;
    use super::*;

    fn of(logins: &Logins, reference: &str) -> Option<(String, String)> {
        match logins.of(&Reference::parse(reference).unwrap().place())? {
            Login::Password { name, password } => Some((name, password)),
            Login::IdentityToken => Some(("token".to_owned(), String::new())),
            Login::Helper(helper) => Some(("helper".to_owned(), helper)),
        }
    }

    fn pair(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.to_owned(), password.to_owned()))
    }

    #[test]
    fn the_files_of_docker_and_podman_are_read() {
        // me:word, you:pass:word
        let logins = Logins::from_docker(
            br#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "bWU6d29yZA=="},
                "HOST.example:5000": {"auth": "eW91OnBhc3M6d29yZA==", "email": "x"},
                "host.example/a/b": {"username": "deep", "password": "word"},
                "host.example": {"username": "flat", "password": "word"},
                "token.example": {"auth": "bWU6d29yZA==", "identitytoken": "secret"},
                "empty.example": {}
            }, "credHelpers": {"helped.example": "gcloud"}, "HttpHeaders": {}}"#,
        )
        .unwrap();
        assert_eq!(of(&logins, "alpine"), pair("me", "word"));
        assert_eq!(of(&logins, "host.example:5000/a"), pair("you", "pass:word"));
        assert_eq!(of(&logins, "host.example/a/b/c"), pair("deep", "word"));
        assert_eq!(of(&logins, "host.example/a/bc"), pair("flat", "word"));
        assert_eq!(of(&logins, "token.example/a"), pair("token", ""));
        assert_eq!(of(&logins, "helped.example/a"), pair("helper", "gcloud"));
        assert_eq!(of(&logins, "empty.example/a"), None);
        assert_eq!(of(&logins, "other.example/a"), None);
        assert!(!format!("{logins:?}").contains("word"));
        let stored = Logins::from_docker(br#"{"credsStore": "desktop"}"#).unwrap();
        assert_eq!(of(&stored, "alpine"), pair("helper", "desktop"));
        assert_eq!(of(&Logins::from_docker(b"{}").unwrap(), "alpine"), None);
    }

    #[test]
    fn what_is_no_such_file_is_refused_without_its_secrets() {
        for wrong in [
            "",
            "[]",
            "word",
            r#"{"auths": "word"}"#,
            r#"{"auths": {"h.example": {"auth": "w*rd"}}}"#,
            r#"{"auths": {"h.example": {"auth": "d29yZA=="}}}"#,
            r#"{"auths": {"h.example": {"auth": "//8="}}}"#,
            r#"{"auths": {"h.example": {"password": 5, "auth": "word"}}}"#,
            r#"{"auths": {"h.example": "word"}}"#,
        ] {
            let error = format!("{:?}", Logins::from_docker(wrong.as_bytes()).unwrap_err());
            assert!(!error.contains("word\""), "{error}");
            assert!(
                !error.contains("d29yZA") && !error.contains("w*rd"),
                "{error}"
            );
        }
    }
}
