//! flatbake bakes Flatcar Container Linux disk images offline.
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

pub use error::{Error, ErrorKind, Result, ResultExt, from_io};
pub use finding::{Finding, Severity};
pub use progress::{Cancel, NoProgress, Progress};
