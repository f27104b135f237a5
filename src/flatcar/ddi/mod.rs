//! Signed disk images (DDI): a GPT with a filesystem, its dm-verity tree, and a signature of the tree's root hash.
//!
//! ```text
//!   root or usr partition        squashfs, EROFS …            ◀── every block is held against the tree
//!   …-verity                     superblock │ tree of digests ◀── whose root hash
//!   …-verity-sig                 JSON: root hash, signature   ◀── was signed with the key of a certificate
//! ```
//!
//! [`build`] makes them, with the key of a [`Signer`], and [`verify`] holds them against certificates.
//!
//! Since 4628 Flatcar makes its sysexts and confexts that way, with a key that is made for each build of the image, whose
//! certificate is in `/usr/lib/verity.d`: a signature that holds proves that image and sysext are of one build.
//!
//! As systemd does, a certificate counts because it is there: neither its dates nor who issued it are looked at.
//!
//! Format: UAPI.3 and UAPI.4, "Discoverable Partitions" and "Discoverable Disk Image"; RFC 5652 (CMS) for the signature.

mod build;
mod certificate;
mod element;
mod encode;
mod look;
mod partitions;
mod private_key;
mod public_key;
mod random;
mod self_signed;
mod signature;
mod signed_data;
mod signer;
mod trusted;

use std::sync::Arc;

use serde::Serialize;

use crate::block::{BlockDevice, Window};
use crate::bytes::hex;
use crate::fs::verity::Verity;
use crate::{Error, ErrorKind, Reason, Result, ResultExt};

pub use build::{
    BuildOptions, Built, FILES_START, Protection, SignOptions, build, build_around, sign,
};
pub use certificate::Certificate;
pub use look::{Signed, look, type_name};
pub use partitions::{KINDS, Kind};
pub use private_key::{KeyKind, PrivateKey};
pub use signer::Signer;
pub use trusted::trusted_by;

pub(in crate::flatcar) use partitions::has_gpt;

use partitions::Partitions;
use signature::Signature;

/// What a signed disk image proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The root hash of the tree, in hexadecimal digits.
    pub root_hash: String,
    /// How many bytes of the filesystem's partition, from its start, are what was signed.
    pub data_bytes: u64,
    /// Whose certificate the signature is held against.
    pub subject: String,
    /// The SHA-256 of that certificate, in hexadecimal digits.
    pub fingerprint: String,
}

/// Whether `device` is a disk image, and not a bare filesystem.
///
/// # Errors
/// Those of reading it.
pub fn is_disk_image(device: &dyn BlockDevice) -> Result<bool> {
    has_gpt(device)
}

/// Whether `device` is a disk image with a signature, which says nothing of whether it holds.
///
/// # Errors
/// The partition table cannot be read.
pub fn is_signed(device: Arc<dyn BlockDevice>) -> Result<bool> {
    Ok(Partitions::find(device)?.is_some_and(|found| found.signature.is_some()))
}

/// Verifies a signed disk image: that the root hash is signed with the key of one of `certificates`, and that all data is what
/// the root hash stands for.
///
/// # Errors
/// [`ErrorKind::Untrusted`] with the reason [`NoSignature`](Reason::NoSignature) where there is nothing to verify,
/// [`UnknownKey`](Reason::UnknownKey) where none of the certificates is that of the signer,
/// [`BadSignature`](Reason::BadSignature), [`WeakAlgorithm`](Reason::WeakAlgorithm), or [`Checksum`](Reason::Checksum) where
/// the data is another. What cannot be read is [`ErrorKind::Corrupt`], what is of an unknown form [`ErrorKind::Unsupported`].
pub fn verify(device: Arc<dyn BlockDevice>, certificates: &[Certificate]) -> Result<Verdict> {
    let Some(found) = Partitions::find(device)? else {
        return Err(unsigned(
            "it is not a disk image with a root or usr partition",
        ));
    };
    let (Some(hashes), Some(signature)) = (&found.verity, &found.signature) else {
        return Err(unsigned("it has no dm-verity data or no signature"));
    };
    let signature = Signature::read(signature).at(|| format!("{}-verity-sig", found.kind.name))?;
    let signer = signature.verify(certificates)?;
    let verity = Verity::<&Window<Arc<dyn BlockDevice>>>::open(&found.files, hashes)
        .at(|| format!("{}-verity", found.kind.name))?;
    verity.verify(&signature.root_hash)?;
    Ok(Verdict {
        root_hash: hex(&signature.root_hash),
        data_bytes: verity.data_bytes(),
        subject: signer.subject().to_owned(),
        fingerprint: hex(signer.fingerprint()),
    })
}

fn unsigned(why: &str) -> Error {
    Error::new(ErrorKind::Untrusted, format!("it is not signed: {why}"))
        .because(Reason::NoSignature)
        .with_hint(
            "use a disk image as systemd-repart makes it with a private key and a certificate",
        )
}
