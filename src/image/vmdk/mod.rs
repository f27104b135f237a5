//! VMDK, VMware's disk image format (specification: VMware, Virtual Disk Format 5.0).
//!
//! ```text
//!   monolithicSparse   header │ descriptor │ directory, tables │ directory, tables │ grain │ grain │ …
//!                                            (a copy)
//!   streamOptimized    header │ descriptor │ marker, grain │ marker, grain │ … │ marker, table │ marker, grain │ …
//!                      … │ marker, directory │ marker, footer │ end of stream
//!   monolithicFlat     descriptor in one file, the disk as it is in another one
//! ```
//!
//! A grain is 64 KiB of the disk, a table has the places of 512 grains (32 MiB), the directory those of all tables.
//! Numbers are little-endian, places are counted in sectors of 512 bytes, the descriptor is text.

mod concat;
mod descriptor;
mod header;
mod read;
mod sparse;
mod stream;
mod write;
mod write_descriptor;

pub(super) use read::open;
pub use stream::write_stream;
pub use write::{write_flat, write_sparse};

/// The disk adapter that a descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `ide`: VirtualBox and Vagrant.
    Ide,
    /// `lsilogic`: VMware.
    Lsilogic,
}
