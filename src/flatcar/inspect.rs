//! What an image is: partitions, filesystems, release, OEM, sysexts, whether it was booted.

use serde::Serialize;

use super::disk::Disk;
use super::doctor;
use super::layout::{Designator, Layout, PartitionRef, type_name};
use crate::error::{Reason, Result};
use crate::finding::{Finding, code};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};
use crate::partition::Partition;

/// Largest small text file (`oem-release`, `grub.cfg`, `update.conf`) that is read.
const TEXT_MAX: u64 = 1 << 20;
/// Sysexts listed at most; a folder with more is no Flatcar folder.
const SYSEXTS_MAX: usize = 1000;

/// Everything that `flatbake inspect` tells of a disk.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Size of the disk in bytes.
    pub disk_bytes: u64,
    /// Bytes of a sector.
    pub sector_bytes: u64,
    /// GUID of the disk: `…-000000000001` on an image that was never booted.
    pub disk_guid: String,
    /// Flatcar's name of the disk layout, where the sizes fit one.
    pub layout: Option<String>,
    /// The release, from the active USR partition.
    pub release: Option<Release>,
    /// The vendor that the OEM partition is for.
    pub oem_id: Option<String>,
    /// Whether `flatcar/first_boot` is on the ESP: Ignition will run at the next boot.
    pub first_boot: Option<bool>,
    /// Whether something proves that a machine ran from this disk.
    pub booted: bool,
    /// What a machine left on it, and what could be.
    pub traces: usize,
    /// Sysexts on ROOT, OEM and USR.
    pub sysexts: Vec<Sysext>,
    /// The partitions in the order of their numbers.
    pub partitions: Vec<PartitionInfo>,
    /// What was odd.
    pub findings: Vec<Finding>,
}

/// A Flatcar release.
#[derive(Debug, Clone, Serialize)]
pub struct Release {
    /// `VERSION`, with a build where there is one.
    pub version: Option<String>,
    /// `VERSION_ID`.
    pub version_id: Option<String>,
    /// The channel that the version belongs to.
    pub channel: Option<String>,
    /// `FLATCAR_BOARD`.
    pub board: Option<String>,
    /// systemd's name of the board's architecture.
    pub architecture: Option<String>,
    /// `SYSEXT_LEVEL`.
    pub sysext_level: Option<String>,
}

/// A sysext found in the image.
#[derive(Debug, Clone, Serialize)]
pub struct Sysext {
    /// The partition that it was found on.
    pub partition: Designator,
    /// Where it was found.
    pub path: String,
    /// What a symlink points to.
    pub target: Option<String>,
    /// Bytes of a file.
    pub bytes: Option<u64>,
}

/// A partition and what it holds.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionInfo {
    /// Its number.
    pub number: u32,
    /// Its label in the partition table.
    pub label: String,
    /// Flatcar's name of its type, or the GUID.
    pub type_name: String,
    /// Its type GUID.
    pub type_guid: String,
    /// Its own GUID.
    pub guid: String,
    /// First byte.
    pub start_bytes: u64,
    /// Length in bytes.
    pub len_bytes: u64,
    /// The attribute bits.
    pub attributes: Attributes,
    /// Its filesystem, where it holds one.
    pub filesystem: Option<FilesystemInfo>,
    /// Why its filesystem could not be read.
    pub problem: Option<String>,
}

/// Attribute bits of a partition.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Attributes {
    /// The 64 bits as they are.
    pub bits: u64,
    /// Boot priority (bits 48–51).
    pub priority: u8,
    /// Boot tries left (bits 52–55).
    pub tries: u8,
    /// Booted successfully (bit 56).
    pub successful: bool,
    /// Legacy BIOS bootable (bit 2).
    pub legacy_boot: bool,
}

/// A filesystem and its room.
#[derive(Debug, Clone, Serialize)]
pub struct FilesystemInfo {
    /// Which one.
    pub kind: String,
    /// Its own label.
    pub label: String,
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Inodes in all, where the filesystem has a fixed number.
    pub total_inodes: Option<u64>,
    /// Inodes free.
    pub free_inodes: Option<u64>,
}

/// Reads everything worth telling. A partition that cannot be read is reported as such and does not stop the rest.
pub fn inspect(disk: &Disk) -> Result<Inspection> {
    let mut findings = disk.findings();
    let release = disk.os_release().unwrap_or_else(|error| {
        findings.push(Finding::new(code::RELEASE_UNKNOWN).with("why", error));
        None
    });
    // A partition that cannot be read is told where it is listed.
    let diagnosis = doctor::traces(disk).unwrap_or_default();
    let table = disk.table();
    Ok(Inspection {
        disk_bytes: disk.device().size(),
        sector_bytes: table.sector_size().into(),
        disk_guid: table.disk_guid().to_string(),
        layout: Layout::of(table).map(|layout| layout.name.to_string()),
        release: release.map(|release| Release {
            version: release.version().map(str::to_owned),
            version_id: release.version_id().map(str::to_owned),
            channel: release.channel().map(|channel| channel.to_string()),
            board: release.board().map(str::to_owned),
            architecture: release.architecture().map(str::to_owned),
            sysext_level: release.sysext_level().map(str::to_owned),
        }),
        oem_id: open(disk, Designator::Oem).and_then(|oem| oem_id(&*oem)),
        first_boot: open(disk, Designator::Boot).and_then(|esp| exists(&*esp, doctor::FIRST_BOOT)),
        booted: diagnosis.is_booted(),
        traces: diagnosis
            .symptoms
            .iter()
            .filter(|symptom| symptom.counts())
            .count(),
        sysexts: sysexts(disk),
        partitions: table
            .partitions()
            .map(|partition| partition_info(disk, &partition))
            .collect(),
        findings,
    })
}

/// A filesystem, where it can be read: [`PartitionInfo::problem`] tells of those that cannot.
fn open(disk: &Disk, designator: Designator) -> Option<Box<dyn FileSystem>> {
    disk.filesystem(PartitionRef::Designator(designator)).ok()
}

fn exists(fs: &dyn FileSystem, path: &str) -> Option<bool> {
    fs::exists(fs, &FsPath::new(path).ok()?).ok()
}

fn text(fs: &dyn FileSystem, path: &str) -> Option<String> {
    let path = FsPath::new(path).ok()?;
    Some(String::from_utf8_lossy(&fs::read_file(fs, &path, TEXT_MAX).ok()?).into_owned())
}

/// `ID` of oem-release, or the last `set oem_id=` of grub.cfg.
fn oem_id(oem: &dyn FileSystem) -> Option<String> {
    let assigned = |text: &str, key: &str| {
        let value = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key))
            .next_back()?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let release = text(oem, "/oem-release").and_then(|text| assigned(&text, "ID="));
    release.or_else(|| text(oem, "/grub.cfg").and_then(|text| assigned(&text, "set oem_id=")))
}

fn sysexts(disk: &Disk) -> Vec<Sysext> {
    let folders = [
        (Designator::Root, "/etc/extensions"),
        (Designator::Root, "/var/lib/extensions"),
        (Designator::Root, "/etc/flatcar/sysext"),
        (Designator::Root, "/etc/flatcar/oem-sysext"),
        (Designator::Oem, "/sysext"),
        (Designator::Usr, "/share/flatcar/sysext"),
        (Designator::Usr, "/share/flatcar/etc/extensions"),
    ];
    let mut found = Vec::new();
    for (partition, folder) in folders {
        if let Some(fs) = open(disk, partition) {
            // A folder that is missing or damaged holds nothing that could be told.
            found.extend(sysexts_in(&*fs, partition, folder).unwrap_or_default());
        }
    }
    found
}

fn sysexts_in(fs: &dyn FileSystem, partition: Designator, folder: &str) -> Result<Vec<Sysext>> {
    let folder = FsPath::new(folder)?;
    let mut found = Vec::new();
    for entry in fs.entries_at(&folder)?.into_iter().take(SYSEXTS_MAX) {
        if entry.name.ends_with(b".raw") {
            let path = folder.join(&entry.name)?;
            let link = entry.file_type == FileType::Symlink;
            let target = if link {
                Some(String::from_utf8_lossy(&fs.read_link_at(&path)?).into_owned())
            } else {
                None
            };
            let bytes = if link {
                None
            } else {
                Some(fs.metadata_at(&path)?.size)
            };
            found.push(Sysext {
                partition,
                path: path.to_string(),
                target,
                bytes,
            });
        }
    }
    Ok(found)
}

fn partition_info(disk: &Disk, partition: &Partition) -> PartitionInfo {
    let opened = disk
        .filesystem(PartitionRef::Number(partition.number))
        .and_then(|fs| filesystem_info(&*fs));
    let (filesystem, problem) = match opened {
        Ok(filesystem) => (Some(filesystem), None),
        // No known filesystem is nothing to complain of: half of Flatcar's partitions hold none.
        Err(error) if error.reason() == Some(Reason::Unformatted) => (None, None),
        Err(error) => (None, Some(error.message().to_owned())),
    };
    let attributes = partition.attributes;
    PartitionInfo {
        number: partition.number,
        label: partition.name.to_string(),
        type_name: type_name(partition.type_guid)
            .map_or_else(|| partition.type_guid.to_string(), str::to_owned),
        type_guid: partition.type_guid.to_string(),
        guid: partition.unique_guid.to_string(),
        start_bytes: partition.offset(),
        len_bytes: partition.size(),
        attributes: Attributes {
            bits: attributes.0,
            priority: attributes.priority(),
            tries: attributes.tries(),
            successful: attributes.successful(),
            legacy_boot: attributes.legacy_boot(),
        },
        filesystem,
        problem,
    }
}

fn filesystem_info(fs: &dyn FileSystem) -> Result<FilesystemInfo> {
    let capacity = fs.capacity()?;
    Ok(FilesystemInfo {
        kind: fs.kind().to_string(),
        label: String::from_utf8_lossy(&fs.label()?).into_owned(),
        total_bytes: capacity.total_bytes,
        used_bytes: capacity.total_bytes.saturating_sub(capacity.free_bytes),
        free_bytes: capacity.free_bytes,
        total_inodes: capacity.inodes.map(|(total, _)| total),
        free_inodes: capacity.inodes.map(|(_, free)| free),
    })
}
