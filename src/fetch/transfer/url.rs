//! Addresses of things on servers. What is secret in them is never printed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ureq::http::Uri;

use crate::error::{Error, Result};

/// More than any address in use; a longer one comes from a server that means no good.
const MAX_LEN: usize = 16 << 10;

/// An `http` or `https` URL. Printed, a name and password in it are stars, and a query is left out: redirects of stores
/// carry signatures there.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Without name and password.
    uri: Uri,
    tls: bool,
    host: String,
    port: u16,
    /// `name:password`, as it was written.
    userinfo: Option<String>,
}

impl Url {
    /// Reads a URL. Characters that do not belong into one are encoded; a fragment is dropped.
    ///
    /// Another scheme, no host and a wrong port are [`crate::ErrorKind::InvalidInput`].
    pub fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| bad(text, "it has no scheme"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(bad(text, "only http and https are spoken")),
        };
        if text.len() > MAX_LEN {
            return Err(bad(text, "it is longer than 16384 bytes"));
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo.to_owned()), host),
            None => (None, authority),
        };
        let (host, port) = split_port(host).ok_or_else(|| bad(text, "its port is no number"))?;
        check_host(host).map_err(|why| bad(text, why))?;
        let port = port.unwrap_or(default_port(tls));
        Self::assemble(tls, &host.to_ascii_lowercase(), port, path, userinfo)
            .ok_or_else(|| bad(text, "it has characters that no URL has"))
    }

    fn assemble(
        tls: bool,
        host: &str,
        port: u16,
        path: &str,
        userinfo: Option<String>,
    ) -> Option<Self> {
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let authority = if port == default_port(tls) {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let scheme = if tls { "https" } else { "http" };
        let text = format!("{scheme}://{authority}{slash}{}", encoded(path, ""));
        Some(Self {
            uri: text.parse().ok()?,
            tls,
            host: bare(host).to_owned(),
            port,
            userinfo,
        })
    }

    /// The URL that `reference` means where it is found at this one, as in `Location` (RFC 3986, section 5.2).
    pub fn join(&self, reference: &str) -> Result<Self> {
        let reference = reference.split('#').next().unwrap_or_default();
        if has_scheme(reference) {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            let scheme = if self.tls { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path = if reference.is_empty() {
            self.path_and_query().to_owned()
        } else if reference.starts_with('?') {
            format!("{}{reference}", self.uri.path())
        } else {
            let (path, query) = split_query(reference);
            let from_root = if path.starts_with('/') {
                path.to_owned()
            } else {
                let folder = self.uri.path().rfind('/').unwrap_or(0);
                format!("{}/{path}", &self.uri.path()[..folder])
            };
            format!("{}{query}", without_dots(&from_root))
        };
        self.with_path(&path)
            .ok_or_else(|| bad(reference, "it has characters that no URL has"))
    }

    /// The URL of `name`, a path of plain names, in the folder that this URL is.
    pub(super) fn child(&self, name: &str) -> Result<Self> {
        let folder = self.uri.path().trim_end_matches('/');
        let path = format!("{folder}/{}", encoded(name, "%?#"));
        self.with_path(&path)
            .ok_or_else(|| bad(name, "it has characters that no URL has"))
    }

    /// Another path, and query, of the same server.
    pub(in crate::fetch) fn with_path(&self, path: &str) -> Option<Self> {
        let host = bracketed(&self.host);
        Self::assemble(self.tls, &host, self.port, path, self.userinfo.clone())
    }

    /// Whether it is asked over TLS.
    pub fn is_https(&self) -> bool {
        self.tls
    }

    /// The server's name or address in small letters, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, which begins with a slash, and the query.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// The server as `Host` names it: `example.org`, `[::1]:8080`.
    pub(in crate::fetch) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// What is asked for, without name and password.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Name and password in it, decoded.
    pub(super) fn userinfo(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let userinfo = self.userinfo.as_deref()?;
        let (name, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        Some((decoded(name), decoded(password)))
    }

    /// Whether both are one server, so that what is secret to one may be told to the other.
    pub(in crate::fetch) fn same_server(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// This URL with the name and password of `other`, where it has none and both are one server.
    pub(super) fn with_userinfo_of(mut self, other: &Self) -> Self {
        if self.userinfo.is_none() && self.same_server(other) {
            self.userinfo.clone_from(&other.userinfo);
        }
        self
    }

    /// Whole, with all that is secret.
    pub(super) fn full(&self) -> String {
        match &self.userinfo {
            Some(userinfo) => {
                let plain = self.uri.to_string();
                plain.replacen("://", &format!("://{userinfo}@"), 1)
            }
            None => self.uri.to_string(),
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let stars = if self.userinfo.is_some() { "***@" } else { "" };
        let query = if self.uri.query().is_some() {
            "?…"
        } else {
            ""
        };
        let (authority, path) = (self.authority(), self.uri.path());
        write!(f, "{scheme}://{stars}{authority}{path}{query}")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `text` as it may be printed, though it is no URL: without what stands before an `@` and behind a `?`.
pub(super) fn masked(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    let (path, query) = split_query(path);
    let query = if query.is_empty() { "" } else { "?…" };
    let all = format!("{scheme}{authority}{path}{query}");
    all.chars().take(200).collect()
}

fn bad(text: &str, why: &str) -> Error {
    Error::invalid(format!(
        "'{}' is not a URL that can be fetched: {why}",
        masked(text)
    ))
    .with_hint("write https://HOST/PATH, file:///PATH or a path of this machine")
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Host and port of `host:port`; `None` where the port is no number.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_address = text.rfind(']').map_or(0, |end| end + 1);
    match text[after_address..].find(':') {
        Some(at) => {
            let (host, port) = text.split_at(after_address + at);
            let digits = &port[1..];
            let number = digits.bytes().all(|digit| digit.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| *port > 0 && number)?;
            Some((host, Some(port)))
        }
        None => Some((text, None)),
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("it names no host");
    }
    if host.starts_with('[') || host.ends_with(']') {
        return match bare(host).parse() {
            Ok(IpAddr::V6(_)) if host.len() == bare(host).len() + 2 => Ok(()),
            _ => Err("what is in its brackets is no IPv6 address"),
        };
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(fits);
    // A dot at the end says that the name is whole.
    let name = host.strip_suffix('.').unwrap_or(host);
    if host.len() > 253 || !name.split('.').all(is_label) {
        return Err("its host is no name that servers have");
    }
    Ok(())
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// A host with the brackets that an IPv6 address needs.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    let mut characters = scheme.bytes();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Path and query, the latter with its question mark or empty.
fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

/// A path from the root with `.` and `..` carried out.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let names: Vec<&str> = path.split('/').skip(1).collect();
    for (at, name) in names.iter().enumerate() {
        let last = at + 1 == names.len();
        match *name {
            ".." => {
                kept.pop();
            }
            "." => {}
            name => {
                kept.push(name);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// `text` with everything encoded that no URL has, and the characters of `also`.
fn encoded(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if plain && !also.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `text` with `%41` as `A`; a percent sign without two digits stands for itself.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let both = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match digits
            .filter(both)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn parts_of_a_url_are_found() {
        let full = url("HTTPS://me:pass%40word@Example.ORG:8443/a/b%20c?x=1#end");
        assert_eq!(full.host(), "example.org");
        assert_eq!(full.port(), 8443);
        assert_eq!(full.path_and_query(), "/a/b%20c?x=1");
        assert_eq!(
            full.userinfo(),
            Some((b"me".to_vec(), b"pass@word".to_vec()))
        );
        assert_eq!(full.authority(), "example.org:8443");
        let plain = url("http://[::1]:80");
        assert_eq!((plain.host(), plain.port()), ("::1", 80));
        assert_eq!((plain.authority(), plain.path_and_query()), ("[::1]", "/"));
        assert_eq!(url("http://h?q").path_and_query(), "/?q");
    }

    #[test]
    fn what_is_secret_is_not_printed() {
        let secret = url("https://me:word@example.org/a?Signature=word");
        for printed in [secret.to_string(), format!("{secret:?}")] {
            assert_eq!(printed, "https://***@example.org/a?…");
        }
        assert!(secret.full().contains("me:word@") && secret.full().ends_with("=word"));
        for wrong in [
            "ftp://me:word@example.org/a?word",
            "https://me:word@exa mple.org/?word",
            "https://me:wo@rd:word@host:99999/",
            "me:word@host/a?word",
        ] {
            let error = format!("{:?}", Url::parse(wrong).unwrap_err());
            assert!(!error.contains("word"), "{error}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for wrong in [
            "",
            "example.org/a",
            "file:///etc/passwd",
            "https:///a",
            "https://user@/a",
            "https://host:port/",
            "https://host:0/",
            "https://host:65536/",
            "https://host:+80/",
            "https://host:/",
            "https://[::1/",
            "https://::1]/",
            "https://[127.0.0.1]/",
            "https://ho st/",
            "https://../",
            "https://.host/",
            "https://a..b/",
            "https://hö.example/",
            "https://host\r\nX: y/",
            "https://host%0a/",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        let long = format!("https://host/{}", "a".repeat(MAX_LEN));
        assert!(Url::parse(&long).is_err());
    }

    #[test]
    fn odd_characters_are_encoded() {
        assert_eq!(
            url("https://host/a b/ü\r\nX: y?\"").path_and_query(),
            "/a%20b/%C3%BC%0D%0AX:%20y?%22"
        );
    }

    #[test]
    fn references_mean_what_the_standard_says() {
        let base = url("http://a/b/c/d;p?q");
        // The cases of RFC 3986, section 5.4, that have http and no fragment.
        for (reference, meant) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            (";x", "/b/c/;x"),
            ("g;x?y", "/b/c/g;x?y"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../g", "/g"),
            ("../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g.", "/b/c/g."),
            ("..g", "/b/c/..g"),
            ("./g/.", "/b/c/g/"),
            ("g/../h", "/b/c/h"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("g#s", "/b/c/g"),
        ] {
            assert_eq!(
                base.join(reference).unwrap().path_and_query(),
                meant,
                "{reference}"
            );
        }
        assert_eq!(base.join("//x:8080/y").unwrap(), url("http://x:8080/y"));
        assert_eq!(base.join("https://x/y").unwrap(), url("https://x/y"));
        for wrong in ["file:///etc/passwd", "mailto:me", "javascript:x"] {
            assert!(base.join(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_in_a_folder_are_taken_as_they_are() {
        let folder = url("https://host/a/");
        let child = folder.child("b/c+d%20?#e").unwrap();
        assert_eq!(child.path_and_query(), "/a/b/c+d%2520%3F%23e");
    }

    #[test]
    fn passwords_stay_with_their_server() {
        let one = url("https://me:word@host/a");
        let same = one.join("/b").unwrap();
        assert!(same.full().contains("me:word@"));
        let absolute = one.join("https://host/b").unwrap().with_userinfo_of(&one);
        assert!(absolute.full().contains("me:word@"));
        for other in ["https://other/b", "http://host/b", "https://host:8443/b"] {
            let other = one.join(other).unwrap().with_userinfo_of(&one);
            assert_eq!(other.userinfo(), None, "{other}");
        }
    }

    #[test]
    fn percent_signs_are_decoded_where_digits_follow() {
        assert_eq!(decoded("a%41%zz%4%"), b"aA%zz%4%");
        assert_eq!(decoded("%é%+1"), "%é%+1".as_bytes());
    }
}
