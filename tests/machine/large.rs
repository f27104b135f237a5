//! Disks beyond the 8 GiB that eleven octal digits can count.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use flatbake::NoProgress;
use flatbake::archive::tar::TarLayout;
use flatbake::block::{BlockDevice, ExtentKind, FileDevice, Piece};
use flatbake::image::raw;
use flatbake::machine::{BundleFormat, Member, WriteOptions, write_bundle};

use crate::common::programs::{must_run, run, said};
use crate::common::{noise, scratch_dir};

const SIZE: u64 = 9 << 30;

/// Places of data: at both ends, and around the eight gibibytes.
const PLACES: [u64; 4] = [0, (8 << 30) - 50_000, (8 << 30) + (1 << 20), SIZE - 100_000];

/// A sparse disk of 9 GiB.
fn disk(path: &Path) -> FileDevice {
    let file = File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    for (seed, place) in (1..).zip(PLACES) {
        file.write_all_at(&noise(seed, 100_000), place).unwrap();
    }
    FileDevice::open(path).unwrap()
}

/// Everything that is not a hole in `device`, with where it is; zeroes of a whole block count as a hole.
fn blocks(device: &dyn BlockDevice) -> Vec<(u64, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut offset = 0;
    while offset < device.size() {
        let extent = device.extent_at(offset).unwrap();
        let len = if extent.kind == ExtentKind::Data {
            extent.len.min(4096 - offset % 4096)
        } else {
            extent.len
        };
        if extent.kind == ExtentKind::Data {
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            device.read_at(offset, &mut bytes).unwrap();
            if bytes.iter().any(|&byte| byte != 0) {
                blocks.push((offset, bytes));
            }
        }
        offset += len;
    }
    blocks
}

#[test]
fn a_sparse_file_of_nine_gibibytes() {
    let dir = scratch_dir();
    let device = disk(&dir.path().join("source"));
    let archive = dir.path().join("image.tar.gz");
    let out = File::create_new(&archive).unwrap();
    let members = [Member::device("disk.raw", &device)];
    write_bundle(
        BundleFormat::Gce,
        &members,
        &out,
        WriteOptions::default(),
        &NoProgress,
    )
    .unwrap();
    assert!(fs::metadata(&archive).unwrap().len() < 1 << 20);
    if run("tar", ["-tf", archive.to_str().unwrap()]).is_none() {
        return;
    }
    must_run(
        "tar",
        [
            "-xf",
            archive.to_str().unwrap(),
            "-C",
            dir.path().to_str().unwrap(),
        ],
    );
    let unpacked = dir.path().join("disk.raw");
    let metadata = fs::metadata(&unpacked).unwrap();
    assert_eq!(metadata.len(), SIZE);
    assert!(
        metadata.blocks() * 512 < 4 << 20,
        "{} blocks",
        metadata.blocks()
    );
    assert!(blocks(&FileDevice::open(&unpacked).unwrap()) == blocks(&device));
}

#[test]
fn an_ordinary_file_of_nine_gibibytes() {
    let dir = scratch_dir();
    let device = disk(&dir.path().join("source"));
    let long = format!("{}/{}", "d".repeat(60), "n".repeat(90));
    let mut layout = TarLayout::new(0);
    layout.piece("big", 0o644, Piece::whole(&device)).unwrap();
    layout.piece(&long, 0o644, Piece::whole(&device)).unwrap();
    layout.file("after", 0o644, b"it".to_vec()).unwrap();
    let archive = dir.path().join("archive.tar");
    raw::write(
        &layout.finish().unwrap(),
        &File::create_new(&archive).unwrap(),
        &NoProgress,
    )
    .unwrap();
    assert!(
        fs::metadata(&archive).unwrap().blocks() * 512 < 4 << 20,
        "holes stay holes"
    );
    let Some(output) = run("tar", ["-tvf", archive.to_str().unwrap()]) else {
        return;
    };
    let listed = said(&output);
    let sizes: Vec<&str> = listed
        .lines()
        .map(|line| line.split_whitespace().nth(2).unwrap())
        .collect();
    assert_eq!(sizes, ["9663676416", "9663676416", "2"], "{listed}");
    assert!(listed.contains(&long));
    let after = must_run("tar", ["-xOf", archive.to_str().unwrap(), "after"]);
    assert_eq!(after.stdout, b"it");
    let content = FileDevice::open(&archive).unwrap();
    let big = flatbake::block::Window::new(&content, 512, SIZE).unwrap();
    let shifted = |device: &dyn BlockDevice, places: &[u64]| -> Vec<Vec<u8>> {
        let read = |&place: &u64| {
            let mut bytes = vec![0; 100_000];
            device.read_at(place, &mut bytes).unwrap();
            bytes
        };
        places.iter().map(read).collect()
    };
    assert!(shifted(&big, &PLACES) == shifted(&device, &PLACES));
}
