//! VHD, the disk image format of Virtual PC, Azure and Xen (specification: Microsoft, Virtual Hard Disk Image Format).
//!
//! ```text
//!   fixed     the disk as it is … │ footer
//!   dynamic   footer │ dynamic header │ block allocation table │ bitmap, block │ bitmap, block │ … │ footer
//! ```
//!
//! Numbers are big-endian. A disk has exactly its size (`force_size` of QEMU): the geometry in the footer, from which
//! old readers take a rounded size, says that it does not count.

mod footer;
mod header;
mod read;
mod write;

#[cfg(test)]
pub(super) use footer::checksum;
pub(super) use read::open;
pub use write::{write_dynamic, write_fixed};
