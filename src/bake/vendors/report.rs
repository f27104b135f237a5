//! What a run did, beside what it wrote: digests for people and programs.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::digests::InputDigest;
use super::super::plan::Plan;
use super::write::Outcome;
use crate::block::OutputFile;
use crate::error::{Error, Result};

/// The digests of all files, for `sha256sum -c`.
const SUMS: &str = "SHA256SUMS";
/// All that is known of the run.
const REPORT: &str = "flatbake-report.json";
/// The names of both.
pub(super) const RESERVED: [&str; 2] = [SUMS, REPORT];

/// What a run read, changed and wrote. The same inputs give the same report.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// The version of flatbake.
    pub flatbake: &'static str,
    /// The files that were read.
    pub inputs: &'a [InputDigest],
    /// The shared bake.
    pub plan: &'a Plan,
    /// What was made of it.
    pub results: Vec<ResultReport<'a>>,
}

/// One result of a run.
#[derive(Debug, Serialize)]
pub struct ResultReport<'a> {
    /// The variant's name.
    pub variant: Option<&'a str>,
    /// The vendor's id.
    pub vendor: Option<&'a str>,
    /// Size of the disk in bytes.
    pub disk_bytes: Option<u64>,
    /// What variant and vendor add to the shared bake.
    pub plans: Vec<&'a Plan>,
    /// The files that were written.
    pub files: Vec<FileReport>,
    /// What stopped it.
    pub error: Option<String>,
}

/// A file of a result.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Its path in the folder of results.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes in hexadecimal digits.
    pub sha256: Option<String>,
}

impl<'a> Report<'a> {
    /// The report of a run that wrote into `folder`.
    pub fn new(folder: &Path, inputs: &'a [InputDigest], plan: &'a Plan, outcomes: &'a [Outcome]) -> Self {
        let result = |outcome: &'a Outcome| ResultReport {
            variant: outcome.key.variant.as_deref(),
            vendor: outcome.key.vendor.as_deref(),
            disk_bytes: outcome.image.as_ref().map(|image| image.disk_bytes()),
            plans: outcome.image.iter().flat_map(|image| image.plans()).collect(),
            files: outcome
                .files
                .iter()
                .map(|file| FileReport {
                    name: below(folder, &file.path),
                    bytes: file.bytes,
                    sha256: file.sha256.clone(),
                })
                .collect(),
            error: outcome.error.as_ref().map(|error| error.to_string()),
        };
        let version = env!("CARGO_PKG_VERSION");
        Self { flatbake: version, inputs, plan, results: outcomes.iter().map(result).collect() }
    }

    /// Writes `SHA256SUMS` and `flatbake-report.json` into `folder` and returns their paths.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut sums: Vec<String> = self
            .results
            .iter()
            .flat_map(|result| &result.files)
            .filter_map(|file| Some(format!("{}  {}\n", file.sha256.as_ref()?, file.name)))
            .collect();
        sums.sort_by(|a, b| a.split_once("  ").map(|(_, name)| name).cmp(&b.split_once("  ").map(|(_, name)| name)));
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::internal("making the report").with_source(error))?;
        let files = [(folder.join(SUMS), sums.concat()), (folder.join(REPORT), json + "\n")];
        files.into_iter().map(|(path, text)| put(path, &text)).collect()
    }
}

fn put(path: PathBuf, text: &str) -> Result<PathBuf> {
    let file = OutputFile::create(&path)?;
    let written = file.file().write_all(text.as_bytes());
    written.map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
    file.commit()?;
    Ok(path)
}

/// A path as it is called inside of `folder`.
fn below(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}
