//! Files beside a Butane config: none outside of their folder is read, by whatever name.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use crate::block::{Inputs, shown};
use crate::bytes::to_u64;
use crate::error::Error;

/// Largest file that is put into a config, and the most that all files of one take together.
const FILE_MAX: u64 = 64 << 20;
const ALL_MAX: u64 = 128 << 20;
/// What these files are to a run.
pub(super) const ROLE: &str = "local file";

/// The folder of local files.
#[derive(Debug)]
pub(super) struct Files<'a> {
    folder: Option<&'a Path>,
    pub(super) inputs: &'a Inputs,
    bytes: Cell<u64>,
}

impl<'a> Files<'a> {
    pub(super) fn new(folder: Option<&'a Path>, inputs: &'a Inputs) -> Self {
        Self {
            folder,
            inputs,
            bytes: Cell::new(0),
        }
    }

    /// The content of the file that a config names.
    ///
    /// # Errors
    /// What to tell about it.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.locate(name)?;
        if !path.is_file() {
            return Err(format!("{} is no regular file", shown(&path)));
        }
        self.read_file(&path)
    }

    /// The content of a file that is known to be inside.
    pub(super) fn read_file(&self, path: &Path) -> Result<Vec<u8>, String> {
        let content = self
            .inputs
            .read(ROLE, path, FILE_MAX)
            .map_err(|error| explain(&error))?;
        let bytes = self.bytes.get().saturating_add(to_u64(content.len()));
        self.bytes.set(bytes);
        if bytes > ALL_MAX {
            return Err(format!(
                "the local files of this config take more than {ALL_MAX} bytes"
            ));
        }
        Ok(content)
    }

    /// The text of the file that a config names.
    pub(super) fn read_text(&self, name: &str) -> Result<String, String> {
        let content = self.read(name)?;
        String::from_utf8(content).map_err(|_| format!("{} is not UTF-8 text", name.escape_debug()))
    }

    /// The path of what a config names, which exists and is inside, symlinks followed.
    pub(super) fn locate(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self
            .folder
            .ok_or("no folder of local files is known, as the config comes from no file")?;
        let name = name.trim_start_matches('/');
        if name.is_empty() || name.contains('\0') {
            return Err(format!("'{}' names no file", name.escape_debug()));
        }
        let path = folder.join(name);
        let real = |path: &Path| {
            fs::canonicalize(path)
                .map_err(|error| explain(&Error::io(format!("reading {}", shown(path)), error)))
        };
        let fence = match folder.as_os_str().is_empty() {
            true => real(Path::new("."))?,
            false => real(folder)?,
        };
        if !real(&path)?.starts_with(&fence) {
            return Err(format!(
                "{} lies outside the folder of local files",
                shown(&path)
            ));
        }
        Ok(path)
    }
}

/// An error with its cause, in one line.
pub(super) fn explain(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
