//! Digests that name what a registry has.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

use crate::bytes::hex;
use crate::error::{Error, ErrorKind, Reason, Result, from_io};
use crate::fetch::transfer::{InFile, Sink};

/// Read at once.
const PIECE_BYTES: usize = 256 << 10;

/// How a digest is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, which all registries have.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `sha256:…`: an algorithm, and the digest in small hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut sum = Sum::new(algorithm);
        sum.update(bytes);
        sum.finish()
    }

    /// The SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// How it is made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether it is that of `bytes`; where it is not, they are [`ErrorKind::Untrusted`].
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        self.check_same(&Self::of(self.algorithm, bytes))
    }

    /// The same for all that `reader` has.
    pub(in crate::fetch) fn check_all(&self, mut reader: impl Read) -> Result<()> {
        let mut sum = Sum::new(self.algorithm);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let len = reader
                .read(&mut piece)
                .map_err(|error| from_io("reading it", error))?;
            if len == 0 {
                return self.check_same(&sum.finish());
            }
            sum.update(&piece[..len]);
        }
    }

    /// The same for what has the SHA-256 `hex`.
    pub(in crate::fetch) fn check_hex(&self, hex: &str) -> Result<()> {
        self.check_same(&Self {
            algorithm: Algorithm::Sha256,
            hex: hex.to_owned(),
        })
    }

    fn check_same(&self, found: &Self) -> Result<()> {
        if self == found {
            return Ok(());
        }
        let message = format!("what arrived is not what was asked for: {found} instead of {self}");
        Err(Error::new(ErrorKind::Untrusted, message).because(Reason::Checksum))
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Another algorithm is [`ErrorKind::Unsupported`], anything else that is no digest [`ErrorKind::InvalidInput`].
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("'{}' is no digest", start_of(text)));
        let (word, digits) = text.split_once(':').ok_or_else(bad)?;
        let known = [Algorithm::Sha256, Algorithm::Sha512];
        let Some(algorithm) = known.into_iter().find(|known| known.word() == word) else {
            let fits = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+._-".contains(&byte)
            };
            if word.is_empty() || !word.bytes().all(fits) {
                return Err(bad());
            }
            let message = format!("digests of the kind '{}' are not known", start_of(word));
            return Err(Error::unsupported(message).with_hint("sha256 and sha512 are"));
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != algorithm.hex_len() || !digits.bytes().all(is_digit) {
            return Err(bad());
        }
        Ok(Self {
            algorithm,
            hex: digits.to_owned(),
        })
    }
}

/// No more of a text than messages have room for.
pub(super) fn start_of(text: &str) -> String {
    text.chars()
        .take(150)
        .flat_map(char::escape_debug)
        .collect()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.word(), self.hex)
    }
}

/// A digest in the making.
enum Sum {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Sum {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(sum) => Digest {
                algorithm: Algorithm::Sha256,
                hex: hex(&sum.finalize()),
            },
            Self::Sha512(sum) => Digest {
                algorithm: Algorithm::Sha512,
                hex: hex(&sum.finalize()),
            },
        }
    }
}

/// Into a file, whose digest is made on the way.
pub(super) struct Checked<'a> {
    file: InFile<'a>,
    wanted: &'a Digest,
    sum: Sum,
}

impl<'a> Checked<'a> {
    pub fn new(file: &'a mut File, wanted: &'a Digest) -> Self {
        Self {
            file: InFile(file),
            wanted,
            sum: Sum::new(wanted.algorithm),
        }
    }

    /// Whether what arrived is what was wanted; otherwise the file is emptied.
    pub fn finish(mut self) -> Result<()> {
        let made = self.sum.finish();
        let checked = self.wanted.check_same(&made);
        if checked.is_err() {
            self.file.restart()?;
        }
        checked
    }
}

impl Sink for Checked<'_> {
    fn restart(&mut self) -> Result<()> {
        self.sum = Sum::new(self.wanted.algorithm);
        self.file.restart()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)?;
        self.sum.update(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_printed() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"abc");
            assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            digest.check(b"abc").unwrap();
            assert_eq!(
                digest.check(b"abd").unwrap_err().kind(),
                ErrorKind::Untrusted
            );
        }
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(Algorithm::Sha256, b"abc").to_string(), known);
        for wrong in [
            "",
            "sha256",
            "sha256:",
            ":abc",
            &known[..70],
            &known.to_uppercase(),
            &format!("{known}0"),
            &known.replace("sha256", "sha512"),
            &known.replace('b', "g"),
            "sha 256:x",
        ] {
            assert_eq!(
                wrong.parse::<Digest>().unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{wrong}"
            );
        }
        let other = known
            .replace("sha256", "blake3")
            .parse::<Digest>()
            .unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Unsupported);
    }
}
