//! The JSON files of container images.

use serde::de::DeserializeOwned;
use sha2::Sha256;

use super::layer::Digest;
use crate::bytes::hex;
use crate::error::{Error, Result, ResultExt};
use crate::fs::{self, FileSystem, FsPath};

/// The largest one that is read, in bytes: registries allow 4 MiB.
const JSON_MAX: u64 = 4 << 20;

/// Reads the file at `path`.
pub(super) fn read<T: DeserializeOwned>(files: &dyn FileSystem, path: &FsPath) -> Result<T> {
    parse(&bytes(files, path)?).at(|| path.to_string())
}

/// The same where the file must have a digest.
pub(super) fn read_digested<T: DeserializeOwned>(
    files: &dyn FileSystem,
    path: &FsPath,
    digest: &Digest,
) -> Result<T> {
    let bytes = bytes(files, path)?;
    let found = hex(&<Sha256 as sha2::Digest>::digest(&bytes));
    digest
        .check(&found)
        .and_then(|()| parse(&bytes))
        .at(|| path.to_string())
}

fn bytes(files: &dyn FileSystem, path: &FsPath) -> Result<Vec<u8>> {
    let found = fs::resolve(files, path)?;
    fs::read_file(files, &found, JSON_MAX)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::corrupt("this is not the JSON of a container image").with_source(error)
    })
}
