//! What is known of Flatcar: layout, releases, sysexts.

pub mod airgap;
pub mod butane;
mod containers;
pub mod ddi;
pub mod diff;
mod disk;
pub mod doctor;
pub mod elf;
pub mod grub;
pub mod ignition;
mod inspect;
mod layout;
pub mod live;
pub mod official;
mod os_release;
pub mod page;
pub mod sysext;
pub mod sysupdate;
pub mod tmpfiles;
pub mod unit;
pub mod unit_file;
pub mod usage;
pub mod vendor;

pub use containers::{ContainerImage, container_images};
pub use disk::Disk;
pub use inspect::{
    Attributes, FilesystemInfo, Inspection, PartitionInfo, Release, Sysext, inspect,
};
pub use layout::{
    DISK_ALIGNMENT, Designator, FRESH_DISK_GUID, FRESH_USR_ATTRIBUTES, Generation, Layout,
    LayoutName, PartitionRef, Selected, active_usr, select, type_name,
};
pub use os_release::{Channel, OsRelease};
