//! Parallels disks: a folder with a descriptor and an expandable image (descriptions: `parallels` and `prl-xml` in
//! QEMU's interop documents).
//!
//! ```text
//!   NAME.hdd/DiskDescriptor.xml
//!   NAME.hdd/NAME.hdd                       empty: by it Parallels finds the disk
//!   NAME.hdd/NAME.hdd.0.{GUID}.hds          header │ BAT │ (to a multiple of 1 MiB) cluster │ cluster │ …
//! ```

mod descriptor;
mod folder;
mod header;
mod read;
mod write;

pub use descriptor::Descriptor;
pub(super) use folder::image_file;
pub(super) use read::open;
pub use write::write;
