//! The tree of a source comes back from what is built of it, whatever the format, and only the tree counts.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use flatbake::flatcar::sysext::build::{Build, Compressor, Effort, Format};

use super::{Place, open, write};
use crate::common::judges::{btrfs_clean, erofs_clean, ext4_clean, squashfs_clean};
use crate::common::kernel::kernel_tree;
use crate::common::programs::ask;
use crate::common::reading::text;
use crate::common::region::Region;
use crate::common::sysext::{make_dir, set_time, write_file};
use crate::common::tree::{Tree, compare, fs_tree, host_tree, squashfs_tree};
use crate::common::trees::make_tree;

/// All formats.
fn formats() -> Vec<Format> {
    let effort = |level, block_bytes| Effort { level, block_bytes };
    let squashfs = |compressor, effort| Format::squashfs(Some(compressor), effort).unwrap();
    let erofs = |compressor, effort| Format::erofs(Some(compressor), effort).unwrap();
    vec![
        squashfs(Compressor::Zstd, effort(Some(3), None)),
        squashfs(Compressor::Xz, effort(Some(1), Some(64 << 10))),
        squashfs(Compressor::Gzip, effort(Some(1), Some(4096))),
        squashfs(Compressor::Lz4, effort(None, Some(1 << 20))),
        squashfs(Compressor::None, effort(None, None)),
        erofs(Compressor::Lz4, effort(None, None)),
        erofs(Compressor::Lz4, effort(None, Some(4096))),
        erofs(Compressor::None, effort(None, None)),
        Format::ext4(None, effort(None, None)).unwrap(),
        Format::btrfs(None, effort(None, None)).unwrap(),
        Format::btrfs(Some(Compressor::None), effort(None, None)).unwrap(),
    ]
}

/// A tree with what filesystems find hard, below `/usr`; attributes and devices where this machine lets us make them.
fn make_source(root: &Path) {
    make_dir(root, "usr");
    make_tree(&root.join("usr/share"), 60);
    write_file(root, "usr/bin/tool", b"#!/bin/sh\n");
    let sparse = fs::File::create(root.join("usr/share/sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 3_000_000).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/alias")).unwrap();
    for (name, value) in [
        ("user.note", "word"),
        ("security.capability", "0sAQAAAgAgAAAAAAAAAAAAAAAAAAA="),
        ("trusted.of", "root"),
    ] {
        let file = root.join("usr/bin/tool");
        let _ = ask("setfattr", ["-n", name, "-v", value, text(&file)], b"");
    }
    let _ = ask(
        "mknod",
        [text(&root.join("usr/share/device")), "c", "10", "200"],
        b"",
    );
    let _ = ask("mkfifo", [text(&root.join("usr/share/pipe"))], b"");
}

/// What a build makes of a tree: it belongs to root, nothing is later than `time`, and the release file is not in it.
fn settled(mut tree: Tree, time: i64) -> Tree {
    tree.retain(|path, _| !path.contains("extension-release"));
    for entry in tree.values_mut() {
        (entry.uid, entry.gid) = (Some(0), Some(0));
        entry.mtime = entry.mtime.map(|mtime| mtime.min((time, 0)));
    }
    // The folder that gets the release file has one more entry; the top has a mode of its own, and in ext4 a folder for
    // what e2fsck finds.
    for path in ["", "usr", "usr/lib", "lost+found"] {
        tree.remove(path);
    }
    tree
}

#[test]
fn every_format_gives_the_tree_back() {
    let place = Place::new();
    make_source(&place.source());
    let wanted = host_tree(&place.source());
    for (number, format) in formats().into_iter().enumerate() {
        let image = place.path(&format!("{number}.raw"));
        for time in [0, 1_700_000_000] {
            let _ = fs::remove_file(&image);
            let build = Build {
                format,
                time,
                ..place.build()
            };
            write(build, &image, None).unwrap();
            let expected = settled(wanted.clone(), time);
            compare(&expected, &settled(fs_tree(&*open(&image)), time)).unwrap();
        }
        let filesystem = match format {
            Format::Squashfs { .. } => "squashfs",
            Format::Erofs { .. } => "erofs",
            Format::Ext4 => "ext4",
            Format::Btrfs { .. } => "btrfs",
            other => panic!("{other} has no judge"),
        };
        if let Some(tree) = kernel_tree(&image, filesystem, place.dir.path()) {
            let expected = settled(wanted.clone(), 1_700_000_000);
            compare(&expected, &settled(tree, 1_700_000_000)).unwrap();
        }
        if filesystem == "ext4" {
            ext4_clean(&Region::whole(&image)).unwrap();
        } else if filesystem == "btrfs" {
            btrfs_clean(&Region::whole(&image)).unwrap();
        } else if filesystem == "squashfs" {
            squashfs_clean(&image).unwrap();
            if let Some(tree) = squashfs_tree(&image) {
                let mut expected = settled(wanted.clone(), 1_700_000_000);
                // unsquashfs restores devices, and attributes of all namespaces, for root only.
                expected.retain(|path, _| path != "usr/share/device");
                let xattrs = expected
                    .values_mut()
                    .filter_map(|entry| entry.xattrs.as_mut());
                xattrs.for_each(|xattrs| xattrs.retain(|name, _| name.starts_with("user.")));
                let mut tree = settled(tree, 1_700_000_000);
                tree.retain(|path, _| path != "usr/share/device");
                compare(&expected, &tree).unwrap();
            }
        } else {
            erofs_clean(&image).unwrap();
        }
    }
}

/// Copies a tree, the last name first, to other times and, where we may, to another owner.
fn copy_backwards(from: &Path, to: &Path, seconds: i64) {
    fs::create_dir(to).unwrap();
    let mut names: Vec<_> = fs::read_dir(from)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for name in names.iter().rev() {
        let source = from.join(name);
        let target = to.join(name);
        let metadata = fs::symlink_metadata(&source).unwrap();
        if metadata.is_dir() {
            copy_backwards(&source, &target, seconds);
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else {
            fs::write(&target, fs::read(&source).unwrap()).unwrap();
            set_time(&target, seconds);
        }
        if !metadata.is_symlink() {
            let permissions = fs::Permissions::from_mode(metadata.mode() & 0o7777);
            fs::set_permissions(&target, permissions).unwrap();
        }
        let _ = lchown(&target, Some(1234), Some(4321));
    }
    set_time(to, seconds + 5);
}

#[test]
fn copies_in_other_orders_of_other_owners_and_times_make_the_same_bytes_on_any_number_of_threads() {
    let place = Place::new();
    let source = place.source();
    make_dir(&source, "usr");
    for number in 0..40 {
        let bytes =
            crate::common::content::text(number, 40_000 * usize::from(number % 7 == 0) + 500);
        write_file(
            &source,
            &format!("usr/share/{}/{number}", number % 5),
            &bytes,
        );
    }
    fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).unwrap();
    copy_backwards(&source, &place.path("copy"), 1_600_000_000);
    for format in [
        Format::default(),
        Format::squashfs(Some(Compressor::Xz), Effort::default()).unwrap(),
        Format::erofs(None, Effort::default()).unwrap(),
    ] {
        let mut sums = Vec::new();
        for (source, threads) in [("source", 1), ("source", 2), ("copy", 7), ("copy", 1)] {
            let image = place.path("image.raw");
            let build = Build {
                format,
                ..Build::new(place.path(source), "tool")
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let built = pool.build().unwrap().install(|| write(build, &image, None));
            sums.push(built.unwrap().sha256.unwrap());
            fs::remove_file(image).unwrap();
        }
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{format}: {sums:?}");
    }
}

#[test]
fn owners_and_times_are_kept_where_that_is_asked_for() {
    let place = Place::new().with("usr/bin/tool", b"#!/bin/sh\n");
    let tool = place.source().join("usr/bin/tool");
    set_time(&tool, 1_500_000_000);
    if lchown(&tool, Some(500), Some(501)).is_err() {
        eprintln!("skipped: only root gives files to others");
        return;
    }
    let build = Build {
        keep_owner: true,
        time: 1_600_000_000,
        ..place.build()
    };
    write(build, &place.path("tool.raw"), None).unwrap();
    let tree = fs_tree(&*open(&place.path("tool.raw")));
    let entry = &tree["usr/bin/tool"];
    assert_eq!((entry.uid, entry.gid), (Some(500), Some(501)));
    assert_eq!(entry.mtime, Some((1_500_000_000, 0)));
}
