//! What two disks are to a person: release, vendor, and the versions of the sysexts that they merge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Field, Fields};
use crate::error::Result;
use crate::flatcar::sysext::{self, installed, open_extension, open_installed};
use crate::flatcar::{Disk, container_images, inspect};

/// What both say differently.
pub(super) fn compare(a: &Disk, b: &Disk) -> Result<Vec<Field>> {
    let mut fields = Fields::default();
    let meanings = (meaning(a)?, meaning(b)?);
    let names: BTreeSet<&String> = meanings.0.keys().chain(meanings.1.keys()).collect();
    for name in names {
        let values = (meanings.0.get(name), meanings.1.get(name));
        if values.0 != values.1 {
            fields.add(name, values.0.cloned(), values.1.cloned());
        }
    }
    Ok(fields.0)
}

fn meaning(disk: &Disk) -> Result<BTreeMap<String, String>> {
    let inspected = inspect(disk)?;
    let release = inspected.release.and_then(|release| release.version);
    let first_boot = inspected
        .first_boot
        .map(|will_run| if will_run { "yes" } else { "no" }.to_owned());
    let told = [
        ("release", release),
        ("OEM", inspected.oem_id),
        ("layout", inspected.layout),
        ("first boot", first_boot),
    ];
    let mut meaning: BTreeMap<String, String> = told
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    // A folder that cannot be read has been told where its partition is compared.
    for (name, (partition, path)) in installed(disk).unwrap_or_default() {
        let version = version(disk, partition, &path);
        let value = match version {
            Some(version) => format!("{version} ({partition}:{path})"),
            None => format!("{partition}:{path}"),
        };
        meaning.insert(format!("sysext {name}"), value);
    }
    // Likewise for a store of images.
    for image in container_images(disk).unwrap_or_default() {
        meaning.insert(format!("container image {}", image.name), image.id);
    }
    Ok(meaning)
}

/// The version that a sysext tells of itself; one that is missing or cannot be read tells none.
fn version(
    disk: &Disk,
    partition: crate::flatcar::Designator,
    path: &crate::fs::FsPath,
) -> Option<String> {
    let file = open_installed(disk, partition, path.clone()).ok()?;
    let fs = open_extension(Arc::new(file)).ok()?;
    let info = sysext::inspect(&*fs).ok()?;
    info.version().map(str::to_owned)
}
