//! Why a signature does not count, in words.

use sequoia_openpgp as pgp;

use pgp::cert::amalgamation::ValidAmalgamation;
use pgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use pgp::packet::Signature;
use pgp::packet::key::PublicParts;
use pgp::parse::stream::VerificationError;
use pgp::types::{HashAlgorithm, RevocationStatus};

use super::keyring::{Fingerprint, Keyring};
use super::listing::Revocation;
use super::time::Time;
use crate::finding::Few;
use crate::{Error, ErrorKind, Reason};

type Key<'a> = ValidErasedKeyAmalgamation<'a, PublicParts>;

/// Reasons of refusals, the gravest first.
const GRAVITY: [Reason; 6] = [
    Reason::BadSignature,
    Reason::WeakAlgorithm,
    Reason::KeyNotValid,
    Reason::UnknownKey,
    Reason::Version,
    Reason::NoSignature,
];

/// What signs nothing any more: two contents with one digest can be made.
pub(super) fn is_weak(signature: &Signature) -> bool {
    use HashAlgorithm::{MD5, RipeMD, SHA1};
    matches!(signature.hash_algo(), MD5 | RipeMD | SHA1)
}

/// The refusal of a signature by a digest that is too weak.
pub(super) fn weak(signature: &Signature) -> Error {
    refused(
        Reason::WeakAlgorithm,
        format!(
            "the signature is over a {} digest, which can be forged",
            signature.hash_algo()
        ),
    )
    .with_hint("have it signed anew, with SHA-256 or SHA-512")
}

/// The refusal of a signature that was looked at.
pub(super) fn of(problem: &VerificationError<'_>, keyring: &Keyring, now: Time) -> Error {
    match problem {
        VerificationError::MissingKey { sig } => unknown_key(sig, keyring),
        VerificationError::UnboundKey { sig, cert, .. } => not_valid(format!(
            "the signature of {} was made by a key that did not belong to {} at that time",
            made(sig),
            cert.fingerprint()
        )),
        VerificationError::BadKey { sig, ka, .. } => key_not_valid(ka, sig),
        VerificationError::BadSignature { sig, .. } if is_weak(sig) => weak(sig),
        VerificationError::BadSignature { sig, ka, error } => {
            match sig.signature_alive(now.system(), None) {
                Ok(()) => bad(ka, sig, error),
                Err(_) => outside_of_life(sig, now),
            }
        }
        VerificationError::MalformedSignature { .. } => damaged(),
        _ => unknown_form(),
    }
}

/// Of several refusals the gravest, with the words of the others.
pub(super) fn gravest(mut refusals: Vec<Error>) -> Error {
    let gravity = |error: &Error| {
        let place = GRAVITY
            .iter()
            .position(|reason| error.reason() == Some(*reason));
        place.unwrap_or(GRAVITY.len())
    };
    refusals.sort_by_key(gravity);
    match refusals.len() {
        0 => no_signature(),
        1 => refusals.remove(0),
        count => {
            let words: Few = refusals.iter().map(Error::message).collect();
            let first = refusals.remove(0);
            let all = refused(
                first.reason().unwrap_or(Reason::BadSignature),
                format!("none of the {count} signatures counts: {words}"),
            );
            match first.hint() {
                Some(hint) => all.with_hint(hint),
                None => all,
            }
        }
    }
}

/// There is nothing that could be verified.
pub(super) fn no_signature() -> Error {
    refused(
        Reason::NoSignature,
        "there is no OpenPGP signature in it".to_owned(),
    )
    .with_hint("get the signature again; what is there may be a web page or another file")
}

/// There is a signature that cannot be read.
pub(super) fn damaged() -> Error {
    refused(
        Reason::BadSignature,
        "the signature is damaged or cut short".to_owned(),
    )
    .with_hint("get the signature again")
}

fn unknown_form() -> Error {
    refused(
        Reason::Version,
        "the signature is of a form that is not known here".to_owned(),
    )
    .with_hint("have it signed anew, in a form that GnuPG writes")
}

fn refused(reason: Reason, message: String) -> Error {
    Error::new(ErrorKind::Untrusted, message).because(reason)
}

fn made(signature: &Signature) -> String {
    signature
        .signature_creation_time()
        .map_or_else(|| "no date".to_owned(), |time| Time::from(time).to_string())
}

fn unknown_key(signature: &Signature, keyring: &Keyring) -> Error {
    let Some(issuer) = signature.get_issuers().into_iter().next() else {
        return refused(
            Reason::UnknownKey,
            "the signature does not say which key made it".to_owned(),
        )
        .with_hint("have it signed anew");
    };
    let message = match keyring.primary_of(&issuer) {
        Some(primary) => format!(
            "the signature is by key {issuer} of {primary}, which is in the keyring but not trusted"
        ),
        None => format!("the signature is by key {issuer}, which is not in the keyring"),
    };
    refused(Reason::UnknownKey, message)
        .with_hint("if the signer has a new key, give it in a keyring")
}

fn not_valid(message: String) -> Error {
    refused(Reason::KeyNotValid, message)
        .with_hint("get a file that is signed by a valid key, or a newer keyring")
}

fn key_not_valid(key: &Key<'_>, signature: &Signature) -> Error {
    let name = Fingerprint::of(key.key().fingerprint());
    let when = made(signature);
    let of_cert = revocation(&key.valid_cert().revocation_status());
    let of_key = revocation(&key.revocation_status());
    if let Some(revocation) = of_cert.or(of_key) {
        return not_valid(format!(
            "key {name}, which made the signature of {when}, is revoked: {revocation}"
        ));
    }
    if !key.for_signing() {
        return not_valid(format!(
            "key {name}, which made the signature of {when}, is not for signing"
        ));
    }
    let ends = [key.key_expiration_time(), primary_end(key)];
    match ends.into_iter().flatten().min() {
        Some(end) => not_valid(format!(
            "key {name} had expired on {} when it made the signature of {when}",
            Time::from(end)
        )),
        None => not_valid(format!(
            "key {name} was not valid when it made the signature of {when}"
        )),
    }
}

fn primary_end(key: &Key<'_>) -> Option<std::time::SystemTime> {
    key.valid_cert().primary_key().key_expiration_time()
}

fn revocation(status: &RevocationStatus<'_>) -> Option<Revocation> {
    match status {
        RevocationStatus::Revoked(signatures) => Revocation::of(signatures),
        _ => None,
    }
}

fn outside_of_life(signature: &Signature, now: Time) -> Error {
    let Some(made) = signature.signature_creation_time().map(Time::from) else {
        return damaged();
    };
    if made > now {
        return not_valid(format!(
            "the signature is of {made}, which is later than the time here, {now}"
        ))
        .with_hint("set the clock");
    }
    not_valid(format!("the signature of {made} has expired"))
}

fn bad(key: &Key<'_>, signature: &Signature, cause: &impl ToString) -> Error {
    let message = format!(
        "the signature of {} by key {} does not match: what was signed is something else, or was changed",
        made(signature),
        key.key().fingerprint()
    );
    refused(Reason::BadSignature, message)
        .with_hint("get the file and its signature again, both of the same release")
        .with_source(cause.to_string())
}
