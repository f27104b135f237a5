//! `flatbake sysext keygen`

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::block::OutputFile;
use crate::bytes::hex;
use crate::flatcar::ddi::{Certificate, KeyKind, PrivateKey};
use crate::{Error, Progress, Result};
use clap::{Args, ValueEnum, ValueHint};
use serde::Serialize;

use crate::cli::output::refuse_existing;
use crate::cli::progress::Reporter;

/// The names that the files have in a folder.
const KEY_NAME: &str = "sysext.key";
const CERT_NAME: &str = "sysext.crt";
/// Only its owner may read a private key.
const KEY_MODE: u32 = 0o600;

/// Make a private key and a certificate for it, to sign extensions with
///
/// The key is made from the randomness of the operating system, so that no two runs make the same one: it is the one thing
/// that cannot be made again. The certificate is signed by the key itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake sysext keygen --cn 'Example builds' -o .
  flatbake sysext keygen --cn node --type p384 --days 365 --key node.key --cert node.crt --json")]
pub struct KeygenCommand {
    /// The kind of key
    #[arg(
        long = "type",
        value_name = "rsa3072|rsa4096|p256|p384",
        value_enum,
        hide_possible_values = true
    )]
    #[arg(default_value = "rsa3072")]
    kind: KeyType,
    /// The name in the certificate
    #[arg(long, value_name = "NAME")]
    cn: String,
    /// Days for which the certificate says that it is valid; systemd does not look at them
    #[arg(long, value_name = "N", default_value = "3650")]
    days: u32,
    /// The folder for sysext.key and sysext.crt
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = ".")]
    output: PathBuf,
    /// The file for the key, in place of the one in the folder
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// The file for the certificate, in place of the one in the folder
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    cert: Option<PathBuf>,
    /// Replace files that exist already: what only the old key can sign is lost
    #[arg(long)]
    overwrite: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyType {
    #[value(name = "rsa3072")]
    Rsa3072,
    #[value(name = "rsa4096")]
    Rsa4096,
    #[value(name = "p256")]
    P256,
    #[value(name = "p384")]
    P384,
}

impl KeyType {
    fn kind(self) -> KeyKind {
        match self {
            Self::Rsa3072 => KeyKind::Rsa(3072),
            Self::Rsa4096 => KeyKind::Rsa(4096),
            Self::P256 => KeyKind::P256,
            Self::P384 => KeyKind::P384,
        }
    }
}

#[derive(Serialize)]
struct Document {
    key: String,
    certificate: String,
    subject: String,
    fingerprint: String,
}

impl KeygenCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let place = |given: &Option<PathBuf>, name: &str| match given {
            Some(path) => path.clone(),
            None => self.output.join(name),
        };
        let key_path = place(&self.key, KEY_NAME);
        let cert_path = place(&self.cert, CERT_NAME);
        if key_path == cert_path {
            return Err(Error::invalid(
                "the key and the certificate cannot be one file",
            ));
        }
        refuse_existing(&key_path, self.overwrite)?;
        refuse_existing(&cert_path, self.overwrite)?;
        // Before the work, which takes a moment.
        let key_file = OutputFile::create(&key_path)?;
        let cert_file = OutputFile::create(&cert_path)?;
        reporter.start("making the key", 0);
        let key = PrivateKey::generate(self.kind.kind());
        reporter.finish();
        let key = key?;
        let certificate = Certificate::self_signed(&key, &self.cn, SystemTime::now(), self.days)?;
        key_file
            .file()
            .set_permissions(Permissions::from_mode(KEY_MODE))
            .map_err(|error| writing(&key_path, error))?;
        put(&key_file, &key_path, key.to_pem()?.as_bytes())?;
        put(&cert_file, &cert_path, certificate.to_pem().as_bytes())?;
        reporter.cancel().check()?;
        OutputFile::commit_all(vec![key_file, cert_file])?;
        let document = Document {
            key: key_path.display().to_string(),
            certificate: cert_path.display().to_string(),
            subject: certificate.subject().to_owned(),
            fingerprint: hex(certificate.fingerprint()),
        };
        if self.json {
            return crate::cli::print_json(&document);
        }
        reporter.info(&format!(
            "wrote the private key {} (mode 0600: keep it, and keep it secret) and the certificate {} ({}, SHA-256 {})",
            document.key, document.certificate, document.subject, document.fingerprint
        ));
        Ok(())
    }
}

fn put(output: &OutputFile, path: &Path, bytes: &[u8]) -> Result<()> {
    output
        .file()
        .write_all(bytes)
        .map_err(|error| writing(path, error))
}

fn writing(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("writing {}", path.display()), error)
}
