//! Files, and what is published beside them so that they can be verified.

use std::io::{self, Read};

use sha2::{Digest, Sha512};

use super::clearsigned::is_clearsigned;
use super::keyring::Keyring;
use super::signed::Signed;
use super::time::Time;
use crate::bytes::hex;
use crate::fetch::digests::Digests;
use crate::{Error, ErrorKind, Reason, Result, from_io};

/// The largest file of signatures or digests that is worth reading, in bytes.
pub const PROOF_MAX: u64 = 1 << 20;
/// Bytes read at once.
const CHUNK: usize = 256 << 10;

impl Keyring {
    /// Verifies a file, of which `name` is the name under which it is published, with what is published beside it: detached
    /// signatures (`NAME.sig`, `NAME.asc`), or a clearsigned list of digests that names it (`NAME.DIGESTS.asc`). `now` is the
    /// time of the caller.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify). A digest that is another is the reason [`BadSignature`](Reason::BadSignature), a
    /// list without the file [`NoSignature`](Reason::NoSignature).
    pub fn verify_published(
        &self,
        proof: &[u8],
        name: &str,
        content: impl Read + Send + Sync,
        now: Time,
    ) -> Result<Signed> {
        if !is_clearsigned(proof) {
            return self.verify(proof, content, now);
        }
        let (list, signed) = self.verify_clearsigned(proof, now)?;
        let digests = Digests::parse(&list)?;
        let wanted = digests.sha512(name)?;
        let found = sha512(content)?;
        if found == wanted {
            return Ok(signed);
        }
        Err(Error::new(
            ErrorKind::Untrusted,
            format!("the SHA-512 is {found}, but the signed list says {wanted}"),
        )
        .because(Reason::BadSignature)
        .with_hint("get the file and its list of digests again, both of the same release"))
    }
}

fn sha512(mut content: impl Read) -> Result<String> {
    let mut hasher = Sha512::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match content.read(&mut chunk) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(len) => hasher.update(&chunk[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io("reading what is signed", error)),
        }
    }
}
