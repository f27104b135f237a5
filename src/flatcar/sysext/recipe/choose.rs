//! What a recipe comes to for one version and architecture.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{self, Document, Take, Version};
use super::read::{ARCHITECTURES, Recipe, download_names, is_sha256, is_word};
use super::template::fill;
use crate::document::{Raw, Spanned};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::sysext::names::compare_names;

/// What is wanted of a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The version; it may be left out where nothing is fetched.
    pub version: Option<String>,
    /// Versions of downloads that have their own, by the names of the downloads.
    pub versions: BTreeMap<String, String>,
    /// The architecture in systemd's words: `x86-64` or `arm64`.
    pub architecture: String,
    /// The parts that are wanted; none for all.
    pub only: Vec<String>,
}

/// A recipe for one version and architecture.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub(super) recipe: Recipe,
    /// The number of the version, where it is known.
    pub(super) number: Option<String>,
    pub(super) architecture: String,
    pub(super) parts: BTreeSet<String>,
    pub(super) needed: Vec<Needed>,
}

/// A file that is needed.
#[derive(Debug, Clone)]
pub(super) struct Needed {
    pub(super) name: String,
    pub(super) take: Vec<Spanned<Take>>,
    /// Where it is published; what is wrong with that, where it cannot be told.
    source: std::result::Result<Download, String>,
}

/// A file as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Its name within the recipe.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What its SHA-256 is known by.
    pub digest: Digest,
}

/// What the SHA-256 of a file is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// It stands in the recipe: hexadecimal digits.
    Known(String),
    /// It stands in the list at this URL, or is all that stands there.
    Listed(String),
    /// Nobody publishes it.
    Unpublished,
}

impl Recipe {
    /// What the recipe comes to.
    ///
    /// # Errors
    /// An architecture that it does not have, a part, a version or a download that it does not know.
    pub fn choose(&self, choice: &Choice) -> Result<Chosen> {
        let choosing = Choosing {
            document: &self.document,
            choice,
        };
        choosing.choose(self).at(|| self.place.clone())
    }
}

impl Chosen {
    /// What is to be fetched, without that for which a file is there: `given` are the names of these downloads.
    ///
    /// # Errors
    /// The version is not known.
    pub fn downloads(&self, given: &BTreeSet<String>) -> Result<Vec<&Download>> {
        let missing = self
            .needed
            .iter()
            .filter(|needed| !given.contains(&needed.name));
        let sources = missing.map(|needed| match &needed.source {
            Ok(download) => Ok(download),
            Err(problem) => Err(Error::invalid(problem.clone()).at(self.recipe.place.clone())),
        });
        sources.collect()
    }

    /// The names of all files that are needed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.needed.iter().map(|needed| &*needed.name)
    }

    /// The name of the download that a file of this name is, by that alone where it is the only one.
    ///
    /// # Errors
    /// It can be more than one, or none.
    pub fn name_of_file(&self, file: &str) -> Result<&str> {
        if let [only] = self.needed.as_slice() {
            return Ok(&only.name);
        }
        let published = self.needed.iter().find(|needed| {
            let url = needed.source.as_ref().map(|download| &*download.url);
            url.is_ok_and(|url| url.rsplit('/').next() == Some(file))
        });
        published.map(|needed| &*needed.name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::invalid(format!(
                "which download of {} is {}? They are {}",
                self.recipe.name(),
                file.escape_debug(),
                names.join(", ")
            ))
        })
    }

    /// The version without its prefix, where it is known.
    pub fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }

    /// The architecture in systemd's words.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Whether what belongs to a part is wanted.
    pub(super) fn has(&self, part: Option<&String>) -> bool {
        is_in(&self.parts, part)
    }
}

/// No part, or one of those that are wanted.
fn is_in(parts: &BTreeSet<String>, part: Option<&String>) -> bool {
    part.is_none_or(|part| parts.contains(part))
}

struct Choosing<'a> {
    document: &'a Document,
    choice: &'a Choice,
}

impl Choosing<'_> {
    fn choose(&self, recipe: &Recipe) -> Result<Chosen> {
        let document = self.document;
        let architecture = &self.choice.architecture;
        let words = ARCHITECTURES
            .iter()
            .find(|(_, systemd)| systemd == architecture);
        let (goarch, _) = words.ok_or_else(|| {
            Error::invalid(format!(
                "no recipe has anything for '{}'",
                architecture.escape_debug()
            ))
            .with_hint("choose x86-64 or arm64")
        })?;
        let names = download_names(document);
        let own = |name: &&String| {
            document
                .downloads
                .iter()
                .any(|download| download.value.name == **name && download.value.version.is_some())
        };
        if let Some(odd) = self.choice.versions.keys().find(|name| !own(name)) {
            return Err(Error::invalid(format!(
                "no download called '{}' has a version of its own",
                odd.escape_debug()
            )));
        }
        let parts = self.parts()?;
        let version = self.version(&document.version, self.choice.version.as_deref())?;
        let mut needed = Vec::new();
        for name in names {
            let download = self.download(name, version.as_ref())?;
            let take: Vec<Spanned<Take>> = download
                .take
                .iter()
                .filter(|take| is_in(&parts, take.value.part.as_ref()))
                .cloned()
                .collect();
            if is_in(&parts, download.part.as_ref()) && !take.is_empty() {
                needed.push(Needed {
                    name: name.to_owned(),
                    take,
                    source: self.source(download, version.as_ref(), goarch)?,
                });
            }
        }
        Ok(Chosen {
            recipe: recipe.clone(),
            number: version.map(|version| version.number),
            architecture: architecture.clone(),
            parts,
            needed,
        })
    }

    fn parts(&self) -> Result<BTreeSet<String>> {
        let known = &self.document.parts;
        let only = &self.choice.only;
        if let Some(odd) = only.iter().find(|part| !known.contains(part)) {
            let error = Error::invalid(format!(
                "{} has no part '{}'",
                self.document.name.value,
                odd.escape_debug()
            ));
            return Err(error.with_hint(match known.as_slice() {
                [] => "it is one whole".to_owned(),
                known => format!("its parts are {}", known.join(", ")),
            }));
        }
        let chosen = if only.is_empty() { known } else { only };
        Ok(chosen.iter().cloned().collect())
    }

    /// A version with its prefix and without it.
    fn version(&self, known: &Version, given: Option<&str>) -> Result<Option<Numbered>> {
        let Some(given) = given else { return Ok(None) };
        if !is_word(given) {
            return Err(
                Error::invalid(format!("'{}' cannot be a version", given.escape_debug()))
                    .with_hint(format!("write it as {}", known.example.0)),
            );
        }
        // Without a prefix of its own, a v is that of people who write one everywhere.
        let prefix = match known.prefix.as_str() {
            "" => "v",
            prefix => prefix,
        };
        let number = given.strip_prefix(prefix).unwrap_or(given).to_owned();
        Ok(Some(Numbered {
            version: format!("{}{number}", known.prefix),
            number,
        }))
    }

    /// The download of a name that is right for the version; the last one where that is not known.
    fn download(&self, name: &str, version: Option<&Numbered>) -> Result<&document::Download> {
        let mut found = None;
        for spanned in &self.document.downloads {
            let download = &spanned.value;
            if download.name != name {
                continue;
            }
            let own = self.own_version(download, version)?;
            let is_it = |own: &Numbered| {
                let behind = |first: &Raw| compare_names(&own.number, &first.0).is_ge();
                download.since.as_ref().is_none_or(behind)
                    && !download.before.as_ref().is_some_and(behind)
            };
            if own.as_ref().is_none_or(is_it) {
                found = Some(download);
            }
        }
        found.ok_or_else(|| {
            let number = version.map_or("", |version| &version.number);
            Error::not_found(format!("this recipe has no {name} for version {number}")).with_hint(
                format!("one of its versions is {}", self.document.version.example.0),
            )
        })
    }

    /// The version of a download: its own, or that of the extension.
    fn own_version(
        &self,
        download: &document::Download,
        version: Option<&Numbered>,
    ) -> Result<Option<Numbered>> {
        match &download.version {
            None => Ok(version.cloned()),
            Some(own) => {
                let given = self.choice.versions.get(&download.name);
                self.version(own, given.map(String::as_str))
            }
        }
    }

    /// Where a download is published, or why that cannot be told.
    fn source(
        &self,
        download: &document::Download,
        version: Option<&Numbered>,
        goarch: &str,
    ) -> Result<std::result::Result<Download, String>> {
        let name = &download.name;
        let Some(version) = self.own_version(download, version)? else {
            return Ok(Err(match &download.version {
                Some(own) => format!(
                    "the version of {name} is not given: one of its versions is {}",
                    own.example.0
                ),
                None => format!(
                    "the version is not given: one of its versions is {}",
                    self.document.version.example.0
                ),
            }));
        };
        let words = download.arch.as_ref().or(self.document.arch.as_ref());
        let arch = match words {
            None => goarch,
            Some(words) => match words.value.get(goarch) {
                Some(word) => word,
                None => return Ok(Err(format!("{name} is not published for {goarch}"))),
            },
        };
        let values = BTreeMap::from([
            ("arch", arch),
            ("goarch", goarch),
            ("number", &*version.number),
            ("version", &*version.version),
        ]);
        let filled = |text: &str| fill(text, &values).map_err(Error::internal);
        let pinned = download.sha256.get(&version.number);
        let pinned = pinned.and_then(|digests| digests.get(goarch));
        let digest = match (pinned.filter(|digest| is_sha256(digest)), &download.digests) {
            (Some(sha256), _) => Digest::Known(sha256.clone()),
            (None, Some(list)) => Digest::Listed(filled(list)?),
            (None, None) => Digest::Unpublished,
        };
        Ok(Ok(Download {
            name: name.clone(),
            url: filled(&download.url)?,
            digest,
        }))
    }
}

/// A version as it is published, and its number alone.
#[derive(Debug, Clone)]
struct Numbered {
    version: String,
    number: String,
}
