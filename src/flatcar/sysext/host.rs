//! The image that extensions are meant for: its release, and the trees that they are merged into.

use super::check::HostRelease;
use super::compare::HostTree;
use crate::error::{Error, Result};
use crate::flatcar::ddi::{Certificate, trusted_by};
use crate::flatcar::{Designator, Disk, OsRelease};

/// What extensions are held against.
#[derive(Debug)]
pub struct Host {
    /// All that its os-release says.
    pub os_release: OsRelease,
    /// What of it extensions are matched with.
    pub release: HostRelease,
    /// Its files.
    pub tree: HostTree,
    /// Whose signatures it trusts.
    pub certificates: Vec<Certificate>,
}

impl Host {
    /// The host that a disk makes.
    ///
    /// # Errors
    /// There is no os-release on USR; those of reading it. Another partition that cannot be read counts as empty.
    pub fn of_disk(disk: &Disk) -> Result<Self> {
        let os_release = disk.os_release()?.ok_or_else(|| {
            Error::invalid(format!("{} has no os-release on USR", disk.name()))
                .with_hint("name the image of a whole Flatcar disk")
        })?;
        let of = |designator: Designator| disk.filesystem(designator.into()).ok();
        Ok(Self {
            release: HostRelease::from(&os_release),
            tree: HostTree::new(of(Designator::Usr), of(Designator::Root)),
            certificates: trusted_by(disk),
            os_release,
        })
    }

    /// A host of which nothing but its release is known.
    pub fn of_release(os_release: OsRelease) -> Self {
        Self {
            release: HostRelease::from(&os_release),
            tree: HostTree::new(None, None),
            certificates: Vec::new(),
            os_release,
        }
    }
}
