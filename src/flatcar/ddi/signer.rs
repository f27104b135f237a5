//! A key with its certificate, and the SignedData of CMS that it makes:
//!
//! ```text
//!   ContentInfo    signedData, [0] SignedData
//!   SignedData     1, SHA-256, content (data, elsewhere), SignerInfo
//!   SignerInfo     1, issuer and serial number, SHA-256, method, signature
//! ```
//!
//! There are no certificates and no attributes, as the kernel's documentation of dm-verity has it: the same bytes as those of
//! `openssl smime -sign -nocerts -noattr -binary`.

use super::certificate::Certificate;
use super::encode::{algorithm_with_null, element, oid, sequence, small, tag};
use super::private_key::PrivateKey;
use super::public_key::SHA256;
use super::signed_data::{DATA, SIGNED_DATA};
use crate::{Error, Result};

/// Version of a SignedData over data without certificates, and of a SignerInfo that names a certificate.
const VERSION: u8 = 1;

/// Who signs.
#[derive(Debug)]
pub struct Signer {
    key: PrivateKey,
    certificate: Certificate,
}

impl Signer {
    /// A key with its certificate.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] where the certificate is of another key.
    pub fn new(key: PrivateKey, certificate: Certificate) -> Result<Self> {
        if !key.belongs_to(&certificate.key) {
            return Err(Error::invalid(format!(
                "the private key is not that of the certificate {}",
                certificate.subject()
            ))
            .with_hint("give the key and the certificate that were made together"));
        }
        Ok(Self { key, certificate })
    }

    /// The certificate by which its signatures are verified.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A SignedData over `content`, in DER.
    pub(super) fn sign(&self, content: &[u8]) -> Result<Vec<u8>> {
        let certificate = &self.certificate;
        let digest = algorithm_with_null(SHA256);
        let signature = self.key.sign(content)?;
        // A key that contradicts itself, or a fault of the machine, would make one that tells of the key.
        if !certificate.key.takes(content, &signature) {
            return Err(Error::invalid(
                "the private key makes signatures that do not match its certificate",
            )
            .with_hint("the key is damaged: get it from where it is kept safe"));
        }
        let who = sequence(&[&certificate.issuer, &certificate.serial]);
        let signer = sequence(&[
            &small(VERSION),
            &who,
            &digest,
            &self.key.method_of_signer(),
            &element(tag::OCTET_STRING, &[&signature]),
        ]);
        let signed_data = sequence(&[
            &small(VERSION),
            &element(tag::SET, &[&digest]),
            &sequence(&[&oid(DATA)]),
            &element(tag::SET, &[&signer]),
        ]);
        let inner = element(tag::CONTEXT_0, &[&signed_data]);
        Ok(sequence(&[&oid(SIGNED_DATA), &inner]))
    }
}
