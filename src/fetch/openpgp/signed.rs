//! What a good signature says.

use sequoia_openpgp as pgp;

use pgp::cert::amalgamation::ValidAmalgamation;
use pgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use pgp::packet::Signature;
use pgp::packet::key::PublicParts;
use serde::Serialize;

use super::keyring::Fingerprint;
use super::text::printable;
use super::time::Time;

/// Who signed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The fingerprint of the primary key.
    pub primary: Fingerprint,
    /// The fingerprint of the key that made the signature: the primary key or one of its subkeys.
    pub key: Fingerprint,
    /// The time that the signature says.
    pub made: Time,
    /// The user id of the primary key at that time, where it had one.
    pub user_id: Option<String>,
}

impl Signed {
    /// Of a good signature, and the key that made it.
    pub(super) fn of(
        signature: &Signature,
        key: &ValidErasedKeyAmalgamation<'_, PublicParts>,
    ) -> Option<Self> {
        Some(Self {
            primary: Fingerprint::of(key.cert().fingerprint()),
            key: Fingerprint::of(key.key().fingerprint()),
            made: signature.signature_creation_time()?.into(),
            user_id: user_id(key),
        })
    }
}

/// The main user id of the primary key that `key` belongs to.
fn user_id(key: &ValidErasedKeyAmalgamation<'_, PublicParts>) -> Option<String> {
    let id = key.valid_cert().primary_userid().ok()?;
    Some(printable(id.userid().value()))
}
