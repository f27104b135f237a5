//! Whole trees read through `FileSystem`: two threads on one open filesystem beside one thread.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flatbake::block::FileDevice;
use flatbake::fs::{self as image_fs, FileSystem, FileType, Node};
use rayon::Scope;

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
    let bytes = AtomicU64::new(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap()
        .scope(|scope| read(&*fs, fs.root(), &bytes, scope));
    println!("    {} bytes", bytes.into_inner());
}

/// Reads a folder, and those in it on whatever thread has nothing to do; counts the bytes of its files.
fn read<'a>(fs: &'a dyn FileSystem, folder: Node, bytes: &'a AtomicU64, scope: &Scope<'a>) {
    let mut buf = Vec::new();
    for entry in fs.entries(folder).unwrap() {
        std::hint::black_box(fs.metadata(entry.node).unwrap());
        std::hint::black_box(fs.xattrs(entry.node).unwrap());
        match entry.file_type {
            FileType::Directory => {
                scope.spawn(move |scope| read(fs, entry.node, bytes, scope));
            }
            FileType::File => {
                let file = fs.open(entry.node).unwrap();
                buf.resize(usize::try_from(file.size()).unwrap(), 0);
                file.read_at(0, &mut buf).unwrap();
                bytes.fetch_add(file.size(), Ordering::Relaxed);
            }
            _ => {}
        }
    }
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
