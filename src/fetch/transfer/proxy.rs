//! Which requests go through which proxy.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::url::{Url, masked, split_port};
use crate::error::{Error, Result, ResultExt};

/// The proxies of requests, and what goes without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    without: Vec<Exception>,
}

impl Proxies {
    /// `http` and `https` are the proxies for URLs of these schemes: `http://name:password@proxy:3128`. `without` lists what
    /// goes without, between commas: a name means itself and all names below it, an address or a range of addresses
    /// (`10.0.0.0/8`) themselves, `*` everything; a name or address may have a port.
    pub fn new(http: Option<&str>, https: Option<&str>, without: &str) -> Result<Self> {
        let exceptions = without.split([',', ' ']).filter_map(Exception::parse);
        Ok(Self {
            http: http.map(Proxy::parse).transpose()?,
            https: https.map(Proxy::parse).transpose()?,
            without: exceptions.collect(),
        })
    }

    pub(super) fn from_environment(lookup: &impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let either = |small: &str| {
            let names = [small.to_owned(), small.to_ascii_uppercase()];
            let mut found = names.into_iter().filter_map(|name| {
                let value = lookup(&name)?;
                Some((name, value))
            });
            found.next()
        };
        let proxy = |name: &str| -> Result<Option<Proxy>> {
            let Some((name, value)) = either(name).or_else(|| either("all_proxy")) else {
                return Ok(None);
            };
            Proxy::parse(&value.to_string_lossy()).map(Some).at(|| name)
        };
        let without = either("no_proxy").map(|(_, value)| value.to_string_lossy().into_owned());
        let exceptions = Self::new(None, None, &without.unwrap_or_default())?;
        Ok(Self {
            http: proxy("http_proxy")?,
            https: proxy("https_proxy")?,
            ..exceptions
        })
    }

    /// The proxy for a server, if it has one.
    pub(super) fn of(&self, tls: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if tls { &self.https } else { &self.http };
        let excepted = |exception: &Exception| exception.covers(host, port);
        proxy
            .as_ref()
            .filter(|_| !self.without.iter().any(excepted))
    }
}

/// One proxy, spoken to in HTTP or HTTPS.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy(Url);

impl Proxy {
    fn parse(text: &str) -> Result<Self> {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        let url = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => Url::parse(&format!("http://{text}")),
            Some("http" | "https") => Url::parse(text),
            Some(_) => {
                return Err(Error::unsupported(format!(
                    "the proxy '{}' is of a kind that is not spoken to",
                    masked(text)
                ))
                .with_hint("name a proxy by http:// or https://"));
            }
        };
        url.map(Self)
            .map_err(|error| error.at("the proxy").with_hint("write http://PROXY:PORT"))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.is_https()
    }

    pub(super) fn host(&self) -> &str {
        self.0.host()
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port()
    }

    /// The value of `Proxy-Authorization`, where it wants one.
    pub(super) fn authorization(&self) -> Option<String> {
        self.0
            .userinfo()
            .map(|(name, password)| basic(&name, &password))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.authority())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of a header for a name and password.
pub(super) fn basic(name: &[u8], password: &[u8]) -> String {
    let both = [name, b":", password].concat();
    format!("Basic {}", BASE64_STANDARD.encode(both))
}

/// What goes without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    who: Who,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Everyone,
    /// A name and all names below it.
    Name(String),
    /// The first `bits` bits of an address.
    Addresses {
        start: IpAddr,
        bits: u32,
    },
}

impl Exception {
    /// Nothing where it is empty. What cannot be understood is the name of nobody.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if let Some(who) = range(&text).or_else(|| range(&format!("{text}/"))) {
            return Some(Self { who, port: None });
        }
        let (host, port) = split_port(&text).unwrap_or((&text, None));
        let host = host.trim_start_matches("*.").trim_matches('.');
        let who = if host == "*" {
            Who::Everyone
        } else {
            range(&format!("{host}/")).unwrap_or_else(|| Who::Name(host.to_owned()))
        };
        Some(Self { who, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match &self.who {
            Who::Everyone => true,
            Who::Name(name) => {
                let below = host.strip_suffix(name.as_str());
                below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            Who::Addresses { start, bits } => match (start, host.parse()) {
                (IpAddr::V4(start), Ok(IpAddr::V4(host))) => {
                    let differ = start.to_bits() ^ host.to_bits();
                    differ.leading_zeros() >= *bits
                }
                (IpAddr::V6(start), Ok(IpAddr::V6(host))) => {
                    let differ = start.to_bits() ^ host.to_bits();
                    differ.leading_zeros() >= *bits
                }
                _ => false,
            },
        }
    }
}

/// A range of addresses: `10.0.0.0/8`, `[::1]/`; without a number it is one address.
fn range(text: &str) -> Option<Who> {
    let (address, bits) = text.split_once('/')?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let start: IpAddr = bare.parse().ok()?;
    let most = if start.is_ipv4() { 32 } else { 128 };
    let bits = if bits.is_empty() {
        most
    } else {
        bits.parse().ok()?
    };
    (bits <= most).then_some(Who::Addresses { start, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excepted(list: &str, host: &str) -> bool {
        let proxies = Proxies::new(Some("proxy"), None, list).unwrap();
        proxies.of(false, host, 80).is_none()
    }

    #[test]
    fn lists_of_exceptions_are_understood() {
        for (list, host) in [
            ("*", "example.org"),
            ("example.org", "example.org"),
            ("Example.ORG", "a.b.example.org"),
            ("a, .example.org", "a.example.org"),
            ("*.example.org", "a.example.org"),
            ("example.org:80", "example.org"),
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:80", "::1"),
            ("fd00::/8", "fd12::1"),
        ] {
            assert!(excepted(list, host), "{list} covers {host}");
        }
        for (list, host) in [
            ("", "example.org"),
            (" , ", "example.org"),
            ("example.org", "notexample.org"),
            ("example.org", "example.org.evil"),
            ("example.org:81", "example.org"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/8", "10.example.org"),
            ("::/0", "127.0.0.1"),
        ] {
            assert!(!excepted(list, host), "{list} does not cover {host}");
        }
    }

    fn from(variables: &[(&str, &str)]) -> Result<Proxies> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Proxies::from_environment(&lookup)
    }

    #[test]
    fn the_environment_is_read_as_its_users_expect() {
        let proxies = from(&[
            ("HTTP_PROXY", "upper:1"),
            ("http_proxy", "http://me:word@small:2"),
            ("ALL_PROXY", "https://all"),
            ("NO_PROXY", "inside.example"),
        ])
        .unwrap();
        let http = proxies.of(false, "host", 80).unwrap();
        assert_eq!(
            (http.host(), http.port(), http.is_tls()),
            ("small", 2, false)
        );
        assert_eq!(http.authorization().unwrap(), "Basic bWU6d29yZA==");
        let https = proxies.of(true, "host", 443).unwrap();
        assert_eq!(
            (https.host(), https.port(), https.is_tls()),
            ("all", 443, true)
        );
        assert_eq!(proxies.of(true, "a.inside.example", 443), None);
        assert!(!format!("{proxies:?}").contains("word"));
        assert_eq!(from(&[]).unwrap(), Proxies::default());
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_with_its_variable() {
        for wrong in ["socks5://me:word@host", "http://me:word@host:x"] {
            let error = from(&[("ALL_PROXY", wrong)]).unwrap_err();
            let text = format!("{error:?}");
            assert!(
                text.contains("ALL_PROXY") && !text.contains("word"),
                "{text}"
            );
        }
    }
}
