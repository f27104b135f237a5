//! The certificates that a machine trusts, by where systemd looks for them.

use std::collections::BTreeMap;

use super::certificate::Certificate;
use crate::Result;
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, ByPath, FileSystem, FsPath};

/// Where an image has the certificates of its build: on USR, and there below `/usr`.
const OF_BUILD: (Designator, &str) = (Designator::Usr, "/lib/verity.d");
/// Where it has those that were put in. A file there takes the place of one of the same name on USR.
const OF_SYSTEM: (Designator, &str) = (Designator::Root, "/etc/verity.d");
/// How the names of certificates end.
const ENDING: &[u8] = b".crt";
/// The largest certificate that is read, in bytes.
const CERTIFICATE_MAX: u64 = 1 << 20;

/// The certificates that signatures of extensions are held against on a machine made of `disk`. What cannot be read makes nobody
/// trusted.
pub fn trusted_by(disk: &Disk) -> Vec<Certificate> {
    let mut files = BTreeMap::new();
    for (partition, folder) in [OF_BUILD, OF_SYSTEM] {
        let fs = disk.filesystem(partition.into());
        let found = fs.and_then(|fs| certificates(&*fs, folder));
        files.extend(found.unwrap_or_default());
    }
    files.into_values().flatten().collect()
}

/// The certificate of each file, by its name; none for a file that holds none, such as `/dev/null`.
fn certificates(fs: &dyn FileSystem, folder: &str) -> Result<Vec<(Vec<u8>, Option<Certificate>)>> {
    let folder = fs::resolve(fs, &FsPath::new(folder)?)?;
    let mut certificates = Vec::new();
    for entry in fs.entries_at(&folder)? {
        if entry.name.ends_with(ENDING) {
            let certificate = certificate(fs, &folder, &entry.name);
            certificates.push((entry.name, certificate.unwrap_or_default()));
        }
    }
    Ok(certificates)
}

/// The first certificate of a file: systemd reads no further.
fn certificate(fs: &dyn FileSystem, folder: &FsPath, name: &[u8]) -> Result<Option<Certificate>> {
    let path = fs::resolve(fs, &folder.join(name)?)?;
    let bytes = fs::read_file(fs, &path, CERTIFICATE_MAX)?;
    Ok(Certificate::read(&bytes)?.into_iter().next())
}
