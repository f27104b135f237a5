//! Filesystems made from nothing: `e2fsck` finds them clean, and they hold the tree that was wanted.

use std::fs::{self, File};
use std::path::Path;

use flatbake::block::{FileDevice, Inputs};
use flatbake::fs::ext4::{Ext4, Ext4Options, write};
use flatbake::fs::{
    Attributes, FileSystem, FileSystemMut, FolderOptions, FsPath, StagedTree, Timestamp,
};
use flatbake::{Cancel, ErrorKind, NoProgress};

use crate::common::tree::{Kind, compare, fs_tree};
use crate::common::trees::{make_odd_tree, make_tree};
use crate::common::{longer, noise, scratch_dir};
use crate::ext4::support::{Numbers, assert_clean, have_judges};

fn staged(dir: &Path) -> StagedTree {
    StagedTree::new(dir, Timestamp { secs: 99, nanos: 0 })
}

fn with_folder(dir: &Path, folder: &Path) -> StagedTree {
    let mut tree = staged(dir);
    let options = FolderOptions {
        role: "tree",
        owner: None,
    };
    let inputs = Inputs::new(Cancel::default());
    tree.add_folder(folder, &FsPath::root(), &options, &inputs)
        .unwrap();
    tree
}

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
        let mut tree = with_folder(dir.path(), &folder);
        let attributes = Attributes {
            mode: 0o640,
            ..Attributes::default()
        };
        let device = FsPath::new("/null").unwrap();
        tree.mknod(
            &device,
            flatbake::fs::FileType::CharDevice,
            (1, 3),
            &attributes,
        )
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
    let size = made(&staged(dir.path()), &dir.path().join("image"), &options());
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
    let tree = with_folder(dir.path(), &folder);
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
        let mut numbers = Numbers::new(seed);
        let mut tree = staged(dir.path());
        let mut folders = vec![FsPath::root()];
        for entry in 0..numbers.below(400) {
            let parent = &folders[numbers.below(folders.len())];
            let name = format!("{entry}{}", "x".repeat(numbers.below(240)));
            let path = parent.join(name.as_bytes()).unwrap();
            let attributes = Attributes {
                mode: 0o700 + u32::try_from(numbers.below(64)).unwrap(),
                uid: u32::try_from(numbers.below(100_000)).unwrap(),
                ..Attributes::default()
            };
            match numbers.below(4) {
                0 => {
                    tree.create_dir(&path, &attributes).unwrap();
                    folders.push(path.clone());
                }
                1 => {
                    let target = vec![b't'; 1 + numbers.below(200)];
                    tree.symlink(&path, &target, &attributes).unwrap();
                }
                _ => {
                    let len = numbers.below(40_000);
                    let mut content = numbers.bytes(len);
                    if numbers.below(3) == 0 {
                        // Every other block is a hole.
                        let blocks = content.chunks_mut(4096);
                        blocks.step_by(2).for_each(|block| block.fill(0));
                    }
                    let len = content.len() as u64;
                    tree.write_file(&path, &attributes, len, &mut &content[..])
                        .unwrap();
                }
            }
            if numbers.below(5) == 0 {
                let value = vec![b'v'; numbers.below(1000)];
                tree.set_xattr(&path, b"trusted.note", &value).unwrap();
            }
        }
        println!("seed {seed}");
        made(&tree, &dir.path().join("image"), &options());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = scratch_dir();
    let tree = staged(dir.path());
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
