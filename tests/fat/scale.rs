//! Cost follows what is changed: folders of many files, tables of many clusters.

use std::sync::atomic::Ordering;

use flatbake::fs::fat::Fat;
use flatbake::fs::{FileSystem, FileSystemMut, walk};

use super::image::{Image, at, path, write};

/// Reads and writes of the device that it takes to put so many files with long names into one folder, and that many more.
fn requests(files: usize) -> Option<(u64, u64)> {
    let image = Image::make(64 << 20, &["-F", "32", "-s", "1"])?;
    let disk = image.disk();
    let mut fat = Fat::open(&disk).unwrap();
    fat.create_dir(&path("/folder"), &at(0)).unwrap();
    let opened = disk.reads.load(Ordering::Relaxed);
    for index in 0..files {
        write(
            &mut fat,
            &format!("/folder/A file with a long name {index}"),
            b"x",
        )
        .unwrap();
    }
    fat.commit().unwrap();
    drop(fat);
    image.fsck().unwrap();
    Some((
        disk.reads.load(Ordering::Relaxed) - opened,
        disk.writes.load(Ordering::Relaxed),
    ))
}

#[test]
fn many_files_in_one_folder() {
    let (Some(few), Some(many)) = (requests(1000), requests(4000)) else {
        return;
    };
    eprintln!("(reads, writes) of 1000 files: {few:?}, of 4000: {many:?}");
    assert!(
        many.0 < 4 * few.0 + 100 && many.1 < 4 * few.1 + 100,
        "more than linear"
    );
    // The entry of the folder is looked up once a file; content and entry are written, and now and then a cluster.
    assert!(many.0 < 4000 * 3 && many.1 < 4000 * 3, "{many:?}");
}

#[test]
fn a_walk_reads_a_folder_once() {
    let Some(image) = Image::make(64 << 20, &["-F", "32", "-s", "1"]) else {
        return;
    };
    let count = 1000u32;
    let mut fat = Fat::open(image.disk()).unwrap();
    fat.create_dir(&path("/folder"), &at(0)).unwrap();
    for index in 0..count {
        write(
            &mut fat,
            &format!("/folder/A file with a long name {index}"),
            b"x",
        )
        .unwrap();
    }
    fat.commit().unwrap();
    drop(fat);
    let disk = image.disk();
    let fat = Fat::open_read_only(&disk).unwrap();
    let opened = disk.reads.load(Ordering::Relaxed);
    let mut met = 0;
    walk(&fat, &path("/folder"), &mut |_| {
        met += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(met, count + 1);
    let read = disk.reads.load(Ordering::Relaxed) - opened;
    let clusters = count * 4 * 32 / 512 + 1;
    assert!(read < u64::from(count + clusters + 20), "{read} reads");
}

#[test]
fn a_folder_is_read_by_many_threads() {
    let Some(image) = Image::make(64 << 20, &["-F", "32", "-s", "1"]) else {
        return;
    };
    let mut fat = Fat::open(image.disk()).unwrap();
    for index in 0..200 {
        write(
            &mut fat,
            &format!("/A file with a long name {index}"),
            format!("{index}").as_bytes(),
        )
        .unwrap();
    }
    let fat: &dyn FileSystem = fat.as_read();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for index in (0..200).skip(thread * 7) {
                    let name = format!("/A FILE with a long name {index}");
                    assert_eq!(
                        super::image::read(fat, &name),
                        format!("{index}").as_bytes()
                    );
                }
            });
        }
    });
}
