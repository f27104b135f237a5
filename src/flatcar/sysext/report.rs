//! All that can be told of an extension image without a host.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::check::release_of;
use super::class::Class;
use super::disk::{open_content, open_extension};
use super::inspect::{ExtensionRelease, SysextInfo, inspect_as};
use super::kernel::{self, Needs};
use super::programs::{Program, programs};
use crate::block::BlockDevice;
use crate::bytes::ByteSize;
use crate::error::{ErrorKind, Result};
use crate::flatcar::OsRelease;
use crate::flatcar::ddi::{self, Certificate, Signed};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath, resolve, walk};
use crate::partition::PartitionTable;

/// Largest os-release that is read; real ones have a few lines.
const OS_RELEASE_MAX: u64 = 64 << 10;
/// Where an image of a whole system has its release, the first that is there.
const OS_RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// What makes an image one of an initrd.
const INITRD_RELEASES: [&str; 2] = ["/etc/initrd-release", "/usr/lib/initrd-release"];
/// What makes an image one that a container can be booted from.
const INITS: [&str; 3] = [
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
    "/sbin/init",
];
/// Folders at most so deep have sizes of their own in a report.
const FOLDER_DEPTH: usize = 3;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspected {
    /// The name it would be merged by, from that of its file.
    pub name: String,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// `squashfs`, `erofs`, `ext4`, `btrfs`
    pub filesystem: String,
    /// The compressors that the filesystem names.
    pub compressors: Vec<&'static str>,
    /// Bytes of its blocks: what is packed together in a squashfs.
    pub block_bytes: u64,
    /// The partitions, where it is a disk image.
    pub partitions: Vec<Part>,
    /// The signature, where it is a signed disk image.
    pub signature: Option<Signed>,
    /// What it can be used as.
    pub uses: Vec<Use>,
    /// Its release files, of both classes.
    pub releases: Vec<Release>,
    /// The units it ships, with what starts them.
    pub units: Vec<Unit>,
    /// Programs and libraries.
    pub programs: Vec<ProgramInfo>,
    /// Entries, and bytes of all regular files.
    pub entries: u64,
    /// Bytes of all regular files, hard links counted once.
    pub content_bytes: u64,
    /// Folders with the bytes of all that lies in them.
    pub folders: Vec<Folder>,
}

/// A partition of a disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its number in the table.
    pub number: u32,
    /// Its name.
    pub label: String,
    /// Its type, in words where it is known.
    pub kind: String,
    /// Its length.
    pub bytes: u64,
}

/// Something that systemd can do with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Use {
    /// What, in the words of systemd-dissect.
    pub what: &'static str,
    /// Whether it can be done with this one.
    pub is_possible: bool,
}

/// A release file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// What it makes of the image.
    pub class: Class,
    /// The name that it is for.
    pub name: String,
    /// Whether it may stand for any name.
    pub fits_any_name: bool,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
}

/// A unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// `docker.service`
    pub name: String,
    /// `sockets.target Upholds`, for each that starts it.
    pub started_by: Vec<String>,
}

/// A program or library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgramInfo {
    /// Where it lies.
    pub path: String,
    /// Its machine in systemd's words.
    pub architecture: Option<String>,
    /// The dynamic linker that starts it.
    pub interpreter: Option<String>,
    /// The libraries it needs.
    pub needed: Vec<String>,
    /// Why nothing is known of it.
    pub problem: Option<String>,
}

/// A folder with all that lies in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// Its path.
    pub path: String,
    /// Bytes of regular files, each name counted.
    pub bytes: u64,
    /// Entries without folders.
    pub files: u64,
}

impl Inspected {
    /// Looks into the image on `device`, whose file is called `name` without `.raw`; a signature is held against
    /// `certificates`.
    ///
    /// # Errors
    /// It is no image of an extension that can be read. A signature that does not hold is no error.
    pub fn of(
        name: &str,
        device: Arc<dyn BlockDevice>,
        certificates: &[Certificate],
    ) -> Result<Self> {
        let content = open_content(Arc::clone(&device))?;
        let needs = Needs::of(Arc::clone(&device))?;
        let fs = open_extension(Arc::clone(&device))?;
        let infos = [Class::Sysext, Class::Confext].map(|class| inspect_as(class, &*fs));
        let [sysext, confext] = infos;
        let infos = [sysext?, confext?];
        Ok(Self {
            name: name.to_owned(),
            file_bytes: device.size(),
            filesystem: needs.filesystem.to_string(),
            block_bytes: kernel::block_bytes(&*content, needs.filesystem, &*fs)?,
            compressors: needs.compressors,
            partitions: partitions(&device)?,
            signature: ddi::look(device, certificates)?,
            uses: uses(name, &infos, &*fs)?,
            releases: infos.iter().flat_map(releases).collect(),
            units: infos.iter().flat_map(units).collect(),
            programs: programs(&*fs)?.into_iter().map(program).collect(),
            entries: infos[0].entries,
            content_bytes: infos[0].content_bytes,
            folders: folders(&*fs)?,
        })
    }
}

fn partitions(device: &Arc<dyn BlockDevice>) -> Result<Vec<Part>> {
    if !ddi::has_gpt(&**device)? {
        return Ok(Vec::new());
    }
    let table = PartitionTable::read(device)?;
    let part = |partition: crate::partition::Partition| Part {
        number: partition.number,
        label: partition.name.to_string(),
        kind: ddi::type_name(partition.type_guid),
        bytes: partition.size(),
    };
    Ok(table.partitions().map(part).collect())
}

fn uses(name: &str, infos: &[SysextInfo; 2], fs: &dyn FileSystem) -> Result<Vec<Use>> {
    let release = os_release(fs)?;
    let mut uses = vec![
        Use {
            what: "bootable system for container",
            is_possible: release.is_some() && has_any(fs, &INITS)?,
        },
        Use {
            what: "portable service",
            is_possible: release
                .as_ref()
                .is_some_and(|release| release.get("PORTABLE_PREFIXES").is_some()),
        },
        Use {
            what: "initrd",
            is_possible: has_any(fs, &INITRD_RELEASES)?,
        },
    ];
    let scopes = [
        ("system", "sysext for system", "confext for system"),
        ("initrd", "sysext for initrd", "confext for initrd"),
        (
            "portable",
            "sysext for portable service",
            "confext for portable service",
        ),
    ];
    for info in infos {
        let release = release_of(info, name);
        for (scope, as_sysext, as_confext) in scopes {
            let what = match info.class {
                Class::Sysext => as_sysext,
                Class::Confext => as_confext,
            };
            let is_possible = release.is_some_and(|release| is_for(info.class, release, scope));
            uses.push(Use { what, is_possible });
        }
    }
    Ok(uses)
}

/// Whether a release is for a scope; most are for systems and portable services without saying so.
fn is_for(class: Class, release: &ExtensionRelease, scope: &str) -> bool {
    let scopes = release.fields.get(class.scope_field());
    let mut scopes = scopes
        .unwrap_or(super::check::DEFAULT_SCOPE)
        .split_ascii_whitespace();
    scopes.any(|word| word == scope)
}

fn os_release(fs: &dyn FileSystem) -> Result<Option<OsRelease>> {
    for path in OS_RELEASES {
        if let Some(found) = found(fs, path)? {
            let text = fs::read_file(fs, &found, OS_RELEASE_MAX)?;
            return OsRelease::parse(&text).map(Some);
        }
    }
    Ok(None)
}

fn has_any(fs: &dyn FileSystem, paths: &[&str]) -> Result<bool> {
    for path in paths {
        if found(fs, path)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where the file `path` lies, symlinks followed.
fn found(fs: &dyn FileSystem, path: &str) -> Result<Option<FsPath>> {
    let found = resolve(fs, &FsPath::new(path)?).and_then(|found| {
        let metadata = fs.find_metadata(&found)?;
        Ok(metadata
            .is_some_and(|metadata| metadata.file_type == FileType::File)
            .then_some(found))
    });
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

fn releases(info: &SysextInfo) -> Vec<Release> {
    let release = |release: &ExtensionRelease| Release {
        class: info.class,
        name: release.name.clone(),
        fits_any_name: release.fits_any_name(),
        fields: release
            .fields
            .fields()
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .collect(),
    };
    info.releases.iter().map(release).collect()
}

fn units(info: &SysextInfo) -> Vec<Unit> {
    let unit = |name: &String| {
        let by = info
            .activations
            .iter()
            .filter(|activation| activation.unit == *name);
        Unit {
            name: name.clone(),
            started_by: by
                .map(|activation| format!("{} {}", activation.by, activation.how))
                .collect(),
        }
    };
    info.units.iter().map(unit).collect()
}

fn program(program: Program) -> ProgramInfo {
    let path = program.path.to_string();
    match program.elf {
        Ok(elf) => ProgramInfo {
            path,
            architecture: Some(elf.architecture()),
            interpreter: elf.interpreter,
            needed: elf.needed,
            problem: None,
        },
        Err(problem) => ProgramInfo {
            path,
            architecture: None,
            interpreter: None,
            needed: Vec::new(),
            problem: Some(problem),
        },
    }
}

/// The upper folders.
fn folders(fs: &dyn FileSystem) -> Result<Vec<Folder>> {
    let mut sums: BTreeMap<FsPath, (u64, u64)> = BTreeMap::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        let metadata = &entry.metadata;
        let names: Vec<&[u8]> = entry.path.components().collect();
        if metadata.file_type == FileType::Directory {
            if names.len() <= FOLDER_DEPTH {
                sums.entry(entry.path).or_default();
            }
            return Ok(());
        }
        let bytes = match metadata.file_type {
            FileType::File => metadata.size,
            _ => 0,
        };
        let mut folder = FsPath::root();
        let parents = names.split_last().map(|(_, parents)| parents);
        for name in parents.unwrap_or_default().iter().take(FOLDER_DEPTH) {
            folder = folder.join(name)?;
            let sum = sums.entry(folder.clone()).or_default();
            sum.0 = sum.0.saturating_add(bytes);
            sum.1 += 1;
        }
        Ok(())
    })?;
    let folder = |(path, (bytes, files)): (FsPath, (u64, u64))| Folder {
        path: path.to_string(),
        bytes,
        files,
    };
    Ok(sums
        .into_iter()
        .filter(|(path, _)| !path.is_root())
        .map(folder)
        .collect())
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}, {} files)",
            self.path,
            ByteSize(self.bytes),
            self.files
        )
    }
}
