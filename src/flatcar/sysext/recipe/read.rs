//! A recipe is read and checked, before anything is fetched for it.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{self, Document, Take};
use super::template::fill;
use crate::archive::Glob;
use crate::document::{Fault, Position, Raw, Spanned, decode, parse_yaml};
use crate::error::Result;
use crate::flatcar::sysext::Class;
use crate::flatcar::sysext::inspect::is_valid_name;
use crate::fs::FsPath;

/// Largest recipe in bytes; those in the box have some thousand.
pub const RECIPE_MAX: u64 = 1 << 20;
/// The words for architectures in recipes, and systemd's.
pub(super) const ARCHITECTURES: [(&str, &str); 2] = [("amd64", "x86-64"), ("arm64", "arm64")];
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// How an extension is made of what others publish.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub(super) document: Document,
    /// What it is called in messages.
    pub(super) place: String,
}

impl Recipe {
    /// Reads a recipe; `place` is what errors call it.
    ///
    /// # Errors
    /// Whatever is wrong in the text, with line and column.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let read = || {
            let document: Document = decode(&parse_yaml(text)?)?;
            Checking {
                document: &document,
            }
            .check()?;
            Ok(document)
        };
        let document = read().map_err(|fault: Fault| fault.into_error(place, text))?;
        Ok(Self {
            document,
            place: place.to_owned(),
        })
    }

    /// The name that the extension is merged by.
    pub fn name(&self) -> &str {
        &self.document.name.value
    }

    /// What it brings, in one sentence.
    pub fn summary(&self) -> &str {
        &self.document.summary
    }

    /// One of the versions, as an example.
    pub fn example(&self) -> &str {
        &self.document.version.example.0
    }

    /// Parts of which some can be chosen.
    pub fn parts(&self) -> &[String] {
        &self.document.parts
    }

    /// Where the facts of this recipe come from.
    pub fn facts(&self) -> &[String] {
        &self.document.facts
    }

    /// What people who use it should know, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.document.notes
    }

    /// Downloads that have versions of their own, each with one of them as an example.
    pub fn own_versions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.document.downloads.iter().filter_map(|download| {
            let version = download.value.version.as_ref()?;
            Some((&*download.value.name, &*version.example.0))
        })
    }
}

type Checked = std::result::Result<(), Fault>;

/// What serde cannot say of a recipe.
struct Checking<'a> {
    document: &'a Document,
}

impl Checking<'_> {
    fn check(&self) -> Checked {
        let document = self.document;
        let name = &document.name;
        if !is_valid_name(&name.value) || !is_word(&name.value) {
            return Err(Fault::new(
                name.position,
                format!(
                    "'{}' cannot be the name of an extension",
                    name.value.escape_debug()
                ),
            ));
        }
        self.architectures(document.arch.as_ref())?;
        if document.downloads.is_empty() {
            return Err(Fault::new(name.position, "nothing is downloaded for it"));
        }
        for download in &document.downloads {
            self.download(download)?;
        }
        for file in &document.files {
            self.path(&file.value.path, file.position)?;
            mode(file.value.mode.as_ref(), file.position)?;
            self.part(file.value.part.as_ref(), file.position)?;
        }
        for link in &document.links {
            self.path(&link.value.path, link.position)?;
            self.part(link.value.part.as_ref(), link.position)?;
        }
        for chosen in document.etc.iter().chain(&document.enable) {
            self.part(chosen.value.part.as_ref(), chosen.position)?;
        }
        Ok(())
    }

    fn download(&self, spanned: &Spanned<document::Download>) -> Checked {
        let download = &spanned.value;
        let position = spanned.position;
        let fault = |message: String| Fault::new(position, message);
        if !is_word(&download.name) {
            let name = download.name.escape_debug();
            return Err(fault(format!("'{name}' cannot be the name of a download"))
                .with_hint("letters, digits and any of ._- make a name"));
        }
        self.architectures(download.arch.as_ref())?;
        self.part(download.part.as_ref(), position)?;
        let values = ["version", "number", "arch", "goarch"].map(|word| (word, "1"));
        let values = BTreeMap::from(values);
        for url in std::iter::once(&download.url).chain(&download.digests) {
            let filled = fill(url, &values).map_err(fault)?;
            let is_web = filled.starts_with("https://") || filled.starts_with("http://");
            if !is_web || filled.contains(char::is_whitespace) {
                return Err(fault(format!("'{}' is not a URL", url.escape_debug()))
                    .with_hint("it begins with https://"));
            }
        }
        for (version, digests) in &download.sha256 {
            for (architecture, digest) in digests {
                known_architecture(architecture).map_err(fault)?;
                if !is_sha256(digest) {
                    return Err(fault(format!("the digest of {version} is not a SHA-256")));
                }
            }
        }
        let is_file = |take: &Spanned<Take>| take.value.from.is_none();
        if download.take.iter().any(is_file) && download.take.len() != 1 {
            return Err(fault(
                "what is no archive can be taken once, and nothing is taken out of it".to_owned(),
            ));
        }
        if download.take.is_empty() {
            return Err(fault("nothing of it is taken".to_owned()));
        }
        download.take.iter().try_for_each(|take| self.take(take))
    }

    fn take(&self, spanned: &Spanned<Take>) -> Checked {
        let take = &spanned.value;
        let position = spanned.position;
        self.part(take.part.as_ref(), position)?;
        mode(take.mode.as_ref(), position)?;
        self.path(take.to.trim_end_matches('/'), position)?;
        let odd = |part: &str| matches!(part, "" | "." | "..") || Glob::new(part).is_err();
        if let Some(from) = &take.from
            && from.split('/').any(odd)
        {
            let from = from.escape_debug();
            return Err(
                Fault::new(position, format!("'{from}' is not a path in an archive"))
                    .with_hint("write it without a slash at its ends, and without . and .."),
            );
        }
        let is_folder = take.to.ends_with('/');
        if is_folder && take.from.is_none() {
            return Err(Fault::new(
                position,
                "a file needs its own name in the extension",
            ));
        }
        if take.replace.iter().any(|replace| replace.text.is_empty()) {
            return Err(Fault::new(position, "an empty text cannot be replaced"));
        }
        Ok(())
    }

    /// A path that is merged.
    fn path(&self, path: &str, position: Position) -> Checked {
        let is_plain = path.split('/').skip(1).all(|part| !part.is_empty());
        let found = FsPath::new(path).ok();
        let top = found.as_ref().and_then(|path| path.components().next());
        let merged = Class::Sysext.merged();
        let is_merged = top.is_some_and(|top| merged.iter().any(|name| name.as_bytes() == top));
        if is_plain && path.starts_with('/') && is_merged {
            return Ok(());
        }
        Err(Fault::new(
            position,
            format!("'{}' is not a path below /usr or /opt", path.escape_debug()),
        ))
    }

    fn part(&self, part: Option<&String>, position: Position) -> Checked {
        let parts = &self.document.parts;
        match part.filter(|part| !parts.contains(part)) {
            None => Ok(()),
            Some(part) => Err(Fault::new(
                position,
                format!("'{}' is not one of the parts", part.escape_debug()),
            )
            .with_hint(match parts.as_slice() {
                [] => "list it in parts".to_owned(),
                known => format!("the parts are {}", known.join(", ")),
            })),
        }
    }

    fn architectures(&self, words: Option<&Spanned<BTreeMap<String, String>>>) -> Checked {
        let Some(words) = words else { return Ok(()) };
        let fault = |message| Fault::new(words.position, message);
        for (architecture, word) in &words.value {
            known_architecture(architecture).map_err(fault)?;
            if !word.is_empty() && !is_word(word) {
                return Err(fault(format!(
                    "'{}' cannot be a part of a URL",
                    word.escape_debug()
                )));
            }
        }
        Ok(())
    }
}

fn known_architecture(word: &str) -> std::result::Result<(), String> {
    match ARCHITECTURES.iter().any(|(known, _)| *known == word) {
        true => Ok(()),
        false => Err(format!(
            "'{}' is not an architecture: amd64 and arm64 are",
            word.escape_debug()
        )),
    }
}

/// A SHA-256 in small hexadecimal digits.
pub(super) fn is_sha256(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == DIGITS && text.bytes().all(is_digit)
}

/// What may stand in names and versions, which become parts of URLs and of names of files.
pub(super) fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
    !text.is_empty() && text.len() <= 100 && text.bytes().all(is_plain) && !text.starts_with('.')
}

/// A mode in octal digits.
pub(super) fn mode(
    text: Option<&Raw>,
    position: Position,
) -> std::result::Result<Option<u32>, Fault> {
    let Some(Raw(text)) = text else {
        return Ok(None);
    };
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    mode.map(Some).ok_or_else(|| {
        Fault::new(position, format!("'{}' is not a mode", text.escape_debug()))
            .with_hint("write it in octal digits, as 0755")
    })
}

/// The names of all downloads, each once.
pub(super) fn download_names(document: &Document) -> BTreeSet<&str> {
    let all = document.downloads.iter();
    all.map(|download| &*download.value.name).collect()
}
