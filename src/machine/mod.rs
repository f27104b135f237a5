//! Descriptions of machines (OVF, VMX, PVS, xl, Vagrant, start scripts for QEMU), and bundles of them with a disk: OVA,
//! Vagrant boxes, Parallels machines, Google's tar.
//!
//! ```text
//!   Machine ── conf_files ──▶ ConfFile … ──┬─▶ beside the disk: .vmx, .sh, .README …
//!                                          └─▶ Member … ── write_bundle ──▶ .ova .box .tgz .tar.gz
//!                      disk, as written ─────▶ Member …        │
//!                                                              └──▶ the OVA's manifest
//!                      the finished box ───── vagrant_catalog ──▶ .json
//! ```
//!
//! Formats have Flatcar's own words (`vm_image_util.sh`); the contents say what Flatcar's say. Identifiers and MAC
//! addresses are made from the machine's names and seed, times from its identity: the same machine gives the same bytes.
//! Everything that comes from outside is checked ([`Machine::check`]) and escaped for where it stands.

mod conf;
mod conf_file;
mod description;
mod format;
mod nvram;
mod ovf;
mod pvs;
mod qemu;
mod quote;
mod time;
mod vagrant;
mod vmx;
mod write;
mod xl;
mod xml;

pub use conf::conf_files;
pub use conf_file::{ConfFile, Place};
pub use description::{Arch, Firmware, Machine, MachineDisk, VirtualBoxHardware};
pub use format::{BundleFormat, ConfFormat};
pub use nvram::{NVRAM_MAX, missing_keys};
pub use qemu::{IPXE_FILE, ipxe};
pub use vagrant::{CatalogBox, vagrant_catalog};
pub use write::{Member, WriteOptions, write_bundle};
