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

mod check;
mod compare;
mod disk;
mod inspect;
mod installed;
mod kernel;
mod units;
mod usr_view;

pub use check::{HostRelease, check};
pub use compare::{HostTree, compare, shared_paths};
pub use disk::open_extension;
pub use inspect::{ExtensionRelease, SysextInfo, inspect};
pub use installed::installed;
pub use kernel::{Needs, check_kernel};
pub use units::Activation;
