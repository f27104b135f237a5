//! What a manifest names by release or version: it is fetched before the request is made, by whoever can.

use std::collections::BTreeSet;

use super::document::{Document, Sysext};
use crate::document::{self, Position, Spanned, TextOr};
use crate::error::{Error, Result, ResultExt};

/// A text of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The text.
    pub text: String,
    /// Its place, for messages.
    pub place: String,
}

/// What is to be fetched for a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// The release to start from: `stable`, or a version.
    pub release: Option<Named>,
    /// The architecture, where it is given.
    pub arch: Option<Named>,
    /// Extensions of the Bakery as `NAME@VERSION`, in the order of the manifest, each once.
    pub extensions: Vec<Named>,
}

impl Wants {
    /// Those of a manifest that messages call `file`.
    pub(super) fn of(document: &Document, file: &str) -> Result<Self> {
        let named = |text: &str, position: Position| Named {
            text: text.to_owned(),
            place: document::place(file, position),
        };
        if let (Some(_), Some(release)) = (&document.image, &document.release) {
            return Err(Error::invalid("image and release are both given")
                .with_hint("leave one of them out")
                .at(document::place(file, release.position)));
        }
        let release = document.release.as_ref();
        let arch = document.arch.as_ref();
        let mut wants = Self {
            release: release.map(|release| named(&release.value, release.position)),
            arch: arch.map(|arch| named(&arch.value, arch.position)),
            extensions: Vec::new(),
        };
        let mut known = BTreeSet::new();
        for (text, position) in extensions(document) {
            let wanted = named(text, position);
            extension(text).at(|| wanted.place.clone())?;
            if known.insert(text) {
                wants.extensions.push(wanted);
            }
        }
        Ok(wants)
    }

    /// Whether there is nothing to fetch.
    pub fn is_empty(&self) -> bool {
        self.release.is_none() && self.extensions.is_empty()
    }
}

/// All sysexts that are written as texts, those of variants behind the shared ones.
fn extensions(document: &Document) -> impl Iterator<Item = (&str, Position)> {
    let variants = document.variants.iter();
    let of_variants = variants.flat_map(|variant| &variant.value.sysexts);
    document.sysexts.iter().chain(of_variants).filter_map(text)
}

fn text(sysext: &Spanned<TextOr<Sysext>>) -> Option<(&str, Position)> {
    match &sysext.value {
        TextOr::Text(text) => Some((text, sysext.position)),
        TextOr::Table(_) => None,
    }
}

/// Name and version of an extension.
pub(super) fn extension(text: &str) -> Result<(&str, &str)> {
    text.split_once('@').ok_or_else(|| {
        Error::invalid(format!("'{}' is not NAME@VERSION", text.escape_debug())).with_hint(
            "write wasmtime@24.0.0 or wasmtime@latest for an extension of the Bakery, {name: …, file: …} for a file",
        )
    })
}

/// What is named is not there.
pub(super) fn not_fetched(text: &str) -> Error {
    Error::unsupported(format!("'{}' was not fetched", text.escape_debug()))
        .with_hint("flatbake with the feature fetch does; or get the file, and name its path")
}
