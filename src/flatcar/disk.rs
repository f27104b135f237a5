//! A Flatcar disk that has been opened: its partition table, its filesystems and what release it holds.

use std::path::Path;
use std::sync::Arc;

use super::layout::{Designator, PartitionRef, Selected, select};
use super::os_release::OsRelease;
use crate::block::{BlockDevice, Window, shown};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::Finding;
use crate::fs::{self, FileSystem, FsPath};
use crate::image::{self, OpenOptions};
use crate::partition::{Partition, PartitionTable};
use crate::progress::Progress;

const USR: PartitionRef = PartitionRef::Designator(Designator::Usr);
/// Where USR's own tree (it is mounted at /usr) keeps os-release.
const OS_RELEASE: &str = "/lib/os-release";
/// Largest os-release file that is read; real ones have under 1 KiB.
const OS_RELEASE_MAX: u64 = 64 << 10;

/// A Flatcar disk for reading.
#[derive(Debug, Clone)]
pub struct Disk {
    name: String,
    device: Arc<dyn BlockDevice>,
    table: PartitionTable,
}

/// Says of a disk without a partition table what it is instead, where it is the image of a filesystem.
fn explained(error: Error, device: &dyn BlockDevice) -> Result<Error> {
    if error.kind() != ErrorKind::InvalidInput {
        return Ok(error);
    }
    Ok(match fs::probe(device)? {
        None => error,
        Some(kind) => {
            let message = format!(
                "this is the image of a filesystem ({kind}), not of a disk with partitions"
            );
            Error::unsupported(message).with_hint(
                "give the image of the whole disk, such as flatcar_production_image.bin.bz2; a sysext is added to one",
            )
        }
    })
}

impl Disk {
    /// Reads the partition table of `device`; `name` is what errors call the image.
    pub fn open(name: impl Into<String>, device: Arc<dyn BlockDevice>) -> Result<Self> {
        let name = name.into();
        let table = PartitionTable::read(&device).or_else(|error| Err(explained(error, &*device)?));
        Ok(Self {
            table: table.at(|| name.clone())?,
            name,
            device,
        })
    }

    /// Opens the image at `path`, in any format and compression that is known, and reads its partition table.
    ///
    /// # Errors
    /// Those of opening the image, and where there is no partition table that can be used.
    pub fn open_image(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let path = path.as_ref();
        Self::open(shown(path), image::open(path, options, progress)?.device)
    }

    /// What errors call the image.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole disk.
    pub fn device(&self) -> Arc<dyn BlockDevice> {
        Arc::clone(&self.device)
    }

    /// The partition table.
    pub fn table(&self) -> &PartitionTable {
        &self.table
    }

    /// What is odd about the partition table and Flatcar's partitions in it.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.table.findings().to_vec();
        for designator in Designator::ALL {
            // A partition that is missing is told by whoever needs it.
            if let Ok(selected) = self.select(designator) {
                findings.extend(selected.findings);
            }
        }
        findings
    }

    fn select(&self, designator: Designator) -> Result<Selected> {
        select(&self.table, PartitionRef::Designator(designator))
    }

    /// The partition that is meant.
    pub fn partition(&self, wanted: PartitionRef) -> Result<Partition> {
        Ok(select(&self.table, wanted)
            .at(|| self.name.clone())?
            .partition)
    }

    /// What errors call a partition: `disk.img: partition 6 'OEM'`.
    pub fn describe(&self, wanted: PartitionRef) -> String {
        match self.partition(wanted.clone()) {
            Ok(partition) => format!("{}: {partition}", self.name),
            Err(_) => format!("{}: partition {wanted}", self.name),
        }
    }

    /// The filesystem of a partition, for reading.
    pub fn filesystem(&self, wanted: PartitionRef) -> Result<Box<dyn FileSystem>> {
        let partition = self.partition(wanted.clone())?;
        self.open_at(&partition).at(|| self.describe(wanted))
    }

    fn open_at(&self, partition: &Partition) -> Result<Box<dyn FileSystem>> {
        fs::open(Arc::new(Window::of_image(
            self.device(),
            partition.offset(),
            partition.size(),
        )?))
    }

    /// The os-release of the active USR partition; `None` where there is no such partition or file.
    pub fn os_release(&self) -> Result<Option<OsRelease>> {
        let read = || {
            let usr = self.filesystem(USR)?;
            let path = fs::resolve(&*usr, &FsPath::new(OS_RELEASE)?)?;
            let text = fs::read_file(&*usr, &path, OS_RELEASE_MAX)?;
            OsRelease::parse(&text)
                .at(|| OS_RELEASE)
                .at(|| self.describe(USR))
        };
        match read() {
            Ok(release) => Ok(Some(release)),
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.reason() == Some(Reason::Unformatted) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
