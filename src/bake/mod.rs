//! The pipeline of a bake.
//!
//! ```text
//!  BakeOptions ──plan──▶ Plan (data: every change, its reason, room needed and free)
//!                          │apply                       nothing was written up to here
//!                          ▼
//!                        Overlay over the image ──emit──▶ raw, qcow2, vmdk, vhd, …
//! ```

mod apply;
mod digests;
mod emit;

mod host;
pub mod manifest;
mod options;
mod plan;
mod planner;
mod root_size;
mod tree;
mod vendors;

pub use crate::image::OutputFormat;
pub use apply::{Scratch, apply, apply_to};
pub use digests::{InputDigest, digests};
pub use emit::{Artifact, ArtifactFile, Output, emit, emit_all};
pub use options::{
    ArchiveSpec, BakeOptions, FileRole, FileSource, FileSpec, LinkSpec, OemChange, OemPayload, Place, SysextSpec,
};
pub use plan::{Action, Change, Plan, Source, Space};
pub use planner::plan;
pub use root_size::{Resize, RootSize};
pub use vendors::{
    Fanout, FileReport, FirmwareFiles, Key, OemSysexts, Outcome, PlainOutput, Prepared, PreparedImage, Report,
    ResultReport, VariantOptions, VendorChoice, WriteOptions, prepare, write_all,
};
