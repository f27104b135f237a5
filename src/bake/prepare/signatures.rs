//! Sysexts that are signed disk images, held against the certificates of the image that they are baked into; and certificates
//! that are put into it.

use std::sync::Arc;

use super::super::edits::{Edits, TrustSpec};
use super::super::request::at_origin;
use super::bench::Bench;
use super::trusted::Trusted;
use crate::block::{BlockDevice, shown};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::flatcar::ddi::{self, Certificate};
use crate::fs::FsPath;

/// What files of certificates are to a run, and their largest size.
const CERTIFICATE_ROLE: &str = "certificate";
const CERTIFICATE_MAX: u64 = 1 << 20;
/// Where systemd looks for certificates on a machine, and how their names end.
const FOLDER: &str = "/etc/verity.d";
const ENDING: &str = "crt";
/// First release that merges extensions in its initrd.
const MERGED_IN_INITRD: u64 = 4628;
/// First release whose initrd has systemd 260, which looks there for certificates of the system, not of the initrd.
const SEEN_IN_INITRD: u64 = 4722;

impl Bench<'_> {
    /// Reads the certificates that are to be trusted, and tells what the image's release makes of them.
    pub(super) fn read_trusted(&mut self, edits: &Edits) -> Result<()> {
        for spec in &edits.trusted {
            let read = self.read_trust(spec).at(|| shown(&spec.file));
            let trusted = read.map_err(|error| at_origin(error, spec.origin.as_ref()))?;
            self.trusted.extend(trusted);
            let finding = self.seen_by_release();
            self.findings.push(finding.at(shown(&spec.file)));
        }
        Ok(())
    }

    /// All certificates of a file: each gets a file of its own, as systemd reads no more than one of each.
    fn read_trust(&self, spec: &TrustSpec) -> Result<Vec<Trusted>> {
        let inputs = &self.run.inputs;
        let bytes = inputs.read(CERTIFICATE_ROLE, &spec.file, CERTIFICATE_MAX)?;
        let stem = spec.file.file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy();
        let mut trusted = Vec::new();
        for (number, certificate) in (1..).zip(Certificate::read(&bytes)?) {
            let name = match number {
                1 => format!("{stem}.{ENDING}"),
                _ => format!("{stem}-{number}.{ENDING}"),
            };
            let path = FsPath::new(FOLDER)?.join(name)?;
            let known = self.trusted.iter().find(|known| known.path == path);
            if let Some(known) = known {
                return Err(Error::invalid(format!(
                    "{path} would be written over that of {}",
                    known.why
                ))
                .with_hint("give the files of certificates different names"));
            }
            trusted.push(Trusted {
                path,
                certificate,
                why: format!("certificate {}", shown(&spec.file)),
            });
        }
        Ok(trusted)
    }

    fn seen_by_release(&self) -> Finding {
        let finding = match self.run.major() {
            Some(major) if (MERGED_IN_INITRD..SEEN_IN_INITRD).contains(&major) => {
                Finding::new(code::TRUST_MAY_BE_UNSEEN).with("since", SEEN_IN_INITRD)
            }
            _ => Finding::new(code::TRUST_NOT_ENFORCED),
        };
        let release = self.run.release.as_ref();
        let version = release.and_then(|release| release.version());
        finding.with("release", version.unwrap_or("unknown"))
    }

    /// Puts them into the image.
    pub(super) fn put_trusted(&mut self) -> Result<()> {
        for trusted in std::mem::take(&mut self.trusted) {
            let text = trusted.certificate.to_pem();
            let path = trusted.path.to_string();
            self.put_text(Designator::Root, &path, text.as_bytes(), &trusted.why)?;
        }
        Ok(())
    }

    /// What there is to say of the signature of a sysext; nothing where it holds, and where there is none.
    ///
    /// # Errors
    /// Signatures are required and there is none that holds, or the sysext cannot be read.
    pub(super) fn check_signature(&self, sysext: Arc<dyn BlockDevice>) -> Result<Option<Finding>> {
        let is_required = self.run.policy.require_signed;
        if !is_required && !ddi::is_signed(sysext.clone())? {
            return Ok(None);
        }
        let mut certificates = ddi::trusted_by(self.disk);
        let added = self.trusted.iter();
        certificates.extend(added.map(|trusted| trusted.certificate.clone()));
        match ddi::verify(sysext, &certificates) {
            Ok(_) => Ok(None),
            Err(error) if is_required => Err(error),
            // Releases without certificates know nobody.
            Err(_) if certificates.is_empty() => Ok(None),
            Err(error) => finding(error).map(Some),
        }
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
