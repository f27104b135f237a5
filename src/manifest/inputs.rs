//! Host paths of a manifest: they lie in its folder unless told otherwise, and exist.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::document::Text;
use super::options::LoadOptions;
use super::wants;
use crate::bake::ExpectedDigest;
use crate::block::shown;
use crate::document::{self, Position, Raw, Spanned};
use crate::error::{Error, Result, ResultExt};

/// What a path must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    File,
    Folder,
    FileOrFolder,
}

impl Want {
    fn fits(self, metadata: &fs::Metadata) -> bool {
        match self {
            Self::File => metadata.is_file(),
            Self::Folder => metadata.is_dir(),
            Self::FileOrFolder => metadata.is_file() || metadata.is_dir(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Folder => "a folder",
            Self::FileOrFolder => "a regular file or a folder",
        }
    }
}

/// The manifest's folder, and the digests that its files must have.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The manifest's path for messages.
    file: String,
    folder: PathBuf,
    /// The folder without symlinks; none where paths may lead out of it.
    fence: Option<PathBuf>,
    digests: BTreeMap<PathBuf, ExpectedDigest>,
    /// Files of extensions that were fetched, by what they are asked for as.
    extensions: BTreeMap<String, PathBuf>,
}

impl Inputs {
    pub(super) fn new(manifest: &Path, options: &LoadOptions) -> Result<Self> {
        let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
        let real = real_path(if folder == Path::new("") {
            Path::new(".")
        } else {
            &folder
        })?;
        let fence = (!options.allow_outside).then_some(real);
        Ok(Self {
            file: shown(manifest),
            folder,
            fence,
            digests: BTreeMap::new(),
            extensions: options.extensions.clone(),
        })
    }

    /// The manifest's own folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A place in the manifest for messages.
    pub(super) fn place(&self, position: Position) -> String {
        document::place(&self.file, position)
    }

    /// The host path that `text` names, which must exist.
    pub(super) fn add(&self, text: &Text, want: Want) -> Result<PathBuf> {
        self.check(&text.value, want)
            .at(|| self.place(text.position))
    }

    /// The host file that `text` names, which must have the digest that is given.
    pub(super) fn add_digested(
        &mut self,
        text: &Text,
        sha256: Option<&Spanned<Raw>>,
    ) -> Result<PathBuf> {
        let path = match is_remote(&text.value) {
            true => PathBuf::from(&text.value),
            false => self.add(text, Want::File)?,
        };
        if let Some(sha256) = sha256 {
            let place = self.place(sha256.position);
            self.expect(&path, &sha256.value.0, &place).at(|| place)?;
        }
        Ok(path)
    }

    /// The file of the extension that is asked for as `text`.
    pub(super) fn extension(&self, text: &str) -> Result<PathBuf> {
        let file = self.extensions.get(text);
        file.cloned().ok_or_else(|| wants::not_fetched(text))
    }

    fn expect(&mut self, path: &Path, sha256: &str, place: &str) -> Result<()> {
        let sha256 = digest(sha256)?;
        match self.digests.entry(path.to_owned()) {
            Entry::Vacant(slot) => {
                let origin = Some(place.to_owned());
                slot.insert(ExpectedDigest {
                    path: path.to_owned(),
                    sha256,
                    origin,
                });
                Ok(())
            }
            Entry::Occupied(known) if known.get().sha256 == sha256 => Ok(()),
            Entry::Occupied(known) => {
                let other = &known.get().sha256;
                Err(Error::invalid(format!(
                    "two digests are given for {}: {other} and {sha256}",
                    shown(path)
                )))
            }
        }
    }

    /// The digests that files must have.
    pub(super) fn into_digests(self) -> Vec<ExpectedDigest> {
        self.digests.into_values().collect()
    }

    /// Checks the file `name` beside an input, which is read too where there is one.
    pub(super) fn check_beside(&self, text: &Text, name: &str) -> Result<()> {
        let beside = self.folder.join(&text.value).with_file_name(name);
        if beside.is_file() {
            self.check_inside(&beside).at(|| self.place(text.position))
        } else {
            Ok(())
        }
    }

    fn check(&self, text: &str, want: Want) -> Result<PathBuf> {
        let path = self.join(text)?;
        let metadata = fs::metadata(&path)
            .map_err(|error| Error::io(format!("reading {}", shown(&path)), error))?;
        if !want.fits(&metadata) {
            return Err(Error::invalid(format!(
                "{} is not {}",
                shown(&path),
                want.words()
            )));
        }
        self.check_inside(&path)?;
        Ok(path)
    }

    fn join(&self, text: &str) -> Result<PathBuf> {
        if text.is_empty() || text.contains('\0') {
            return Err(
                Error::invalid(format!("'{}' is not a path", text.escape_debug()))
                    .with_hint("give a path relative to the manifest's folder"),
            );
        }
        Ok(self.folder.join(text))
    }

    /// Refuses an existing `path` outside the manifest's folder, symlinks followed.
    fn check_inside(&self, path: &Path) -> Result<()> {
        let Some(fence) = &self.fence else {
            return Ok(());
        };
        let real = real_path(path)?;
        if real.starts_with(fence) {
            Ok(())
        } else {
            Err(outside(path, &real))
        }
    }

    /// Refuses a folder of which an entry leads out of the manifest's folder: the folder's files are read by their names.
    pub(super) fn check_entries(&self, text: &Text, folder: &Path) -> Result<()> {
        if self.fence.is_none() {
            return Ok(());
        }
        let checked = || {
            let error = |error| Error::io(format!("listing {}", shown(folder)), error);
            for entry in fs::read_dir(folder).map_err(error)? {
                let path = entry.map_err(error)?.path();
                // A symlink to nothing is not read.
                if path.exists() {
                    self.check_inside(&path)?;
                }
            }
            Ok(())
        };
        checked().at(|| self.place(text.position))
    }

    /// The folder that `text` names, which need not exist: what exists of the way to it lies inside.
    pub(super) fn output_folder(&self, text: &Text) -> Result<PathBuf> {
        self.output_folder_of(&text.value)
            .at(|| self.place(text.position))
    }

    fn output_folder_of(&self, text: &str) -> Result<PathBuf> {
        let path = self.join(text)?;
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Error::invalid(format!("{} is not a folder", shown(&path))));
        }
        let mut there = path.as_path();
        while fs::symlink_metadata(there).is_err() {
            // What lies behind ".." of a missing folder cannot be told.
            if there.components().next_back() == Some(Component::ParentDir) {
                return Err(outside(&path, there));
            }
            match there.parent() {
                Some(parent) if parent != Path::new("") => there = parent,
                _ => return Ok(path),
            }
        }
        self.check_inside(there)?;
        Ok(path)
    }
}

/// Whether it is in a registry, from where whoever bakes fetches it.
pub(super) fn is_remote(text: &str) -> bool {
    text.starts_with("oci://")
}

fn real_path(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|error| Error::io(format!("reading {}", shown(path)), error))
}

fn outside(path: &Path, real: &Path) -> Error {
    let message = format!(
        "{} lies outside the manifest's folder, at {}",
        shown(path),
        shown(real)
    );
    Error::invalid(message)
        .with_hint("move it into that folder, or allow files outside of it")
        .with_setting("allow-outside")
}

/// A SHA-256 in hexadecimal, made lower case.
fn digest(text: &str) -> Result<String> {
    if text.len() != 64 || !text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(
            Error::invalid(format!("'{}' is not a SHA-256", text.escape_debug()))
                .with_hint("write its 64 hexadecimal digits, as sha256sum prints them"),
        );
    }
    Ok(text.to_ascii_lowercase())
}
