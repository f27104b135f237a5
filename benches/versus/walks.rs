//! Whole trees read through `FileSystem`: two threads on one open filesystem beside one thread.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use flatbake::block::FileDevice;
use flatbake::fs::{self as image_fs, FileSystem, FileType, Node};

use super::measure::shell;
use super::rows::{Bars, Row};

const FILES: usize = 100_000;

/// How each filesystem is made from the folder `tree` of the working directory.
const FILESYSTEMS: [(&str, &str, &str); 4] = [
    (
        "walk: ext4",
        "mke2fs",
        "truncate -s 1784M walk.ext4; mke2fs -q -t ext4 -b 4096 -i 4096 -I 256 -d tree walk.ext4",
    ),
    (
        "walk: btrfs",
        "mkfs.btrfs",
        "truncate -s 1784M walk.btrfs; mkfs.btrfs -q -m single -d single --rootdir tree walk.btrfs",
    ),
    (
        "walk: squashfs",
        "mksquashfs",
        "mksquashfs tree walk.squashfs -comp zstd -no-progress -quiet",
    ),
    (
        "walk: erofs",
        "mkfs.erofs",
        "mkfs.erofs -zlz4 walk.erofs tree",
    ),
];

/// Reads every entry of the filesystem `image` with its attributes and its content, on `threads` threads.
pub fn walk(image: &Path, threads: usize) {
    let fs = image_fs::open(Arc::new(FileDevice::open(image).unwrap())).unwrap();
    let fs = &*fs;
    let mut folders = vec![fs.root()];
    let mut next = 0;
    while let Some(folder) = folders.get(next).copied() {
        next += 1;
        let entries = fs.entries(folder).unwrap();
        let below = entries
            .iter()
            .filter(|entry| entry.file_type == FileType::Directory);
        folders.extend(below.map(|entry| entry.node));
    }
    let taken = AtomicUsize::new(0);
    let bytes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&folder) = folders.get(taken.fetch_add(1, Ordering::Relaxed)) {
                    bytes.fetch_add(read(fs, folder), Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "    {} folders, {} bytes",
        folders.len(),
        bytes.into_inner()
    );
}

/// How many bytes the files of a folder have.
fn read(fs: &dyn FileSystem, folder: Node) -> u64 {
    let mut bytes = 0;
    let mut buf = Vec::new();
    for entry in fs.entries(folder).unwrap() {
        std::hint::black_box(fs.metadata(entry.node).unwrap());
        std::hint::black_box(fs.xattrs(entry.node).unwrap());
        if entry.file_type != FileType::File {
            continue;
        }
        let file = fs.open(entry.node).unwrap();
        buf.resize(usize::try_from(file.size()).unwrap(), 0);
        file.read_at(0, &mut buf).unwrap();
        bytes += file.size();
    }
    bytes
}

/// Makes the filesystems, of 100,000 files in 4,000 folders.
pub fn prepare(dir: &Path) {
    for number in 0..FILES {
        let folder = dir.join(format!("tree/layer{}/{}", number % 40, number / 40 % 100));
        if number < 4_000 {
            fs::create_dir_all(&folder).unwrap();
        }
        let text = format!("{number} is a line of its own\n").repeat(number % 200);
        fs::write(folder.join(format!("file{number}")), text).unwrap();
    }
    for (_, tool, command) in FILESYSTEMS {
        if super::missing(&[tool]).is_empty() {
            shell(&format!("cd {}; {command}", dir.display()));
        }
    }
    fs::remove_dir_all(dir.join("tree")).unwrap();
}

/// For each filesystem two threads beside one.
pub fn rows(dir: &Path) -> Vec<Row> {
    let program = std::env::current_exe().unwrap();
    FILESYSTEMS
        .iter()
        .map(|(name, tool, _)| {
            let image = dir.join(name.replace(": ", "."));
            let walk = |threads| {
                format!(
                    "{} step-walk-{threads} {} -",
                    program.display(),
                    image.display()
                )
            };
            Row {
                name,
                tools: std::slice::from_ref(tool),
                bars: Bars {
                    cpu: Some(1.1),
                    wall: Some(0.6),
                    ..Bars::default()
                },
                prepare: String::new(),
                usual: (walk(1), image.clone()),
                flatbake: (walk(2), image.clone()),
            }
        })
        .collect()
}
