//! Detached signatures by a key of this machine.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::CertParser;
use pgp::crypto::KeyPair;
use pgp::parse::Parse;
use pgp::policy::StandardPolicy;
use pgp::serialize::stream::{Message, Signer as Writer};

use super::Fingerprint;
use crate::{Error, Reason, Result};

/// A key that signs.
pub struct SigningKey {
    pair: KeyPair,
    primary: Fingerprint,
    made: SystemTime,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("primary", &self.primary)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the secret key in `bytes`, armored or binary, that signs at `now` (seconds since 1970).
    ///
    /// # Errors
    /// There is not one key in it, none that signs at that time, or it has a password.
    pub fn read(bytes: &[u8], now: u64) -> Result<Self> {
        let refused = |message: &str| Error::invalid(message.to_owned());
        let parsed = CertParser::from_bytes(bytes)
            .and_then(|certs| certs.collect::<pgp::Result<Vec<Cert>>>())
            .map_err(|_| refused("this is no OpenPGP key"))?;
        let [cert] = parsed.as_slice() else {
            return Err(Error::invalid(format!(
                "there are {} OpenPGP keys, and one is to sign",
                parsed.len()
            )));
        };
        if !cert.is_tsk() {
            return Err(refused("this is a public OpenPGP key, which cannot sign")
                .with_hint("gpg --export-secret-keys KEY writes the secret one"));
        }
        let made = UNIX_EPOCH + Duration::from_secs(now);
        let policy = StandardPolicy::at(made);
        let signing = cert
            .keys()
            .with_policy(&policy, made)
            .supported()
            .alive()
            .revoked(false)
            .for_signing()
            .secret()
            .next();
        let signing = signing.ok_or_else(|| {
            refused("no part of this OpenPGP key may sign now").because(Reason::KeyNotValid)
        })?;
        let pair = signing.key().clone().into_keypair().map_err(|_| {
            refused("this OpenPGP key has a password")
                .with_hint("give a copy without one, which only this machine can read")
        })?;
        Ok(Self {
            pair,
            primary: Fingerprint::of(cert.fingerprint()),
            made,
        })
    }

    /// The fingerprint of the primary key.
    pub fn primary(&self) -> &Fingerprint {
        &self.primary
    }

    /// A detached, binary signature over `content`.
    ///
    /// # Errors
    /// A defect of flatbake or its libraries.
    pub fn sign(&self, content: &[u8]) -> Result<Vec<u8>> {
        let mut signature = Vec::new();
        let mut write = || -> pgp::Result<()> {
            let message = Message::new(&mut signature);
            let mut writer = Writer::new(message, self.pair.clone())?
                .detached()
                .creation_time(self.made)
                .build()?;
            writer.write_all(content)?;
            writer.finalize()
        };
        write().map_err(|error| Error::internal(format!("signing by OpenPGP: {error}")))?;
        Ok(signature)
    }
}
