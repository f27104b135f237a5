//! The arguments that say which manifest is used, and how.

use std::path::{Path, PathBuf};

use clap::Args;
use flatbake::Result;
use flatbake::bake::manifest::{self, LoadOptions, LockMode, Resolved};
use flatbake::fs::Timestamp;

use super::output::timestamp;

/// A manifest and what is added to it.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// The manifest, in YAML or TOML by its name's extension
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    read: ReadingArgs,
}

/// How a manifest is read.
#[derive(Debug, Args)]
pub struct ReadingArgs {
    /// Give a variable of the manifest a value
    #[arg(long, value_name = "NAME=VALUE", value_parser = set)]
    set: Vec<(String, String)>,
    /// Paths in the manifest may lead out of its folder
    #[arg(long)]
    allow_outside: bool,
}

fn set(text: &str) -> std::result::Result<(String, String), String> {
    manifest::parse_set(text).map_err(|error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()))
}

impl ManifestArgs {
    /// Reads the manifest; `vendors` are those that there are, or none for any.
    pub fn load(&self, vendors: Vec<String>) -> Result<Resolved> {
        self.read.load(&self.file, vendors)
    }
}

impl ReadingArgs {
    /// Reads the manifest `file`; `vendors` are those that there are, or none for any.
    ///
    /// `SOURCE_DATE_EPOCH` is the time of everything new where the manifest gives none.
    pub fn load(&self, file: &Path, vendors: Vec<String>) -> Result<Resolved> {
        let options = LoadOptions { set: self.set.clone(), allow_outside: self.allow_outside, vendors };
        let mut resolved = manifest::load(file, &options)?;
        if resolved.options.timestamp.is_none() {
            let time = timestamp(None)?.map(|secs| Timestamp { secs, nanos: 0 });
            resolved.options.timestamp = time;
            resolved.variants.iter_mut().for_each(|variant| variant.options.timestamp = time);
        }
        Ok(resolved)
    }
}

/// What is done with the lock of a manifest.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// Fail unless every input is as the lock says (MANIFEST with the extension .lock)
    #[arg(long)]
    locked: bool,
}

impl LockArgs {
    /// The lock must hold, or else `otherwise` is done.
    pub fn mode(&self, otherwise: LockMode) -> LockMode {
        if self.locked { LockMode::Locked } else { otherwise }
    }
}
