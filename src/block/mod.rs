//! Random access to disks: anything with a size, bytes at offsets, and knowledge of where data lies.
//!
//! ```text
//!   FileDevice (sparse host file)   image readers (qcow2, …)
//!              \                     /
//!               Arc<dyn BlockDevice>          read-only base, never written
//!                        |
//!                     Overlay                 copy-on-write edits, fork()
//!                        |
//!                     Window                  one partition, bounds-checked
//! ```
//!
//! Offsets and lengths are bytes, counted from the start of the device.

mod blank;
mod existing;
mod file;
mod inputs;
mod memory;
mod new_file;
mod output;
mod output_folder;
mod overlay;
mod sections;
mod self_described;
mod sha256;
mod temporary;
mod wait_for_lock;
mod watched;
mod window;

pub use blank::Blank;
pub use existing::refuse_existing;
pub use file::{FileDevice, open_for_reading};
pub use inputs::{Input, InputReader, Inputs, real_path, shown};
pub use memory::MemoryDevice;
pub(crate) use new_file::NewFile;
pub use output::{OutputFile, make_durable, sync_while};
pub use output_folder::OutputFolder;
pub use overlay::{Overlay, OverlayOptions};
pub use sections::{Piece, Sections};
pub(crate) use self_described::{SelfDescribed, check_image_range};
pub use sha256::sha256;
pub use wait_for_lock::wait_for_lock;
pub use watched::Watched;
pub use window::Window;

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::{Error, Reason, Result};

/// What a stretch of a device holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes that must be read to be known.
    Data,
    /// Reads as zeroes without being read: a hole, an unallocated cluster.
    Zero,
}

/// A stretch of one kind, from the offset asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// What it holds.
    pub kind: ExtentKind,
    /// Its length in bytes from the offset asked for, never 0.
    pub len: u64,
}

/// A readable device. Reads are positional and may come from any thread.
pub trait BlockDevice: Debug + Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`; a range beyond the end is an error and reads nothing.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The extent that begins at `offset` (below [`size`](Self::size)); it may end before its neighbour changes kind.
    fn extent_at(&self, offset: u64) -> Result<Extent>;
}

/// A writable device, synchronised inside: writes come through `&self` so that windows can share it.
pub trait BlockDeviceMut: BlockDevice {
    /// Writes all of `buf` at `offset`; a range beyond the end is an error and writes nothing.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()>;

    /// Makes `len` bytes from `offset` read as zeroes, as a hole where the device can.
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<D: BlockDevice + ?Sized> BlockDevice for $pointer {
            fn size(&self) -> u64 {
                (**self).size()
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
                (**self).read_at(offset, buf)
            }
            fn extent_at(&self, offset: u64) -> Result<Extent> {
                (**self).extent_at(offset)
            }
        }
        impl<D: BlockDeviceMut + ?Sized> BlockDeviceMut for $pointer {
            fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
                (**self).write_at(offset, buf)
            }
            fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
                (**self).write_zeroes(offset, len)
            }
        }
    )*};
}
forward!(&D, Arc<D>, Box<D>);

/// Checks that `len` bytes at `offset`, which a caller asks for, lie on a device of `size` bytes, and returns where they
/// end. Positions that an image names go through [`SelfDescribed`].
pub(crate) fn check_range(offset: u64, len: u64, size: u64) -> Result<u64> {
    offset
        .checked_add(len)
        .filter(|&end| end <= size)
        .ok_or_else(|| {
            Error::invalid(format!(
                "{len} bytes at offset {offset} lie beyond the end of a device of {size} bytes"
            ))
            .because(Reason::OutOfRange)
        })
}
