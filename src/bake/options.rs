//! What a bake is asked to do, as data: the same struct for the library and the command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::root_size::RootSize;
use crate::archive::TarOptions;
use crate::error::{Error, Result};
use crate::flatcar::Designator;
use crate::fs::{FsPath, Timestamp};

/// Everything a bake is asked to do. [`plan`](super::plan) turns it into changes.
#[derive(Debug, Clone, Default)]
pub struct BakeOptions {
    /// Sysexts to install, in order.
    pub sysexts: Vec<SysextSpec>,
    /// Folder for the sysext files; by default `/opt/extensions/NAME` on ROOT.
    pub install_to: Option<Place>,
    /// Host files and folders to copy in, in order.
    pub files: Vec<FileSpec>,
    /// Archives to unpack, in order, before files and links.
    pub archives: Vec<ArchiveSpec>,
    /// Symlinks to make, in order.
    pub links: Vec<LinkSpec>,
    /// Entries to remove, before anything is added. Folders go with all they hold.
    pub removals: Vec<Place>,
    /// Kernel arguments to add to the OEM partition's grub.cfg, unless they are there.
    pub kernel_args: Vec<String>,
    /// Kernel arguments to remove from it.
    pub removed_kernel_args: Vec<String>,
    /// What becomes of the vendor's files on the OEM partition.
    pub oem: OemChange,
    /// The size that ROOT, and the disk with it, shall have; by default they stay as they are.
    pub root_size: Option<RootSize>,
    /// ROOT grows to this many bytes where it would be smaller otherwise: that of a vendor's layout.
    pub root_floor: Option<u64>,
    /// The disk grows to this many bytes where it would be smaller otherwise, with free space behind ROOT.
    pub disk_floor: Option<u64>,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal.
    pub no_replay: bool,
    /// Time of everything new; by default the newest time that the base image shows.
    pub timestamp: Option<Timestamp>,
    /// Turn findings into warnings.
    pub force: bool,
}

impl BakeOptions {
    /// A bake that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Installs the sysext `file` under `name`, the name it is merged by.
    #[must_use]
    pub fn sysext(mut self, name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        self.sysexts.push(SysextSpec { name: name.into(), file: file.into() });
        self
    }

    /// Copies a host file or folder into a partition.
    #[must_use]
    pub fn file(mut self, file: FileSpec) -> Self {
        self.files.push(file);
        self
    }

    /// Uses `file` as the OEM partition's `grub.cfg`.
    #[must_use]
    pub fn grub_cfg(self, file: impl Into<PathBuf>) -> Self {
        self.file(FileSpec::fixed(file, Designator::Oem, "/grub.cfg", FileRole::GrubCfg))
    }

    /// Uses `file` as the Ignition config that is merged below every user config.
    #[must_use]
    pub fn base_ign(self, file: impl Into<PathBuf>) -> Self {
        self.file(FileSpec::fixed(file, Designator::Oem, "/base/base.ign", FileRole::Ignition))
    }

    /// Uses `file` as the image's own Ignition user config, which beats the platform's user data.
    #[must_use]
    pub fn config_ign(self, file: impl Into<PathBuf>) -> Self {
        self.file(FileSpec::fixed(file, Designator::Oem, "/config.ign", FileRole::Ignition))
    }
}

/// What becomes of the files that make an image a vendor's: its sysext with the marker that activates it, `oem-release`
/// and `grub.cfg` on the OEM partition. All other files there stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OemChange {
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
pub struct OemPayload {
    /// `ID` of oem-release: `azure`; the sysext is `oem-azure`.
    pub id: String,
    /// `NAME` of oem-release, for people.
    pub name: String,
    /// The host's file of the sysext; none for vendors that have none.
    pub sysext: Option<PathBuf>,
    /// The text of `grub.cfg`; none for vendors that have none.
    pub grub_cfg: Option<String>,
}

/// A path on one of the partitions: `root:/etc/motd`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The partition.
    pub partition: Designator,
    /// The path on it.
    pub path: FsPath,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("'{text}' {why}")).with_hint("write PART:/PATH with PART one of boot, oem, root")
        };
        let (partition, path) = text.split_once(':').ok_or_else(|| bad("names no partition"))?;
        let partition = partition.parse().map_err(|_| bad("names no partition that can be edited"))?;
        if partition == Designator::Usr {
            return Err(Error::invalid(format!(
                "'{text}' lies on USR, which is signed by dm-verity and cannot be edited"
            ))
            .with_hint("files below /usr come from a sysext"));
        }
        Ok(Self { partition, path: FsPath::new(path)? })
    }
}

/// A sysext to install: `NAME:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysextSpec {
    /// The name it is merged by: `/etc/extensions/NAME.raw`.
    pub name: String,
    /// The host file.
    pub file: PathBuf,
}

impl FromStr for SysextSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err(Error::invalid(format!("'{text}' is not a sysext to install"))
                .with_hint("write NAME:FILE, for example docker:./docker-28.0.4-x86-64.raw")),
        }
    }
}

/// What a file is for, beyond being copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileRole {
    /// Just a file.
    #[default]
    Plain,
    /// OEM's grub.cfg.
    GrubCfg,
    /// An Ignition config.
    Ignition,
}

/// Where the content of a new file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// A host file, or a host folder with all it holds.
    Host(PathBuf),
    /// These bytes.
    Inline(Vec<u8>),
}

/// A file, or a host folder, to put into a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Its content.
    pub source: FileSource,
    /// The partition it goes to.
    pub partition: Designator,
    /// The path it gets there.
    pub path: FsPath,
    /// Permission bits; by default 0755 for folders and files that their owner may execute, else 0644.
    pub mode: Option<u32>,
    /// Owner and group.
    pub owner: (u32, u32),
    /// What it is for.
    pub role: FileRole,
    /// What asked for it, for plans and messages; by default the command line's flag for it.
    pub origin: Option<String>,
}

impl FileSpec {
    /// A copy of `source` at `path`, owned by root.
    pub fn new(source: impl Into<PathBuf>, partition: Designator, path: FsPath) -> Self {
        Self::with_source(FileSource::Host(source.into()), partition, path)
    }

    /// A file of `content` at `path`, owned by root.
    pub fn inline(content: impl Into<Vec<u8>>, partition: Designator, path: FsPath) -> Self {
        Self::with_source(FileSource::Inline(content.into()), partition, path)
    }

    fn with_source(source: FileSource, partition: Designator, path: FsPath) -> Self {
        Self { source, partition, path, mode: None, owner: (0, 0), role: FileRole::Plain, origin: None }
    }

    fn fixed(source: impl Into<PathBuf>, partition: Designator, path: &'static str, role: FileRole) -> Self {
        let path = FsPath::new(path).expect("the fixed paths of this module are absolute");
        Self { role, ..Self::new(source, partition, path) }
    }

    /// Parses `SRC:/DEST[:MODE[:UID:GID]]` of a command line for `partition`. SRC ends at the first `:/`.
    pub fn parse(text: &str, partition: Designator) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("'{text}' {why}"))
                .with_hint("write SRC:/DEST[:MODE[:UID:GID]], for example motd.txt:/etc/motd:0644:0:0")
        };
        let at = text.find(":/").filter(|&at| at > 0).ok_or_else(|| bad("is not SRC:/DEST"))?;
        let mut fields = text[at + 1..].split(':');
        let mut path = fields.next().unwrap_or_default().to_owned();
        if path.ends_with('/') {
            let name = Path::new(&text[..at]).file_name().and_then(|name| name.to_str());
            path.push_str(name.ok_or_else(|| bad("names no file to put into the folder"))?);
        }
        let mut file = Self::new(&text[..at], partition, FsPath::new(&path)?);
        if let Some(mode) = fields.next() {
            let mode = u32::from_str_radix(mode, 8).ok().filter(|&mode| mode <= 0o7777);
            file.mode = Some(mode.ok_or_else(|| bad("has no octal MODE from 0 to 7777"))?);
        }
        match (fields.next(), fields.next(), fields.next()) {
            (None, None, None) => {}
            (Some(uid), Some(gid), None) => {
                let number = |text: &str| text.parse().map_err(|_| bad("has no numeric UID:GID"));
                file.owner = (number(uid)?, number(gid)?);
            }
            _ => return Err(bad("needs both UID and GID, or neither, and nothing behind")),
        }
        Ok(file)
    }
}

/// A tar archive to unpack: `FILE[:/DEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSpec {
    /// The archive: plain, or compressed with gzip, bzip2, xz or zstd.
    pub source: PathBuf,
    /// The partition it goes to.
    pub partition: Designator,
    /// The folder it is unpacked in.
    pub dest: FsPath,
    /// What of it is taken and how.
    pub options: TarOptions,
}

impl ArchiveSpec {
    /// Parses `FILE[:/DEST]` of a command line for `partition`. FILE ends at the first `:/`.
    pub fn parse(text: &str, partition: Designator, options: TarOptions) -> Result<Self> {
        let (source, dest) = match text.find(":/") {
            Some(at) => (&text[..at], FsPath::new(&text[at + 1..])?),
            None => (text, FsPath::root()),
        };
        if source.is_empty() {
            return Err(Error::invalid(format!("'{text}' names no archive"))
                .with_hint("write FILE[:/DEST], for example docker.tar.zst:/var/lib/docker"));
        }
        Ok(Self { source: source.into(), partition, dest, options })
    }
}

/// A symlink to make: `TARGET:/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// What it points to, stored as it is.
    pub target: String,
    /// Where it is made, on ROOT.
    pub path: FsPath,
    /// What asked for it, for plans and messages; by default the command line's flag for it.
    pub origin: Option<String>,
}

impl FromStr for LinkSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!("'{text}' is not TARGET:/PATH")).with_hint(
                "for example /usr/lib/systemd/system/foo.service:/etc/systemd/system/multi-user.target.wants/foo.service",
            )
        };
        // Sought from the end, as a target may hold a colon but a path seldom does.
        let at = text.rfind(":/").filter(|&at| at > 0).ok_or_else(bad)?;
        Ok(Self { target: text[..at].to_owned(), path: FsPath::new(&text[at + 1..])?, origin: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_specs_of_every_length() {
        let parse = |text| FileSpec::parse(text, Designator::Root);
        let file = parse("a/b.txt:/etc/motd:0600:500:501").unwrap();
        assert_eq!((&file.source, file.path.as_bytes()), (&FileSource::Host("a/b.txt".into()), &b"/etc/motd"[..]));
        assert_eq!((file.mode, file.owner), (Some(0o600), (500, 501)));
        let file = parse("a/b.txt:/etc/").unwrap();
        assert_eq!((file.path.as_bytes(), file.mode, file.owner), (&b"/etc/b.txt"[..], None, (0, 0)));
        for bad in
            ["x", "x:y", ":/x", "x:/y:9", "x:/y:17777", "x:/y:644:0", "x:/y:644:0:0:0", "x:/y:644:a:b", "x:/../y"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_links_and_sysexts() {
        let place: Place = "oem:/base/base.ign".parse().unwrap();
        assert_eq!((place.partition, place.path.as_bytes()), (Designator::Oem, &b"/base/base.ign"[..]));
        for bad in ["", "root", "root:etc", "usr:/lib", "9x:/", "root:/a/../b"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        let link: LinkSpec = "/dev/null:/etc/extensions/docker-flatcar.raw".parse().unwrap();
        assert_eq!(
            (link.target.as_str(), link.path.to_string().as_str()),
            ("/dev/null", "/etc/extensions/docker-flatcar.raw")
        );
        assert!("/dev/null".parse::<LinkSpec>().is_err());
        assert!("x:y.raw".parse::<SysextSpec>().is_ok() && "y.raw".parse::<SysextSpec>().is_err());
    }
}
