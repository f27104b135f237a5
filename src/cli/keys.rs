//! The flags that say which keys are trusted.

use std::path::{Path, PathBuf};

use crate::fetch::openpgp::{Fingerprint, Keyring};
use crate::{Result, ResultExt};
use clap::{Args, ValueHint};

use super::config::Config;
use super::progress::Reporter;

/// The largest keyring that is read, in bytes.
const KEYRING_MAX: u64 = 4 << 20;

/// Who may sign.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Trust the keys in this file, too; can be repeated. Newer copies of known keys add to them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    keyring: Vec<PathBuf>,
    /// Trust only the primary key with this fingerprint; can be repeated
    #[arg(long, value_name = "FINGERPRINT", value_parser = super::argument::<Fingerprint>)]
    trust: Vec<Fingerprint>,
}

impl KeyArgs {
    /// Whether any of them is there.
    pub fn is_given(&self) -> bool {
        !self.keyring.is_empty() || !self.trust.is_empty()
    }

    /// The files that are given, here or in the config.
    pub fn keyrings(&self, reporter: &Reporter) -> Result<Vec<PathBuf>> {
        let config = Config::load(reporter)?;
        Ok(self.keyring.iter().cloned().chain(config.keyring).collect())
    }

    /// The built-in key and those that were given, here or in the config.
    pub fn trusted(&self, reporter: &Reporter) -> Result<Keyring> {
        let config = Config::load(reporter)?;
        let mut keyring = Keyring::flatcar()?;
        for path in self.keyring.iter().chain(&config.keyring) {
            let bytes = read(path, reporter)?;
            keyring.add(&bytes).at(|| path.display().to_string())?;
        }
        let trust = match self.trust.is_empty() {
            true => &config.trust,
            false => &self.trust,
        };
        if !trust.is_empty() {
            keyring.trust_only(trust)?;
        }
        Ok(keyring)
    }
}

/// Takes newer copies of trusted keys from files of a bundle, which make nobody trusted.
pub fn renew(keyring: &mut Keyring, files: &[PathBuf], reporter: &Reporter) -> Result<()> {
    for path in files {
        let bytes = read(path, reporter)?;
        keyring.renew(&bytes).at(|| path.display().to_string())?;
    }
    Ok(())
}

/// What is in a file of keys.
pub fn read(path: &Path, reporter: &Reporter) -> Result<Vec<u8>> {
    reporter.inputs().read("keyring", path, KEYRING_MAX)
}
