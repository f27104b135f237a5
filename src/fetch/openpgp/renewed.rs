//! Keys whose owner renewed them after they had signed.
//!
//! Who gives a subkey or a primary key a longer life signs it anew, and copies that are exported then have the newest of these
//! self-signatures only. At the time of an older signature nothing says that the key belonged to its owner, yet what is there
//! does, as GnuPG takes it, too: the key was made before it signed, had not ended by what is known now, and was not revoked.

use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use pgp::cert::amalgamation::{ValidAmalgamation, ValidateAmalgamation};
use pgp::packet::Signature;
use pgp::packet::key::PublicParts;
use pgp::policy::{Policy, StandardPolicy};
use pgp::types::RevocationStatus;

use super::listing::Revocation;
use super::signed::Signed;
use super::time::Time;

/// Who made `signature`, which is over the content, where it was one of the keys of `cert` as they are at `now`.
pub(super) fn signer(signature: &Signature, cert: &Cert, now: Time) -> Option<Signed> {
    let policy = StandardPolicy::at(now.system());
    let made = signature.signature_creation_time()?;
    signature.signature_alive(now.system(), None).ok()?;
    policy.signature(signature, Default::default()).ok()?;
    let issuers = signature.get_issuers();
    let keys = cert.keys().key_handles(issuers.iter());
    let bound = keys.filter_map(|key| key.with_policy(&policy, now.system()).ok());
    let signer = bound
        .filter(|key| key.for_signing() && was_valid(key, made))
        .find(|key| signature.verify_document(key.key()).is_ok())?;
    Signed::of(signature, &signer)
}

/// Whether the key, and the primary key that it belongs to, lived at that time.
fn was_valid(key: &ValidErasedKeyAmalgamation<'_, PublicParts>, at: SystemTime) -> bool {
    let primary = key.valid_cert().primary_key();
    let ends = [key.key_expiration_time(), primary.key_expiration_time()];
    let has_ended = ends.into_iter().flatten().any(|end| end <= at);
    let is_made = primary.key().creation_time() <= at && key.key().creation_time() <= at;
    let revocations = [
        key.valid_cert().revocation_status(),
        key.revocation_status(),
    ];
    is_made && !has_ended && !revocations.iter().any(|status| is_revoked(status, at))
}

fn is_revoked(status: &RevocationStatus<'_>, at: SystemTime) -> bool {
    let RevocationStatus::Revoked(signatures) = status else {
        return false;
    };
    Revocation::of(signatures)
        .is_none_or(|revocation| revocation.is_hard || revocation.at <= Time::from(at))
}
