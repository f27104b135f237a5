//! Keys of certificates, and the signatures that they verify.

use der::asn1::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::DecodePublicKey;
use rsa::traits::PublicKeyParts;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::{Error, ErrorKind, Reason, Result};

/// The shortest RSA key that counts, in bits.
pub(super) const RSA_MIN: u32 = 2048;

/// A digest that a signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const MD5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.5");

impl Hash {
    const ALL: [(ObjectIdentifier, Self); 3] = [
        (SHA256, Self::Sha256),
        (
            ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
            Self::Sha384,
        ),
        (
            ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
            Self::Sha512,
        ),
    ];

    pub fn of(oid: ObjectIdentifier) -> Result<Self> {
        if let Some((_, hash)) = Self::ALL.iter().find(|(known, _)| *known == oid) {
            return Ok(*hash);
        }
        if oid == SHA1 || oid == MD5 {
            return Err(weak("the signature is over a SHA-1 or MD5 digest"));
        }
        Err(Error::unsupported(format!(
            "a signature over a digest of the unknown kind {oid}"
        ))
        .because(Reason::Feature))
    }

    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// How a signature is made, and with which digest where that is part of the method.
const METHODS: [(ObjectIdentifier, Method, Option<Hash>); 8] = [
    method("1.2.840.113549.1.1.1", Method::Rsa, None),
    method("1.2.840.113549.1.1.11", Method::Rsa, Some(Hash::Sha256)),
    method("1.2.840.113549.1.1.12", Method::Rsa, Some(Hash::Sha384)),
    method("1.2.840.113549.1.1.13", Method::Rsa, Some(Hash::Sha512)),
    method("1.2.840.10045.2.1", Method::Ecdsa, None),
    method("1.2.840.10045.4.3.2", Method::Ecdsa, Some(Hash::Sha256)),
    method("1.2.840.10045.4.3.3", Method::Ecdsa, Some(Hash::Sha384)),
    method("1.2.840.10045.4.3.4", Method::Ecdsa, Some(Hash::Sha512)),
];

const fn method(
    oid: &str,
    method: Method,
    hash: Option<Hash>,
) -> (ObjectIdentifier, Method, Option<Hash>) {
    (ObjectIdentifier::new_unwrap(oid), method, hash)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// PKCS#1 v1.5.
    Rsa,
    Ecdsa,
}

impl Method {
    /// The method with this identifier, which must not name another digest than `hash`.
    pub fn of(oid: ObjectIdentifier, hash: Hash) -> Result<Self> {
        let known = METHODS.iter().find(|(known, ..)| *known == oid);
        let Some((_, method, with)) = known else {
            return Err(Error::unsupported(format!(
                "a signature of the kind {oid}: RSA with PKCS#1 v1.5 and ECDSA are handled"
            ))
            .because(Reason::Feature));
        };
        if with.is_some_and(|with| with != hash) {
            return Err(Error::corrupt("the signature names two different digests"));
        }
        Ok(*method)
    }
}

#[derive(Debug, Clone)]
pub(super) enum PublicKey {
    Rsa(Box<rsa::PublicKey>),
    P256(p256::ecdsa::VerifyingKey),
    P384(Box<p384::ecdsa::VerifyingKey>),
}

impl PublicKey {
    /// The key in a SubjectPublicKeyInfo.
    pub fn from_der(bytes: &[u8]) -> Result<Self> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(bytes) {
            return Ok(Self::P256(key));
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(bytes) {
            return Ok(Self::P384(Box::new(key)));
        }
        let key = rsa::PublicKey::from_public_key_der(bytes).map_err(|error| {
            Error::unsupported(
                "the certificate has a key of another kind: RSA and ECDSA on P-256 and P-384 are handled",
            )
            .because(Reason::Feature)
            .with_source(error)
        })?;
        let bits = key.n().bit_width();
        if bits < RSA_MIN {
            return Err(weak(&format!(
                "the certificate has an RSA key of {bits} bits: {RSA_MIN} are the least"
            )));
        }
        Ok(Self::Rsa(Box::new(key)))
    }

    /// Whether `signature` is over the SHA-256 of `content`, by the method of the key.
    pub fn takes(&self, content: &[u8], signature: &[u8]) -> bool {
        let method = match self {
            Self::Rsa(_) => Method::Rsa,
            Self::P256(_) | Self::P384(_) => Method::Ecdsa,
        };
        let digest = Hash::Sha256.digest(content);
        self.verifies(method, Hash::Sha256, &digest, signature)
    }

    /// Whether `signature` is over something with this digest.
    pub fn verifies(&self, method: Method, hash: Hash, digest: &[u8], signature: &[u8]) -> bool {
        match (self, method) {
            (Self::Rsa(key), Method::Rsa) => {
                let scheme = match hash {
                    Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                    Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                    Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
                };
                key.verify(scheme, digest, signature).is_ok()
            }
            (Self::P256(key), Method::Ecdsa) => p256::ecdsa::DerSignature::from_bytes(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            (Self::P384(key), Method::Ecdsa) => p384::ecdsa::DerSignature::from_bytes(signature)
                .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            _ => false,
        }
    }
}

pub(super) fn weak(message: &str) -> Error {
    Error::new(
        ErrorKind::Untrusted,
        format!("{message}, which can be forged"),
    )
    .because(Reason::WeakAlgorithm)
    .with_hint("have it signed anew, with SHA-256 and RSA of 2048 bits or more")
}
