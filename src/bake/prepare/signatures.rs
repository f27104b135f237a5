//! Sysexts that are signed disk images, held against the certificates of the image that they are baked into.

use std::sync::Arc;

use super::bench::Bench;
use crate::block::BlockDevice;
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::flatcar::ddi::{self, Certificate};
use crate::flatcar::sysext::certificates;

impl Bench<'_> {
    /// What there is to say of the signature of a sysext; nothing where it holds, and where there is none.
    ///
    /// # Errors
    /// Signatures are required and there is none that holds, or the sysext cannot be read.
    pub(super) fn check_signature(&self, sysext: Arc<dyn BlockDevice>) -> Result<Option<Finding>> {
        let is_required = self.run.policy.require_signed;
        if !is_required && !ddi::is_signed(sysext.clone())? {
            return Ok(None);
        }
        let certificates = self.certificates();
        match ddi::verify(sysext, &certificates) {
            Ok(_) => Ok(None),
            Err(error) if is_required => Err(error),
            // Releases without certificates know nobody.
            Err(_) if certificates.is_empty() => Ok(None),
            Err(error) => finding(error).map(Some),
        }
    }

    /// The certificates on USR. What cannot be read there makes nobody trusted.
    fn certificates(&self) -> Vec<Certificate> {
        let usr = self.disk.filesystem(Designator::Usr.into());
        usr.and_then(|usr| certificates(&*usr)).unwrap_or_default()
    }
}

/// What a signature that does not hold means where none is required.
fn finding(error: Error) -> Result<Finding> {
    let is_about_it = matches!(
        error.kind(),
        ErrorKind::Untrusted | ErrorKind::Corrupt | ErrorKind::Unsupported
    );
    if !is_about_it {
        return Err(error);
    }
    Ok(match error.reason() {
        Some(Reason::UnknownKey) => Finding::new(code::SYSEXT_SIGNER_UNKNOWN),
        _ => Finding::new(code::SYSEXT_SIGNATURE).with("why", error),
    })
}
