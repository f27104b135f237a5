//! System extensions: opening one, looking into it, and telling whether systemd will merge it into a host.
//!
//! ```text
//!  FILE.raw ──open_extension──▶ dyn FileSystem ──inspect──▶ SysextInfo ──check(link name, host)──▶ findings
//!   squashfs, erofs, …
//!   or a GPT disk image with one of them in its root or usr partition
//! ```
//!
//! The rules are those of systemd (`extension-util.c`, `os-util.c`), with the traps of Flatcar's /usr on top.

mod check;
mod disk;
mod inspect;
mod units;
mod usr_view;

pub use check::{HostRelease, check};
pub use disk::open_extension;
pub use inspect::{ExtensionRelease, SysextInfo, inspect};
pub use units::Activation;
