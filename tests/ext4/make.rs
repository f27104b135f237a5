//! Filesystems made from nothing: `e2fsck` finds them clean, and they hold the tree that was wanted.

use std::fs::{self, File};
use std::path::Path;

use flatbake::block::FileDevice;
use flatbake::fs::ext4::{Ext4, Ext4Options, write};
use flatbake::fs::{Attributes, FileSystem, FileSystemMut, FileType, FsPath};
use flatbake::{ErrorKind, NoProgress};

use crate::common::tree::{Kind, compare, fs_tree};
use crate::common::trees::{make_odd_tree, make_tree, random_tree, staged_folder, staged_tree};
use crate::common::{longer, noise, scratch_dir};
use crate::ext4::support::{assert_clean, have_judges};

/// Makes it, has it judged, compares the tree, and returns its length.
fn made(source: &dyn FileSystem, image: &Path, options: &Ext4Options) -> u64 {
    let out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(image)
        .unwrap();
    let size = write(source, &out, options, &NoProgress).unwrap();
    assert_eq!(out.metadata().unwrap().len(), size);
    assert_clean(image);
    let back = Ext4::open_read_only(FileDevice::open(image).unwrap()).unwrap();
    let mut found = fs_tree(&back);
    let lost = found.remove("lost+found").unwrap();
    assert_eq!((lost.kind, lost.mode), (Kind::Directory, Some(0o700)));
    compare(&fs_tree(source), &found).unwrap();
    size
}

fn options() -> Ext4Options {
    Ext4Options {
        seed: b"seed".to_vec(),
        label: b"EXTENSION".to_vec(),
        build_time: 12,
        latest_time: None,
    }
}

#[test]
fn trees_of_all_sorts_come_back() {
    if !have_judges() {
        return;
    }
    let dir = scratch_dir();
    for (name, make) in [
        ("usual", (|root| make_tree(root, 3000)) as fn(&Path)),
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
        let first = dir.path().join(name);
        let again = dir.path().join(format!("{name} again"));
        let size = made(&tree, &first, &options());
        made(&tree, &again, &options());
        assert!(
            fs::read(&first).unwrap() == fs::read(&again).unwrap(),
            "{name}: the same bytes again"
        );
        println!("{name}: {size} bytes");
    }
}

#[test]
fn nothing_at_all_is_small() {
    if !have_judges() {
        return;
    }
    let dir = scratch_dir();
    let size = made(
        &staged_tree(dir.path()),
        &dir.path().join("image"),
        &options(),
    );
    assert!(size <= 512 << 10, "{size} bytes");
}

/// Files in several groups, and a folder with more names than a block of its hash tree tells apart.
#[test]
fn large_trees_take_several_groups() {
    if !have_judges() {
        return;
    }
    let dir = scratch_dir();
    let folder = dir.path().join("tree");
    fs::create_dir_all(folder.join("many")).unwrap();
    for number in 0..6000 {
        let name = format!("many/{number} {}", "n".repeat(number % 200));
        fs::write(folder.join(name), b"").unwrap();
    }
    let piece = noise(3, 1 << 20);
    for (name, mib) in [("large", 140), ("middling", 30), ("small", 1)] {
        fs::write(folder.join(name), piece.repeat(mib)).unwrap();
    }
    let tree = staged_folder(dir.path(), &folder);
    let out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.path().join("image"))
        .unwrap();
    let size = write(&tree, &out, &options(), &NoProgress).unwrap();
    assert_clean(&dir.path().join("image"));
    let content = 171 << 20;
    assert!(
        size < content + content / 50,
        "{size} bytes for {content} bytes of content"
    );
}

#[test]
fn random_trees_fit_and_are_clean() {
    if !have_judges() {
        return;
    }
    for seed in 0..longer(12) {
        let dir = scratch_dir();
        let tree = random_tree(dir.path(), seed);
        println!("seed {seed}");
        made(&tree, &dir.path().join("image"), &options());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = scratch_dir();
    let tree = staged_tree(dir.path());
    let image = dir.path().join("image");
    fs::write(&image, b"something").unwrap();
    let full = File::options().read(true).write(true).open(&image).unwrap();
    let error = write(&tree, &full, &options(), &NoProgress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("holds 9 bytes"), "{error}");
    assert_eq!(fs::read(&image).unwrap(), b"something");
    for (wrong, word) in [
        (
            Ext4Options {
                label: vec![b'l'; 17],
                ..options()
            },
            "label",
        ),
        (
            Ext4Options {
                build_time: -1,
                ..options()
            },
            "-1 seconds",
        ),
    ] {
        let error = write(&tree, &full, &wrong, &NoProgress).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
