//! flatbake bakes Flatcar Container Linux disk images offline.
//!
//! ```no_run
//! use flatbake::{Context, Edits, Output, Request};
//!
//! # fn main() -> flatbake::Result<()> {
//! let mut request = Request::new("flatcar_production_image.bin.bz2");
//! request.edits = Edits::new().sysext("wasmtime", "wasmtime.raw").config_ign("config.ign");
//! request.outputs.push(Output::named("node.qcow2")?);
//!
//! let context = Context::new("/var/tmp");
//! // Everything is decided here, and carried out in memory: what cannot be done is an error, and nothing is written.
//! let prepared = request.prepare(&context)?;
//! for finding in prepared.findings() {
//!     eprintln!("{finding}");
//! }
//! let written = prepared.write(&context)?;
//! written.failure.map_or(Ok(()), Err)
//! # }
//! ```
//!
//! The names that most programs need are those below; `examples/` has whole programs. Without default features, nothing
//! that only the command line needs is built.
//!
//! ```text
//!  base image (never written)          edits                        outputs (each appears only when whole)
//!  .bin | .bin.bz2                ┌─────────────────┐
//!        │                   ──▶  │ Overlay (CoW)   │ ──▶ one streaming pass ──▶ raw, qcow2,
//!        │                        │  P1 FAT   ESP   │                             vmdk, vhd, vhdx, vdi, hdd
//!        └─ one sparse scratch    │  P6 btrfs OEM   │     rayon-parallel compression is the hot path
//!           decode, cached by     │  P9 ext4  ROOT  │
//!           sha256                └─────────────────┘
//! ```
//!
//! Layers, imports run downward only: `bytes → codec, block → image → partition → fs → archive → machine → flatcar →
//! bake → cli`.

pub mod archive;
pub mod bake;
pub mod block;
pub mod bytes;
pub mod codec;
mod error;
pub mod finding;
pub mod flatcar;
pub mod fs;
pub mod image;
pub mod machine;
pub mod manifest;
pub mod partition;
mod progress;

pub use bake::{
    ArchiveSpec, ConfigSpec, Context, Edits, FileSource, FileSpec, Hostname, LinkSpec, Output, Place, Policy, Prepared,
    Report, Request, RootSize, SysextSpec, UnitSpec, Variant, VendorChoice, VendorTargets, Written,
};
pub use error::{Error, ErrorKind, Result, ResultExt, from_io};
pub use finding::{Finding, Severity};
pub use flatcar::vendor::{Vendor, Vendors};
pub use flatcar::{Designator, Disk, OsRelease};
pub use fs::{ByPath, ExtractOptions, FileSystem, FileType, FsPath, Metadata, Node, extract};
pub use image::{CacheMode, CompressOptions, OpenOptions, OutputFormat};
pub use progress::{Cancel, NoProgress, Progress};
