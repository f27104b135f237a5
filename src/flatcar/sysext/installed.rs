//! The sysexts that an image merges at boot: those that come with it, and those that were put on its ROOT.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath, InnerFile};

/// Folders of links and files by which sysexts are merged, those that win last. Those of USR are linked in the lower layer
/// of `/etc`, which is a folder of USR or a confext.
const FOLDERS: [(Designator, &str); 3] = [
    (Designator::Root, "/var/lib/extensions"),
    (Designator::Usr, "/share/flatcar/sysext"),
    (Designator::Root, "/etc/extensions"),
];
/// A link to this switches a sysext off.
const NOTHING: &str = "/dev/null";
/// Where partitions are mounted whose files links lead to; what is elsewhere lies on ROOT. The longer paths come first.
const MOUNTED: [(&str, Designator); 3] = [
    ("/usr/share/oem", Designator::Oem),
    ("/usr", Designator::Usr),
    ("/oem", Designator::Oem),
];
/// The ending of files that are merged.
const ENDING: &[u8] = b".raw";

/// The files of the sysexts that `disk` merges, by the names that they are merged by. Partitions that cannot be read have
/// none.
///
/// # Errors
/// Those of reading folders.
pub fn installed(disk: &Disk) -> Result<BTreeMap<String, (Designator, FsPath)>> {
    let mut found = BTreeMap::new();
    for (partition, folder) in FOLDERS {
        let Ok(fs) = disk.filesystem(partition.into()) else {
            continue;
        };
        let folder = FsPath::new(folder)?;
        if !fs::exists(&*fs, &folder)? {
            continue;
        }
        for entry in fs.entries_at(&folder)? {
            let Some(name) = entry.name.strip_suffix(ENDING) else {
                continue;
            };
            let name = String::from_utf8_lossy(name).into_owned();
            match place(&*fs, partition, &folder.join(&entry.name)?)? {
                Some(place) => drop(found.insert(name, place)),
                None => drop(found.remove(&name)),
            }
        }
    }
    Ok(found)
}

/// The file of an extension that `disk` has at `path` of a partition.
///
/// # Errors
/// Those of reading the partition.
pub fn open_installed(
    disk: &Disk,
    partition: Designator,
    path: FsPath,
) -> Result<InnerFile<Box<dyn FileSystem>>> {
    InnerFile::open(disk.filesystem(partition.into())?, path)
}

/// Where the file lies that is merged by `path`; `None` where it is switched off, or something else.
fn place(
    fs: &dyn FileSystem,
    partition: Designator,
    path: &FsPath,
) -> Result<Option<(Designator, FsPath)>> {
    match fs.metadata_at(path)?.file_type {
        FileType::File => Ok(Some((partition, path.clone()))),
        FileType::Symlink => {
            let target = fs.read_link_at(path)?;
            let Ok(target) = std::str::from_utf8(&target) else {
                return Ok(None);
            };
            if target == NOTHING || !target.starts_with('/') {
                return Ok(None);
            }
            let mounted = MOUNTED
                .iter()
                .find_map(|(mount, on)| Some((*on, target.strip_prefix(mount)?)));
            let (on, rest) = mounted
                .filter(|(_, rest)| rest.starts_with('/'))
                .unwrap_or((Designator::Root, target));
            Ok(Some((on, FsPath::new(rest)?)))
        }
        _ => Ok(None),
    }
}
