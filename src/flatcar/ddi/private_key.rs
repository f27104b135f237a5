//! Private keys, and the signatures that they make. What is secret in them never appears in a message, and is overwritten
//! when it is dropped.

use std::fmt;

use der::SecretDocument;
use der::asn1::ObjectIdentifier;
use der::pem::LineEnding;
use der::zeroize::Zeroizing;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use rsa::Pkcs1v15Sign;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use rsa::traits::PublicKeyParts;
use sha2::{Digest, Sha256};

use super::element::Element;
use super::encode::{algorithm_with_null, oid, sequence};
use super::public_key::{PublicKey, RSA_MIN, weak};
use super::random::OsRandom;
use crate::bytes::to_u64;
use crate::{Error, Reason, Result};

/// The largest file of a key that is read, in bytes.
const FILE_MAX: u64 = 64 << 10;
/// How keys begin where they are text, up to the name of what they are.
const PEM_BEGIN: &str = "-----BEGIN ";
const PEM_LABEL: &str = "PRIVATE KEY";
/// What a key is encrypted with says so in its text, too.
const ENCRYPTED: &str = "ENCRYPTED";

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// A kind of keys that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with this many bits.
    Rsa(usize),
    /// ECDSA on the curve P-256.
    P256,
    /// ECDSA on the curve P-384.
    P384,
}

/// A key that signs, always over SHA-256: what is signed is a SHA-256 itself, so that a longer digest would add nothing.
pub struct PrivateKey(Kind);

enum Kind {
    Rsa(Box<rsa::PrivateKey>),
    P256(Box<p256::ecdsa::SigningKey>),
    P384(Box<p384::ecdsa::SigningKey>),
}

/// What kind of key it is, and nothing of it.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match &self.0 {
            Kind::Rsa(_) => "PrivateKey(RSA)",
            Kind::P256(_) => "PrivateKey(P-256)",
            Kind::P384(_) => "PrivateKey(P-384)",
        })
    }
}

impl PrivateKey {
    /// The key in a file: PKCS#8 in PEM or DER, not encrypted.
    ///
    /// # Errors
    /// More than 64 KiB, another form, an encrypted key, one of another kind than RSA (of 2048 bits or more) and ECDSA on P-256
    /// and P-384, or a key that contradicts itself.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        if to_u64(bytes.len()) > FILE_MAX {
            return Err(Error::invalid(format!(
                "the file of the private key has {} bytes: at most {FILE_MAX} are read",
                bytes.len()
            ))
            .because(Reason::Limit));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if text.contains(PEM_BEGIN) => Self::from_pem(text),
            _ => Self::from_der(bytes),
        }
    }

    fn from_pem(text: &str) -> Result<Self> {
        let label = text.split(PEM_BEGIN).nth(1).unwrap_or_default();
        let label = label.split("-----").next().unwrap_or_default();
        if text.contains(ENCRYPTED) {
            return Err(encrypted());
        }
        if label != PEM_LABEL {
            return Err(other_form(label));
        }
        let start = text.find(PEM_BEGIN).unwrap_or_default();
        let (_, document) =
            SecretDocument::from_pem(text[start..].trim_end()).map_err(unreadable)?;
        Self::from_der(document.as_bytes())
    }

    fn from_der(bytes: &[u8]) -> Result<Self> {
        if is_encrypted(bytes) {
            return Err(encrypted());
        }
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_der(bytes) {
            return Ok(Self(Kind::P256(Box::new(key))));
        }
        if let Ok(key) = p384::ecdsa::SigningKey::from_pkcs8_der(bytes) {
            return Ok(Self(Kind::P384(Box::new(key))));
        }
        let key = rsa::PrivateKey::from_pkcs8_der(bytes).map_err(unreadable)?;
        let bits = key.n().bit_width();
        if bits < RSA_MIN {
            return Err(weak(&format!(
                "the private key is RSA of {bits} bits: {RSA_MIN} are the least"
            )));
        }
        Ok(Self(Kind::Rsa(Box::new(key))))
    }

    /// A new key, from the randomness of the operating system.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Environment`] where there is no randomness; [`crate::ErrorKind::InvalidInput`] for RSA with fewer
    /// than 2048 or more than 8192 bits.
    pub fn generate(kind: KeyKind) -> Result<Self> {
        Ok(Self(match kind {
            KeyKind::Rsa(bits) => {
                if !(2048..=8192).contains(&bits) {
                    return Err(Error::invalid(format!(
                        "an RSA key of {bits} bits: must be 2048 to 8192"
                    )));
                }
                let key = rsa::PrivateKey::new(&mut OsRandom, bits).map_err(not_made)?;
                Kind::Rsa(Box::new(key))
            }
            KeyKind::P256 => {
                let key = p256::ecdsa::SigningKey::try_generate_from_rng(&mut OsRandom);
                Kind::P256(Box::new(key.map_err(not_made)?))
            }
            KeyKind::P384 => {
                let key = p384::ecdsa::SigningKey::try_generate_from_rng(&mut OsRandom);
                Kind::P384(Box::new(key.map_err(not_made)?))
            }
        }))
    }

    /// The key as PKCS#8 in PEM.
    ///
    /// # Errors
    /// None that a sound key leads to.
    pub fn to_pem(&self) -> Result<Zeroizing<String>> {
        let document = match &self.0 {
            Kind::Rsa(key) => key.to_pkcs8_der(),
            Kind::P256(key) => key.to_pkcs8_der(),
            Kind::P384(key) => key.to_pkcs8_der(),
        };
        let document = document.map_err(not_made)?;
        document.to_pem(PEM_LABEL, LineEnding::LF).map_err(not_made)
    }

    /// The SubjectPublicKeyInfo of its public half.
    pub(super) fn public_der(&self) -> Result<Vec<u8>> {
        let document = match &self.0 {
            Kind::Rsa(key) => key.to_public_key().to_public_key_der(),
            Kind::P256(key) => key.verifying_key().to_public_key_der(),
            Kind::P384(key) => key.verifying_key().to_public_key_der(),
        };
        Ok(document.map_err(not_made)?.into_vec())
    }

    /// Whether this is the other half of a key.
    pub(super) fn belongs_to(&self, public: &PublicKey) -> bool {
        match (&self.0, public) {
            (Kind::Rsa(key), PublicKey::Rsa(public)) => key.as_public_key() == &**public,
            (Kind::P256(key), PublicKey::P256(public)) => key.verifying_key() == public,
            (Kind::P384(key), PublicKey::P384(public)) => key.verifying_key() == &**public,
            _ => false,
        }
    }

    /// A signature over the SHA-256 of `content`: the same each time, by PKCS#1 v1.5 or by RFC 6979.
    pub(super) fn sign(&self, content: &[u8]) -> Result<Vec<u8>> {
        let digest = Sha256::digest(content);
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::invalid("the private key cannot sign").with_source(error)
        };
        match &self.0 {
            Kind::Rsa(key) => key
                .sign(Pkcs1v15Sign::new::<Sha256>(), &digest)
                .map_err(|error| failed(error.into())),
            Kind::P256(key) => {
                let signature: std::result::Result<p256::ecdsa::DerSignature, _> =
                    key.sign_prehash(&digest);
                signature
                    .map(|signature| signature.as_bytes().to_vec())
                    .map_err(|error| failed(error.into()))
            }
            Kind::P384(key) => {
                let signature: std::result::Result<p384::ecdsa::DerSignature, _> =
                    key.sign_prehash(&digest);
                signature
                    .map(|signature| signature.as_bytes().to_vec())
                    .map_err(|error| failed(error.into()))
            }
        }
    }

    /// How [`sign`](Self::sign) signs, as a SignerInfo says it: for RSA the digest stands elsewhere.
    pub(super) fn method_of_signer(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Rsa(_) => algorithm_with_null(RSA),
            Kind::P256(_) | Kind::P384(_) => sequence(&[&oid(ECDSA_WITH_SHA256)]),
        }
    }

    /// The same, as a certificate says it.
    pub(super) fn method_of_certificate(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Rsa(_) => algorithm_with_null(SHA256_WITH_RSA),
            Kind::P256(_) | Kind::P384(_) => sequence(&[&oid(ECDSA_WITH_SHA256)]),
        }
    }
}

/// An EncryptedPrivateKeyInfo begins with an algorithm, where a PrivateKeyInfo has its version.
fn is_encrypted(bytes: &[u8]) -> bool {
    let first = Element::only(bytes)
        .and_then(Element::elements)
        .and_then(|mut elements| elements.next());
    first.is_ok_and(|first| first.tag == der::Tag::Sequence)
}

fn encrypted() -> Error {
    Error::unsupported("the private key is encrypted")
        .because(Reason::Feature)
        .with_hint("decrypt it for the time of signing: openssl pkcs8 -in KEY -out PLAIN.key")
}

/// Text that is something else than a key in PKCS#8.
fn other_form(label: &str) -> Error {
    match label {
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "EC PARAMETERS" => {
            Error::unsupported("the private key is in an older form than PKCS#8")
                .because(Reason::Feature)
                .with_hint("write it anew: openssl pkcs8 -topk8 -nocrypt -in KEY -out PKCS8.key")
        }
        _ => Error::invalid(format!(
            "there is no private key, but a {}",
            label.to_lowercase().escape_debug()
        ))
        .with_hint("give a private key in PKCS#8, as PEM or DER"),
    }
}

/// The cause says what is wrong with the form, and nothing of what it holds.
fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("the private key cannot be read: RSA and ECDSA on P-256 and P-384 are handled")
        .with_source(error)
        .with_hint("give a private key in PKCS#8, as PEM or DER")
}

fn not_made(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(crate::ErrorKind::Environment, "making a key").with_source(error)
}
