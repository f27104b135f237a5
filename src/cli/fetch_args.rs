//! The flags by which files are fetched, and what they come to.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::fetch::bundle::Bundle;
use crate::fetch::fetcher::Fetcher;
use crate::fetch::openpgp::{Keyring, Time};
use crate::fetch::registry::{Logins, Registry};
use crate::fetch::store::Store;
use crate::fetch::tally::Tally;
use crate::fetch::transfer::{Client, Mirror, Settings};
use crate::finding::code;
use crate::machine::Arch;
use crate::{Error, ErrorKind, Finding, Result, ResultExt};
use clap::{Args, ValueHint};
use tempfile::TempDir;

use super::config::Config;
use super::image::{cache_folder, set, temp_dir};
use super::keys::{self, KeyArgs};
use super::progress::Reporter;

/// The largest file of registries' passwords that is read, in bytes.
const LOGINS_MAX: u64 = 4 << 20;

/// How files of releases are fetched and verified.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fetching")]
pub struct FetchArgs {
    /// The architecture of what is fetched: amd64 (x86-64) or arm64 [default: that of the image, else amd64]
    #[arg(long, value_name = "ARCH", value_parser = super::argument::<Arch>)]
    arch: Vec<Arch>,
    #[command(flatten)]
    transfer: TransferArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// Use what this cache has, too, such as that of a whole site; it is only read, and never written
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    shared_cache: Option<PathBuf>,
    /// Use only what was fetched before, and name all that is missing
    #[arg(long)]
    offline: bool,
    /// Use what is fetched without verifying its signature; nothing of it is kept
    #[arg(long)]
    insecure_skip_verify: bool,
}

/// How servers are reached. Proxies are those of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.
#[derive(Debug, Args)]
pub struct TransferArgs {
    /// Believe the authorities whose certificates are in this file, too [default: SSL_CERT_FILE]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Vec<PathBuf>,
    /// Fetch what begins with PREFIX from another place, a URL or a folder; can be repeated
    #[arg(long, value_name = "PREFIX=PLACE", value_parser = mirror)]
    mirror: Vec<Mirror>,
}

fn mirror(text: &str) -> std::result::Result<Mirror, String> {
    match text.split_once('=') {
        Some((prefix, replacement)) if !prefix.is_empty() && !replacement.is_empty() => {
            Ok(Mirror {
                prefix: prefix.to_owned(),
                replacement: replacement.to_owned(),
            })
        }
        _ => Err(
            "write PREFIX=PLACE, as https://stable.release.flatcar-linux.net/=/srv/flatcar/stable/"
                .to_owned(),
        ),
    }
}

impl TransferArgs {
    /// A client by these flags and the environment.
    pub fn client(&self, reporter: &Reporter) -> Result<Client> {
        let mut settings = Settings::from_environment(|name| std::env::var_os(name))?;
        let config = Config::load(reporter)?;
        let authorities = self.ca.iter().chain(&config.ca);
        settings.authorities.extend(authorities.cloned());
        let mirrors = self.mirror.iter().chain(&config.mirrors);
        settings.mirrors.extend(mirrors.cloned());
        // Machines that were turned away at one moment do not all come back at one.
        settings.retries.seed = std::process::id().into();
        Client::new(&settings, reporter.cancel())
    }
}

/// All that fetching needs, for one run.
pub struct Means {
    /// What a person should know of them.
    pub findings: Vec<Finding>,
    /// What was fetched by them, and what is missing.
    pub tally: Tally,
    /// Nothing is verified.
    pub skip_verify: bool,
    bundle: Option<Bundle>,
    client: Option<Client>,
    store: Store,
    keyring: Keyring,
    now: Time,
    /// The folder of this run for what is not kept, where there is such.
    own: Option<TempDir>,
    /// The client of registries, from the moment that one is needed.
    registry: OnceCell<Registry>,
}

impl FetchArgs {
    /// The architecture that is asked for, where one is.
    pub fn given_arch(&self) -> Option<Arch> {
        self.arch.first().copied()
    }

    /// The architecture that is asked for.
    pub fn arch(&self) -> Arch {
        self.given_arch().unwrap_or(Arch::Amd64)
    }

    /// All architectures that are asked for, for commands that take several.
    pub fn archs(&self) -> Vec<Arch> {
        match self.arch.as_slice() {
            [] => vec![Arch::Amd64],
            given => given.to_vec(),
        }
    }

    /// Refuses more than one architecture.
    pub fn check_arch(&self) -> Result<()> {
        match self.arch.as_slice() {
            [] | [_] => Ok(()),
            _ => Err(Error::invalid(
                "--arch is given twice, and one image is for one of them",
            )),
        }
    }

    /// Refuses to leave verification out, for the reason `why`.
    pub fn refuse_unverified(&self, why: &str) -> Result<()> {
        match self.insecure_skip_verify {
            true => Err(Error::invalid(why).with_hint("leave --insecure-skip-verify out")),
            false => Ok(()),
        }
    }

    /// Refuses keys, for the reason `why`.
    pub fn refuse_keys(&self, why: &str) -> Result<()> {
        match self.keys.is_given() {
            true => Err(Error::invalid(why).with_hint("leave --keyring and --trust out")),
            false => Ok(()),
        }
    }

    /// The files of keys that are given, here or in the config.
    pub fn keyrings(&self, reporter: &Reporter) -> Result<Vec<PathBuf>> {
        self.keys.keyrings(reporter)
    }

    /// Refuses flags that do nothing, where nothing is fetched.
    pub fn check_unused(&self, has_bundle: bool) -> Result<()> {
        let given = [
            ("--bundle", has_bundle),
            ("--arch", !self.arch.is_empty()),
            ("--ca", !self.transfer.ca.is_empty()),
            ("--mirror", !self.transfer.mirror.is_empty()),
            ("--keyring or --trust", self.keys.is_given()),
            ("--shared-cache", self.shared_cache.is_some()),
            ("--offline", self.offline),
            ("--insecure-skip-verify", self.insecure_skip_verify),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Error::invalid(format!(
                "{flag} is for what is fetched, and nothing is"
            ))
            .with_hint(
                "give --release or NAME@VERSION, or have them in the manifest, or leave it out",
            )),
            None => Ok(()),
        }
    }

    /// The means by these flags. Files are kept in `cache`, or in a folder of this run where that is `None`, and those of
    /// the bundle in a folder are taken before all others.
    pub fn means(
        &self,
        cache: Option<&Path>,
        bundle: Option<&Path>,
        reporter: &Reporter,
    ) -> Result<Means> {
        let client = if self.offline {
            None
        } else {
            Some(self.transfer.client(reporter)?)
        };
        let own = if cache.is_none() || self.insecure_skip_verify {
            Some(own_folder()?)
        } else {
            None
        };
        let folder = cache.or(own.as_ref().map(TempDir::path));
        let folder = folder.ok_or_else(|| Error::internal("there is no folder to fetch into"))?;
        let bundle = bundle.map(open_bundle).transpose()?;
        let mut keyring = self.keys.trusted(reporter)?;
        if let Some(bundle) = &bundle {
            keys::renew(&mut keyring, &bundle.keys()?, reporter)?;
        }
        let now = Time::from(SystemTime::now());
        let shared = shared_cache(self.shared_cache.as_deref(), reporter)?;
        let findings = if self.insecure_skip_verify {
            vec![Finding::new(code::NOT_VERIFIED)]
        } else {
            keyring.findings(now)
        };
        Ok(Means {
            findings,
            tally: Tally::default(),
            skip_verify: self.insecure_skip_verify,
            bundle,
            client,
            store: Store::new(folder, shared.as_deref()),
            keyring,
            now,
            own,
            registry: OnceCell::new(),
        })
    }
}

impl Means {
    /// What fetches with these means.
    pub fn fetcher<'a>(&'a self, reporter: &'a Reporter) -> Fetcher<'a> {
        let mut fetcher = Fetcher::new(
            self.client.as_ref(),
            &self.store,
            &self.keyring,
            self.now,
            reporter.cancel(),
            &self.tally,
        );
        fetcher.bundle = self.bundle.as_ref();
        if self.skip_verify {
            fetcher.unverified = self.own.as_ref().map(TempDir::path);
        }
        fetcher
    }

    /// The client of registries, with the names and passwords that docker knows; none without a network.
    pub fn registry(&self, reporter: &Reporter) -> Result<Option<&Registry>> {
        let Some(client) = &self.client else {
            return Ok(None);
        };
        if let Some(registry) = self.registry.get() {
            return Ok(Some(registry));
        }
        let registry = Registry::new(client.clone(), logins(reporter)?);
        Ok(Some(self.registry.get_or_init(|| registry)))
    }
}

/// Names and passwords of registries: those of docker's `config.json`.
fn logins(reporter: &Reporter) -> Result<Logins> {
    let folder = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
    let Some(path) = folder.map(|folder| folder.join("config.json")) else {
        return Ok(Logins::default());
    };
    if !path.is_file() {
        return Ok(Logins::default());
    }
    let bytes = reporter.inputs().read("logins", &path, LOGINS_MAX)?;
    Logins::from_docker(&bytes).at(|| path.display().to_string())
}

/// The cache that is only read, `given` or that of the config: a folder that is not there is more likely a mistake than an
/// empty cache.
pub fn shared_cache(given: Option<&Path>, reporter: &Reporter) -> Result<Option<PathBuf>> {
    let folder = match given {
        Some(folder) => Some(folder.to_owned()),
        None => Config::load(reporter)?.shared_cache,
    };
    match folder {
        Some(folder) if !folder.is_dir() => {
            let message = format!("the shared cache {} is no folder", folder.display());
            Err(Error::not_found(message)
                .with_hint("name the folder of a cache, as --cache-dir does"))
        }
        folder => Ok(folder),
    }
}

fn open_bundle(folder: &Path) -> Result<Bundle> {
    Bundle::open(folder).map_err(|error| error.with_hint("flatbake fetch --bundle DIR makes one"))
}

fn own_folder() -> Result<TempDir> {
    let folder = temp_dir();
    tempfile::Builder::new()
        .prefix(".flatbake-")
        .tempdir_in(&folder)
        .map_err(|error| {
            Error::new(
                ErrorKind::Environment,
                format!("making a folder in {}", folder.display()),
            )
            .with_source(error)
        })
}

/// The folder of the cache, for commands that have a flag for it.
pub fn cache_of(given: Option<&Path>) -> Result<PathBuf> {
    cache_folder(given).ok_or_else(|| {
        Error::new(
            ErrorKind::Environment,
            "there is no folder for the cache: neither XDG_CACHE_HOME nor HOME is set",
        )
        .with_hint("name one with --cache-dir")
    })
}
