//! Names of what registries have: `oci://registry.example/folder/name:tag@sha256:…`.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, start_of};
use crate::error::{Error, Result};
use crate::fetch::transfer::Url;

/// What names of registries begin with, where there can be others.
pub const SCHEME: &str = "oci://";

/// The registry of names that say none, and where it is spoken to.
const DOCKER: &str = "docker.io";
const DOCKER_SERVER: &str = "registry-1.docker.io";
/// Where names of one part are there.
const DOCKER_FOLDER: &str = "library";
/// Longest name of a repository.
const MAX_NAME: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;

/// What is wanted of which registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads `[oci://][REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, as container tools do: what stands before the first slash is a
    /// registry where it has a dot or a port or is `localhost`; else it is Docker's, where a name of one part is in
    /// `library/`. Without a tag and digest, `latest` is meant.
    ///
    /// Anything else is [`crate::ErrorKind::InvalidInput`].
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let message = format!("'{}' names nothing in a registry: {why}", start_of(text));
            Error::invalid(message).with_hint("write oci://REGISTRY/REPOSITORY:TAG")
        };
        let rest = match text.get(..SCHEME.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
            _ => text,
        };
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (rest, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DOCKER, rest),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        check_repository(repository).map_err(bad)?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(
                "its tag has other characters than tags have, or more than 128",
            ));
        }
        let registry = registry.to_ascii_lowercase();
        let registry = if registry == "index.docker.io" {
            DOCKER.to_owned()
        } else {
            registry
        };
        if !is_server(&registry) {
            return Err(bad("its registry is no host that can be spoken to"));
        }
        let repository = if registry == DOCKER && !repository.contains('/') {
            format!("{DOCKER_FOLDER}/{repository}")
        } else {
            repository.to_owned()
        };
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(bad("it is longer than 255 characters"));
        }
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The registry with its port, in small letters: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name in the registry: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; none where there is a digest and no tag.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// The digest, which counts more than a tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same, held to `digest`.
    #[must_use]
    pub fn pinned(&self, digest: &Digest) -> Self {
        Self {
            digest: Some(digest.clone()),
            ..self.clone()
        }
    }

    /// The repository in its registry: `docker.io/library/alpine`.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The repository alone, without tag and digest; held to a digest, it names what has that one, whatever its tag.
    #[must_use]
    pub fn untagged(&self) -> Self {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// Where the registry is spoken to.
    pub(super) fn server(&self) -> &str {
        if self.registry == DOCKER {
            DOCKER_SERVER
        } else {
            &self.registry
        }
    }

    /// What stands for it in a URL: the digest, or the tag.
    pub(super) fn target(&self) -> String {
        match &self.digest {
            Some(digest) => digest.to_string(),
            None => self.tag().unwrap_or_default().to_owned(),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// Whole, as it can be read again, without `oci://`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost")
}

/// Whether it is a host, perhaps with a port, and nothing else.
fn is_server(registry: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    registry.bytes().all(fits) && Url::parse(&format!("https://{registry}")).is_ok()
}

fn check_repository(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it has no repository");
    }
    if name.split('/').all(is_part) {
        Ok(())
    } else {
        Err("names there have small letters and digits, with one of ._ or some of - between them")
    }
}

/// Letters and digits, and between them `.`, `_`, `__` or any number of `-`.
fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_plain = |byte: Option<u8>| byte.is_some_and(plain);
    if !ends_plain(part.bytes().next()) || !ends_plain(part.bytes().last()) {
        return false;
    }
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators.into_iter().all(|between| {
        matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let more = |byte: u8| word(byte) || b".-".contains(&byte);
    (1..=MAX_TAG).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;
    use crate::error::ErrorKind;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn references_are_read_as_container_tools_do() {
        let with_digest = format!("host.example/a@{DIGEST}");
        let with_both = format!("oci://host.example/a:1@{DIGEST}");
        for (text, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("flatcar/sysext", "docker.io/flatcar/sysext:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("OCI://ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            ("oci://LOCALHOST/a", "localhost/a:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("127.0.0.1:5000/a:b", "127.0.0.1:5000/a:b"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            (
                "host.example/a-b--c/d.e_f__g:T-1._",
                "host.example/a-b--c/d.e_f__g:T-1._",
            ),
            (&with_digest, &with_digest),
            (&with_both, &with_both[6..]),
        ] {
            let read = Reference::parse(text).unwrap();
            assert_eq!(read.to_string(), whole, "{text}");
            assert_eq!(
                Reference::parse(whole).unwrap(),
                Reference::parse(&read.to_string()).unwrap()
            );
        }
        let docker = Reference::parse("alpine").unwrap();
        assert_eq!(
            (docker.registry(), docker.server()),
            ("docker.io", "registry-1.docker.io")
        );
        assert_eq!(docker.target(), "latest");
        let both = Reference::parse(&with_both).unwrap();
        assert_eq!((both.tag(), both.target().as_str()), (Some("1"), DIGEST));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "t".repeat(129));
        for wrong in [
            "",
            "oci://",
            "host.example/",
            "/a",
            "a/",
            "a//b",
            "A",
            "host.example/A",
            "a:",
            "a:-b",
            "a:b c",
            "a:b/c",
            "a@",
            "a@sha256:abc",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a.-b",
            "a b",
            "https://host.example/a",
            "me:word@host.example/a",
            "host.example:x/a",
            "host.example:0/a",
            "host%2e.example/a",
            "../a",
            "a/../b",
            "host.example/a?b",
            "ä",
            &long,
            &long_tag,
        ] {
            let error = Reference::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}: {error}");
        }
    }

    const ODD: &[u8] = b"aZ0._-:/@[]%?# \xc3\0";

    /// Whatever is read is printed in a form that is read as the same, and makes URLs of nothing but its parts.
    #[test]
    fn changed_references_are_refused_or_read_the_same_again() {
        let seeds = [
            "alpine:3.20",
            "oci://ghcr.io/a/b_c:v1",
            "localhost:5000/a@",
            "[::1]:5000/x--y/z__w:T",
        ];
        let mut random = Random::new(1);
        let mut read = 0;
        for round in 0..20_000 {
            let mut text: Vec<u8> = seeds[round % seeds.len()].into();
            if text.ends_with(b"@") {
                text.extend_from_slice(DIGEST.as_bytes());
            }
            for _ in 0..=random.below(3) {
                let at = random.below(text.len());
                match random.below(3) {
                    0 => text[at] = ODD[random.below(ODD.len())],
                    1 => text.insert(at, ODD[random.below(ODD.len())]),
                    _ => drop(text.remove(at)),
                }
            }
            let text = String::from_utf8_lossy(&text);
            let Ok(reference) = Reference::parse(&text) else {
                continue;
            };
            read += 1;
            let again = Reference::parse(&reference.to_string()).unwrap();
            assert_eq!(again.to_string(), reference.to_string(), "{text}");
            let url = format!(
                "https://{}/v2/{}/manifests/{}",
                reference.server(),
                reference.repository(),
                reference.target()
            );
            let parsed = Url::parse(&url).unwrap();
            let path = format!(
                "/v2/{}/manifests/{}",
                reference.repository(),
                reference.target()
            );
            assert_eq!(parsed.path_and_query(), path, "{text}");
        }
        assert!(read > 2000, "{read}");
    }
}
