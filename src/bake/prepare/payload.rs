//! What becomes of a vendor's files on the OEM partition.

use std::path::PathBuf;

/// What becomes of the files that make an image a vendor's: its sysext with the marker that activates it, `oem-release`
/// and `grub.cfg` on the OEM partition. All other files there stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum OemChange {
    /// They stay.
    #[default]
    Keep,
    /// They go: the image becomes the generic one.
    Clear,
    /// They are replaced.
    Install(OemPayload),
}

/// The files of a vendor on the OEM partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OemPayload {
    /// `ID` of oem-release: `azure`; the sysext is `oem-azure`.
    pub(super) id: String,
    /// `NAME` of oem-release, for people.
    pub(super) name: String,
    /// The host's file of the sysext; none for vendors that have none.
    pub(super) sysext: Option<PathBuf>,
    /// The text of `grub.cfg`; none for vendors that have none.
    pub(super) grub_cfg: Option<String>,
}
