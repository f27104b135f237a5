//! Which versions of which recipes are published, as people write it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::{Fault, Raw, Spanned, decode, parse_yaml};
use crate::error::Result;

const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// What is published.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "flatbake list of extensions")]
struct Document {
    /// Where the folder will be: `https://sysexts.example/`.
    #[serde(default)]
    url: Option<String>,
    /// What is in it.
    extensions: Vec<Spanned<Written>>,
}

/// A recipe with its versions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The name of a recipe, or a file that ends in `.yaml`, from the folder of the list on.
    recipe: String,
    /// The name that it is merged by; that of the recipe where nothing is said.
    #[serde(default)]
    name: Option<String>,
    /// The versions.
    versions: Vec<Raw>,
    /// `amd64` and `arm64`, or one of them; both where nothing is said.
    #[serde(default)]
    arch: Option<Vec<String>>,
    /// Parts of the recipe; all where nothing is said.
    #[serde(default)]
    only: Vec<String>,
    /// Versions of downloads that have their own, by their names.
    #[serde(default)]
    with: std::collections::BTreeMap<String, Raw>,
    /// Files that are here instead of being fetched, from the folder of the list on: `FILE`, or `DOWNLOAD=FILE`. For one
    /// version and one architecture.
    #[serde(default)]
    from: Vec<String>,
    /// SHA-256 that fetched files must have: `DIGITS`, or `DOWNLOAD=DIGITS`. For one version and one architecture.
    #[serde(default)]
    sha256: Vec<Raw>,
}

/// The JSON schema (draft 2020-12) of a list.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Where the folder will be.
    pub url: Option<String>,
    /// The images, in the order of the list.
    pub entries: Vec<Entry>,
}

/// An image that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name of a recipe, or a file.
    pub recipe: String,
    /// The name that it is merged by, where it is not that of the recipe.
    pub name: Option<String>,
    /// The version.
    pub version: String,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// Parts of the recipe; none for all.
    pub only: Vec<String>,
    /// Versions of downloads that have their own, by their names.
    pub versions: std::collections::BTreeMap<String, String>,
    /// Files that are here: `FILE`, or `DOWNLOAD=FILE`.
    pub from: Vec<String>,
    /// SHA-256 of what is fetched: `DIGITS`, or `DOWNLOAD=DIGITS`.
    pub sha256: Vec<String>,
    /// The place in the list.
    pub place: String,
}

impl List {
    /// Reads a list; `file` is what errors call it.
    ///
    /// # Errors
    /// Whatever is wrong in the text, with line and column.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let read = || {
            let document: Document = decode(&parse_yaml(text)?)?;
            let mut entries = Vec::new();
            for written in &document.extensions {
                add(written, file, &mut entries)?;
            }
            Ok(Self {
                url: document.url,
                entries,
            })
        };
        read().map_err(|fault: Fault| fault.into_error(file, text))
    }
}

fn add(
    spanned: &Spanned<Written>,
    file: &str,
    entries: &mut Vec<Entry>,
) -> std::result::Result<(), Fault> {
    let written = &spanned.value;
    let both = ARCHITECTURES.map(str::to_owned).to_vec();
    let archs = written.arch.clone().unwrap_or(both);
    if let Some(odd) = archs.iter().find(|arch| !ARCHITECTURES.contains(&&***arch)) {
        return Err(Fault::new(
            spanned.position,
            format!(
                "'{}' is not an architecture: amd64 and arm64 are",
                odd.escape_debug()
            ),
        ));
    }
    let images = written.versions.len() * archs.len();
    for (key, files) in [
        ("from", written.from.len()),
        ("sha256", written.sha256.len()),
    ] {
        if files > 0 && images != 1 {
            return Err(Fault::new(
                spanned.position,
                format!(
                    "'{key}' is for one image, and this is for {images}: give one version and one architecture"
                ),
            ));
        }
    }
    for Raw(version) in &written.versions {
        for arch in &archs {
            let versions = written.with.iter();
            entries.push(Entry {
                recipe: written.recipe.clone(),
                name: written.name.clone(),
                version: version.clone(),
                arch: arch.clone(),
                only: written.only.clone(),
                versions: versions
                    .map(|(name, Raw(version))| (name.clone(), version.clone()))
                    .collect(),
                from: written.from.clone(),
                sha256: written
                    .sha256
                    .iter()
                    .map(|Raw(digest)| digest.clone())
                    .collect(),
                place: crate::document::place(file, spanned.position),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_an_image_for_each_architecture() {
        let text = "url: https://host.example/\nextensions:\n\
                    - {recipe: tailscale, versions: [1.10, 1.9]}\n\
                    - {recipe: docker, versions: [28.0.4], arch: [arm64], name: mydocker, only: [docker]}\n";
        let list = List::parse(text, "l.yaml").unwrap();
        let images: Vec<String> = list
            .entries
            .iter()
            .map(|entry| format!("{} {} {}", entry.recipe, entry.version, entry.arch))
            .collect();
        assert_eq!(
            images,
            [
                "tailscale 1.10 amd64",
                "tailscale 1.10 arm64",
                "tailscale 1.9 amd64",
                "tailscale 1.9 arm64",
                "docker 28.0.4 arm64"
            ]
        );
        assert_eq!(list.entries[4].place, "l.yaml:4:3");
    }

    #[test]
    fn what_is_wrong_in_a_list_is_told_with_its_place() {
        for (text, place) in [
            ("extensions:\n- {recipe: a, version: [1]}\n", "l.yaml:2:15"),
            (
                "extensions:\n- {recipe: a, versions: [1], arch: [x86]}\n",
                "l.yaml:2:3",
            ),
            (
                "extensions:\n- {recipe: a, versions: [1], from: [a.tgz]}\n",
                "l.yaml:2:3",
            ),
            (
                "extensions:\n- {recipe: a, versions: [1, 2], arch: [arm64], sha256: [00]}\n",
                "l.yaml:2:3",
            ),
            ("extension: []\n", "l.yaml:1:1"),
        ] {
            let error = List::parse(text, "l.yaml").unwrap_err().to_string();
            assert!(error.contains(place), "{error}");
        }
    }
}
