//! A content held against its detached signatures.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use sequoia_openpgp as pgp;

use pgp::packet::Signature;
use pgp::parse::Parse;
use pgp::parse::stream::{
    DetachedVerifierBuilder, MessageLayer, MessageStructure, VerificationError, VerificationHelper,
    VerificationResult,
};
use pgp::policy::StandardPolicy;
use pgp::{Cert, KeyHandle};

use super::keyring::Keyring;
use super::refusal;
use super::renewed;
use super::signed::Signed;
use super::time::Time;
use crate::bytes::to_u64;
use crate::lock::lock;
use crate::{Error, Reason, Result, from_io};

/// The largest file of signatures that is read, in bytes; one signature has about 600.
const SIGNATURE_MAX: u64 = 64 << 10;
/// How an armored signature begins.
const ARMOR_BEGIN: &[u8] = b"-----BEGIN PGP SIGNATURE-----";

impl Keyring {
    /// Verifies that one of the detached signatures in `signature`, armored or binary, is over all that `content` yields and
    /// was made by a trusted key. `now` is the time of the caller.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`](crate::ErrorKind::Untrusted) where no signature counts, with the reason [`BadSignature`](Reason::BadSignature),
    /// [`WeakAlgorithm`](Reason::WeakAlgorithm), [`KeyNotValid`](Reason::KeyNotValid), [`UnknownKey`](Reason::UnknownKey) or
    /// [`NoSignature`](Reason::NoSignature); an error of `content` as it is.
    pub fn verify(
        &self,
        signature: &[u8],
        content: impl Read + Send + Sync,
        now: Time,
    ) -> Result<Signed> {
        check_size(to_u64(signature.len()))?;
        let policy = StandardPolicy::at(now.system());
        let judge = Judge::new(self, now);
        let verifier = DetachedVerifierBuilder::from_bytes(signature)
            .and_then(|builder| builder.with_policy(&policy, now.system(), judge));
        let mut verifier = verifier.map_err(|_| unreadable(signature))?;
        let content = Watched::new(content);
        let failure = content.failure.clone();
        let read = verifier.verify_reader(content);
        if let Some(error) = lock(&failure).take() {
            return Err(from_io("reading what is signed", error));
        }
        read.map_err(|_| refusal::damaged())?;
        verifier.into_helper().outcome()
    }
}

fn check_size(bytes: u64) -> Result<()> {
    if bytes <= SIGNATURE_MAX {
        return Ok(());
    }
    Err(refusal::no_signature().with_source(format!(
        "it is larger than {SIGNATURE_MAX} bytes, which signatures are not"
    )))
}

/// What is wrong with bytes in which no signature was found.
fn unreadable(signature: &[u8]) -> Error {
    let is_armored = signature
        .windows(ARMOR_BEGIN.len())
        .any(|window| window == ARMOR_BEGIN);
    // The tag of a packet: of six bits in the newer form, of four bits in the older one.
    let is_packet = signature
        .first()
        .is_some_and(|&byte| byte == 0xc2 || byte & 0xfc == 0x88);
    if is_armored || is_packet {
        refusal::damaged()
    } else {
        refusal::no_signature()
    }
}

/// A reader whose failure is kept as it was.
struct Watched<R> {
    inner: R,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl<R> Watched<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            failure: Arc::default(),
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buf).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let kind = error.kind();
            let mut failure = lock(&self.failure);
            failure.get_or_insert(error);
            io::Error::from(kind)
        })
    }
}

/// Looks keys up, and decides which signature counts.
pub(super) struct Judge<'k> {
    keyring: &'k Keyring,
    now: Time,
    good: Option<Signed>,
    refusals: Vec<Error>,
}

impl<'k> Judge<'k> {
    pub(super) fn new(keyring: &'k Keyring, now: Time) -> Self {
        Self {
            keyring,
            now,
            good: None,
            refusals: Vec::new(),
        }
    }

    /// The first good signature, or why there is none that counts.
    pub(super) fn outcome(self) -> Result<Signed> {
        let is_bad = |error: &Error| error.reason() == Some(Reason::BadSignature);
        match self.good {
            Some(signed) if !self.refusals.iter().any(is_bad) => Ok(signed),
            _ => Err(refusal::gravest(self.refusals)),
        }
    }

    fn judge(&mut self, result: &VerificationResult<'_>) {
        let judged = match result {
            Ok(good) => self.good(good.sig, Signed::of(good.sig, &good.ka)),
            Err(problem) => match renewed(problem, self.now) {
                Some((signature, signed)) => self.good(signature, Some(signed)),
                None => Err(refusal::of(problem, self.keyring, self.now)),
            },
        };
        match judged {
            Ok(signed) => drop(self.good.get_or_insert(signed)),
            Err(error) => self.refusals.push(error),
        }
    }

    /// The last word on a signature that is right.
    fn good(&self, signature: &Signature, signed: Option<Signed>) -> Result<Signed> {
        if refusal::is_weak(signature) {
            return Err(refusal::weak(signature));
        }
        signed.ok_or_else(refusal::damaged)
    }
}

/// A signature by a key that was renewed since.
fn renewed<'a>(problem: &VerificationError<'a>, now: Time) -> Option<(&'a Signature, Signed)> {
    match problem {
        VerificationError::UnboundKey { sig, cert, .. } => {
            Some((sig, renewed::signer(sig, cert, now)?))
        }
        _ => None,
    }
}

impl VerificationHelper for Judge<'_> {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> pgp::Result<Vec<Cert>> {
        Ok(self.keyring.with_keys(ids))
    }

    /// Never fails: what was found is told by [`outcome`](Self::outcome).
    fn check(&mut self, structure: MessageStructure<'_>) -> pgp::Result<()> {
        let mut layers = structure.into_iter();
        if let (Some(MessageLayer::SignatureGroup { results }), None) =
            (layers.next(), layers.next())
        {
            results.iter().for_each(|result| self.judge(result));
        }
        Ok(())
    }
}
