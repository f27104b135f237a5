//! Keys that extensions are signed with.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use der::zeroize::Zeroizing;

use crate::bytes::to_usize;
use crate::cli::progress::Reporter;
use crate::flatcar::ddi::{Certificate, PrivateKey, Signer};
use crate::{Error, Reason, Result, ResultExt};

/// The largest certificate and the largest key that are read, in bytes.
const CERT_MAX: u64 = 1 << 20;
const KEY_MAX: u64 = 64 << 10;
/// Permissions by which others than its owner get at a file.
const OTHERS: u32 = 0o077;

/// All certificates in these files.
pub(in crate::cli) fn read_certificates(
    files: &[PathBuf],
    reporter: &Reporter,
) -> Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    for file in files {
        let bytes = reporter.inputs().read("certificate", file, CERT_MAX)?;
        certificates.extend(Certificate::read(&bytes).at(|| file.display().to_string())?);
    }
    Ok(certificates)
}

/// The key in the file `key`, with its certificate in `cert`.
pub(super) fn read_signer(key: &Path, cert: &Path, reporter: &Reporter) -> Result<Signer> {
    let key = read_key(key, reporter)?;
    let bytes = reporter.inputs().read("certificate", cert, CERT_MAX)?;
    let name = || cert.display().to_string();
    let certificates = Certificate::read(&bytes).at(name)?;
    let [certificate] = certificates.as_slice() else {
        return Err(Error::invalid(format!(
            "{} has {} certificates: one is that of the key",
            name(),
            certificates.len()
        )));
    };
    Signer::new(key, certificate.clone())
}

/// Reads a private key, and says so where others could, too.
fn read_key(path: &Path, reporter: &Reporter) -> Result<PrivateKey> {
    let file = reporter.inputs().open("private key", path)?;
    let failed = |error| Error::io(format!("reading {}", path.display()), error);
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > KEY_MAX {
        return Err(Error::invalid(format!(
            "{} has {} bytes: private keys have at most {KEY_MAX}",
            path.display(),
            metadata.len()
        ))
        .because(Reason::Limit));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        reporter.warn(&format!(
            "others may get at the private key {} (mode {mode:04o}): chmod 600 keeps it to you",
            path.display()
        ));
    }
    // Large enough from the start, so that no copy of it stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(to_usize(KEY_MAX)?));
    file.take(KEY_MAX).read_to_end(&mut bytes).map_err(failed)?;
    PrivateKey::read(&bytes).at(|| path.display().to_string())
}
