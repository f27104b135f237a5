//! What a run was, as data: the same for a dry run, for what is printed, and for the file beside the images.
//!
//! The report holds no content: of what a request brings itself it tells the digest and the length.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Action, Change, Plan, Source, Space};
use crate::block::shown;
use crate::error::Error;
use crate::finding::Finding;

/// The version of the schema: it grows when a key goes or changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// What a run read, changed and wrote. The same inputs give the same report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "flatbake report")]
#[non_exhaustive]
pub struct Report {
    /// The version of this schema.
    pub version: u32,
    /// The version of flatbake.
    pub flatbake: String,
    /// Nothing was written: this is what would be.
    pub dry_run: bool,
    /// The image that the run started from.
    pub base: BaseReport,
    /// All files that were read, in the order of their paths.
    pub inputs: Vec<InputReport>,
    /// The time of everything new, in seconds since 1970.
    pub timestamp: i64,
    /// What identifiers are made from, besides the content.
    pub seed: String,
    /// The changes that everything that is written has.
    pub shared: PlanReport,
    /// What each variant adds to them.
    pub variants: Vec<VariantReport>,
    /// What was written, or would be.
    pub outputs: Vec<OutputReport>,
    /// What a person should know of the run as a whole; other findings stand where they belong.
    pub findings: Vec<FindingReport>,
}

/// The image that a run started from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct BaseReport {
    /// Its name as it was given.
    pub name: String,
    /// Its format, such as qcow2.
    pub format: String,
    /// What it is compressed with.
    pub compression: Option<String>,
    /// Size of the disk in it, in bytes.
    pub disk_bytes: u64,
    /// Its Flatcar release, where it is known.
    pub release: Option<String>,
    /// Its architecture, where it is known: x86-64 or arm64.
    pub architecture: Option<String>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct InputReport {
    /// What it is to the run, such as sysext.
    pub role: String,
    /// Its path as it was given.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes in hexadecimal digits, where it is known without reading it for that alone.
    pub sha256: Option<String>,
    /// Where it was fetched from, where it was: a URL; what a tag of a registry named stands behind it as a digest.
    #[serde(default)]
    pub source: Option<String>,
}

/// What was done to a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct PlanReport {
    /// The changes in the order in which they were carried out.
    pub changes: Vec<ChangeReport>,
    /// ROOT and the disk were made larger.
    pub resize: Option<ResizeReport>,
    /// Room on every partition that changed.
    pub space: Vec<SpaceReport>,
    /// What a person should know.
    pub findings: Vec<FindingReport>,
}

/// One change of one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ChangeReport {
    /// The partition: boot, oem or root.
    pub partition: String,
    /// The path of the entry.
    pub path: String,
    /// remove, create_dir, write_file, unpack or symlink.
    pub action: String,
    /// An entry of that name was replaced.
    pub replaces: bool,
    /// Permission bits of the new entry, in octal digits.
    pub mode: String,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Length of the content in bytes.
    pub bytes: u64,
    /// The host's file or archive that the content comes from.
    pub source: Option<String>,
    /// The SHA-256 of content that comes from no file.
    pub sha256: Option<String>,
    /// What a symlink points to.
    pub target: Option<String>,
    /// Entries that an archive brought.
    pub entries: Option<u64>,
    /// Whether flatcar-reset keeps it.
    pub survives_reset: bool,
    /// What asked for it.
    pub why: String,
}

/// New sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ResizeReport {
    /// ROOT's size before, in bytes.
    pub root_bytes_before: u64,
    /// ROOT's size, in bytes.
    pub root_bytes: u64,
    /// The disk's size, in bytes.
    pub disk_bytes: u64,
}

/// Room on a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct SpaceReport {
    /// The partition.
    pub partition: String,
    /// Its filesystem.
    pub filesystem: String,
    /// Size of the filesystem in bytes.
    pub total_bytes: u64,
    /// Bytes free before the changes.
    pub free_bytes_before: u64,
    /// Bytes free after them.
    pub free_bytes: u64,
    /// Inodes free before; none where the filesystem makes them as needed.
    pub free_inodes_before: Option<u64>,
    /// Inodes free after.
    pub free_inodes: Option<u64>,
}

/// What a variant adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct VariantReport {
    /// Its name.
    pub name: String,
    /// What it adds to the shared changes.
    pub plan: PlanReport,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct OutputReport {
    /// The variant's name.
    pub variant: Option<String>,
    /// The vendor's id.
    pub vendor: Option<String>,
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// What it adds to its variant, or to the shared changes.
    pub plan: PlanReport,
    /// The files that were written; for a dry run, those that would be.
    pub files: Vec<FileReport>,
    /// What stopped it.
    pub error: Option<ErrorReport>,
}

/// A file of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct FileReport {
    /// Its path, as it was given or in the folder of the run.
    pub path: String,
    /// Its format, where it is a disk: raw, qcow2, …
    pub format: Option<String>,
    /// What it is compressed with and how hard, such as gz:6.
    pub compression: Option<String>,
    /// Its length in bytes; none for a dry run.
    pub bytes: Option<u64>,
    /// The SHA-256 of its bytes in hexadecimal digits, where it was asked for.
    pub sha256: Option<String>,
    /// What it holds, where it is a bundle: paths in it.
    pub members: Vec<String>,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct FindingReport {
    /// note, warning or error.
    pub severity: String,
    /// Its code, which stays the same from version to version.
    pub code: String,
    /// Where it was found, from the outside in.
    pub place: Vec<String>,
    /// The values that the message names.
    pub values: std::collections::BTreeMap<String, String>,
    /// The message.
    pub message: String,
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ErrorReport {
    /// What sort of failure it is, such as no-space.
    pub kind: String,
    /// Why exactly, where that is more than the kind says, such as exists.
    pub reason: Option<String>,
    /// The exit code of the command line for it.
    pub exit_code: u8,
    /// Where it happened, from the outside in.
    pub place: Vec<String>,
    /// What went wrong.
    pub message: String,
    /// What led to it, the nearest first.
    pub causes: Vec<String>,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// The findings that stopped the run.
    pub findings: Vec<FindingReport>,
}

impl From<&Finding> for FindingReport {
    fn from(finding: &Finding) -> Self {
        Self {
            severity: finding.severity().to_string(),
            code: finding.code().word.to_owned(),
            place: finding.place().map(str::to_owned).collect(),
            values: finding
                .values()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            message: finding.message(),
        }
    }
}

impl From<&Error> for ErrorReport {
    fn from(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            causes.push(inner.to_string());
            cause = inner.source();
        }
        Self {
            kind: error.kind().word().to_owned(),
            reason: error.reason().map(|reason| reason.word().to_owned()),
            exit_code: error.kind().exit_code(),
            place: error.location().map(str::to_owned).collect(),
            message: error.message().to_owned(),
            causes,
            hint: error.hint().map(str::to_owned),
            findings: findings(error.findings()),
        }
    }
}

pub(super) fn findings(findings: &[Finding]) -> Vec<FindingReport> {
    findings.iter().map(FindingReport::from).collect()
}

impl From<&Plan> for PlanReport {
    fn from(plan: &Plan) -> Self {
        let resize = plan.resize.map(|resize| ResizeReport {
            root_bytes_before: resize.root_bytes_before,
            root_bytes: resize.root_bytes,
            disk_bytes: resize.disk_bytes,
        });
        Self {
            changes: plan.changes.iter().map(ChangeReport::from).collect(),
            resize,
            space: plan.space.iter().map(SpaceReport::from).collect(),
            findings: findings(&plan.findings),
        }
    }
}

impl From<&Change> for ChangeReport {
    fn from(change: &Change) -> Self {
        let mut report = Self {
            partition: change.partition.to_string(),
            path: change.path.to_string(),
            action: String::new(),
            replaces: change.replaces,
            mode: format!("{:04o}", change.mode),
            uid: change.uid,
            gid: change.gid,
            bytes: change.bytes,
            source: None,
            sha256: None,
            target: None,
            entries: None,
            survives_reset: change.survives_reset(),
            why: change.why.clone(),
        };
        let word = match &change.action {
            Action::Remove => "remove",
            Action::CreateDir => "create_dir",
            Action::WriteFile { source } => {
                match source {
                    Source::Host(path) => report.source = Some(shown(path)),
                    Source::Inline(sha256) => report.sha256 = Some(sha256.clone()),
                }
                "write_file"
            }
            Action::Unpack { source, entries } => {
                report.source = Some(shown(source));
                report.entries = Some(*entries);
                "unpack"
            }
            Action::Symlink { target } => {
                report.target = Some(target.clone());
                "symlink"
            }
        };
        word.clone_into(&mut report.action);
        report
    }
}

impl From<&Space> for SpaceReport {
    fn from(space: &Space) -> Self {
        Self {
            partition: space.partition.to_string(),
            filesystem: space.filesystem.to_string(),
            total_bytes: space.total_bytes,
            free_bytes_before: space.free_bytes.0,
            free_bytes: space.free_bytes.1,
            free_inodes_before: space.free_inodes.map(|(before, _)| before),
            free_inodes: space.free_inodes.map(|(_, after)| after),
        }
    }
}

/// The JSON schema (draft 2020-12) of reports.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Report).to_value()
}
