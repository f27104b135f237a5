//! Lists of digests as they are published beside files, `FILE.DIGESTS`:
//!
//! ```text
//!   # MD5 HASH
//!   <hex>  FILE
//!   # SHA1 HASH
//!   <hex>  FILE
//!   # SHA512 HASH
//!   <hex>  FILE          one line for each file, where several share a list
//! ```

use std::collections::BTreeMap;

use crate::{Error, Reason, Result};

/// The head of the block that counts; the others are over digests that can be forged.
const HEAD: &str = "# SHA512 HASH";
/// Hexadecimal digits of a SHA-512.
const DIGITS: usize = 128;

/// The SHA-512 of files, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests(BTreeMap<String, String>);

impl Digests {
    /// Reads a list, which must be trusted before: see
    /// [`Keyring::verify_clearsigned`](super::openpgp::Keyring::verify_clearsigned).
    ///
    /// # Errors
    /// There is no SHA-512 in it, a line is not one of a list, or a file has two different ones.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(text).map_err(|error| {
            Error::corrupt("the list of digests is not text").with_source(error)
        })?;
        let mut digests = BTreeMap::new();
        let mut counts = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.starts_with('#') {
                counts = line == HEAD;
            } else if counts && !line.is_empty() {
                let (name, digest) = entry(line, number)?;
                let known = digests.insert(name.to_owned(), digest.clone());
                if known.is_some_and(|known| known != digest) {
                    return Err(Error::corrupt(format!(
                        "line {number} of the list of digests gives '{}' a second SHA-512",
                        name.escape_debug()
                    )));
                }
            }
        }
        if digests.is_empty() {
            return Err(Error::corrupt("the list of digests has no SHA-512")
                .with_hint("get the list again; it has a line '# SHA512 HASH'"));
        }
        Ok(Self(digests))
    }

    /// The SHA-512 of the file `name`, in lower-case hexadecimal digits.
    ///
    /// # Errors
    /// The list does not name it.
    pub fn sha512(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).ok_or_else(|| {
            Error::not_found(format!(
                "the list of digests does not name '{}'",
                name.escape_debug()
            ))
            .because(Reason::NoSignature)
            .with_hint("keep the name under which the file is published")
        })
    }

    /// The names of all files in it, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Name and digest of a line.
fn entry(line: &str, number: u32) -> Result<(&str, String)> {
    let parts = line.split_once([' ', '\t']);
    let (digest, name) = parts.unwrap_or((line, ""));
    // Behind the first space stands another, or an asterisk for a file that was read as binary.
    let name = name.trim_start().trim_start_matches('*');
    let is_digest = digest.len() == DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest && !name.is_empty() {
        return Ok((name, digest.to_ascii_lowercase()));
    }
    Err(Error::corrupt(format!(
        "line {number} of the list of digests is not a SHA-512 and the name of a file"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(sha512: &str) -> String {
        let md5 = "0".repeat(32);
        let sha1 = "1".repeat(40);
        format!("# MD5 HASH\n{md5}  a.bin\n# SHA1 HASH\n{sha1}  a.bin\n# SHA512 HASH\n{sha512}")
    }

    #[test]
    fn only_the_sha512_counts_and_several_files_share_a_list() {
        let (first, second) = ("Ab".repeat(64), "cd".repeat(64));
        let text = list(&format!("{first}  a.bin\n{second} *b.bin\n"));
        let digests = Digests::parse(text.as_bytes()).unwrap();
        assert_eq!(digests.sha512("a.bin").unwrap(), "ab".repeat(64));
        assert_eq!(digests.sha512("b.bin").unwrap(), second);
        assert_eq!(digests.names().collect::<Vec<_>>(), ["a.bin", "b.bin"]);
        let error = digests.sha512("c.bin").unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NoSignature));
    }

    #[test]
    fn a_list_without_what_is_needed_is_refused() {
        let digest = "ef".repeat(64);
        for text in [
            String::new(),
            list(""),
            list("00  a.bin\n"),
            list(&digest),
            list(&format!("{digest}  a\n{}  a\n", "0".repeat(128))),
        ] {
            assert!(Digests::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Digests::parse(b"\xff").is_err());
    }
}
