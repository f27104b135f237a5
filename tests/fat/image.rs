//! Volumes by `mkfs.vfat`, the device on which the judges look while it is edited, and what they say.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};

use flatbake::Result;
use flatbake::block::{BlockDevice, BlockDeviceMut, Extent, ExtentKind};
use flatbake::fs::fat::{FatIdentity, FatLayout, build};
use flatbake::fs::{Attributes, FileSystem, FileSystemMut, FsPath, Timestamp};
use tempfile::TempDir;

use crate::common::judges::{Verdict, fat_clean};
use crate::common::programs::{command, judge, judges, success};
use crate::common::region::Region;
use crate::common::scratch_dir;

/// A sparse file on which the judges look while it is edited; counts what is read and written.
#[derive(Debug)]
pub struct Disk {
    file: File,
    size: u64,
    pub writes: AtomicU64,
    pub largest: AtomicU64,
    pub reads: AtomicU64,
}

impl BlockDevice for Disk {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| flatbake::Error::io("reading the test disk", error))
    }
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}

impl BlockDeviceMut for Disk {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap();
        assert!(offset + len <= self.size, "a write beyond the volume");
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(len, Ordering::Relaxed);
        self.file
            .write_all_at(buf, offset)
            .map_err(|error| flatbake::Error::io("writing the test disk", error))
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }
}

pub struct Image {
    pub folder: TempDir,
}

impl Image {
    /// A volume by mkfs.vfat; `None` where a program is missing.
    pub fn make(size: u64, arguments: &[&str]) -> Option<Self> {
        let mkfs = judge("mkfs.vfat")?;
        if !judges(&["fsck.vfat", "mdir", "mtype", "mcopy", "mmd"]) {
            return None;
        }
        let image = Self {
            folder: scratch_dir(),
        };
        File::create(image.path()).unwrap().set_len(size).unwrap();
        success(
            command(&mkfs)
                .args(["-i", "2E241F3A"])
                .args(arguments)
                .arg(image.path()),
        );
        Some(image)
    }

    /// A volume of our own; `None` where a program is missing.
    pub fn build(layout: &FatLayout) -> Option<Self> {
        if !judges(&["fsck.vfat", "mdir", "mtype", "mcopy", "mmd"]) {
            return None;
        }
        let image = Self {
            folder: scratch_dir(),
        };
        let identity = FatIdentity {
            label: "BUILT",
            serial: 0x2E24_1F3A,
            time: 1_700_000_000,
        };
        let volume = build(&identity, layout, Vec::new()).unwrap();
        let file = File::create(image.path()).unwrap();
        file.set_len(volume.image.size()).unwrap();
        let mut at = 0;
        while at < volume.image.size() {
            let extent = volume.image.extent_at(at).unwrap();
            if extent.kind == ExtentKind::Data {
                let mut bytes = vec![0; usize::try_from(extent.len).unwrap()];
                volume.image.read_at(at, &mut bytes).unwrap();
                file.write_all_at(&bytes, at).unwrap();
            }
            at += extent.len;
        }
        Some(image)
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub fn disk(&self) -> Disk {
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.path())
            .unwrap();
        let size = file.metadata().unwrap().len();
        Disk {
            file,
            size,
            writes: AtomicU64::new(0),
            largest: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    pub fn mtool(&self, name: &str, arguments: &[&str]) -> Output {
        let mut mtool = command(&judge(name).unwrap());
        success(
            mtool
                .env("MTOOLS_SKIP_CHECK", "0")
                .arg("-i")
                .arg(self.path())
                .args(arguments),
        )
    }

    pub fn mtype(&self, path: &str) -> Vec<u8> {
        self.mtool("mtype", &[&format!("::{path}")]).stdout
    }

    /// What `fsck.vfat` says; it knows two tables at most.
    pub fn fsck(&self) -> Verdict {
        if self.bytes_at(16, 1)[0] <= 2 {
            return fat_clean(&Region::whole(&self.path()));
        }
        let folder = scratch_dir();
        let copy = folder.path().join("two tables");
        std::fs::write(&copy, with_two_tables(&std::fs::read(self.path()).unwrap())).unwrap();
        fat_clean(&Region::whole(&copy))
    }

    pub fn bytes_at(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.disk().read_at(offset, &mut bytes).unwrap();
        bytes
    }
}

/// The same volume with the first two of its tables, which are all alike.
fn with_two_tables(image: &[u8]) -> Vec<u8> {
    let number = |at: usize, len: usize| {
        image[at..at + len]
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    let sectors = if number(22, 2) == 0 {
        number(36, 4)
    } else {
        number(22, 2)
    };
    let start = number(14, 2) * number(11, 2);
    let len = sectors * number(11, 2);
    let tables = usize::from(image[16]);
    for table in 1..tables {
        let at = start + table * len;
        assert!(
            image[at..at + len] == image[start..start + len],
            "table {table} differs from the first"
        );
    }
    let mut bytes = [&image[..start + 2 * len], &image[start + tables * len..]].concat();
    let left_out = (tables - 2) * sectors;
    let backup = if number(22, 2) == 0 {
        number(50, 2) * number(11, 2)
    } else {
        0
    };
    for boot in [0, backup] {
        bytes[boot + 16] = 2;
        let (at, len) = if number(19, 2) == 0 { (32, 4) } else { (19, 2) };
        let total = number(at, len) - left_out;
        bytes[boot + at..boot + at + len].copy_from_slice(&total.to_le_bytes()[..len]);
    }
    bytes
}

pub fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

pub fn at(secs: i64) -> Attributes {
    Attributes {
        mode: 0o640,
        uid: 7,
        gid: 8,
        mtime: Timestamp { secs, nanos: 5 },
    }
}

pub fn write(fat: &mut dyn FileSystemMut, name: &str, content: &[u8]) -> Result<()> {
    fat.write_file(
        &path(name),
        &at(1_700_000_000),
        u64::try_from(content.len()).unwrap(),
        &mut &content[..],
    )
}

pub fn read(fat: &dyn FileSystem, name: &str) -> Vec<u8> {
    flatbake::fs::read_file(fat, &path(name), 1 << 30).unwrap()
}

/// Content of a length that tells files apart.
pub fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| u8::try_from((index * 31 + seed * 7 + index / 251) % 251).unwrap())
        .collect()
}
