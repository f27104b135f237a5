//! System extensions: opening one, looking into it, and telling whether systemd will merge it into a host.
//!
//! ```text
//!  FILE.raw ──open_extension──▶ dyn FileSystem ──inspect──▶ SysextInfo ──check(link name, host)──▶ findings
//!   squashfs, erofs, …
//!   or a GPT disk image with one of them in its root or usr partition
//! ```
//!
//! What it would do to the image's own files is told by `compare`, what the image's kernel could not mount of it by
//! `check_kernel`.
//!
//! The rules are those of systemd (`extension-util.c`, `os-util.c`), with the traps of Flatcar's /usr on top.

pub mod build;
mod check;
mod class;
mod compare;
mod disk;
pub mod flatwrap;
pub mod flix;
mod host;
mod inspect;
mod installed;
mod kernel;
mod names;
mod programs;
pub mod publish;
pub mod recipe;
pub mod report;
pub mod rootfs;
pub mod together;
pub mod torcx;
mod units;
mod usr_view;

pub use check::{HostRelease, check, check_made};
pub use class::Class;
pub use compare::{HostTree, compare, compare_as, shared_paths, shared_paths_as};
pub use disk::open_extension;
pub use host::Host;
pub use inspect::{ExtensionRelease, SysextInfo, inspect, inspect_as};
pub use installed::{installed, open_installed};
pub use kernel::{Needs, check_kernel};
pub use programs::{Missing, Program, missing, programs};
pub use units::Activation;

use super::tmpfiles::name_fits;
