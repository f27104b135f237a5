//! Host paths of a manifest: they lie in its folder unless told otherwise, and exist.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::document::Text;
use super::node::Position;
use super::spanned::{Raw, Spanned};
use super::{Input, LoadOptions, place};
use crate::bake::host;
use crate::error::{Error, Result, ResultExt};

/// What a path must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    File,
    FileOrFolder,
}

/// The manifest's folder and what the bake reads.
#[derive(Debug)]
pub(super) struct Inputs {
    /// The manifest's path for messages.
    file: String,
    folder: PathBuf,
    /// The folder without symlinks; none where paths may lead out of it.
    fence: Option<PathBuf>,
    found: Vec<Input>,
}

impl Inputs {
    pub(super) fn new(manifest: &Path, options: &LoadOptions) -> Result<Self> {
        let folder = manifest.parent().unwrap_or(Path::new("")).to_owned();
        let real = if folder == Path::new("") { Path::new(".") } else { &folder };
        let real =
            fs::canonicalize(real).map_err(|error| Error::io(format!("reading {}", host::shown(real)), error))?;
        let fence = (!options.allow_outside).then_some(real);
        Ok(Self { file: host::shown(manifest), folder, fence, found: Vec::new() })
    }

    /// A place in the manifest for messages.
    pub(super) fn place(&self, position: Position) -> String {
        place(&self.file, Some(position))
    }

    /// The host path that `text` names, which is recorded as an input.
    pub(super) fn add(&mut self, text: &Text, want: Want, sha256: Option<&Spanned<Raw>>) -> Result<PathBuf> {
        let position = self.place(text.position);
        let path = self.check(&text.value, want).at(|| position.clone())?;
        let sha256 = sha256.map(|sha256| digest(&sha256.value.0).at(|| self.place(sha256.position))).transpose()?;
        self.record(Input { name: text.value.clone(), path: path.clone(), sha256, position })?;
        Ok(path)
    }

    /// Records the file `name` beside an input, if there is one.
    pub(super) fn add_beside(&mut self, text: &Text, name: &str) -> Result<()> {
        let beside = Path::new(&text.value).with_file_name(name);
        if self.folder.join(&beside).is_file() {
            let value = beside.to_string_lossy().into_owned();
            self.add(&Text { position: text.position, value }, Want::File, None)?;
        }
        Ok(())
    }

    fn record(&mut self, input: Input) -> Result<()> {
        match self.found.iter_mut().find(|known| known.path == input.path) {
            None => self.found.push(input),
            Some(known) => match (&known.sha256, input.sha256) {
                (Some(one), Some(other)) if *one != other => {
                    let message = format!("two digests are given for {}: {one} and {other}", host::shown(&input.path));
                    return Err(Error::invalid(message).at(input.position));
                }
                (None, Some(sha256)) => known.sha256 = Some(sha256),
                _ => {}
            },
        }
        Ok(())
    }

    fn check(&self, text: &str, want: Want) -> Result<PathBuf> {
        let path = self.join(text)?;
        let metadata =
            fs::metadata(&path).map_err(|error| Error::io(format!("reading {}", host::shown(&path)), error))?;
        let fits = metadata.is_file() || (want == Want::FileOrFolder && metadata.is_dir());
        if !fits {
            let what = if want == Want::File { "a regular file" } else { "a regular file or a folder" };
            return Err(Error::invalid(format!("{} is not {what}", host::shown(&path))));
        }
        self.check_inside(&path)?;
        Ok(path)
    }

    fn join(&self, text: &str) -> Result<PathBuf> {
        if text.is_empty() || text.contains('\0') {
            return Err(Error::invalid(format!("'{}' is not a path", text.escape_debug()))
                .with_hint("give a path relative to the manifest's folder"));
        }
        Ok(self.folder.join(text))
    }

    /// Refuses an existing `path` outside the manifest's folder, symlinks followed.
    fn check_inside(&self, path: &Path) -> Result<()> {
        let Some(fence) = &self.fence else { return Ok(()) };
        let real =
            fs::canonicalize(path).map_err(|error| Error::io(format!("reading {}", host::shown(path)), error))?;
        if real.starts_with(fence) { Ok(()) } else { Err(outside(path, &real)) }
    }

    /// The folder that `text` names, which need not exist: what exists of the way to it lies inside.
    pub(super) fn output_folder(&self, text: &Text) -> Result<PathBuf> {
        self.output_folder_of(&text.value).at(|| self.place(text.position))
    }

    fn output_folder_of(&self, text: &str) -> Result<PathBuf> {
        let path = self.join(text)?;
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Error::invalid(format!("{} is not a folder", host::shown(&path))));
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

    /// Refuses to write `path` over an input.
    pub(super) fn refuse_over_input(&self, path: &Path) -> Result<()> {
        let Ok(real) = fs::canonicalize(path) else { return Ok(()) };
        let is_it = |input: &Input| fs::canonicalize(&input.path).is_ok_and(|input| input == real);
        match self.found.iter().find(|input| is_it(input)) {
            None => Ok(()),
            Some(input) => Err(Error::invalid(format!("{} is an input of this bake", input.name))
                .with_hint("an input is never changed: give the output another name")),
        }
    }

    pub(super) fn into_found(self) -> Vec<Input> {
        self.found
    }
}

fn outside(path: &Path, real: &Path) -> Error {
    let message = format!("{} lies outside the manifest's folder, at {}", host::shown(path), host::shown(real));
    Error::invalid(message).with_hint("move it into that folder, or allow it with --allow-outside")
}

/// A SHA-256 in hexadecimal, made lower case.
fn digest(text: &str) -> Result<String> {
    if text.len() != 64 || !text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(Error::invalid(format!("'{}' is not a SHA-256", text.escape_debug()))
            .with_hint("write its 64 hexadecimal digits, as sha256sum prints them"));
    }
    Ok(text.to_ascii_lowercase())
}
