//! Writes a baked disk to its output, which appears under its name only when it is whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use crate::block::{BlockDevice, OutputFile};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::qcow2::{self, Qcow2Options};
use crate::image::raw;
use crate::progress::Progress;

use super::plan::host_path;

/// A disk image format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// The disk byte by byte, zeroes as holes.
    Raw,
    /// QEMU's qcow2, compressed.
    Qcow2,
}

impl OutputFormat {
    /// The format that a file name asks for: qcow2 for `.qcow2`, else raw.
    pub fn of_path(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("qcow2") => Self::Qcow2,
            _ => Self::Raw,
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

impl FromStr for OutputFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            _ => Err(Error::invalid(format!("'{text}' is not an output format")).with_hint("write raw or qcow2")),
        }
    }
}

/// An output to write.
#[derive(Debug, Clone)]
pub struct Output {
    /// Where it goes; an existing regular file is replaced when the new one is whole.
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// Details of qcow2.
    pub qcow2: Qcow2Options,
}

/// A written output.
#[derive(Debug, Clone, Serialize)]
pub struct Artifact {
    /// The file.
    #[serde(serialize_with = "host_path")]
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Size of the disk it holds in bytes.
    pub disk_bytes: u64,
}

/// Writes `disk` to `output`. On failure nothing is left under its name but what was there before.
pub fn emit(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Artifact> {
    write(disk, output, progress).at(|| format!("writing {}", output.path.display())).map_err(|error| {
        match error.kind() {
            ErrorKind::Environment => error.with_hint("free space there, or choose another folder for the output"),
            _ => error,
        }
    })
}

fn write(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Artifact> {
    let file = OutputFile::create(&output.path)?;
    match output.format {
        OutputFormat::Raw => {
            raw::write(disk, file.file(), progress)?;
        }
        OutputFormat::Qcow2 => {
            qcow2::write(disk, file.file(), &output.qcow2, progress)?;
        }
    }
    let metadata = file.file().metadata().map_err(|error| Error::io("reading its size", error))?;
    file.commit()?;
    Ok(Artifact {
        path: output.path.clone(),
        format: output.format,
        file_bytes: metadata.len(),
        disk_bytes: disk.size(),
    })
}
