//! What transfers are told from outside.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::proxy::Proxies;
use super::retry::Retries;
use super::source::Source;
use crate::error::Result;

/// How files are fetched. The library reads no environment: see [`Settings::from_environment`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers that requests go through.
    pub proxies: Proxies,
    /// Files of certificates in PEM that are believed besides the usual authorities.
    pub authorities: Vec<PathBuf>,
    /// How long a name is looked up, and a server may take to answer a connection.
    pub connect_timeout: Duration,
    /// How long a connection may be silent.
    pub stall_timeout: Duration,
    /// What is tried again, and when.
    pub retries: Retries,
    /// Other places for what is asked for; the first that fits is taken.
    pub mirrors: Vec<Mirror>,
    /// Names and passwords of servers.
    pub credentials: Vec<Credential>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proxies: Proxies::default(),
            authorities: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            retries: Retries::default(),
            mirrors: Vec::new(),
            credentials: Vec::new(),
        }
    }
}

impl Settings {
    /// The usual settings with what the environment says of them: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, each
    /// also in small letters, which win, and `SSL_CERT_FILE`. `lookup` finds a variable.
    ///
    /// A proxy that cannot be used is [`crate::ErrorKind::InvalidInput`] or [`crate::ErrorKind::Unsupported`].
    pub fn from_environment(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        Ok(Self {
            proxies: Proxies::from_environment(&set)?,
            authorities: set("SSL_CERT_FILE")
                .map(PathBuf::from)
                .into_iter()
                .collect(),
            ..Self::default()
        })
    }

    /// Where `source` is fetched from: at a mirror, where there is one for it.
    pub(super) fn mirrored(&self, source: &Source) -> Result<Source> {
        let full = source.full();
        for mirror in &self.mirrors {
            if let Some(rest) = full.strip_prefix(&mirror.prefix) {
                return Source::parse(&format!("{}{rest}", mirror.replacement));
            }
        }
        Ok(source.clone())
    }
}

/// Another place for everything whose address begins with `prefix`.
#[derive(Clone, PartialEq, Eq)]
pub struct Mirror {
    /// How addresses begin, as `https://stable.release.flatcar-linux.net/`.
    pub prefix: String,
    /// What stands there instead: a URL or a path.
    pub replacement: String,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = super::url::masked(&self.prefix);
        let replacement = super::url::masked(&self.replacement);
        write!(f, "{prefix} at {replacement}")
    }
}

/// A name and password for one server, told to no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// `example.org`, at its usual port, or `example.org:8443`.
    pub host: String,
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name and password for {}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mirror_that_fits_is_taken() {
        let mirror = |prefix: &str, replacement: &str| Mirror {
            prefix: prefix.to_owned(),
            replacement: replacement.to_owned(),
        };
        let settings = Settings {
            mirrors: vec![
                mirror("https://a.example/x/", "/srv/x/"),
                mirror("https://a.example/", "https://me:word@b.example/a/"),
            ],
            ..Settings::default()
        };
        let at = |text: &str| {
            let source = Source::parse(text).unwrap();
            settings.mirrored(&source).unwrap().to_string()
        };
        assert_eq!(at("https://a.example/x/y"), "/srv/x/y");
        assert_eq!(at("https://a.example/y"), "https://***@b.example/a/y");
        assert_eq!(at("https://c.example/y"), "https://c.example/y");
        assert!(!format!("{settings:?}").contains("word"));
    }

    #[test]
    fn the_environment_names_an_authority() {
        let settings = Settings::from_environment(|name| match name {
            "SSL_CERT_FILE" => Some("/ca.pem".into()),
            "HTTPS_PROXY" => Some(OsString::new()),
            _ => None,
        });
        let settings = settings.unwrap();
        assert_eq!(settings.authorities, [PathBuf::from("/ca.pem")]);
        assert_eq!(settings.proxies, Proxies::default());
    }
}
