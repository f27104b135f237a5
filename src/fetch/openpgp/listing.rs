//! What there is to know of the keys in a keyring.

use std::fmt;

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::amalgamation::ValidAmalgamation;
use pgp::cert::amalgamation::key::{PrimaryKey, ValidErasedKeyAmalgamation};
use pgp::crypto::mpi;
use pgp::packet::Signature;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::policy::StandardPolicy;
use pgp::types::{Curve, PublicKeyAlgorithm, ReasonForRevocation, RevocationStatus};
use serde::Serialize;

use super::keyring::{Fingerprint, Keyring};
use super::text::printable;
use super::time::Time;
use crate::Finding;
use crate::finding::code;

/// So many days before the newest signing key ends, it is said.
const ENDS_SOON_DAYS: u32 = 90;

/// A primary key with its subkeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrimaryInfo {
    /// The fingerprint of the primary key.
    pub primary: Fingerprint,
    /// Its user ids.
    pub user_ids: Vec<String>,
    /// The primary key, then its subkeys in the order of their creation.
    pub keys: Vec<KeyInfo>,
}

/// A primary key or a subkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether it is a subkey.
    pub is_subkey: bool,
    /// Kind and size, as gpg writes them: `rsa4096`, `ed25519`.
    pub algorithm: String,
    /// When it was made.
    pub created: Time,
    /// When it ends.
    pub expires: Option<Time>,
    /// When and why it was revoked; that of the primary key counts for its subkeys, too, but stands there only.
    pub revoked: Option<Revocation>,
    /// Whether it is meant to sign.
    pub can_sign: bool,
}

/// A key taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// When.
    pub at: Time,
    /// Why, in a word.
    pub reason: &'static str,
    /// Whether signatures that were made before count no more.
    pub is_hard: bool,
    /// What its owner wrote about it.
    pub comment: Option<String>,
}

impl Revocation {
    /// Of several revocations one that is hard, or else the earliest.
    pub(super) fn of(signatures: &[&Signature]) -> Option<Self> {
        let all = signatures
            .iter()
            .filter_map(|signature| Self::one(signature));
        all.min_by_key(|revocation| (!revocation.is_hard, revocation.at))
    }

    fn one(signature: &Signature) -> Option<Self> {
        let at = Time::from(signature.signature_creation_time()?);
        let (reason, comment) = match signature.reason_for_revocation() {
            Some((reason, comment)) => (reason, printable(comment)),
            None => (ReasonForRevocation::Unspecified, String::new()),
        };
        let word = match reason {
            ReasonForRevocation::KeySuperseded => "superseded",
            ReasonForRevocation::KeyCompromised => "compromised",
            ReasonForRevocation::KeyRetired => "retired",
            _ => "unspecified",
        };
        Some(Self {
            at,
            reason: word,
            is_hard: !matches!(word, "superseded" | "retired"),
            comment: Some(comment).filter(|comment| !comment.is_empty()),
        })
    }
}

/// `superseded on 2018-09-26`
impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.reason, self.at.date())
    }
}

impl Keyring {
    /// The trusted keys as they are at `now`, in the order of their fingerprints.
    pub fn keys(&self, now: Time) -> Vec<PrimaryInfo> {
        let policy = StandardPolicy::at(now.system());
        self.trusted()
            .map(|cert| primary(cert, &policy, now))
            .collect()
    }

    /// What a person should know of the trusted keys at `now`: that no signing key is left, or that none will be left soon.
    pub fn findings(&self, now: Time) -> Vec<Finding> {
        let keys = self.keys(now);
        keys.iter()
            .filter_map(|primary| primary.finding(now))
            .collect()
    }
}

fn primary(cert: &Cert, policy: &StandardPolicy<'_>, now: Time) -> PrimaryInfo {
    let mut keys: Vec<KeyInfo> = cert
        .keys()
        .with_policy(policy, now.system())
        .map(|key| one(&key))
        .collect();
    keys.sort_by_key(|key| (key.is_subkey, key.created));
    PrimaryInfo {
        primary: Fingerprint::of(cert.fingerprint()),
        user_ids: cert
            .userids()
            .with_policy(policy, now.system())
            .map(|id| printable(id.userid().value()))
            .collect(),
        keys,
    }
}

fn one(key: &ValidErasedKeyAmalgamation<'_, PublicParts>) -> KeyInfo {
    let revoked = match key.revocation_status() {
        RevocationStatus::Revoked(signatures) => Revocation::of(&signatures),
        _ => None,
    };
    KeyInfo {
        fingerprint: Fingerprint::of(key.key().fingerprint()),
        is_subkey: !key.primary(),
        algorithm: algorithm(key.key()),
        created: key.key().creation_time().into(),
        expires: key.key_expiration_time().map(Time::from),
        revoked,
        can_sign: key.for_signing(),
    }
}

fn algorithm(key: &pgp::packet::Key<PublicParts, UnspecifiedRole>) -> String {
    let bits = key.mpis().bits().unwrap_or(0);
    match (key.pk_algo(), key.mpis()) {
        (PublicKeyAlgorithm::RSAEncryptSign, _) => format!("rsa{bits}"),
        (_, mpi::PublicKey::DSA { .. }) => format!("dsa{bits}"),
        (_, mpi::PublicKey::EdDSA { curve, .. } | mpi::PublicKey::ECDSA { curve, .. }) => {
            curve_name(curve)
        }
        (_, mpi::PublicKey::ECDH { curve, .. }) => curve_name(curve),
        (other, _) => other.to_string(),
    }
}

fn curve_name(curve: &Curve) -> String {
    match curve {
        Curve::NistP256 => "nistp256".to_owned(),
        Curve::NistP384 => "nistp384".to_owned(),
        Curve::NistP521 => "nistp521".to_owned(),
        Curve::Ed25519 => "ed25519".to_owned(),
        Curve::Cv25519 => "cv25519".to_owned(),
        other => other.to_string(),
    }
}

impl PrimaryInfo {
    /// What there is to say at `now` of the end of the newest signing key: a subkey where there are any for signing.
    pub fn finding(&self, now: Time) -> Option<Finding> {
        let signing = || self.keys.iter().filter(|key| key.can_sign);
        let has_subkeys = signing().any(|key| key.is_subkey);
        let newest = signing()
            .filter(|key| key.is_subkey == has_subkeys && key.revoked.is_none())
            .max_by_key(|key| key.created)?;
        let expires = newest.expires?;
        let code = if expires <= now {
            code::SIGNING_KEY_ENDED
        } else if expires <= now.days_later(ENDS_SOON_DAYS) {
            code::SIGNING_KEY_ENDS
        } else {
            return None;
        };
        let owner = self.user_ids.first();
        let owner = owner.map_or_else(|| self.primary.to_string(), String::clone);
        Some(
            Finding::new(code)
                .with("owner", owner)
                .with("key", &newest.fingerprint)
                .with("date", expires.date()),
        )
    }
}
