//! Archives, and how they get into a filesystem of an image.
//!
//! ```text
//!   file ─▶ codec::decoder ─▶ tar ─▶ select: strip, exclude, whiteouts ─▶ inject ─▶ FileSystemMut
//!                             entries                                          └──▶ TarSummary: counts, findings
//! ```
//!
//! An archive is read as a stream, packed or not, and never held in memory.

pub mod cpio;
mod docker;
mod glob;
mod inject;
mod select;
pub mod tar;

/// The setting that leaves entries of an archive out.
const EXCLUDE: &str = "tarballs[].exclude";

pub use glob::Glob;
pub use inject::{TarSummary, inject};
pub use select::TarOptions;
