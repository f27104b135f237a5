//! From one bake to the images of many vendors.
//!
//! ```text
//!   prepare: one overlay, and a fork of it for every variant and vendor      nothing is written up to here
//!   write:   all forks side by side: disks, config files, bundles
//!   report:  SHA256SUMS and flatbake-report.json
//! ```

mod bundled;
mod live;
mod prepare;
mod report;
mod sysexts;
mod write;

pub use prepare::{Fanout, Key, Prepared, PreparedImage, VariantOptions, VendorChoice, prepare};
pub use report::{FileReport, Report, ResultReport};
pub use sysexts::OemSysexts;
pub use write::{FirmwareFiles, Outcome, PlainOutput, WriteOptions, write_all};
