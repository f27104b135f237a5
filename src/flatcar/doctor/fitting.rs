//! What in an image does not fit together: the vendor's sysext, links, names of sysexts, units; and what a reset deletes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Sign, Symptom};
use crate::block::BlockDevice;
use crate::error::{Result, ResultExt};
use crate::finding::{Few, Finding, Severity, code};
use crate::flatcar::ddi::has_gpt;
use crate::flatcar::sysext::together::{Candidate, Question, check_together};
use crate::flatcar::sysext::{Class, Host, installed, open_installed};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};
use crate::progress::Cancel;

/// Largest `oem-release` that is read.
const OEM_RELEASE_MAX: u64 = 64 << 10;
/// The start of the names of markers beside which the vendor's sysext is expected.
const ACTIVE: &str = "active-oem-";
/// Entries of ROOT of an image as it is released.
const FRESH_ROOT: [&[u8]; 4] = [b"boot", b"usr", b"oem", b"lost+found"];
/// Entries of ROOT that are looked at for what a reset deletes.
const RESET_MAX: usize = 100_000;
/// The first release that merges extensions as disk images in the initrd.
const NOISY_SINCE: u64 = 4628;
/// Folders of units on the host, that of ROOT first.
const UNITS_ON_ROOT: &str = "/etc/systemd/system";
const UNITS_ON_USR: &str = "/lib/systemd/system";
/// Endings of folders whose links start units.
const STARTING: [&[u8]; 3] = [b".wants", b".requires", b".upholds"];

/// All that does not fit.
pub(super) fn look(disk: &Disk, cancel: &Cancel) -> Result<Vec<Symptom>> {
    let mut findings = vendor(disk)?;
    findings.extend(links(disk)?);
    let extensions = Extensions::of(disk);
    findings.extend(extensions.findings(None, cancel)?);
    findings.extend(extensions.noise()?);
    findings.extend(units(disk, &extensions)?);
    findings.extend(lost_on_reset(disk)?);
    Ok(findings.into_iter().map(symptom).collect())
}

/// What would stop working after an update to `version`.
///
/// # Errors
/// Those of reading, and that it was cancelled.
pub fn after_update(disk: &Disk, version: &str, cancel: &Cancel) -> Result<Vec<Symptom>> {
    let findings = Extensions::of(disk).findings(Some(version), cancel)?;
    Ok(findings
        .into_iter()
        .filter(|finding| finding.code() == code::SYSEXT_AFTER_UPDATE)
        .map(symptom)
        .collect())
}

fn symptom(finding: Finding) -> Symptom {
    let sign = match finding.severity() {
        Severity::Note => Sign::Note,
        _ => Sign::Unfit,
    };
    Symptom::new(sign, finding)
}

/// The vendor's sysext: the one that the initrd looks for is there, and is of the image's release.
fn vendor(disk: &Disk) -> Result<Vec<Finding>> {
    let Ok(oem) = disk.filesystem(Designator::Oem.into()) else {
        return Ok(Vec::new());
    };
    let version = disk.os_release().ok().flatten();
    let version = version.as_ref().and_then(|release| release.version());
    let id = vendor_id(&*oem)?;
    let mut findings = Vec::new();
    let mut tell = |finding: Finding| findings.push(finding.at(Designator::Oem.to_string()));
    let folder = FsPath::new("/sysext")?;
    if !fs::exists(&*oem, &folder)? {
        return Ok(findings);
    }
    for entry in oem.entries_at(&folder)? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if let Some(active) = name.strip_prefix(ACTIVE) {
            if id.as_deref() != Some(active) {
                let why = match &id {
                    Some(id) => format!("oem-release says that the vendor is {id}"),
                    None => "there is no oem-release that says so".to_owned(),
                };
                let marker = Finding::new(code::OEM_MARKER_ALONE).with("path", folder.join(&name)?);
                tell(marker.with("why", why));
            } else if let Some(version) = version {
                let file = format!("oem-{active}-{version}.raw");
                if !has_vendor_sysext(disk, &*oem, active, &file)? {
                    tell(Finding::new(code::OEM_SYSEXT_ABSENT).with("path", folder.join(&file)?));
                }
            }
        } else if let (Some(id), Some(version)) = (&id, version)
            && name.ends_with(".raw")
            && name != format!("oem-{id}-{version}.raw")
            && name != format!("oem-{id}-initial.raw")
        {
            let other = Finding::new(code::OEM_SYSEXT_OTHER).with("path", folder.join(&name)?);
            tell(other.with("version", version));
        }
    }
    Ok(findings)
}

fn has_vendor_sysext(disk: &Disk, oem: &dyn FileSystem, id: &str, file: &str) -> Result<bool> {
    for name in [file.to_owned(), format!("oem-{id}-initial.raw")] {
        if fs::exists(oem, &FsPath::new("/sysext")?.join(&name)?)? {
            return Ok(true);
        }
    }
    let Ok(root) = disk.filesystem(Designator::Root.into()) else {
        return Ok(false);
    };
    fs::exists(&*root, &FsPath::new("/etc/flatcar/oem-sysext")?.join(file)?)
}

/// `ID` of `oem-release`.
fn vendor_id(oem: &dyn FileSystem) -> Result<Option<String>> {
    let path = FsPath::new("/oem-release")?;
    if !fs::exists(oem, &path)? {
        return Ok(None);
    }
    let Ok(content) = fs::read_file(oem, &path, OEM_RELEASE_MAX) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&content);
    let id = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("ID="));
    Ok(id.map(|id| id.trim_matches(['"', '\'']).to_owned()))
}

/// Links to sysexts that lead nowhere.
fn links(disk: &Disk) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, (partition, path)) in installed(disk)? {
        let Ok(fs) = disk.filesystem(partition.into()) else {
            continue;
        };
        let is_there = fs::resolve(&*fs, &path)
            .and_then(|path| fs::exists(&*fs, &path))
            .unwrap_or(false);
        if !is_there {
            let finding = Finding::new(code::LINK_NOWHERE)
                .with("path", format!("/etc/extensions/{name}.raw"))
                .with("target", format!("{partition}:{path}"));
            findings.push(finding.at(Designator::Root.to_string()));
        }
    }
    Ok(findings)
}

/// The extensions that an image merges, and what they are merged into.
struct Extensions {
    host: Option<Host>,
    /// Those that are none of the release's own.
    added: Vec<(String, Designator, FsPath)>,
    own: Vec<(String, Designator, FsPath)>,
    disk: Disk,
}

impl Extensions {
    /// Those of `disk`; of one without a release nothing can be said.
    fn of(disk: &Disk) -> Self {
        let all = installed(disk).unwrap_or_default();
        let (own, added) = all
            .into_iter()
            .map(|(name, (partition, path))| (name, partition, path))
            .partition(|(_, partition, _)| *partition == Designator::Usr);
        Self {
            host: Host::of_disk(disk).ok(),
            added,
            own,
            disk: disk.clone(),
        }
    }

    fn open(&self, (name, partition, path): &(String, Designator, FsPath)) -> Option<Candidate> {
        let host = self.host.as_ref()?;
        let file = open_installed(&self.disk, *partition, path.clone()).ok()?;
        let device: Arc<dyn BlockDevice> = Arc::new(file);
        let place = format!("{partition}:{path}");
        Candidate::open(name, &place, device, Some(Class::Sysext), host).ok()
    }

    fn candidates(&self, of: &[(String, Designator, FsPath)]) -> Vec<Candidate> {
        of.iter().filter_map(|one| self.open(one)).collect()
    }

    fn findings(&self, later: Option<&str>, cancel: &Cancel) -> Result<Vec<Finding>> {
        let Some(host) = &self.host else {
            return Ok(Vec::new());
        };
        let question = Question {
            masked: BTreeSet::new(),
            after_update: later.map(str::to_owned),
        };
        let added = self.candidates(&self.added);
        let own = self.candidates(&self.own);
        Ok(check_together(added, own, host, &question, cancel)?.findings)
    }

    /// What those that are disk images make the log of a machine say.
    fn noise(&self) -> Result<Vec<Finding>> {
        let major = self.host.as_ref().and_then(|host| host.os_release.major());
        if major.is_none_or(|major| major < NOISY_SINCE) {
            return Ok(Vec::new());
        }
        let mut findings = Vec::new();
        for (_, partition, path) in &self.added {
            // One that is missing has been told.
            let Ok(file) = open_installed(&self.disk, *partition, path.clone()) else {
                continue;
            };
            if has_gpt(&file)? {
                let finding = Finding::new(code::HARMLESS_NOISE).with("path", path);
                findings.push(finding.at(partition.to_string()));
            }
        }
        Ok(findings)
    }

    /// Whether one of them has this unit.
    fn has_unit(&self, unit: &str) -> bool {
        let all = self.added.iter().chain(&self.own);
        all.filter_map(|one| self.open(one))
            .any(|candidate| candidate.units().iter().any(|own| own == unit))
    }
}

/// Units that ROOT starts and nothing has.
fn units(disk: &Disk, extensions: &Extensions) -> Result<Vec<Finding>> {
    let Ok(root) = disk.filesystem(Designator::Root.into()) else {
        return Ok(Vec::new());
    };
    let Ok(usr) = disk.filesystem(Designator::Usr.into()) else {
        return Ok(Vec::new());
    };
    let on_root = FsPath::new(UNITS_ON_ROOT)?;
    let on_usr = FsPath::new(UNITS_ON_USR)?;
    if !fs::exists(&*root, &on_root)? {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for folder in root.entries_at(&on_root)? {
        let starts = STARTING.iter().any(|ending| folder.name.ends_with(ending));
        if !starts || folder.file_type != FileType::Directory {
            continue;
        }
        let folder = on_root.join(&folder.name)?;
        for link in root.entries_at(&folder)? {
            let unit = String::from_utf8_lossy(&link.name).into_owned();
            let file = file_of(&unit);
            let is_there = fs::exists(&*root, &on_root.join(&file)?)?
                || fs::exists(&*usr, &on_usr.join(&file)?)?
                || extensions.has_unit(&file);
            if !is_there {
                let finding = Finding::new(code::UNIT_NOWHERE)
                    .with("path", folder.join(&link.name)?)
                    .with("unit", unit);
                findings.push(finding.at(Designator::Root.to_string()));
            }
        }
    }
    Ok(findings)
}

/// The file that a unit comes from: an instance from its template.
fn file_of(unit: &str) -> String {
    match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((template, _)), Some((_, ending))) => format!("{template}@.{ending}"),
        _ => unit.to_owned(),
    }
}

/// What `flatcar-reset` deletes, with what keeps it.
fn lost_on_reset(disk: &Disk) -> Result<Option<Finding>> {
    let Ok(root) = disk.filesystem(Designator::Root.into()) else {
        return Ok(None);
    };
    let mut lost = Few::default();
    let mut tops = BTreeSet::new();
    let mut seen = 0;
    for top in root.entries(root.root())? {
        if FRESH_ROOT.contains(&&*top.name) {
            continue;
        }
        let top = FsPath::root().join(&top.name)?;
        fs::walk(&*root, &top, &mut |entry| {
            seen += 1;
            let is_folder = entry.metadata.file_type == FileType::Directory;
            if !is_folder && seen <= RESET_MAX {
                tops.insert(short(&entry.path));
            }
            Ok(())
        })
        .at(|| disk.describe(Designator::Root.into()))?;
    }
    tops.iter().for_each(|path| lost.add(path));
    if lost.is_empty() {
        return Ok(None);
    }
    let finding = Finding::new(code::RESET_DELETES).with("paths", lost);
    Ok(Some(finding.at(Designator::Root.to_string())))
}

/// The first three names of a path: what a person would keep or lose as one.
fn short(path: &FsPath) -> String {
    let names = path.components().take(3);
    names.fold(String::new(), |short, name| {
        short + "/" + &String::from_utf8_lossy(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_come_from_their_templates() {
        assert_eq!(file_of("getty@tty1.service"), "getty@.service");
        assert_eq!(file_of("a.service"), "a.service");
    }

    #[test]
    fn paths_are_told_by_their_first_names() {
        let path = FsPath::new("/opt/extensions/a/b.raw").unwrap();
        assert_eq!(short(&path), "/opt/extensions/a");
    }
}
