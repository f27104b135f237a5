//! What is known of the downloads of a recipe before anything is fetched: on the command line as in a list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::flatcar::sysext::recipe::Chosen;
use crate::{Error, Result};

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The files that are here, by the downloads that they are: `FILE` or `DOWNLOAD=FILE`, from `folder` on.
pub fn files(chosen: &Chosen, from: &[String], folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for argument in from {
        let (name, file) = match argument.split_once('=') {
            Some((name, file)) if chosen.names().any(|known| known == name) => {
                (name.to_owned(), file)
            }
            _ => {
                let file = Path::new(argument)
                    .file_name()
                    .and_then(|name| name.to_str());
                let name = chosen.name_of_file(file.unwrap_or(argument));
                let name = name.map_err(|error| error.with_hint("write DOWNLOAD=FILE"))?;
                (name.to_owned(), argument.as_str())
            }
        };
        if files.insert(name.clone(), folder.join(file)).is_some() {
            return Err(Error::invalid(format!("two files are given for {name}")));
        }
    }
    Ok(files)
}

/// The digests, by the downloads: `DIGITS` or `DOWNLOAD=DIGITS`. `files` are not fetched.
pub fn digests(
    chosen: &Chosen,
    files: &BTreeMap<String, PathBuf>,
    sha256: &[String],
) -> Result<BTreeMap<String, String>> {
    let fetched: Vec<&str> = chosen
        .names()
        .filter(|name| !files.contains_key(*name))
        .collect();
    let (own, mut digests) = split("sha256", sha256)?;
    if let Some(sha256) = own {
        let [name] = fetched.as_slice() else {
            return Err(Error::invalid(format!(
                "sha256 is for one download, and {} are fetched",
                fetched.len()
            ))
            .with_hint("write DOWNLOAD=DIGITS"));
        };
        digests.insert((*name).to_owned(), sha256);
    }
    for (name, digest) in &mut digests {
        let is_digit = |byte: u8| byte.is_ascii_hexdigit();
        let is_digest = digest.len() == SHA256_DIGITS && digest.bytes().all(is_digit);
        if !is_digest || !fetched.contains(&&**name) {
            return Err(Error::invalid(format!(
                "'{}={}' is no SHA-256 of what is fetched",
                name.escape_debug(),
                digest.escape_debug()
            ))
            .with_hint(format!(
                "{SHA256_DIGITS} hexadecimal digits, for one of: {}",
                fetched.join(", ")
            )));
        }
        digest.make_ascii_lowercase();
    }
    Ok(digests)
}

/// The value without a name, of which there is one at most, and those with one.
pub fn split(what: &str, values: &[String]) -> Result<(Option<String>, BTreeMap<String, String>)> {
    let mut own = None;
    let mut named = BTreeMap::new();
    for value in values {
        let again = match value.split_once('=') {
            None => own.replace(value.clone()),
            Some((name, value)) => named.insert(name.to_owned(), value.to_owned()),
        };
        if again.is_some() {
            return Err(Error::invalid(format!("{what} is given twice"))
                .with_hint("write DOWNLOAD= in front of what is for a download"));
        }
    }
    Ok((own, named))
}
