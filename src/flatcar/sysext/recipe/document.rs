//! A recipe as it is written: strict YAML, where an unknown key or a wrong type is an error with its place.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::document::{Raw, Spanned};

/// How an extension is made of what others publish.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "flatbake recipe")]
pub struct Document {
    /// The name that the extension is merged by.
    pub name: Spanned<String>,
    /// What it brings, in one sentence.
    pub summary: String,
    /// Where the facts of this recipe come from: pages, scripts, archives.
    pub facts: Vec<String>,
    /// The versions that there are.
    pub version: Version,
    /// The word for `{arch}` in URLs, by `amd64` and `arm64`; these words themselves where nothing is said.
    #[serde(default)]
    pub arch: Option<Spanned<BTreeMap<String, String>>>,
    /// Parts of which some can be chosen; what belongs to no part is always there.
    #[serde(default)]
    pub parts: Vec<String>,
    /// What is fetched, and what of it goes where.
    pub downloads: Vec<Spanned<Download>>,
    /// Files whose content stands here.
    #[serde(default)]
    pub files: Vec<Spanned<File>>,
    /// Symbolic links.
    #[serde(default)]
    pub links: Vec<Spanned<Link>>,
    /// Files below `/usr/share/factory/etc` that systemd-tmpfiles copies to `/etc` of machines that have none there.
    #[serde(default)]
    pub etc: Vec<Spanned<Chosen>>,
    /// Units that are started.
    #[serde(default)]
    pub enable: Vec<Spanned<Chosen>>,
    /// What people who use it should know, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Which versions there are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// One of them, as an example.
    pub example: Raw,
    /// What stands in front of the number in `{version}`, such as `v`. It may be given or left out; `{number}` has none.
    #[serde(default)]
    pub prefix: String,
}

/// A file that is fetched, or given.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// Its name within the recipe. Two with one name stand for the same in different versions.
    pub name: String,
    /// Where it is published, with `{version}`, `{number}`, `{arch}` and `{goarch}` (`amd64` or `arm64`).
    pub url: String,
    /// Where its SHA-256 is published, in the same words: a list of digests and names, or the digest alone.
    #[serde(default)]
    pub digests: Option<String>,
    /// The SHA-256 of versions, each by `amd64` and `arm64`, in hexadecimal digits.
    #[serde(default)]
    pub sha256: BTreeMap<String, BTreeMap<String, String>>,
    /// The word for `{arch}` in these URLs.
    #[serde(default)]
    pub arch: Option<Spanned<BTreeMap<String, String>>>,
    /// Its own versions, where they are not those of the extension.
    #[serde(default)]
    pub version: Option<Version>,
    /// The first version that has it.
    #[serde(default)]
    pub since: Option<Raw>,
    /// The first version that has it no longer.
    #[serde(default)]
    pub before: Option<Raw>,
    /// The part that it belongs to.
    #[serde(default)]
    pub part: Option<String>,
    /// What of it goes where.
    pub take: Vec<Spanned<Take>>,
}

/// What is taken out of an archive.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// The path in the archive; `*` and `?` stand for any part of one name. Without it, what was fetched is the file itself.
    #[serde(default)]
    pub from: Option<String>,
    /// The path in the extension. With a slash at its end, all that fits goes into that folder.
    pub to: String,
    /// The mode of files, in octal digits; that of the archive where nothing is said, 0755 for what is no archive.
    #[serde(default)]
    pub mode: Option<Raw>,
    /// Texts that are replaced in the file; each must be in it.
    #[serde(default)]
    pub replace: Vec<Replace>,
    /// It may be missing, as it is in some versions.
    #[serde(default)]
    pub optional: bool,
    /// The part that it belongs to.
    #[serde(default)]
    pub part: Option<String>,
}

/// A text that is replaced wherever it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// What is in the file.
    pub text: String,
    /// What it becomes.
    pub with: String,
}

/// A file whose content stands in the recipe.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path in the extension.
    pub path: String,
    /// Its content.
    pub content: String,
    /// Its mode in octal digits; 0644 where nothing is said.
    #[serde(default)]
    pub mode: Option<Raw>,
    /// The part that it belongs to.
    #[serde(default)]
    pub part: Option<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its path in the extension.
    pub path: String,
    /// Where it leads.
    pub target: String,
    /// The part that it belongs to.
    #[serde(default)]
    pub part: Option<String>,
}

/// A name, and the part that it belongs to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// The name: of a unit, or of a path below `/etc`.
    pub name: String,
    /// The part that it belongs to.
    #[serde(default)]
    pub part: Option<String>,
}
