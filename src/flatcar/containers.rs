//! Container images in Docker's store on ROOT, as the store itself names them.
//!
//! The names are keys of one JSON file, `{"Repositories": {REPO: {REF: IMAGE-ID}}}` (moby, `reference/store.go`).
//! containerd keeps its own in a database, which is not read.

use serde::Serialize;

use super::{Designator, Disk};
use crate::document::{Key, Node, Value, parse_json};
use crate::error::{Error, Result, ResultExt};
use crate::fs::{self, ByPath, FsPath};

/// Where Docker keeps a folder for each of its storage drivers.
const DRIVERS: &str = "/var/lib/docker/image";
const NAMES: &str = "repositories.json";
/// Largest file of names that is read.
const NAMES_MAX: u64 = 16 << 20;

/// A name of a container image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ContainerImage {
    /// Its name with a tag, or with the digest of its manifest, in Docker's short form: `alpine:3.20`.
    pub name: String,
    /// The digest of its config, which identifies it: `sha256:…`.
    pub id: String,
    /// The storage driver that it is kept by, such as `overlay2`.
    pub driver: String,
}

/// The names of all images in Docker's store, in order. A disk without a store, or without ROOT, has none.
///
/// # Errors
/// Those of reading ROOT, and a file of names that is none.
pub fn container_images(disk: &Disk) -> Result<Vec<ContainerImage>> {
    let Ok(root) = disk.filesystem(Designator::Root.into()) else {
        return Ok(Vec::new());
    };
    let folder = FsPath::new(DRIVERS)?;
    if !fs::exists(&*root, &folder)? {
        return Ok(Vec::new());
    }
    let mut images = Vec::new();
    for entry in root.entries_at(&folder)? {
        let path = folder.join(&entry.name)?.join(NAMES.as_bytes())?;
        if fs::exists(&*root, &path)? {
            let driver = String::from_utf8_lossy(&entry.name).into_owned();
            let named = || {
                let bytes = fs::read_file(&*root, &path, NAMES_MAX)?;
                names(&bytes)
            };
            let named = named().at(|| format!("{}:{path}", Designator::Root))?;
            images.extend(named.into_iter().map(|(name, id)| ContainerImage {
                name,
                id,
                driver: driver.clone(),
            }));
        }
    }
    images.sort();
    Ok(images)
}

/// Names and what they stand for.
fn names(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let invalid = |why: &dyn std::fmt::Display| {
        Error::corrupt(format!(
            "this is no list of the names of container images: {why}"
        ))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error))?;
    let document = parse_json(text).map_err(|fault| invalid(&fault))?;
    let repositories = document.get("Repositories").map_or(&[][..], table);
    let named = repositories.iter().flat_map(|(_, names)| table(names));
    Ok(named
        .map(|(key, id)| {
            (
                key.name.clone(),
                id.as_text().unwrap_or_default().to_owned(),
            )
        })
        .collect())
}

fn table(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        Value::Table(entries) => entries,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_writes_them() {
        let text = br#"{"Repositories":{"app":{"app:latest":"sha256:1","app@sha256:2":"sha256:1"},"ghcr.io/a/b":{"ghcr.io/a/b:3":"sha256:4"}}}"#;
        let expected = [
            ("app:latest", "sha256:1"),
            ("app@sha256:2", "sha256:1"),
            ("ghcr.io/a/b:3", "sha256:4"),
        ];
        let found = names(text).unwrap();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, id)| (name.as_str(), id.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(names(b"{}").unwrap(), []);
    }

    #[test]
    fn what_is_no_list_is_told() {
        for bytes in [&b"{"[..], b"\xff", b""] {
            let error = names(bytes).unwrap_err();
            assert!(
                error.to_string().contains("no list of the names"),
                "{error}"
            );
        }
    }
}
