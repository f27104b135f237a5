//! Filesystems made from nothing: `btrfs check` finds them clean, and they hold the tree that was wanted.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use flatbake::block::FileDevice;
use flatbake::fs::btrfs::{Btrfs, BtrfsOptions, write};
use flatbake::fs::{Attributes, FileSystem, FileSystemMut, FileType, FsPath};
use flatbake::{ErrorKind, NoProgress};

use crate::common::judges::btrfs_clean;
use crate::common::region::Region;
use crate::common::tree::{compare, fs_tree};
use crate::common::trees::{make_odd_tree, make_tree, random_tree, staged_folder, staged_tree};
use crate::common::{longer, noise, scratch_dir};

fn create(image: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options.open(image).unwrap()
}

/// Makes it, has it judged, compares the tree, and returns its length.
fn made(source: &dyn FileSystem, image: &Path, options: &BtrfsOptions) -> u64 {
    let out = create(image);
    let size = write(source, &out, options, image.parent().unwrap(), &NoProgress).unwrap();
    assert_eq!(out.metadata().unwrap().len(), size);
    btrfs_clean(&Region::whole(image)).unwrap();
    let back = Btrfs::open(Arc::new(FileDevice::open(image).unwrap())).unwrap();
    compare(&fs_tree(source), &fs_tree(&back)).unwrap();
    size
}

fn options(compress: bool) -> BtrfsOptions {
    BtrfsOptions {
        seed: b"seed".to_vec(),
        label: b"EXTENSION".to_vec(),
        compress,
        latest_time: None,
    }
}

#[test]
fn trees_of_all_sorts_come_back() {
    let dir = scratch_dir();
    for (name, make) in [
        ("usual", (|root| make_tree(root, 1000)) as fn(&Path)),
        ("odd", make_odd_tree),
    ] {
        let folder = dir.path().join(format!("{name}.tree"));
        make(&folder);
        let mut tree = staged_folder(dir.path(), &folder);
        let attributes = Attributes {
            mode: 0o640,
            ..Attributes::default()
        };
        let device = FsPath::new("/null").unwrap();
        tree.mknod(&device, FileType::CharDevice, (1, 3), &attributes)
            .unwrap();
        let sizes = [false, true].map(|compress| {
            let first = dir.path().join(format!("{name} {compress}"));
            let again = dir.path().join(format!("{name} {compress} again"));
            let size = made(&tree, &first, &options(compress));
            made(&tree, &again, &options(compress));
            assert!(
                fs::read(&first).unwrap() == fs::read(&again).unwrap(),
                "{name}: the same bytes again"
            );
            size
        });
        println!("{name}: {sizes:?} bytes");
        assert!(sizes[1] <= sizes[0], "{name}: {sizes:?}");
    }
}

#[test]
fn nothing_at_all_is_small() {
    let dir = scratch_dir();
    let size = made(
        &staged_tree(dir.path()),
        &dir.path().join("image"),
        &options(false),
    );
    assert!(size <= 16 << 20, "{size} bytes");
}

#[test]
fn large_content_takes_little_more_than_itself() {
    let dir = scratch_dir();
    let folder = dir.path().join("tree");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("large"), noise(3, 1 << 20).repeat(60)).unwrap();
    let tree = staged_folder(dir.path(), &folder);
    let size = made(&tree, &dir.path().join("image"), &options(false));
    let content = 60 << 20;
    assert!(
        size < content + (16 << 20),
        "{size} bytes for {content} bytes of content"
    );
}

#[test]
fn random_trees_fit_and_are_clean() {
    for seed in 0..longer(8) {
        let dir = scratch_dir();
        let tree = random_tree(dir.path(), seed);
        println!("seed {seed}");
        made(&tree, &dir.path().join("image"), &options(seed % 2 == 0));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = scratch_dir();
    let tree = staged_tree(dir.path());
    let image = dir.path().join("image");
    fs::write(&image, b"something").unwrap();
    let full = File::options().read(true).write(true).open(&image).unwrap();
    let error = write(&tree, &full, &options(false), dir.path(), &NoProgress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("holds 9 bytes"), "{error}");
    assert_eq!(fs::read(&image).unwrap(), b"something");
    let wrong = BtrfsOptions {
        label: vec![b'l'; 256],
        ..options(false)
    };
    let out = create(&dir.path().join("other"));
    let error = write(&tree, &out, &wrong, dir.path(), &NoProgress).unwrap_err();
    assert!(error.to_string().contains("label"), "{error}");
}
