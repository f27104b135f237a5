//! What a signed disk image says of itself, whoever is trusted.

use std::sync::Arc;

use serde::Serialize;

use super::certificate::Certificate;
use super::partitions::{KINDS, Partitions};
use super::signature::Signature;
use crate::block::{BlockDevice, Window};
use crate::bytes::{Guid, hex};
use crate::fs::verity::Verity;
use crate::{ErrorKind, Result, ResultExt};

/// A signature, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The root hash that is signed, in hexadecimal digits.
    pub root_hash: String,
    /// Who signed it: the issuer and serial number of each signer's certificate, or the identifier of its key.
    pub signers: Vec<String>,
    /// Whether all data is what the root hash stands for.
    pub verity_holds: bool,
    /// Why not.
    pub verity_problem: Option<String>,
    /// The subject of the certificate, of those that are trusted, whose key made the signature.
    pub trusted: Option<String>,
    /// Why there is none.
    pub trust_problem: Option<String>,
}

/// What a disk image with a signature says; `None` where it has none.
///
/// # Errors
/// The partitions or the signature cannot be read.
pub fn look(device: Arc<dyn BlockDevice>, certificates: &[Certificate]) -> Result<Option<Signed>> {
    let Some(found) = Partitions::find(device)? else {
        return Ok(None);
    };
    let (Some(hashes), Some(signature)) = (&found.verity, &found.signature) else {
        return Ok(None);
    };
    let signature = Signature::read(signature).at(|| format!("{}-verity-sig", found.kind.name))?;
    let verity = Verity::<&Window<Arc<dyn BlockDevice>>>::open(&found.files, hashes)
        .and_then(|verity| verity.verify(&signature.root_hash));
    let verity = verdict(verity)?;
    let trusted = verdict(signature.verify(certificates))?;
    Ok(Some(Signed {
        root_hash: hex(&signature.root_hash),
        signers: signature.signers()?,
        verity_holds: verity.is_ok(),
        verity_problem: verity.err(),
        trusted: trusted
            .as_ref()
            .ok()
            .map(|known| known.subject().to_owned()),
        trust_problem: trusted.err(),
    }))
}

/// What was decided, or why nothing good could be; an error where it could not be decided.
fn verdict<T>(decided: Result<T>) -> Result<std::result::Result<T, String>> {
    match decided {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.kind() {
            ErrorKind::Untrusted | ErrorKind::Corrupt | ErrorKind::Unsupported => {
                Ok(Err(error.to_string()))
            }
            _ => Err(error),
        },
    }
}

/// The type of a disk image's partition in words, where it is known.
pub fn type_name(type_guid: Guid) -> String {
    for kind in &KINDS {
        if let Some(suffix) = kind.part_of(type_guid) {
            return format!("{}{suffix}", kind.name);
        }
    }
    type_guid.to_string()
}
