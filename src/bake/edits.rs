//! What a bake changes inside of a disk, as data.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::settings::Settings;
use crate::archive::TarOptions;
use crate::error::{Error, Result};
use crate::flatcar::{Designator, official, unit};
use crate::fs::FsPath;

/// What a bake changes inside of a disk, in the order in which it is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Entries to remove, before anything is added. Folders go with all they hold.
    pub removals: Vec<Place>,
    /// Archives to unpack, in order.
    pub archives: Vec<ArchiveSpec>,
    /// Sysexts to install, in order.
    pub sysexts: Vec<SysextSpec>,
    /// Have the machine update those of them that have a file of systemd-sysupdate beside them.
    pub sysupdate: bool,
    /// Files of certificates, whose owners may sign extensions.
    pub trusted: Vec<TrustSpec>,
    /// Flatcar's own sysexts to switch on, in order.
    pub enabled_sysexts: Vec<OfficialSysext>,
    /// Folder for the sysext files; by default `/opt/extensions/NAME` on ROOT.
    pub install_to: Option<Place>,
    /// The host name, for `/etc/hostname`.
    pub hostname: Option<Hostname>,
    /// Files and folders to put in, in order.
    pub files: Vec<FileSpec>,
    /// systemd units to write and enable, in order.
    pub units: Vec<UnitSpec>,
    /// The OEM partition's `grub.cfg`.
    pub grub_cfg: Option<ConfigSpec>,
    /// The Ignition config that is merged below every user config.
    pub base_ign: Option<ConfigSpec>,
    /// The image's own Ignition user config, which beats the platform's user data.
    pub config_ign: Option<ConfigSpec>,
    /// An Ignition config to carry out in the image, before anything else is put in, instead of at boot.
    pub apply_ignition: Option<ConfigSpec>,
    /// Kernel arguments to add to the OEM partition's `grub.cfg`, unless they are there.
    pub kernel_args: Vec<String>,
    /// Kernel arguments to remove from it.
    pub removed_kernel_args: Vec<String>,
    /// Settings of the machine.
    pub settings: Settings,
    /// Symlinks to make, in order.
    pub links: Vec<LinkSpec>,
    /// Give the disk the GUID, and USR-A the attributes, that they have in an image that was never booted.
    pub fresh_table: bool,
}

impl Edits {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Installs the sysext `file` under `name`, the name it is merged by.
    #[must_use]
    pub fn sysext(mut self, name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        self.sysexts.push(SysextSpec::new(name, file));
        self
    }

    /// Trusts the certificates in `file` to sign extensions.
    #[must_use]
    pub fn trust(mut self, file: impl Into<PathBuf>) -> Self {
        self.trusted.push(TrustSpec {
            file: file.into(),
            origin: None,
        });
        self
    }

    /// Puts a file or folder into a partition.
    #[must_use]
    pub fn file(mut self, file: FileSpec) -> Self {
        self.files.push(file);
        self
    }

    /// Uses `file` as the OEM partition's `grub.cfg`.
    #[must_use]
    pub fn grub_cfg(mut self, file: impl Into<PathBuf>) -> Self {
        self.grub_cfg = Some(ConfigSpec::new(file));
        self
    }

    /// Uses `file` as the Ignition config that is merged below every user config.
    #[must_use]
    pub fn base_ign(mut self, file: impl Into<PathBuf>) -> Self {
        self.base_ign = Some(ConfigSpec::new(file));
        self
    }

    /// Uses `file` as the image's own Ignition user config, which beats the platform's user data.
    #[must_use]
    pub fn config_ign(mut self, file: impl Into<PathBuf>) -> Self {
        self.config_ign = Some(ConfigSpec::new(file));
        self
    }

    /// All sysexts that are merged, Flatcar's own too, by the names they are merged by.
    pub(super) fn merged_sysexts(&self) -> Vec<SysextSpec> {
        let enabled = self.enabled_sysexts.iter().filter_map(|sysext| {
            Some(SysextSpec {
                origin: sysext.origin.clone(),
                ..SysextSpec::new(official::merged_name(&sysext.name), sysext.file.as_ref()?)
            })
        });
        self.sysexts.iter().cloned().chain(enabled).collect()
    }

    /// What must be changed after a vendor's own `grub.cfg` is in place, and everything before that.
    pub(super) fn split_at_grub(&self) -> (Self, Self) {
        let mut before = self.clone();
        let after = Self {
            grub_cfg: before.grub_cfg.take(),
            kernel_args: std::mem::take(&mut before.kernel_args),
            removed_kernel_args: std::mem::take(&mut before.removed_kernel_args),
            settings: Settings {
                consoles: std::mem::take(&mut before.settings.consoles),
                no_autologin: std::mem::take(&mut before.settings.no_autologin),
                ..Settings::default()
            },
            ..Self::default()
        };
        (before, after)
    }

    /// These changes of `grub.cfg` and then those of `more`.
    pub(super) fn with_grub_of(mut self, more: Self) -> Self {
        self.grub_cfg = more.grub_cfg.or(self.grub_cfg);
        self.kernel_args.extend(more.kernel_args);
        self.removed_kernel_args.extend(more.removed_kernel_args);
        self.settings.no_autologin |= more.settings.no_autologin;
        if !more.settings.consoles.is_empty() {
            self.settings.consoles = more.settings.consoles;
        }
        self
    }
}

/// A host name as systemd takes it (hostname(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostname {
    /// The name.
    pub name: String,
    /// What asked for it, for plans and messages.
    pub origin: Option<String>,
}

/// Labels of letters, digits and `-` with dots between them, 64 characters in all.
impl FromStr for Hostname {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_label = |label: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty()
                && label.chars().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 64 || !text.split('.').all(is_label) {
            return Err(
                Error::invalid(format!("'{}' is not a host name", text.escape_debug())).with_hint(
                    "letters, digits and -, in parts with dots between them, 64 characters at most",
                ),
            );
        }
        Ok(Self {
            name: text.to_owned(),
            origin: None,
        })
    }
}

/// A config file with a fixed place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSpec {
    /// Its content.
    pub source: FileSource,
    /// What asked for it, for plans and messages.
    pub origin: Option<String>,
}

impl ConfigSpec {
    /// The host's file `file`.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            source: FileSource::Host(file.into()),
            origin: None,
        }
    }
}

/// A systemd unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSpec {
    /// Its name with the type, such as `web.service`.
    pub name: String,
    /// Its content, for `/etc/systemd/system`; none where it comes from the image or a sysext.
    pub contents: Option<FileSource>,
    /// Start it at boot, as `[Install]` of its contents says, else with multi-user.target.
    pub enabled: bool,
    /// Drop-ins: the name of each, which ends in `.conf`, and its content.
    pub dropins: Vec<(String, FileSource)>,
    /// What asked for it, for plans and messages.
    pub origin: Option<String>,
}

impl UnitSpec {
    /// A unit that nothing is done with yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            contents: None,
            enabled: false,
            dropins: Vec::new(),
            origin: None,
        }
    }

    /// What can be told to be wrong before anything is read.
    pub(super) fn check(&self) -> Result<()> {
        unit::path(&self.name)?;
        for (name, _) in &self.dropins {
            unit::dropin_path(&self.name, name)?;
        }
        if self.contents.is_none() && !self.enabled && self.dropins.is_empty() {
            return Err(
                Error::invalid(format!("nothing is done with the unit {}", self.name))
                    .with_hint("give its contents or a drop-in, or enable it"),
            );
        }
        Ok(())
    }
}

/// A path on one of the partitions: `root:/etc/motd`, or `ROOT:/etc/motd`, or `9:/etc/motd`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The partition.
    pub partition: Designator,
    /// The path on it.
    pub path: FsPath,
}

impl FromStr for Place {
    type Err = Error;

    /// The partition goes by a name of [`Designator::named`].
    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("'{text}' {why}"))
                .with_hint("write PART:/PATH with PART one of boot, oem, root, or the number or label of one of them")
        };
        let (partition, path) = text
            .split_once(':')
            .ok_or_else(|| bad("names no partition"))?;
        let partition = Designator::named(partition)
            .ok_or_else(|| bad("names no partition that can be edited"))?;
        if partition == Designator::Usr {
            return Err(Error::invalid(format!(
                "'{text}' lies on USR, which is signed by dm-verity and cannot be edited"
            ))
            .with_hint("files below /usr come from a sysext"));
        }
        Ok(Self {
            partition,
            path: FsPath::new(path)?,
        })
    }
}

/// A sysext to install: `NAME:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysextSpec {
    /// The name it is merged by: `/etc/extensions/NAME.raw`.
    pub name: String,
    /// The host file.
    pub file: PathBuf,
    /// Host files of systemd-sysupdate for it, besides `NAME.conf` and `NAME.transfer` in the folder of the file.
    pub transfers: Vec<PathBuf>,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

impl SysextSpec {
    /// The sysext `file`, to be merged by `name`.
    pub fn new(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            file: file.into(),
            transfers: Vec::new(),
            origin: None,
        }
    }
}

impl FromStr for SysextSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok(Self::new(name, file)),
            _ => Err(
                Error::invalid(format!("'{text}' is not a sysext to install"))
                    .with_hint("write NAME:FILE, for example docker:./docker-28.0.4-x86-64.raw"),
            ),
        }
    }
}

/// A file of certificates that are to be trusted: each goes to `/etc/verity.d`, under the name of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustSpec {
    /// The host file: X.509, in PEM or DER.
    pub file: PathBuf,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

/// One of Flatcar's own optional sysexts, such as podman, which the image uses from its first boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfficialSysext {
    /// Its name, without `flatcar-`.
    pub name: String,
    /// The host's file of it, `flatcar-NAME.raw` of the image's release.
    pub file: Option<PathBuf>,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

impl OfficialSysext {
    /// The file, without which nothing can be baked.
    pub(super) fn file(&self) -> Result<&Path> {
        self.file.as_deref().ok_or_else(|| {
            Error::invalid(format!(
                "the file of Flatcar's sysext {} is not given",
                self.name
            ))
            .with_hint("it is flatcar-NAME.raw of the image's release")
        })
    }
}

/// Its name alone; the file is given when it is there.
impl FromStr for OfficialSysext {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        official::check_name(text)?;
        Ok(Self {
            name: text.to_owned(),
            file: None,
            origin: None,
        })
    }
}

/// Where the content of a new file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Owner and group; by default those of the user core below `/home/core` of ROOT, else root's.
    pub owner: Option<(u32, u32)>,
    /// What asked for it, for plans and messages.
    pub origin: Option<String>,
}

impl FileSpec {
    /// A copy of `source` at `path`, owned as is usual there.
    pub fn new(source: impl Into<PathBuf>, partition: Designator, path: FsPath) -> Self {
        Self::with_source(FileSource::Host(source.into()), partition, path)
    }

    /// A file of `content` at `path`, owned as is usual there.
    pub fn inline(content: impl Into<Vec<u8>>, partition: Designator, path: FsPath) -> Self {
        Self::with_source(FileSource::Inline(content.into()), partition, path)
    }

    fn with_source(source: FileSource, partition: Designator, path: FsPath) -> Self {
        Self {
            source,
            partition,
            path,
            mode: None,
            owner: None,
            origin: None,
        }
    }

    /// Parses `SRC:/DEST[:MODE[:UID:GID]]` of a command line for `partition`. SRC ends at the first `:/`.
    pub fn parse(text: &str, partition: Designator) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("'{text}' {why}")).with_hint(
                "write SRC:/DEST[:MODE[:UID:GID]], for example motd.txt:/etc/motd:0644:0:0",
            )
        };
        let at = text
            .find(":/")
            .filter(|&at| at > 0)
            .ok_or_else(|| bad("is not SRC:/DEST"))?;
        let mut fields = text[at + 1..].split(':');
        let mut path = fields.next().unwrap_or_default().to_owned();
        if path.ends_with('/') {
            let name = Path::new(&text[..at])
                .file_name()
                .and_then(|name| name.to_str());
            path.push_str(name.ok_or_else(|| bad("names no file to put into the folder"))?);
        }
        let mut file = Self::new(&text[..at], partition, FsPath::new(&path)?);
        if let Some(mode) = fields.next() {
            let mode = u32::from_str_radix(mode, 8)
                .ok()
                .filter(|&mode| mode <= 0o7777);
            file.mode = Some(mode.ok_or_else(|| bad("has no octal MODE from 0 to 7777"))?);
        }
        match (fields.next(), fields.next(), fields.next()) {
            (None, None, None) => {}
            (Some(uid), Some(gid), None) => {
                let number = |text: &str| text.parse().map_err(|_| bad("has no numeric UID:GID"));
                file.owner = Some((number(uid)?, number(gid)?));
            }
            _ => {
                return Err(bad(
                    "needs both UID and GID, or neither, and nothing behind",
                ));
            }
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
    /// What asked for it, for plans and messages.
    pub origin: Option<String>,
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
        Ok(Self {
            source: source.into(),
            partition,
            dest,
            options,
            origin: None,
        })
    }
}

/// A symlink to make: `TARGET:/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// What it points to, stored as it is.
    pub target: String,
    /// Where it is made, on ROOT.
    pub path: FsPath,
    /// What asked for it, for plans and messages.
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
        Ok(Self {
            target: text[..at].to_owned(),
            path: FsPath::new(&text[at + 1..])?,
            origin: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_specs_of_every_length() {
        let parse = |text| FileSpec::parse(text, Designator::Root);
        let file = parse("a/b.txt:/etc/motd:0600:500:501").unwrap();
        assert_eq!(
            (&file.source, file.path.as_bytes()),
            (&FileSource::Host("a/b.txt".into()), &b"/etc/motd"[..])
        );
        assert_eq!((file.mode, file.owner), (Some(0o600), Some((500, 501))));
        let file = parse("a/b.txt:/etc/").unwrap();
        assert_eq!(
            (file.path.as_bytes(), file.mode, file.owner),
            (&b"/etc/b.txt"[..], None, None)
        );
        for bad in [
            "x",
            "x:y",
            ":/x",
            "x:/y:9",
            "x:/y:17777",
            "x:/y:644:0",
            "x:/y:644:0:0:0",
            "x:/y:644:a:b",
            "x:/../y",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_links_and_sysexts() {
        let place: Place = "oem:/base/base.ign".parse().unwrap();
        assert_eq!(
            (place.partition, place.path.as_bytes()),
            (Designator::Oem, &b"/base/base.ign"[..])
        );
        for bad in [
            "",
            "root",
            "root:etc",
            "usr:/lib",
            "9x:/",
            "root:/a/../b",
            "2:/",
            "Root:/",
            "OEM-CONFIG:/",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        for (name, partition) in [
            ("ROOT", Designator::Root),
            ("9", Designator::Root),
            ("OEM", Designator::Oem),
            ("6", Designator::Oem),
            ("EFI-SYSTEM", Designator::Boot),
            ("1", Designator::Boot),
        ] {
            assert_eq!(
                format!("{name}:/x").parse::<Place>().unwrap().partition,
                partition,
                "{name}"
            );
        }
        for usr in ["usr", "USR-A", "USR-B", "3", "4"] {
            let error = format!("{usr}:/lib").parse::<Place>().unwrap_err();
            assert!(
                error.to_string().contains("signed by dm-verity"),
                "{usr}: {error}"
            );
        }
        let link: LinkSpec = "/dev/null:/etc/extensions/docker-flatcar.raw"
            .parse()
            .unwrap();
        assert_eq!(
            (link.target.as_str(), link.path.to_string().as_str()),
            ("/dev/null", "/etc/extensions/docker-flatcar.raw")
        );
        assert!("/dev/null".parse::<LinkSpec>().is_err());
        assert!("x:y.raw".parse::<SysextSpec>().is_ok() && "y.raw".parse::<SysextSpec>().is_err());
    }
}
