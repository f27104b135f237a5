//! What is known of Flatcar: layout, releases, sysexts.

mod layout;
mod os_release;
pub mod sysext;

pub use layout::{
    DISK_ALIGNMENT, Designator, FRESH_DISK_GUID, FRESH_USR_ATTRIBUTES, Generation, Layout, LayoutName, PartitionRef,
    Selected, active_usr, select,
};
pub use os_release::{Channel, OsRelease};
