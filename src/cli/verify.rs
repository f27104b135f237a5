//! `flatbake verify`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::block::Watched;
use crate::bytes::ByteSize;
use crate::fetch::openpgp::{
    KeyInfo, Keyring, PROOF_MAX, PrimaryInfo, Signed, Time, is_clearsigned,
};
use crate::flatcar::ddi;
use crate::{Error, Finding, Progress, Reason, Result, ResultExt};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::keys::KeyArgs;
use super::progress::Reporter;
use super::sysext::signer::read_certificates;
use super::table::table;
use super::verified::VerifiedImage;

/// What is looked for beside a file, in this order.
const ENDINGS: [&str; 3] = [".sig", ".asc", ".DIGESTS.asc"];

/// Verify the OpenPGP signature of a file, or list the keys that are trusted
///
/// The key that signs Flatcar's releases is built in. A signature must have been made by a key that was valid then: subkeys
/// may have expired since.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake verify hello.raw --keyring sample-key.asc
  flatbake verify hello.raw --sig hello.raw.sig --keyring sample-key.asc --json
  flatbake verify --list-keys")]
pub struct Verify {
    /// The file
    #[arg(required_unless_present = "list_keys", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Its detached signature, or a signed list of digests that names it [default: the one of FILE.sig, FILE.asc and
    /// FILE.DIGESTS.asc that is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    sig: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Verify a signed disk image, such as a sysext of Flatcar's, with the certificates in this file (PEM or DER); can be
    /// repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["sig", "keyring", "trust", "list_keys"])]
    certificate: Vec<PathBuf>,
    /// List the keys that are trusted
    #[arg(long, conflicts_with_all = ["file", "sig"])]
    list_keys: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A file that is what its signer signed.
#[derive(Serialize)]
struct Document {
    file: String,
    bytes: u64,
    sha256: Option<String>,
    signature: String,
    signed: Signed,
    findings: Vec<Finding>,
}

/// All trusted keys.
#[derive(Serialize)]
struct Keys {
    keys: Vec<PrimaryInfo>,
    findings: Vec<Finding>,
}

impl Verify {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        if let Some(image) = self
            .file
            .as_deref()
            .filter(|_| !self.certificate.is_empty())
        {
            return self.verify_image(image, reporter);
        }
        let now = Time::from(SystemTime::now());
        let keyring = self.keys.trusted(reporter)?;
        match &self.file {
            Some(file) => self.verify(file, &keyring, now, reporter),
            None => self.list(&keyring, now, reporter),
        }
    }

    fn verify(&self, file: &Path, keyring: &Keyring, now: Time, reporter: &Reporter) -> Result<()> {
        let inputs = reporter.inputs();
        let mut content = inputs.reader("file", file)?;
        let signature = self.signature_of(file)?;
        let proof = inputs.read("signature", &signature, PROOF_MAX)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let signed = keyring
            .verify_published(&proof, &name, &mut content, now)
            .at(|| file.display().to_string())?;
        let bytes = content.bytes();
        content.finish()?;
        let keys = keyring.keys(now);
        let signer = keys.iter().find(|key| key.primary == signed.primary);
        let document = Document {
            file: file.display().to_string(),
            bytes,
            sha256: inputs.sha256(file),
            signature: signature.display().to_string(),
            signed,
            findings: signer
                .and_then(|key| key.finding(now))
                .into_iter()
                .collect(),
        };
        if self.json {
            return super::print_json(&document);
        }
        report(&document.findings, reporter);
        super::print(document.table(is_clearsigned(&proof)))
    }

    /// Verifies a disk image by the signature that is part of it.
    fn verify_image(&self, image: &Path, reporter: &Reporter) -> Result<()> {
        let inputs = reporter.inputs();
        let certificates = read_certificates(&self.certificate, reporter)?;
        let device = Watched::new(inputs.device("image", image)?, inputs.cancel());
        let verdict = ddi::verify(Arc::new(device), &certificates);
        let document = VerifiedImage {
            file: image.display().to_string(),
            verdict: verdict.at(|| image.display().to_string())?,
        };
        if self.json {
            return super::print_json(&document);
        }
        super::print(document.table())
    }

    /// The file of signatures or digests that belongs to `file`.
    fn signature_of(&self, file: &Path) -> Result<PathBuf> {
        if let Some(signature) = &self.sig {
            return Ok(signature.clone());
        }
        let named = |ending: &&str| {
            let mut name = file.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let all = || ENDINGS.iter().map(named);
        all().find(|path| path.exists()).ok_or_else(|| {
            let names: Vec<String> = all().map(|path| path.display().to_string()).collect();
            Error::not_found(format!(
                "there is no signature of {}: neither {}",
                file.display(),
                names.join(" nor ")
            ))
            .because(Reason::NoSignature)
            .with_hint("get it from where the file comes from, or name it with --sig")
        })
    }

    fn list(&self, keyring: &Keyring, now: Time, reporter: &Reporter) -> Result<()> {
        let keys = Keys {
            keys: keyring.keys(now),
            findings: keyring.findings(now),
        };
        if self.json {
            return super::print_json(&keys);
        }
        report(&keys.findings, reporter);
        let texts: Vec<String> = keys.keys.iter().map(|key| listed(key, now)).collect();
        super::print(texts.join("\n"))
    }
}

fn report(findings: &[Finding], reporter: &Reporter) {
    findings.iter().for_each(|finding| reporter.found(finding));
}

impl Document {
    fn table(&self, is_list: bool) -> String {
        let signed = &self.signed;
        let size = format!("{} ({} bytes)", ByteSize(self.bytes), self.bytes);
        let user_id = signed.user_id.as_deref().unwrap_or("nobody by name");
        let kind = if is_list {
            "signed list of digests"
        } else {
            "signature"
        };
        let mut rows = vec![
            ("verified:", self.file.clone()),
            ("size:", size),
            ("by:", format!("{} ({kind})", self.signature)),
            ("signed:", signed.made.to_string()),
            ("signer:", user_id.to_owned()),
            ("primary key:", signed.primary.to_string()),
            ("key:", signed.key.to_string()),
        ];
        let sha256 = self.sha256.iter().map(|sum| ("SHA-256:", sum.clone()));
        rows.extend(sha256);
        named(rows)
    }
}

/// Lines of a name and a value.
fn named(rows: Vec<(&str, String)>) -> String {
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    table(&rows, &[])
}

/// A primary key with its subkeys, as lines.
fn listed(primary: &PrimaryInfo, now: Time) -> String {
    let mut text = format!("{}\n", primary.primary);
    for user_id in &primary.user_ids {
        text.push_str(&format!("  {user_id}\n"));
    }
    let head = ["key", "", "algorithm", "created", "state", "use"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(primary.keys.iter().map(|key| row(key, now)));
    for line in table(&rows, &[]).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn row(key: &KeyInfo, now: Time) -> Vec<String> {
    let kind = if key.is_subkey { "subkey" } else { "primary" };
    let state = match (&key.revoked, key.expires) {
        (Some(revoked), _) => format!("revoked: {revoked}"),
        (None, Some(end)) if end <= now => format!("ended {}", end.date()),
        (None, Some(end)) => format!("until {}", end.date()),
        (None, None) => "no end".to_owned(),
    };
    vec![
        key.fingerprint.to_string(),
        kind.to_owned(),
        key.algorithm.clone(),
        key.created.date(),
        state,
        if key.can_sign { "signs" } else { "-" }.to_owned(),
    ]
}
