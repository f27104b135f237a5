//! The image that extensions are meant for: its release, and the trees that they are merged into.

use super::check::HostRelease;
use super::compare::HostTree;
use crate::error::{Error, Result};
use crate::flatcar::ddi::Certificate;
use crate::flatcar::{Designator, Disk, OsRelease};
use crate::fs::{self, ByPath, FileSystem, FsPath};

/// Where an image has the certificates of its build, below `/usr`.
const CERTIFICATES: &str = "/lib/verity.d";
/// How the names of certificates end.
const ENDING: &[u8] = b".crt";
/// The largest certificate that is read, in bytes.
const CERTIFICATE_MAX: u64 = 1 << 20;

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
        let usr = of(Designator::Usr);
        // What cannot be read there makes nobody trusted.
        let certificates = usr.as_ref().and_then(|usr| certificates(&**usr).ok());
        Ok(Self {
            release: HostRelease::from(&os_release),
            tree: HostTree::new(usr, of(Designator::Root)),
            certificates: certificates.unwrap_or_default(),
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

/// The certificates that an image trusts; `usr` is its USR.
///
/// # Errors
/// There is no folder of them, or one cannot be read.
pub fn certificates(usr: &dyn FileSystem) -> Result<Vec<Certificate>> {
    let folder = fs::resolve(usr, &FsPath::new(CERTIFICATES)?)?;
    let mut certificates = Vec::new();
    for entry in usr.entries_at(&folder)? {
        if entry.name.ends_with(ENDING) {
            let path = fs::resolve(usr, &folder.join(&entry.name)?)?;
            let bytes = fs::read_file(usr, &path, CERTIFICATE_MAX)?;
            certificates.extend(Certificate::read(&bytes)?);
        }
    }
    Ok(certificates)
}
