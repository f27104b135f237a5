//! Certificates, of which nothing counts but the key.

use std::collections::BTreeSet;

use der::{Decode, Encode};
use sha2::{Digest, Sha256};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::public_key::PublicKey;
use crate::bytes::to_u64;
use crate::{Error, Reason, Result};

/// The largest file of certificates that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// How a certificate begins where it is text.
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";
/// Characters in a line of such text.
const PEM_LINE: usize = 64;

/// An X.509 certificate that is trusted to sign.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: Vec<u8>,
    subject: String,
    fingerprint: [u8; 32],
    /// Issuer and serial number, each as an element of DER.
    pub(super) issuer: Vec<u8>,
    pub(super) serial: Vec<u8>,
    /// The identifier of the key, where the certificate names one.
    pub(super) key_id: Option<Vec<u8>>,
    pub(super) key: PublicKey,
}

impl Certificate {
    /// The certificates in a file: one in DER, or any number in PEM with whatever text between them. One that is there twice
    /// counts once.
    ///
    /// # Errors
    /// More than 1 MiB, no certificate, one that cannot be read, or with a key that signs nothing here.
    pub fn read(bytes: &[u8]) -> Result<Vec<Self>> {
        if to_u64(bytes.len()) > FILE_MAX {
            return Err(Error::invalid(format!(
                "the file of certificates has {} bytes: at most {FILE_MAX} are read",
                bytes.len()
            ))
            .because(Reason::Limit));
        }
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let ders = if text.contains(PEM_BEGIN) {
            pem_blocks(text)?
        } else {
            vec![bytes.to_vec()]
        };
        let mut known = BTreeSet::new();
        let mut certificates = Vec::new();
        for der in ders {
            let certificate = Self::from_der(&der)?;
            if known.insert(certificate.fingerprint) {
                certificates.push(certificate);
            }
        }
        Ok(certificates)
    }

    pub(super) fn from_der(bytes: &[u8]) -> Result<Self> {
        let parsed = x509_cert::Certificate::from_der(bytes).map_err(unreadable)?;
        let fields = parsed.tbs_certificate();
        let key_id = fields
            .get_extension::<SubjectKeyIdentifier>()
            .map_err(unreadable)?;
        let key = fields
            .subject_public_key_info()
            .to_der()
            .map_err(unreadable)?;
        Ok(Self {
            der: bytes.to_vec(),
            subject: fields.subject().to_string(),
            fingerprint: Sha256::digest(bytes).into(),
            issuer: fields.issuer().to_der().map_err(unreadable)?,
            serial: fields.serial_number().to_der().map_err(unreadable)?,
            key_id: key_id.map(|(_, id)| id.0.as_bytes().to_vec()),
            key: PublicKey::from_der(&key)?,
        })
    }

    /// Its subject, such as `CN=Flatcar`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The certificate in PEM, and nothing else.
    pub fn to_pem(&self) -> String {
        use base64::Engine as _;
        let mut text = format!("{PEM_BEGIN}\n");
        let body = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(rest.len().min(PEM_LINE));
            text.push_str(line);
            text.push('\n');
            rest = behind;
        }
        text.push_str(PEM_END);
        text.push('\n');
        text
    }

    /// Its SHA-256.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

/// The content of all blocks.
fn pem_blocks(text: &str) -> Result<Vec<Vec<u8>>> {
    use base64::Engine as _;
    let mut blocks = Vec::new();
    for block in text.split(PEM_BEGIN).skip(1) {
        let (body, _) = block
            .split_once(PEM_END)
            .ok_or_else(|| Error::corrupt("a certificate has no end").because(Reason::CutShort))?;
        let body: String = body.split_ascii_whitespace().collect();
        let decoded = base64::engine::general_purpose::STANDARD.decode(body);
        blocks.push(decoded.map_err(unreadable)?);
    }
    Ok(blocks)
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("the certificate cannot be read")
        .with_source(error)
        .with_hint("give an X.509 certificate in PEM or DER")
}
