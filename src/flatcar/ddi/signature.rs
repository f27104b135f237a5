//! The partition of the signature: JSON, filled up with zeroes.

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use super::signed_data::SignedData;
use super::signer::Signer;
use crate::block::BlockDevice;
use crate::bytes::{hex, is_zero, to_usize};
use crate::{Error, Result};

/// The most that is read of the partition, in bytes; systemd-repart makes it of 16 KiB.
const SIGNATURE_MAX: u64 = 1 << 20;

/// The document as it stands there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    /// Hexadecimal digits.
    root_hash: String,
    /// A SignedData of CMS in DER, as base64.
    signature: String,
}

/// The document as it is written, with its keys in the order of systemd-repart.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    root_hash: String,
    /// The SHA-256 of the certificate, in hexadecimal digits.
    certificate_fingerprint: String,
    signature: String,
}

/// The document by which `signer` says that a root hash is the right one.
pub(super) fn document(root_hash: &[u8; 32], signer: &Signer) -> Result<Vec<u8>> {
    let root_hash = hex(root_hash);
    let signed_data = signer.sign(root_hash.as_bytes())?;
    let document = Written {
        root_hash,
        certificate_fingerprint: hex(signer.certificate().fingerprint()),
        signature: base64::engine::general_purpose::STANDARD.encode(signed_data),
    };
    serde_json::to_vec(&document).map_err(|error| Error::internal("making JSON").with_source(error))
}

/// A root hash, and who says that it is the right one.
#[derive(Debug)]
pub(super) struct Signature {
    pub root_hash: [u8; 32],
    /// A SignedData of CMS in DER.
    signed_data: Vec<u8>,
}

impl Signature {
    pub fn read(partition: &dyn BlockDevice) -> Result<Self> {
        let mut bytes = vec![0; to_usize(partition.size().min(SIGNATURE_MAX))?];
        partition.read_at(0, &mut bytes)?;
        let end = bytes.iter().position(|&byte| byte == 0);
        let (text, filling) = bytes.split_at(end.unwrap_or(bytes.len()));
        if !is_zero(filling) {
            return Err(Error::corrupt(
                "there is something behind the signature of the root hash",
            ));
        }
        Self::parse(text)
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let document: Document = serde_json::from_slice(text).map_err(unreadable)?;
        let base64 = base64::engine::general_purpose::STANDARD;
        Ok(Self {
            root_hash: from_hex(&document.root_hash)?,
            signed_data: base64.decode(document.signature).map_err(unreadable)?,
        })
    }

    /// Who is said to have made it.
    pub fn signers(&self) -> Result<Vec<String>> {
        SignedData::parse(&self.signed_data)?.signers()
    }

    /// The one of `certificates` whose key made it.
    pub fn verify<'c>(&self, certificates: &'c [Certificate]) -> Result<&'c Certificate> {
        // What is signed is the root hash as text, in small letters and without the end of a line.
        let content = hex(&self.root_hash);
        SignedData::parse(&self.signed_data)?.verify(content.as_bytes(), certificates)
    }
}

/// The 32 bytes that 64 digits stand for.
fn from_hex(text: &str) -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(Error::corrupt(
            "the signature is not of a root hash with 64 hexadecimal digits",
        ));
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16)
            .map_err(|error| Error::internal("a digit is none").with_source(error))?;
    }
    Ok(bytes)
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt("the signature of the root hash cannot be read").with_source(error)
}
