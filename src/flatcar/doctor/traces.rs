//! What a machine left: entries by the rows, and what the partition table and the boot files say.

use super::rows::{Condition, Cure, FIRST_BOOT, ROWS, Row};
use super::{Remedy, Sign, Symptom};
use crate::block::{BlockDevice, ExtentKind, Window};
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::layout::{FRESH_DISK_GUID, FRESH_USR_ATTRIBUTES};
use crate::flatcar::tmpfiles::name_fits;
use crate::flatcar::{Designator, Disk, PartitionRef, grub};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};

/// More than a machine ID has with its line feed.
const MACHINE_ID_MAX: u64 = 4096;
/// What the file may hold without being a machine's: systemd's own word, and Flatcar's old stand-in.
const NO_MACHINE: [&str; 3] = ["", "uninitialized", "42000000000000000000000000000042"];
/// Where machines mount ROOT: in the initrd, and after it.
const MOUNTED_BY_MACHINES: [&[u8]; 2] = [b"/sysroot", b"/"];
/// Entries that one row tells at most.
const TOLD_MAX: usize = 100;
/// Largest `grub.cfg` that is read.
const GRUB_CFG_MAX: u64 = 1 << 20;
const GRUB_CFG: &str = "/grub.cfg";
/// Kernel arguments by which all machines would be the same one, and what they do.
const ARGUMENTS: [(&str, &str); 2] = [
    ("systemd.machine_id=", "gives every machine the same ID"),
    (
        "ignition.config.url=",
        "names a config that beats all others",
    ),
];
/// As far as a partition for an update is looked at: what is put there begins with the superblock of a filesystem.
const LOOKED_AT: u64 = 1 << 20;

/// What the partition table shows.
pub(super) fn of_table(disk: &Disk) -> Result<Vec<Symptom>> {
    let mut symptoms = Vec::new();
    let table = disk.table();
    let differs = |what: &str, found: &str, fresh: &str| {
        let finding = Finding::new(code::TABLE_BOOTED)
            .with("what", what)
            .with("found", found)
            .with("fresh", fresh);
        Symptom::new(Sign::Booted, finding).with(Remedy::ResetTable)
    };
    let guid = table.disk_guid();
    if guid != FRESH_DISK_GUID {
        let fresh = FRESH_DISK_GUID.to_string();
        symptoms.push(differs("the disk GUID", &guid.to_string(), &fresh));
    }
    let usr_of = |label: &str| disk.partition(PartitionRef::Label(label.to_owned())).ok();
    if let Some(usr_a) = usr_of("USR-A")
        && usr_a.attributes != FRESH_USR_ATTRIBUTES
    {
        let found = format!("{:#018x}", usr_a.attributes.0);
        let fresh = format!("{:#018x}", FRESH_USR_ATTRIBUTES.0);
        symptoms.push(differs("the attributes of USR-A are", &found, &fresh));
    }
    if let Some(usr_b) = usr_of("USR-B") {
        let window = Window::of_image(disk.device(), usr_b.offset(), usr_b.size())?;
        let has_attributes = usr_b.attributes.0 != 0;
        if has_attributes || holds_data(&window).at(|| usr_b.to_string())? {
            let finding = Finding::new(code::UPDATE_STAGED).with("partition", "USR-B");
            symptoms.push(Symptom::new(Sign::Booted, finding).proof());
        }
    }
    Ok(symptoms)
}

/// Whether the start of a partition holds anything but zeroes.
fn holds_data(device: &dyn BlockDevice) -> Result<bool> {
    let end = device.size().min(LOOKED_AT);
    let mut at = 0;
    while at < end {
        let extent = device.extent_at(at)?;
        let len = extent.len.min(end - at);
        if extent.kind == ExtentKind::Data {
            let mut bytes = vec![0; to_usize(len)?];
            device.read_at(at, &mut bytes)?;
            if !is_zero(&bytes) {
                return Ok(true);
            }
        }
        at += len;
    }
    Ok(false)
}

/// What lies on the partitions.
pub(super) fn of_partitions(disk: &Disk) -> Result<Vec<Symptom>> {
    let mut symptoms = Vec::new();
    for partition in [Designator::Boot, Designator::Oem, Designator::Root] {
        let Ok(fs) = disk.filesystem(partition.into()) else {
            continue;
        };
        let found = match partition {
            Designator::Boot => first_boot(&*fs),
            Designator::Oem => kernel_arguments(&*fs),
            Designator::Root => last_mounted(&*fs),
            _ => Ok(Vec::new()),
        };
        let place = || disk.describe(partition.into());
        symptoms.extend(found.at(place)?);
        for row in ROWS.iter().filter(|row| row.partition == partition) {
            symptoms.extend(of_row(&*fs, row).at(place)?);
        }
    }
    Ok(symptoms)
}

fn first_boot(esp: &dyn FileSystem) -> Result<Vec<Symptom>> {
    if fs::exists(esp, &FsPath::new(FIRST_BOOT)?)? {
        return Ok(Vec::new());
    }
    let finding = Finding::new(code::BOOT_FLAG_MISSING)
        .with("path", FIRST_BOOT)
        .at(Designator::Boot.to_string());
    let symptom = Symptom::new(Sign::Booted, finding).proof();
    Ok(vec![symptom.with(Remedy::WriteFirstBoot)])
}

/// The hint that the filesystem itself gives; whoever mounts an image to look at it does so elsewhere.
fn last_mounted(root: &dyn FileSystem) -> Result<Vec<Symptom>> {
    let at = root.last_mounted()?;
    if !MOUNTED_BY_MACHINES.contains(&&*at) {
        return Ok(Vec::new());
    }
    let finding = Finding::new(code::ROOT_MOUNTED)
        .with("at", String::from_utf8_lossy(&at))
        .at(Designator::Root.to_string());
    Ok(vec![Symptom::new(Sign::Note, finding)])
}

fn kernel_arguments(oem: &dyn FileSystem) -> Result<Vec<Symptom>> {
    let Ok(path) = fs::resolve(oem, &FsPath::new(GRUB_CFG)?) else {
        return Ok(Vec::new());
    };
    let Ok(text) = fs::read_file(oem, &path, GRUB_CFG_MAX) else {
        return Ok(Vec::new());
    };
    let text = String::from_utf8_lossy(&text);
    let mut symptoms = Vec::new();
    for argument in grub::kernel_args(&text) {
        let known = ARGUMENTS
            .iter()
            .find(|(start, _)| argument.starts_with(start));
        if let Some((_, does)) = known {
            let finding = Finding::new(code::ARGUMENT_SHARED)
                .with("path", GRUB_CFG)
                .with("argument", &argument)
                .with("does", does)
                .at(Designator::Oem.to_string());
            let symptom = Symptom::new(Sign::Identity, finding);
            symptoms.push(symptom.with(Remedy::RemoveKernelArg(argument)));
        }
    }
    Ok(symptoms)
}

/// The entries that a row means.
fn of_row(fs: &dyn FileSystem, row: &Row) -> Result<Vec<Symptom>> {
    let mut symptoms = Vec::new();
    for path in places(fs, row.path)? {
        if is_met(fs, &path, row.condition)? && symptoms.len() < TOLD_MAX {
            symptoms.push(symptom(row, path));
        }
    }
    Ok(symptoms)
}

fn symptom(row: &Row, path: FsPath) -> Symptom {
    let code = match row.sign {
        Sign::Identity => code::SHARED_IDENTITY,
        Sign::Secret => code::SECRET_INSIDE,
        Sign::Account => code::ACCOUNT_LEFT,
        Sign::Booted => code::BOOT_TRACE,
        Sign::Unfit | Sign::Note => code::LEFT_OVER,
    };
    let finding = Finding::new(code)
        .with("path", &path)
        .with("what", row.what)
        .at(row.partition.to_string());
    let remedy = match row.cure {
        Cure::Remove => Remedy::Remove(row.partition, path),
        Cure::WithAccounts => Remedy::RemoveAccount(row.partition, path),
        Cure::Report => Remedy::None,
    };
    Symptom {
        is_proof: row.is_proof,
        ..Symptom::new(row.sign, finding).with(remedy)
    }
}

/// The entries that a path with `*` in its names means; links on the way are not followed.
fn places(fs: &dyn FileSystem, pattern: &str) -> Result<Vec<FsPath>> {
    let mut places = vec![FsPath::root()];
    for name in FsPath::new(pattern)?.components() {
        let mut next = Vec::new();
        for place in places {
            if !name.contains(&b'*') {
                let path = place.join(name)?;
                if fs::exists(fs, &path)? {
                    next.push(path);
                }
                continue;
            }
            if fs.metadata_at(&place)?.file_type != FileType::Directory {
                continue;
            }
            for entry in fs.entries_at(&place)? {
                if name_fits(name, &entry.name) {
                    next.push(place.join(&entry.name)?);
                }
            }
        }
        places = next;
    }
    Ok(places)
}

fn is_met(fs: &dyn FileSystem, path: &FsPath, condition: Condition) -> Result<bool> {
    let file_type = fs.metadata_at(path)?.file_type;
    match condition {
        Condition::Exists => Ok(true),
        Condition::IsFile => Ok(file_type == FileType::File),
        Condition::HoldsSomething => {
            Ok(file_type == FileType::Directory && !fs.entries_at(path)?.is_empty())
        }
        Condition::LeadsTo(folders) => {
            if file_type != FileType::Symlink {
                return Ok(false);
            }
            let target = fs.read_link_at(path)?;
            let leads = |folder: &&str| target.starts_with(folder.as_bytes());
            Ok(folders.iter().any(leads))
        }
        Condition::NamedByMachine => {
            let name = path.name().unwrap_or_default();
            Ok(to_u64(name.len()) == 32 && name.iter().all(u8::is_ascii_hexdigit))
        }
        Condition::HoldsMachineId => {
            let content = fs::read_file(fs, path, MACHINE_ID_MAX);
            // What cannot be read, such as a link, is no stand-in.
            Ok(content.map_or(true, |content| {
                !NO_MACHINE.contains(&String::from_utf8_lossy(&content).trim())
            }))
        }
    }
}
