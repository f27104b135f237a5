//! `flatbake sysext verify`

use std::path::PathBuf;
use std::sync::Arc;

use crate::block::Watched;
use crate::flatcar::Disk;
use crate::flatcar::ddi::{self, Certificate};
use crate::{Error, Reason, Result, ResultExt};
use clap::{Args, ValueHint};

use crate::cli::image::ReadArgs;
use crate::cli::progress::Reporter;
use crate::cli::verified::VerifiedImage;

use super::signer::read_certificates;

/// Verify a signed disk image (DDI) of an extension: dm-verity tree, root hash and signature
///
/// Everything is read. Exit code 7 says that it is not what its signer signed, or not signed by one who is trusted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake sysext keygen --cn builder --type p256
  flatbake sysext sign hello.raw --key sysext.key --cert sysext.crt -o hello-signed.raw
  flatbake sysext verify hello-signed.raw --cert sysext.crt --json
  flatbake bake --image flatcar_sample.bin.bz2 --trust-cert sysext.crt -o node.img
  flatbake sysext verify hello-signed.raw --image node.img")]
pub struct VerifyCommand {
    /// The disk image
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Trust the certificates in this file (PEM or DER); can be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "image")]
    cert: Vec<PathBuf>,
    /// Trust the certificates of this image of Flatcar, as a machine made of it does
    #[arg(long, value_name = "IMG", value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

impl VerifyCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let certificates = self.certificates(reporter)?;
        let inputs = reporter.inputs();
        let device = Watched::new(inputs.device("extension", &self.file)?, inputs.cancel());
        let verdict = ddi::verify(Arc::new(device), &certificates);
        let document = VerifiedImage {
            file: self.file.display().to_string(),
            verdict: verdict.at(|| self.file.display().to_string())?,
        };
        if self.json {
            return crate::cli::print_json(&document);
        }
        crate::cli::print(document.table())
    }

    /// Whom to trust.
    fn certificates(&self, reporter: &Reporter) -> Result<Vec<Certificate>> {
        let mut certificates = read_certificates(&self.cert, reporter)?;
        if let Some(path) = &self.image {
            let image = self.read.open(path, reporter)?;
            let disk = Disk::open(path.display().to_string(), image.device)?;
            let trusted = ddi::trusted_by(&disk);
            if trusted.is_empty() && certificates.is_empty() {
                return Err(Error::not_found(format!(
                    "{} has no certificates that extensions could be signed with",
                    path.display()
                ))
                .because(Reason::UnknownKey)
                .with_hint("images have one since 4628, and those that --trust-cert put in"));
            }
            certificates.extend(trusted);
        }
        Ok(certificates)
    }
}
