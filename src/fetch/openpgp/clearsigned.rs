//! Text that is signed where it stands:
//!
//! ```text
//!   anything                               ignored, as gpg does
//!   -----BEGIN PGP SIGNED MESSAGE-----
//!   Hash: SHA512
//!
//!   the text                               what is returned, without the dashes that protect its lines
//!   -----BEGIN PGP SIGNATURE-----
//!   …
//!   -----END PGP SIGNATURE-----
//!   anything                               ignored
//! ```

use std::io::Read;

use sequoia_openpgp as pgp;

use pgp::parse::Parse;
use pgp::parse::stream::VerifierBuilder;
use pgp::policy::StandardPolicy;

use super::keyring::Keyring;
use super::refusal;
use super::signed::Signed;
use super::time::Time;
use super::verify::Judge;
use crate::{Error, Reason, Result};

/// The largest text that is read, in bytes: lists of digests have some hundreds.
const TEXT_MAX: usize = 1 << 20;
/// The first line of a signed text.
const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";

/// Whether a line of `bytes` begins a signed text.
pub fn is_clearsigned(bytes: &[u8]) -> bool {
    begin(bytes).is_some()
}

/// Where the first signed text begins.
fn begin(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if line.trim_ascii_end() == BEGIN {
            return Some(at);
        }
        at += line.len();
    }
    None
}

impl Keyring {
    /// Verifies the first text in `bytes` that is signed where it stands, and returns it: all that is signed, and nothing
    /// that is not. What stands before and behind it is ignored. Lines end as they do in `bytes`, without spaces and tabs at
    /// their ends; the last one has no end, as it is no part of what is signed. `now` is the time of the caller.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify), and more than 1 MiB.
    pub fn verify_clearsigned(&self, bytes: &[u8], now: Time) -> Result<(Vec<u8>, Signed)> {
        if bytes.len() > TEXT_MAX {
            return Err(Error::invalid(format!(
                "the signed text has {} bytes: at most {TEXT_MAX} are read",
                bytes.len()
            ))
            .because(Reason::Limit));
        }
        let begin = begin(bytes).ok_or_else(refusal::no_signature)?;
        let policy = StandardPolicy::at(now.system());
        let verifier = VerifierBuilder::from_bytes(&bytes[begin..]).and_then(|builder| {
            let builder = builder.buffer_size(2 * TEXT_MAX);
            builder.with_policy(&policy, now.system(), Judge::new(self, now))
        });
        let mut verifier = verifier.map_err(|_| refusal::damaged())?;
        let mut text = Vec::new();
        let read = verifier.read_to_end(&mut text);
        read.map_err(|_| refusal::damaged())?;
        let is_whole =
            verifier.message_processed() && verifier.processing_csf_message() == Some(true);
        if !is_whole {
            return Err(refusal::damaged());
        }
        let signed = verifier.into_helper().outcome()?;
        Ok((text, signed))
    }
}
