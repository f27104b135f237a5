//! What is in an extension, as far as it matters to merging it.

use std::collections::{BTreeMap, BTreeSet};

use super::class::Class;
use super::units::{self, Activation};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::flatcar::{OsRelease, elf};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, exists, read_file, resolve, walk};

const RELEASE_PREFIX: &[u8] = b"extension-release.";
/// The attribute that lets a release file stand for another name (os-util.c of systemd).
const STRICT: &[u8] = b"user.extension-release.strict";
/// Largest release file that is read; real ones have a few lines.
const RELEASE_MAX: u64 = 64 << 10;
/// Most release files looked at; one is the rule.
const RELEASES_MAX: usize = 64;
/// Most entries of an extension; far above real ones, below what fills memory.
const ENTRIES_MAX: u64 = 5_000_000;
/// Programs whose ELF header is read.
const PROGRAMS_MAX: usize = 32;
/// Fields of a release file that tell the version of what is in an extension, the first one that there is.
const VERSIONS: [&str; 2] = ["SYSEXT_VERSION_ID", "VERSION_ID"];
/// Directories that are symlinks on Flatcar: a real one hides what the link reaches.
const LINKED_DIRS: [&str; 2] = ["/usr/sbin", "/usr/lib64"];

/// A file `usr/lib/extension-release.d/extension-release.NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionRelease {
    /// `NAME`, the extension it is meant for.
    pub name: String,
    /// Its fields.
    pub fields: OsRelease,
    /// The value of the attribute `user.extension-release.strict`, if it has one.
    pub strict: Option<String>,
    /// Whether it is a symlink; systemd follows one only under its own name.
    pub is_symlink: bool,
}

impl ExtensionRelease {
    /// Whether it may stand for an extension of another name: a regular file whose attribute says `false`.
    pub fn fits_any_name(&self) -> bool {
        let strict = self
            .strict
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        !self.is_symlink && matches!(strict.as_str(), "0" | "no" | "n" | "false" | "f" | "off")
    }
}

/// What an extension holds.
#[derive(Debug, Clone, Default)]
pub struct SysextInfo {
    /// As what it was looked into.
    pub class: Class,
    /// Its release files, sorted by name. Files whose name cannot be an extension's are left out, as systemd does.
    pub releases: Vec<ExtensionRelease>,
    /// Whether there is `usr/lib/os-release`, which systemd refuses.
    pub has_os_release: bool,
    /// Real directories where Flatcar has symlinks: `/usr/sbin`, `/usr/lib64`.
    pub real_dirs: Vec<FsPath>,
    /// Entries at the top that are not merged: other than `usr` and `opt`, or `etc`.
    pub outside: Vec<FsPath>,
    /// Names of the systemd units it ships, sorted.
    pub units: Vec<String>,
    /// What starts units, as far as it is said in drop-ins and links of the extension.
    pub activations: Vec<Activation>,
    /// Bytes of all regular files, hard links counted once.
    pub content_bytes: u64,
    /// Number of files, directories and other entries, the root not counted.
    pub entries: u64,
    /// Architectures of some programs in `usr/bin` in systemd's words, with one program for each.
    pub architectures: BTreeMap<String, FsPath>,
}

impl SysextInfo {
    /// The version that its first release file tells, of itself or of the system that it is for.
    pub fn version(&self) -> Option<&str> {
        let fields = &self.releases.first()?.fields;
        VERSIONS.iter().find_map(|key| fields.get(key))
    }
}

/// Looks into an extension of the system.
pub fn inspect(fs: &dyn FileSystem) -> Result<SysextInfo> {
    inspect_as(Class::Sysext, fs)
}

/// Looks into an extension of a class.
pub fn inspect_as(class: Class, fs: &dyn FileSystem) -> Result<SysextInfo> {
    let units = units::read(class, fs)?;
    let mut info = SysextInfo {
        class,
        releases: releases(class, fs)?,
        has_os_release: has_os_release(fs)?,
        units: units.names,
        activations: units.activations,
        architectures: architectures(fs)?,
        ..SysextInfo::default()
    };
    for dir in LINKED_DIRS {
        let path = FsPath::new(dir)?;
        if file_type(fs, &path)? == Some(FileType::Directory) {
            info.real_dirs.push(path);
        }
    }
    for entry in fs.entries_at(&FsPath::root())? {
        let is_it = |top: &&str| top.as_bytes() == entry.name;
        if !class.merged().iter().any(is_it) {
            info.outside.push(FsPath::root().join(&entry.name)?);
        }
    }
    measure(fs, &mut info)?;
    Ok(info)
}

fn file_type(fs: &dyn FileSystem, path: &FsPath) -> Result<Option<FileType>> {
    Ok(fs.find_metadata(path)?.map(|metadata| metadata.file_type))
}

fn has_os_release(fs: &dyn FileSystem) -> Result<bool> {
    match resolve(fs, &FsPath::new("/usr/lib/os-release")?) {
        Ok(path) => exists(fs, &path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn releases(class: Class, fs: &dyn FileSystem) -> Result<Vec<ExtensionRelease>> {
    let dir = FsPath::new(class.release_folder())?;
    let mut releases = Vec::new();
    for entry in units::entries(fs, &dir)? {
        let name = entry
            .name
            .strip_prefix(RELEASE_PREFIX)
            .and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name.filter(|name| is_valid_name(name)) else {
            continue;
        };
        if !matches!(entry.file_type, FileType::File | FileType::Symlink) {
            continue;
        }
        if releases.len() == RELEASES_MAX {
            return Err(Error::unsupported(format!(
                "more than {RELEASES_MAX} extension-release files"
            ))
            .because(Reason::Limit));
        }
        let path = dir.join(&entry.name)?;
        match release(fs, name, &path, entry.file_type == FileType::Symlink) {
            // A symlink that leads nowhere, which systemd takes for an absent file.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => releases.push(other.at(|| path.to_string())?),
        }
    }
    Ok(releases)
}

fn release(
    fs: &dyn FileSystem,
    name: &str,
    path: &FsPath,
    is_symlink: bool,
) -> Result<ExtensionRelease> {
    let path = resolve(fs, path)?;
    let fields = OsRelease::parse(&read_file(fs, &path, RELEASE_MAX)?)?;
    let strict = fs
        .xattrs_at(&path)?
        .into_iter()
        .find(|xattr| xattr.name == STRICT);
    let strict = strict.map(|xattr| {
        String::from_utf8_lossy(&xattr.value)
            .trim_end_matches('\0')
            .to_owned()
    });
    Ok(ExtensionRelease {
        name: name.to_owned(),
        fields,
        strict,
        is_symlink,
    })
}

/// Whether systemd takes `name` for an image's name: a file name without control characters and not of a temporary file.
pub(super) fn is_valid_name(name: &str) -> bool {
    let is_file_name = !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains('/');
    is_file_name && !name.chars().any(|c| c.is_ascii_control()) && !name.starts_with(".#")
}

/// Counts entries and bytes.
fn measure(fs: &dyn FileSystem, info: &mut SysextInfo) -> Result<()> {
    let mut linked = BTreeSet::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        if !entry.path.is_root() {
            info.entries += 1;
        }
        if info.entries > ENTRIES_MAX {
            return Err(Error::unsupported(format!(
                "more than {ENTRIES_MAX} entries in an extension"
            ))
            .because(Reason::Limit));
        }
        let metadata = entry.metadata;
        if metadata.file_type == FileType::File
            && (metadata.nlink < 2 || linked.insert(metadata.inode))
        {
            info.content_bytes = info.content_bytes.saturating_add(metadata.size);
        }
        Ok(())
    })
}

/// The architectures of the first programs in `usr/bin`.
fn architectures(fs: &dyn FileSystem) -> Result<BTreeMap<String, FsPath>> {
    let dir = FsPath::new("/usr/bin")?;
    let mut found = BTreeMap::new();
    let files = units::entries(fs, &dir)?
        .into_iter()
        .filter(|entry| entry.file_type == FileType::File);
    for entry in files.take(PROGRAMS_MAX) {
        let path = resolve(fs, &dir)?.join(&entry.name)?;
        let elf = elf::read(&*fs.open_at(&path)?);
        // One whose headers are damaged says nothing of where it would run.
        if let Some(elf) = elf.ok().flatten() {
            found.entry(elf.architecture()).or_insert(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_systemd() {
        for good in [
            "docker",
            "a",
            "flatcar-zfs",
            "ümlaut",
            ".hidden",
            "a b",
            "x.raw",
        ] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\nb",
            "a\x7f",
            ".#tmp",
            &"n".repeat(256),
        ] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }
}
