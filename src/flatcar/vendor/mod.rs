//! Vendors: the clouds and hypervisors that images are made for, each a row of data in `vendors/ID.toml`.
//!
//! ```text
//!  vendors/azure.toml ──parse──▶ Vendor ──for_release(4593)──▶ Settings ──▶ disk format and layout, OEM files,
//!  vendors/qemu.toml  ─ alias ─▶ Vendor                                     names of files, config files, bundle
//!  --vendor-file X    ─────────▶ adds or replaces one
//! ```
//!
//! The words are those of Flatcar's own table (flatcar/scripts `build_library/vm_image_util.sh`). A vendor takes one
//! file and no code, unless its disk, config or bundle format is new. What was different in older releases is data too
//! (`[[until]]`); the generation of the disk layout is not, it is read from the image.

mod file;
mod grub;
mod schema;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod words;

use serde::Serialize;

pub use file::{Grub, GrubWhen, Oem, Until, VendorFile, Without};
pub use schema::schema;
pub use settings::Settings;
pub use table::Vendors;
pub use words::{
    CiCompression, DiskFormat, DiskLayout, DiskSize, Extension, FileName, GrubValue, Id,
    MemberPath, Status, Text,
};

use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::machine::Arch;

/// A vendor of disk images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vendor {
    /// The name that `--vendor` takes.
    pub id: Id,
    /// The name for people.
    pub name: Text,
    /// Whether Flatcar still makes images for it.
    pub status: Status,
    /// The vendor that an alias stands for.
    pub alias_of: Option<Id>,
    /// The major number of the first Flatcar release with images for it, where it matters.
    pub since: Option<u64>,
    /// A tag of Flatcar's scripts whose table has it, at or behind `since`.
    pub since_tag: Option<Text>,
    /// The major number from which on Flatcar makes no images for it.
    pub removed: Option<u64>,
    /// A tag of Flatcar's scripts whose table no longer has it.
    pub removed_tag: Option<Text>,
    /// The day on which Flatcar gave it up.
    pub removed_on: Option<Text>,
    /// Why it is refused.
    pub why: Option<Text>,
    /// Other words by which people look for it.
    pub keywords: Vec<Id>,
    /// What must be given for a whole set of files.
    pub needs: Vec<Text>,
    /// What those who use the image should know.
    pub notes: Vec<Text>,
    /// The architectures that Flatcar makes images of; a bake of another is possible.
    pub arch: Vec<Arch>,
    /// The settings for the newest release; `None` for a vendor that is refused.
    #[serde(skip)]
    settings: Option<Settings>,
    /// What was different in older releases, the newest change first.
    until: Vec<Until>,
}

impl Vendor {
    /// Reads a vendor file; `name` is what errors call it. An alias may stand for a built-in vendor.
    ///
    /// # Errors
    /// Whatever is wrong with the file, with its line and column where it has one.
    pub fn from_toml(text: &str, name: &str) -> Result<Self> {
        Vendors::builtin().parse(text, name)
    }

    /// The vendor of a file, whose settings an alias completes with those of `target`.
    fn of_file(mut file: VendorFile, target: Option<&VendorFile>) -> Result<Self> {
        if (file.status == Status::Alias) != file.alias_of.is_some() {
            return Err(Error::invalid(
                "status = \"alias\" and alias_of go together: one of them is missing",
            ));
        }
        match (file.status, file.removed) {
            (Status::Removed, None) => {
                return Err(Error::invalid("a removed vendor needs the key removed"));
            }
            (Status::Current, Some(_)) => {
                return Err(Error::invalid("a current vendor has no key removed"));
            }
            _ => {}
        }
        if (file.status == Status::Refused) != file.why.is_some() {
            return Err(Error::invalid(
                "status = \"refused\" and why go together: one of them is missing",
            ));
        }
        if let Some(target) = target {
            file.inherit(target);
        }
        file.until
            .sort_by_key(|until| std::cmp::Reverse(until.release));
        if let Some(twice) = file
            .until
            .windows(2)
            .find(|pair| pair[0].release == pair[1].release)
        {
            return Err(Error::invalid(format!(
                "there are two [[until]] of release {}",
                twice[0].release
            )));
        }
        let settings = match file.status {
            Status::Refused => None,
            _ => Some(Settings::of_file(&file)?),
        };
        let VendorFile {
            id,
            name,
            status,
            alias_of,
            since,
            since_tag,
            removed,
            removed_tag,
            removed_on,
            ..
        } = file;
        let why = file.why;
        let keywords = file.keywords;
        let needs = file.needs;
        let notes = file.notes;
        let arch = file.arch.unwrap_or_else(|| vec![Arch::Amd64, Arch::Arm64]);
        let until = file.until;
        let vendor = Self {
            id,
            name,
            status,
            alias_of,
            since,
            since_tag,
            removed,
            removed_tag,
            removed_on,
            why,
            keywords,
            needs,
            notes,
            arch,
            settings,
            until,
        };
        if vendor.settings.is_some() {
            vendor.for_release(Some(0))?;
        }
        Ok(vendor)
    }

    /// The settings for the release with this major number (4593 of `4593.2.5`), or for the newest.
    ///
    /// # Errors
    /// A vendor that is refused ([`crate::ErrorKind::Unsupported`]).
    pub fn for_release(&self, major: Option<u64>) -> Result<Settings> {
        let Some(newest) = &self.settings else {
            let why = self.why.as_ref().map_or("no reason is given", Text::as_str);
            return Err(Error::unsupported(format!(
                "no images are baked for {}: {why}",
                self.id
            )));
        };
        let mut settings = newest.clone();
        for until in self
            .until
            .iter()
            .filter(|until| major.is_some_and(|major| major < until.release))
        {
            settings.change(until)?;
        }
        Ok(settings)
    }

    /// Whether Flatcar's own table has it in the release with this major number, or in the newest.
    pub fn is_made_in(&self, major: Option<u64>) -> bool {
        let is_there_now = matches!(self.status, Status::Current);
        major.map_or(is_there_now, |major| {
            self.since.is_none_or(|since| since <= major)
                && self.removed.is_none_or(|removed| major < removed)
                && (is_there_now || self.removed.is_some())
        })
    }

    /// What was different in older releases, the newest change first.
    pub fn until(&self) -> &[Until] {
        &self.until
    }

    /// What someone who bakes this release for this vendor should know: that Flatcar itself makes no such images.
    pub fn findings(&self, major: Option<u64>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Some(major) = major else { return findings };
        if let Some(since) = self.since.filter(|&since| major < since) {
            let found = Finding::new(code::VENDOR_TOO_EARLY).with("vendor", &self.id);
            findings.push(found.with("since", since).with("release", major));
        }
        if let Some(removed) = self.removed.filter(|&removed| major >= removed) {
            let found = Finding::new(code::VENDOR_REMOVED).with("vendor", &self.id);
            findings.push(found.with("removed", removed));
        }
        findings
    }
}

/// The major number of a Flatcar version: 4593 of `4593.2.5`, `None` for what is no version.
pub fn major_of(version: &str) -> Option<u64> {
    version.split('.').next()?.parse().ok()
}
