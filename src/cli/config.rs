//! The files in which a machine and its user say how things are fetched.
//!
//! ```text
//!   FLATBAKE_CONFIG ──────────────────────────────── in place of both; empty: none
//!   $XDG_CONFIG_HOME/flatbake/config.toml ─┐
//!   /etc/flatbake/config.toml ─────────────┴─▶ Config ◀── flags and the environment come before it
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::fetch::openpgp::Fingerprint;
use crate::fetch::transfer::Mirror;
use crate::{Error, Result, ResultExt};
use serde::Deserialize;

use super::progress::Reporter;

/// The file of the whole machine.
const OF_THE_MACHINE: &str = "/etc/flatbake/config.toml";
/// That of a user, below the folder of such files.
const OF_THE_USER: &str = "flatbake/config.toml";
/// Names the one file that counts.
const VARIABLE: &str = "FLATBAKE_CONFIG";
/// The largest file that is read, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// How things are fetched, where no flag says it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Other places for what is fetched; the first that fits is taken.
    pub mirrors: Vec<Mirror>,
    /// Files of certificates that are believed.
    pub ca: Vec<PathBuf>,
    /// Files of keys that are trusted besides the built-in one.
    pub keyring: Vec<PathBuf>,
    /// The only keys that are trusted, where there are any.
    pub trust: Vec<Fingerprint>,
    /// A cache that is only read.
    pub shared_cache: Option<PathBuf>,
}

/// The keys of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    mirrors: BTreeMap<String, String>,
    ca: Vec<PathBuf>,
    keyring: Vec<PathBuf>,
    trust: Vec<String>,
    shared_cache: Option<PathBuf>,
}

impl Config {
    /// What the files of this machine and its user say.
    pub fn load(reporter: &Reporter) -> Result<Self> {
        let mut config = Self::default();
        for path in places(|name| std::env::var_os(name)) {
            let bytes = reporter.inputs().read("config", &path, CONFIG_MAX)?;
            let place = path.display().to_string();
            let text = String::from_utf8(bytes).map_err(|error| {
                let error = Error::invalid("the config is not UTF-8").with_source(error);
                error.at(place.clone())
            })?;
            config.add(&path, &text)?;
        }
        Ok(config)
    }

    /// Adds what the file at `path` says; what came before wins.
    fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        let document: Document =
            toml::from_str(text).map_err(|error| refused(path, text, &error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut mirrors = Vec::new();
        for (prefix, place) in document.mirrors {
            mirrors.push(mirror(prefix, &place, folder).at(|| path.display().to_string())?);
        }
        // Of two that fit, the one that says more is meant.
        mirrors.sort_by_key(|mirror| std::cmp::Reverse(mirror.prefix.len()));
        self.mirrors.extend(mirrors);
        let beside = |paths: Vec<PathBuf>| paths.into_iter().map(|path| folder.join(path));
        self.ca.extend(beside(document.ca));
        self.keyring.extend(beside(document.keyring));
        if self.trust.is_empty() {
            let trust = document.trust.iter().map(|text| text.parse());
            let trust: Result<Vec<Fingerprint>> = trust.collect();
            self.trust = trust.at(|| path.display().to_string())?;
        }
        if self.shared_cache.is_none() {
            self.shared_cache = document.shared_cache.map(|shared| folder.join(shared));
        }
        Ok(())
    }
}

/// The files that count, the one that wins first; `lookup` finds a variable of the environment. A file that a variable
/// names must be there.
fn places(lookup: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    if let Some(named) = lookup(VARIABLE) {
        let path = PathBuf::from(named);
        return Some(path)
            .filter(|path| !path.as_os_str().is_empty())
            .into_iter()
            .collect();
    }
    let set = |name: &str| lookup(name).map(PathBuf::from);
    // The XDG specification: a relative path there is invalid and ignored.
    let folder = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let folder = folder.or_else(|| Some(set("HOME")?.join(".config")));
    let user = folder.map(|folder| folder.join(OF_THE_USER));
    let all = user.into_iter().chain([PathBuf::from(OF_THE_MACHINE)]);
    all.filter(|path| path.exists()).collect()
}

fn mirror(prefix: String, place: &str, folder: &Path) -> Result<Mirror> {
    if prefix.is_empty() || place.is_empty() {
        return Err(Error::invalid("a mirror needs a prefix and a place").with_hint(
            "write \"https://stable.release.flatcar-linux.net/\" = \"https://mirror.example/stable/\"",
        ));
    }
    let is_relative = !place.contains(':') && Path::new(place).is_relative();
    let replacement = match is_relative {
        true => format!("{}/{place}", folder.display()),
        false => place.to_owned(),
    };
    Ok(Mirror {
        prefix,
        replacement,
    })
}

/// What is wrong with a file, and where.
fn refused(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    Error::invalid(error.message().to_owned())
        .with_hint("the keys are mirrors, ca, keyring, trust and shared_cache")
        .at(format!("{}:{line}:{column}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_comes_before_the_machine() {
        let mut config = Config::default();
        let user = "ca = [\"own.pem\"]\nshared_cache = \"/srv/mine\"\n[mirrors]\n\"https://a/\" = \"https://b/\"\n\
                    \"https://a/long/\" = \"folder/\"\n";
        let machine = "ca = [\"/etc/ca.pem\"]\nshared_cache = \"/srv/all\"\nkeyring = [\"k\"]\n\
                       trust = [\"F88CFEDEFF29A5B4D9523864E25D9AED0593B34A\"]\n[mirrors]\n\"https://a/\" = \"https://c/\"\n";
        config.add(Path::new("/home/me/config.toml"), user).unwrap();
        config
            .add(Path::new("/etc/flatbake/config.toml"), machine)
            .unwrap();
        let mirrors: Vec<(&str, &str)> = config
            .mirrors
            .iter()
            .map(|mirror| (&*mirror.prefix, &*mirror.replacement))
            .collect();
        assert_eq!(
            mirrors,
            [
                ("https://a/long/", "/home/me/folder/"),
                ("https://a/", "https://b/"),
                ("https://a/", "https://c/"),
            ]
        );
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(config.ca, paths(&["/home/me/own.pem", "/etc/ca.pem"]));
        assert_eq!(config.keyring, paths(&["/etc/flatbake/k"]));
        assert_eq!(config.shared_cache, Some("/srv/mine".into()));
        assert_eq!(config.trust.len(), 1);
    }

    #[test]
    fn what_is_not_known_is_refused_where_it_stands() {
        for (text, place) in [
            ("ca = []\nmirror = 1\n", "c.toml:2:1: "),
            ("ca = \"x\"\n", "c.toml:1:6: "),
            ("[mirrors]\n\"a\" = \"\"\n", "c.toml: "),
            ("trust = [\"word\"]\n", "c.toml: "),
            ("ca = [\n", "c.toml:"),
        ] {
            let error = Config::default()
                .add(Path::new("c.toml"), text)
                .unwrap_err();
            assert!(error.to_string().starts_with(place), "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn a_variable_names_the_one_file_that_counts() {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join(OF_THE_USER);
        std::fs::create_dir_all(user.parent().unwrap()).unwrap();
        std::fs::write(&user, "").unwrap();
        let found = |variable: Option<&str>, folder: &str| {
            let all = places(|name| match name {
                VARIABLE => variable.map(OsString::from),
                "XDG_CONFIG_HOME" => Some(dir.path().join(folder).into()),
                _ => None,
            });
            let machine = Path::new(OF_THE_MACHINE);
            all.into_iter()
                .filter(|path| path != machine)
                .collect::<Vec<_>>()
        };
        assert_eq!(found(None, ""), [user]);
        assert!(found(None, "nothing").is_empty());
        assert!(found(Some(""), "").is_empty());
        assert_eq!(found(Some("/x.toml"), ""), [PathBuf::from("/x.toml")]);
    }
}
