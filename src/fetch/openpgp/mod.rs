//! OpenPGP signatures, verified and never made: of whole files, and of text that is signed where it stands.
//!
//! ```text
//!   embedded key ─┐                        ┌── detached signature(s) + content as a stream ──▶ Signed
//!   more keyrings ┼──▶ Keyring ──▶ verify ─┼── clearsigned text ──▶ the text that is signed, Signed
//!   pins ─────────┘                        └── clearsigned list of digests + content as a stream ──▶ Signed
//! ```
//!
//! **Who is trusted.** Every key of a [`Keyring`] is, as giving a keyring is asking for that; where primary keys are pinned
//! by [`Keyring::trust_only`], only those. A key that is added again is merged with what is known of it: new subkeys count,
//! and a revocation that is known stays. A name in a user id means nothing: keys are known by their fingerprints alone.
//!
//! **What counts is the moment of signing.** A subkey may have expired since. One that was revoked as superseded or retired
//! is good for what it signed before; one that was compromised, or revoked without a reason, is good for nothing, as whoever
//! holds it can write any date. Signatures over MD5, RIPEMD-160 and SHA-1 are refused, whatever their date.
//!
//! **Several signatures.** One good signature is enough, as others may be by keys that are not known here; but one by a trusted
//! key that does not match makes the whole bad, as it does for `gpg --verify`. Where none is good, the gravest of the refusals
//! is told.
//!
//! The clock is not read here: callers say what time it is.

mod clearsigned;
mod keyring;
mod listing;
mod published;
mod refusal;
mod renewed;
mod sign;
mod signed;
mod text;
mod time;
mod verify;

pub use clearsigned::is_clearsigned;
pub use keyring::{FLATCAR, Fingerprint, Keyring};
pub use listing::{KeyInfo, PrimaryInfo, Revocation};
pub use published::PROOF_MAX;
pub use sign::SigningKey;
pub use signed::Signed;
pub use time::Time;
