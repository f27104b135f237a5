//! The flags that say which keys are trusted.

use std::path::PathBuf;

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

    /// The built-in key and those that were given, here or in the config.
    pub fn trusted(&self, reporter: &Reporter) -> Result<Keyring> {
        let config = Config::load(reporter)?;
        let mut keyring = Keyring::flatcar()?;
        for path in self.keyring.iter().chain(&config.keyring) {
            let bytes = reporter.inputs().read("keyring", path, KEYRING_MAX)?;
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
