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
//! Layers, imports run downward only: `document → bytes → codec, block → image → partition → fs → archive → oci → machine →
//! flatcar → bake → fetch → manifest → cli`.

// Names of the layers that only their tests use look dead without the feature; with it, all else that is dead is told.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unused_imports))]

mod error;
mod lock;
mod progress;

#[cfg(feature = "cli")]
mod cli;

// The layers are private. The feature opens them to the project's own tests and benchmarks, and promises nothing.
#[cfg(not(feature = "internals"))]
mod archive;
#[cfg(not(feature = "internals"))]
mod bake;
#[cfg(not(feature = "internals"))]
mod block;
#[cfg(not(feature = "internals"))]
mod bytes;
#[cfg(not(feature = "internals"))]
mod codec;
#[cfg(not(feature = "internals"))]
mod document;
#[cfg(all(feature = "fetch", not(feature = "internals")))]
mod fetch;
#[cfg(not(feature = "internals"))]
mod finding;
#[cfg(not(feature = "internals"))]
mod flatcar;
#[cfg(not(feature = "internals"))]
mod fs;
#[cfg(not(feature = "internals"))]
mod image;
#[cfg(not(feature = "internals"))]
mod machine;
#[cfg(not(feature = "internals"))]
mod manifest;
#[cfg(not(feature = "internals"))]
mod oci;
#[cfg(not(feature = "internals"))]
mod partition;

#[cfg(feature = "internals")]
pub mod archive;
#[cfg(feature = "internals")]
pub mod bake;
#[cfg(feature = "internals")]
pub mod block;
#[cfg(feature = "internals")]
pub mod bytes;
#[cfg(feature = "internals")]
pub mod codec;
#[cfg(feature = "internals")]
pub mod document;
#[cfg(all(feature = "fetch", feature = "internals"))]
pub mod fetch;
#[cfg(feature = "internals")]
pub mod finding;
#[cfg(feature = "internals")]
pub mod flatcar;
#[cfg(feature = "internals")]
pub mod fs;
#[cfg(feature = "internals")]
pub mod image;
#[cfg(feature = "internals")]
pub mod machine;
#[cfg(feature = "internals")]
pub mod manifest;
#[cfg(feature = "internals")]
pub mod oci;
#[cfg(feature = "internals")]
pub mod partition;

// Requests: what is asked for, the preparation that decides and carries it out in memory, what was written.
pub use bake::{
    ArchiveSpec, Artifact, ConfigSpec, Context, Edits, FileSource, FileSpec, Generalize, Hostname,
    LinkSpec, OfficialSysext, Output, Oversight, Place, Policy, Prepared, Report, Request,
    RootSize, SysextSpec, TrustSpec, UnitSpec, Variant, VendorChoice, VendorTargets, Written, emit,
    emit_all,
};
pub use flatcar::vendor::{Vendor, Vendors};
pub use image::{CacheMode, CompressOptions, OpenOptions, OutputFormat};
/// Extension images: built, also by recipes, with what is told of them.
pub mod sysext {
    pub use crate::flatcar::ddi::{Certificate, KeyKind, PrivateKey, Signer};
    pub use crate::flatcar::sysext::build::{
        Build, Built, Compressor, Conf, DiskImage, Effort, Format, Means, Prepared, architecture,
    };
    pub use crate::flatcar::sysext::flatwrap::{Flatwrap, Side};
    pub use crate::flatcar::sysext::flix::{Flix, Wanted};
    pub use crate::flatcar::sysext::recipe::{
        Choice, Chosen, Digest, Download, Recipe, built_in as built_in_recipe,
        names as recipe_names,
    };
    pub use crate::flatcar::sysext::rootfs::{Rootfs, WrittenRootfs};
    pub use crate::flatcar::sysext::torcx::prepare as prepare_torcx;
    pub use crate::flatcar::sysext::{Class, Host};
}
/// Settings of a machine, for [`Edits::settings`].
pub mod settings {
    pub use crate::bake::{Console, Settings, UpdateMode, Updates};
}
/// Configs for the first boot: Butane translated, Ignition checked.
pub mod config {
    pub use crate::flatcar::butane::{TranslateOptions, Translated, translate as translate_butane};
    pub use crate::flatcar::ignition::{
        CheckOptions, Checked, ConfigKind, check as check_ignition,
    };
}
/// First boots, rehearsed without a machine: what Ignition makes of an image, and what of it needs a network.
///
/// ```no_run
/// use flatbake::first_boot::{RunOptions, network_needs, rehearse};
/// use flatbake::{Disk, NoProgress, OpenOptions};
///
/// # fn main() -> flatbake::Result<()> {
/// let disk = Disk::open_image("node.img", &OpenOptions::new("/var/tmp"), &NoProgress)?;
/// // With the configs on OEM; `config` is for another one.
/// let options = RunOptions::default();
/// for change in rehearse(&disk, &options)?.changes {
///     println!("{:?} {}", change.what, change.path);
/// }
/// for need in network_needs(&disk, &options)?.findings {
///     println!("{}: {need}", need.severity());
/// }
/// # Ok(())
/// # }
/// ```
pub mod first_boot {
    pub use crate::flatcar::airgap::{Needs, needs as network_needs};
    pub use crate::flatcar::ignition::run::{
        Change, Config, Planned, Rehearsed, RunOptions, What, run as rehearse,
    };
}
/// What a machine left on an image, and what in it does not fit together.
pub mod doctor {
    pub use crate::flatcar::doctor::{
        Diagnosis, FIRST_BOOT, Remedy, Sign, Symptom, after_update, examine, traces,
    };
}
/// How much room the files of a tree take.
pub mod usage {
    pub use crate::flatcar::usage::{Usage, usage};
}
/// Pages that show an image, or what a bake did, in a browser.
pub mod page {
    pub use crate::bake::report_page;
    pub use crate::flatcar::page::{PageOptions, ShownImage, image_page};
}
/// Disks and trees of files, compared.
pub mod diff {
    pub use crate::flatcar::diff::{
        Aspect, ByteDifference, ByteStretch, Change, DiffOptions, DiskDifference, ENTRIES_MAX,
        EntryDifference, Field, PartitionDifference, STRETCHES_MAX, Side, TreeDifference,
        compare_disks, compare_trees,
    };
}
// Images and what lies in them.
pub use block::{BlockDevice, BlockDeviceMut, MemoryDevice, Overlay, OverlayOptions, Window};
pub use flatcar::{Designator, Disk, OsRelease};
pub use fs::{
    Attributes, ByPath, DirEntry, EditOptions, ExtractOptions, FileContent, FileRead, FileSystem,
    FileSystemMut, FileType, FsKind, FsPath, Metadata, MetadataChange, Node, Timestamp, Xattr,
    edit as edit_filesystem, extract, open as open_filesystem,
};
// Errors, findings, progress and cancellation.
pub use error::{Error, ErrorKind, Reason, Result, ResultExt, from_io};
pub use finding::{Finding, Severity, code};
pub use progress::{Cancel, NoProgress, Progress};

/// The program `flatbake`: reads the command line, does what it says, and tells how it went.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub fn command_line() -> std::process::ExitCode {
    cli::main()
}
