//! Archives, and how they get into a filesystem of an image.
//!
//! ```text
//!   file ─▶ codec::decoder ─▶ tar ─▶ select: strip, exclude, whiteouts ─┬─▶ scan    counts, warnings   (TarPlan)
//!                             entries                                   └─▶ inject  FileSystemMut      (TarSummary)
//! ```
//!
//! An archive is read as a stream, packed or not, and never held in memory. [`scan`] reads it once and writes nothing, for
//! plans and to see that there is room; [`inject`] writes. Both select entries with the same code.

pub mod cpio;
mod docker;
mod glob;
mod inject;
mod scan;
mod select;
pub mod tar;

pub use glob::Glob;
pub use inject::{TarSummary, inject};
pub use scan::{DirectoryPlan, TarPlan, scan};
pub use select::TarOptions;
