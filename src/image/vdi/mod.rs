//! VDI, VirtualBox's disk image format, version 1.1.
//!
//! ```text
//!   header │ (to 1 MiB) block map │ (to a multiple of 1 MiB) block │ block │ …
//! ```
//!
//! Numbers are little-endian. The map has the place of every block of 1 MiB, counted in blocks.

mod header;
mod read;
mod write;

pub(super) use read::open;
pub use write::write;
