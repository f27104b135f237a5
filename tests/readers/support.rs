//! Disks, images of them, and what it means for an image to be read right.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flatbake::block::{BlockDevice, ExtentKind};
use flatbake::finding::Code;
use flatbake::image::{Format, Image, OpenOptions, open};
use flatbake::{Error, Finding, Progress, Result};

use crate::common::content::disk;
use crate::common::programs::{judge, must_run};
use crate::common::{noise, scratch_dir};

/// A folder with a raw disk and images of it.
pub struct Disk {
    pub dir: tempfile::TempDir,
    pub bytes: Vec<u8>,
}

/// What was found about an image.
#[derive(Debug, Default)]
pub struct Findings(pub Mutex<Vec<Finding>>);

impl Findings {
    /// Their codes.
    pub fn codes(self) -> Vec<&'static Code> {
        self.0
            .into_inner()
            .unwrap()
            .iter()
            .map(Finding::code)
            .collect()
    }
}

impl Progress for Findings {
    fn start(&self, _step: &str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn found(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.clone());
    }
}

impl Disk {
    /// A disk of `size` bytes, or `None` without `qemu-img`.
    pub fn new(size: usize) -> Option<Self> {
        judge("qemu-img")?;
        let dir = scratch_dir();
        let mut bytes = disk(size, 1);
        // Enough zeroes in a row for whole clusters of any size.
        if let Some(middle) = bytes.get_mut(2 << 20..4 << 20) {
            middle.fill(0);
        }
        fs::write(dir.path().join("disk.raw"), &bytes).unwrap();
        Some(Self { dir, bytes })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// An image of the disk by `qemu-img convert`, with the options of `-o` and others before them.
    pub fn convert(&self, format: &str, options: &str, flags: &[&str]) -> PathBuf {
        let raw = self.text("disk.raw");
        let image = self.text("image");
        let mut arguments = vec!["convert", "-f", "raw", "-O", format];
        arguments.extend(flags);
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        arguments.extend([raw.as_str(), image.as_str()]);
        must_run("qemu-img", arguments);
        self.path("image")
    }

    /// Reads the image and compares it with the disk; what the format rounds up must be zero.
    pub fn check(&self, image: &Path, format: Format) -> Image {
        let image = try_open(image).unwrap();
        assert_eq!(image.format, format);
        assert_holds(&*image.device, &self.bytes);
        image
    }
}

/// Makes `qemu-img` change an image.
pub fn qemu_io(image: &Path, format: &str, command: &str) {
    must_run(
        "qemu-io",
        ["-f", format, "-c", command, image.to_str().unwrap()],
    );
}

/// The raw bytes of an image as `qemu-img` reads it.
pub fn by_qemu(image: &Path, format: &str) -> Vec<u8> {
    let raw = image.with_extension("by-qemu");
    must_run(
        "qemu-img",
        [
            "convert",
            "-f",
            format,
            "-O",
            "raw",
            image.to_str().unwrap(),
            raw.to_str().unwrap(),
        ],
    );
    fs::read(raw).unwrap()
}

pub fn options(allow_external: bool) -> OpenOptions {
    OpenOptions {
        allow_external,
        ..OpenOptions::new(crate::common::scratch_root())
    }
}

/// Opens an image, with files it refers to.
pub fn try_open(path: &Path) -> Result<Image> {
    open(path, &options(true), &flatbake::NoProgress)
}

/// The error of opening an image without other files.
pub fn refusal(path: &Path) -> Error {
    let error = open(path, &options(false), &flatbake::NoProgress).unwrap_err();
    assert!(error.hint().is_some(), "{error:?}");
    error
}

/// Changes bytes of a file in place.
pub fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, offset)
        .unwrap();
}

/// The device holds `bytes`, read in any way, and its extents tell the truth.
pub fn assert_holds(device: &dyn BlockDevice, bytes: &[u8]) {
    let size = usize::try_from(device.size()).unwrap();
    assert!(
        size >= bytes.len() && size - bytes.len() < 1 << 20,
        "{size} bytes of {}",
        bytes.len()
    );
    let mut whole = vec![1; size];
    device.read_at(0, &mut whole).unwrap();
    assert!(
        whole[..bytes.len()] == *bytes,
        "differs at {:?}",
        whole.iter().zip(bytes).position(|(a, b)| a != b)
    );
    assert!(whole[bytes.len()..].iter().all(|&byte| byte == 0));
    // Several threads at once, at odd places.
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let whole = &whole;
            scope.spawn(move || {
                for dice in noise(seed + 1, 4000).chunks_exact(8) {
                    let number = u64::from_le_bytes(dice.try_into().unwrap());
                    let start = usize::try_from(number >> 20).unwrap() % size;
                    let len = (usize::try_from(number & 0x3_ffff).unwrap()).min(size - start);
                    let mut part = vec![1; len];
                    device.read_at(start as u64, &mut part).unwrap();
                    assert!(part == whole[start..start + len], "{len} bytes at {start}");
                }
            });
        }
    });
    let mut at = 0;
    while at < size {
        let extent = device.extent_at(at as u64).unwrap();
        let end = at + usize::try_from(extent.len).unwrap();
        assert!(extent.len > 0 && end <= size, "{extent:?} at {at}");
        assert!(
            extent.kind == ExtentKind::Data || whole[at..end].iter().all(|&byte| byte == 0),
            "{extent:?} at {at}"
        );
        at = end;
    }
    assert!(
        device.read_at(size as u64, &mut [0]).is_err() && device.extent_at(size as u64).is_err()
    );
}

/// Bytes of data that the device reports.
pub fn data_bytes(device: &dyn BlockDevice) -> u64 {
    let mut at = 0;
    let mut data = 0;
    while at < device.size() {
        let extent = device.extent_at(at).unwrap();
        data += if extent.kind == ExtentKind::Data {
            extent.len
        } else {
            0
        };
        at += extent.len;
    }
    data
}
