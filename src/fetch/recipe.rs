//! Files that recipes of extensions name, held against the digests that are published for them.
//!
//! ```text
//!   URL ──▶ SHA-256: of who asks, of the recipe, or of a list beside the file ──▶ store, or server ──▶ path
//!              └── none: refused, unless nothing is to be verified
//! ```

use super::bakery::Listed;
use super::fetcher::{Fetched, Fetcher};
use super::transfer::Source;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::flatcar::sysext::recipe::{Digest, Download};
use crate::progress::Progress;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

impl Fetcher<'_> {
    /// A file of a recipe. `given` is the SHA-256 that who asks for it knows, in hexadecimal digits, which counts before
    /// all others.
    ///
    /// # Errors
    /// Nobody publishes a digest and none is given, with [`Reason::NoSignature`]; another digest; those of fetching.
    pub fn download(
        &self,
        download: &Download,
        given: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let source = Source::parse(&download.url)?;
        let (sha256, listed_in) = match (given, &download.digest) {
            (Some(given), _) => (given.to_owned(), "who asks for it".to_owned()),
            (None, _) if self.unverified.is_some() => {
                return self.without_digest(&source, progress);
            }
            (None, Digest::Known(sha256)) => (sha256.clone(), "the recipe".to_owned()),
            (None, Digest::Listed(list)) => {
                let list = Source::parse(list)?;
                let text = self.small(&list, progress)?;
                let file = download.url.rsplit('/').next().unwrap_or_default();
                let sha256 = find(&text, file).at(|| list.to_string())?;
                (sha256, list.to_string())
            }
            (None, Digest::Unpublished) => return Err(unpublished(&download.url)),
        };
        let listed = Listed {
            source,
            sha256,
            listed_in,
        };
        self.listed(&listed, progress)
    }
}

fn unpublished(url: &str) -> Error {
    Error::new(
        ErrorKind::Untrusted,
        "nobody publishes a digest of this file, by which it could be verified",
    )
    .because(Reason::NoSignature)
    .at(url.to_owned())
}

/// The SHA-256 of a file by a list: lines of digests and names, or one digest and nothing else.
fn find(list: &[u8], file: &str) -> Result<String> {
    let text = std::str::from_utf8(list)
        .map_err(|error| Error::corrupt("the list of digests is not text").with_source(error))?;
    let digest = |word: &str| {
        let is_it = word.len() == DIGITS && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_it.then(|| word.to_ascii_lowercase())
    };
    if let Some(only) = digest(text.trim()) {
        return Ok(only);
    }
    let of_line = |line: &str| {
        let (word, name) = line.trim().split_once(char::is_whitespace)?;
        let name = name.trim_start().trim_start_matches('*');
        let name = name.strip_prefix("./").unwrap_or(name);
        digest(word).filter(|_| name == file)
    };
    let mut found: Vec<String> = text.lines().filter_map(of_line).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::not_found(format!(
            "the list has no SHA-256 of {}",
            file.escape_debug()
        ))
        .because(Reason::NoSignature)),
        _ => Err(Error::corrupt(format!(
            "the list has {} different SHA-256 of {}",
            found.len(),
            file.escape_debug()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_the_lists_that_are_published() {
        let (one, two) = ("Ab".repeat(32), "cd".repeat(32));
        let found = |text: &str| find(text.as_bytes(), "a.tgz");
        for text in [
            format!("{one}\n"),
            format!("{one}  a.tgz\n{two}  b.tgz\n"),
            format!("{two} *b.tgz\n{one} *a.tgz"),
            format!("{one}  ./a.tgz\r\n"),
            format!("{one}  a.tgz\n{one}  a.tgz\n"),
        ] {
            assert_eq!(found(&text).unwrap(), "ab".repeat(32), "{text}");
        }
        let error = found(&format!("{two}  b.tgz\n")).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NoSignature));
        for text in [
            String::new(),
            format!("{one}  a.tgz\n{two}  a.tgz\n"),
            format!("{}  a.tgz", &one[1..]),
            format!("{one}  x/a.tgz"),
        ] {
            assert!(found(&text).is_err(), "{text}");
        }
    }
}
