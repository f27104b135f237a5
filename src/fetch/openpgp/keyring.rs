//! The keys that signatures are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use sequoia_openpgp as pgp;

use pgp::cert::CertParser;
use pgp::parse::Parse;
use pgp::{Cert, KeyHandle};
use serde::{Serialize, Serializer};

use crate::bytes::to_u64;
use crate::{Error, Reason, Result};

/// The key that signs Flatcar's releases.
pub const FLATCAR: &[u8] = include_bytes!("Flatcar_Image_Signing_Key.asc");
/// The fingerprint of its primary key.
const FLATCAR_PRIMARY: &str = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A";
/// The largest keyring that is read, in bytes: Flatcar's key has 24 KiB.
pub(super) const KEYRING_MAX: u64 = 4 << 20;
/// How a block of keys begins where it is text.
const ARMOR_BEGIN: &[u8] = b"-----BEGIN PGP ";

/// The fingerprint of a key: 40 hexadecimal digits, or 64 of a key of version 6.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pgp::Fingerprint);

impl Fingerprint {
    pub(super) fn of(fingerprint: pgp::Fingerprint) -> Self {
        Self(fingerprint)
    }
}

/// `F88CFEDEFF29A5B4D9523864E25D9AED0593B34A`
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_hex())
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All of its digits, also in groups with spaces or colons between them. Short key ids are refused, as anyone can make a key
/// that has a given one.
impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits: String = text
            .trim_start_matches("0x")
            .chars()
            .filter(|c| !c.is_ascii_whitespace() && *c != ':')
            .collect();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || !matches!(digits.len(), 40 | 64) {
            return Err(Error::invalid(format!(
                "'{}' is not the fingerprint of a key: it must have 40 or 64 hexadecimal digits",
                text.escape_debug()
            ))
            .with_hint("gpg --show-keys FILE prints the fingerprints of the keys in a file"));
        }
        digits.parse().map(Self).map_err(|error| {
            Error::invalid(format!("'{digits}' is not the fingerprint of a key")).with_source(error)
        })
    }
}

/// The keys that are trusted to sign; see the [module](super) for what that means.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certs: BTreeMap<Fingerprint, Cert>,
    /// Where primary keys are pinned, those.
    pins: Option<BTreeSet<Fingerprint>>,
}

impl Keyring {
    /// A keyring without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key that signs Flatcar's releases.
    ///
    /// # Errors
    /// A defect of flatbake: the key that is built in is not the one that it should be.
    pub fn flatcar() -> Result<Self> {
        let mut keyring = Self::new();
        keyring.add(FLATCAR)?;
        let primaries: Vec<String> = keyring.certs.keys().map(ToString::to_string).collect();
        if primaries == [FLATCAR_PRIMARY] {
            Ok(keyring)
        } else {
            Err(Error::internal(format!(
                "the built-in key is {}, not {FLATCAR_PRIMARY}",
                primaries.join(", ")
            )))
        }
    }

    /// Adds the keys of a file, armored or binary, one or many of them. A key that is there already is merged with the new
    /// copy. Secret parts are dropped.
    ///
    /// # Errors
    /// More than 4 MiB, no keys, or a key that cannot be read.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if to_u64(bytes.len()) > KEYRING_MAX {
            return Err(Error::invalid(format!(
                "the keyring has {} bytes: at most {KEYRING_MAX} are read",
                bytes.len()
            ))
            .because(Reason::Limit)
            .with_hint("export only the keys that are needed"));
        }
        let mut found = Vec::new();
        for block in blocks(bytes) {
            for cert in CertParser::from_bytes(block).map_err(unreadable)? {
                found.push(cert.map_err(unreadable)?.strip_secret_key_material());
            }
        }
        if found.is_empty() {
            return Err(Error::invalid("there is no OpenPGP key in the keyring")
                .with_hint("export the keys with gpg --armor --export"));
        }
        found.into_iter().try_for_each(|cert| self.merge(cert))
    }

    /// Adds to the keys that are there what newer copies of them in a file say. Other keys in it are passed over, so that
    /// it makes nobody trusted.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn renew(&mut self, bytes: &[u8]) -> Result<()> {
        let mut found = Self::new();
        found.add(bytes)?;
        for (primary, cert) in found.certs {
            if self.certs.contains_key(&primary) {
                self.merge(cert)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, cert: Cert) -> Result<()> {
        let primary = Fingerprint(cert.fingerprint());
        let merged = match self.certs.remove(&primary) {
            Some(known) => known.merge_public(cert).map_err(unreadable)?,
            None => cert,
        };
        self.certs.insert(primary, merged);
        Ok(())
    }

    /// Trusts only these primary keys, of those that are in the keyring and of those that will be.
    ///
    /// # Errors
    /// One of them is not the fingerprint of a primary key in the keyring.
    pub fn trust_only(&mut self, primaries: &[Fingerprint]) -> Result<()> {
        for pin in primaries {
            if self.certs.contains_key(pin) {
                continue;
            }
            let error =
                Error::not_found(format!("no key in the keyrings has the fingerprint {pin}"))
                    .because(Reason::UnknownKey);
            let handle = KeyHandle::Fingerprint(pin.0.clone());
            return Err(match self.primary_of(&handle) {
                Some(primary) => {
                    error.with_hint(format!("it is a subkey: trust its primary key {primary}"))
                }
                None => error.with_hint("give a keyring that has it"),
            });
        }
        self.pins = Some(primaries.iter().cloned().collect());
        Ok(())
    }

    /// Whether signatures of this primary key count.
    fn is_trusted(&self, primary: &Fingerprint) -> bool {
        self.pins.as_ref().is_none_or(|pins| pins.contains(primary))
    }

    /// All keys that are trusted, in the order of their fingerprints.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &Cert> {
        self.certs
            .iter()
            .filter(|(primary, _)| self.is_trusted(primary))
            .map(|(_, cert)| cert)
    }

    /// The trusted keys that one of `handles` may belong to.
    pub(super) fn with_keys(&self, handles: &[KeyHandle]) -> Vec<Cert> {
        let is_one = |cert: &&Cert| handles.iter().any(|handle| has_key(cert, handle));
        self.trusted().filter(is_one).cloned().collect()
    }

    /// The primary key that `handle` belongs to, whether it is trusted or not.
    pub(super) fn primary_of(&self, handle: &KeyHandle) -> Option<&Fingerprint> {
        let mut known = self.certs.iter();
        known
            .find(|(_, cert)| has_key(cert, handle))
            .map(|(primary, _)| primary)
    }
}

fn has_key(cert: &Cert, handle: &KeyHandle) -> bool {
    cert.keys()
        .any(|key| key.key().key_handle().aliases(handle))
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("the keyring cannot be read")
        .with_source(error)
        .with_hint("export the keys with gpg --armor --export")
}

/// The blocks of an armored file, each with what stands behind it; a binary file is one block.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let is_begin = |at: &usize| bytes[*at..].starts_with(ARMOR_BEGIN) && is_line_start(bytes, *at);
    // Packets have the highest bit set in their first byte, text has not.
    let is_binary = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let begins: Vec<usize> = match is_binary {
        true => Vec::new(),
        false => (0..bytes.len()).filter(is_begin).collect(),
    };
    if begins.is_empty() {
        return vec![bytes];
    }
    let ends = begins.iter().skip(1).copied().chain([bytes.len()]);
    begins
        .iter()
        .zip(ends)
        .map(|(&begin, end)| &bytes[begin..end])
        .collect()
}

fn is_line_start(bytes: &[u8], at: usize) -> bool {
    at.checked_sub(1)
        .is_none_or(|before| bytes[before] == b'\n')
}
