//! One bake: a request is prepared on overlays, written by one scheduler, and told of in one report.
//!
//! ```text
//!  Request ──check──▶ prepare ──▶ Prepared ──▶ write ──▶ Written: report, and what failed
//!  what, to what,     inputs are registered,   outputs side by side, each named when it is whole
//!  under which        changes are carried
//!  policy             out on overlays          a dry run stops before it: Prepared::report
//! ```
//!
//! There is one request, one way to carry it out and one report. The plan is what the editors of the filesystems did, so
//! a dry run cannot disagree with the run.

mod edits;
mod page;
mod plan;
mod prepare;
mod report;
mod request;
mod settings;
mod tell;
#[cfg(test)]
mod tests;
mod write;

pub use crate::image::OutputFormat;
pub use edits::{
    ArchiveSpec, ConfigSpec, Edits, FileSource, FileSpec, Hostname, LinkSpec, OfficialSysext,
    Place, SysextSpec, TrustSpec, UnitSpec,
};
pub use page::report_page;
pub use prepare::{Key, Prepared};
pub use report::{
    BaseReport, ChangeReport, ErrorReport, FileReport, FindingReport, InputReport, OutputReport,
    PlanReport, Report, ResizeReport, SCHEMA_VERSION, SpaceReport, VariantReport, schema,
};
pub use request::{
    Base, Context, Expected, ExpectedDigest, FirmwareFiles, Generalize, Locked, Policy, Request,
    RootSize, Stream, Variant, VendorChoice, VendorTargets,
};
pub use settings::{Console, Settings, UpdateMode, Updates};
pub use write::{
    Artifact, ArtifactFile, CompressionType, Level, Output, OutputDetails, Oversight, Streamed,
    Written, emit, emit_all, in_sectors_of, stream,
};
