//! `flatbake sysext sign`

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::block::{BlockDevice, OutputFile, Watched};
use crate::bytes::ByteSize;
use crate::flatcar::ddi::{self, BuildOptions, Built, Protection, SignOptions, Signer};
use crate::flatcar::sysext::{inspect, open_extension};
use crate::machine::Arch;
use crate::{Error, Result, ResultExt};
use clap::{Args, ValueHint};
use serde::Serialize;

use crate::cli::image::temp_dir;
use crate::cli::output::refuse_existing;
use crate::cli::progress::Reporter;

use super::signer::read_signer;

/// Make a signed disk image (DDI) of an extension
///
/// A bare filesystem (squashfs, EROFS) gets a partition table, a dm-verity tree and a signature, as systemd-repart makes them.
/// A disk image that has a tree keeps it, and gets the signature. The same input, key and seed give the same bytes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake sysext keygen --cn builder --type p256
  flatbake sysext sign hello.raw --key sysext.key --cert sysext.crt -o hello-signed.raw
  flatbake sysext sign hello-signed.raw --key sysext.key --cert sysext.crt --replace -o again.raw --json")]
pub struct SignCommand {
    /// The extension: a filesystem image, or a disk image
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The private key, PKCS#8 in PEM or DER: RSA, or ECDSA on P-256 or P-384
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key: PathBuf,
    /// The certificate of that key, in PEM or DER
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cert: PathBuf,
    /// The disk image to write
    #[arg(long, short, value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// The architecture of a bare filesystem [default: that of its extension-release]
    #[arg(long, value_name = "amd64|arm64", value_parser = crate::cli::argument::<Arch>)]
    arch: Option<Arch>,
    /// What identities and the salt are made from [default: the filesystem]
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// Replace the signature of a disk image that has one
    #[arg(long)]
    replace: bool,
    /// Replace an output that exists already
    #[arg(long)]
    overwrite: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    output: String,
    #[serde(flatten)]
    built: Built,
}

impl SignCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        refuse_existing(&self.output, self.overwrite)?;
        let signer = read_signer(&self.key, &self.cert, reporter)?;
        let inputs = reporter.inputs();
        let device = Watched::new(inputs.device("extension", &self.file)?, inputs.cancel());
        let device: Arc<dyn BlockDevice> = Arc::new(device);
        inputs.refuse(&self.output)?;
        let output = OutputFile::create(&self.output)?;
        let built = self
            .write(device, &signer, output.file(), reporter)
            .at(|| self.file.display().to_string())?;
        inputs.check(&[])?;
        output.commit()?;
        let document = Document {
            output: self.output.display().to_string(),
            built,
        };
        if self.json {
            return crate::cli::print_json(&document);
        }
        let Built {
            bytes,
            root_hash,
            subject,
            ..
        } = document.built;
        reporter.info(&format!(
            "wrote {} ({}), signed by {}, root hash {}",
            document.output,
            ByteSize(bytes),
            subject.unwrap_or_default(),
            root_hash.unwrap_or_default()
        ));
        Ok(())
    }

    fn write(
        &self,
        device: Arc<dyn BlockDevice>,
        signer: &Signer,
        out: &File,
        reporter: &Reporter,
    ) -> Result<Built> {
        let temp_dir = temp_dir();
        if ddi::is_disk_image(&*device)? {
            if self.arch.is_some() {
                return Err(Error::invalid(
                    "an architecture is given, but a disk image says its own",
                )
                .with_hint("leave --arch out"));
            }
            if ddi::is_signed(Arc::clone(&device))? && !self.replace {
                return Err(Error::invalid("the disk image is signed already")
                    .with_hint("--replace puts the new signature in the place of the old one"));
            }
            let options = SignOptions {
                signer,
                replaces: self.replace,
                seed: self.seed.clone(),
            };
            return ddi::sign(device, &options, &temp_dir, out, reporter);
        }
        let options = BuildOptions {
            architecture: self.architecture(&device)?,
            protection: Protection::Signed(signer),
            seed: self.seed.clone(),
        };
        ddi::build(&*device, &options, &temp_dir, out, reporter)
    }

    /// The architecture that is given, else the one in the extension's release file.
    fn architecture(&self, device: &Arc<dyn BlockDevice>) -> Result<Arch> {
        // What is no extension is told in any case.
        let fs = open_extension(Arc::clone(device))?;
        if let Some(arch) = self.arch {
            return Ok(arch);
        }
        let info = inspect(&*fs)?;
        let named = info
            .releases
            .iter()
            .find_map(|release| release.fields.get("ARCHITECTURE"));
        match named {
            Some(name) if name != "_any" => name.parse(),
            _ => Err(
                Error::invalid("the extension does not say which architecture it is for")
                    .with_hint("give --arch amd64 or --arch arm64"),
            ),
        }
    }
}
