//! EROFS images written by flatbake: compared with their source by the kernel and by our own reader, judged by `fsck.erofs`.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use crate::common::judges::erofs_clean;
use crate::common::kernel::kernel_tree;
use crate::common::programs::{ask, said};
use crate::common::random::Random;
use crate::common::reading::{path, read_everything, succeed, text};
use crate::common::tree::{compare, fs_tree, host_tree};
use crate::common::trees::make_tree;
use crate::common::{noise, scratch_dir};
use flatbake::block::{FileDevice, MemoryDevice};
use flatbake::fs::erofs::{AddedFile, Erofs, ErofsCompression, ErofsOptions, write};
use flatbake::fs::squashfs::Squashfs;
use flatbake::fs::{Attributes, ByPath, FileSystem, Timestamp, read_file};
use flatbake::{ErrorKind, NoProgress};

/// Every way to pack.
const WAYS: [ErofsCompression; 4] = [ErofsCompression::None, lz4(4096), lz4(16_384), lz4(1 << 20)];

const fn lz4(cluster_bytes: u32) -> ErofsCompression {
    ErofsCompression::Lz4 { cluster_bytes }
}

/// A tree by mksquashfs with devices, other owners and attributes, which ordinary files do not show.
fn source(dir: &Path) -> Option<Squashfs<FileDevice>> {
    let tree = dir.join("tree");
    make_source_tree(&tree);
    squashfs(dir, &tree)
}

fn make_source_tree(tree: &Path) {
    make_tree(tree, 700);
    let mut large = noise(3, 5000);
    for number in 0..150_000 {
        large.extend(format!("line {number} of {}\n", number % 7).bytes());
    }
    large.extend(vec![0; 700_000]);
    large.extend(noise(4, 3_000_001));
    fs::write(tree.join("large"), &large).unwrap();
    fs::write(tree.join("large-again"), &large).unwrap();
    fs::write(tree.join("usr/lib/exact-again"), vec![b'x'; 131_072]).unwrap();
    fs::create_dir(tree.join("wide")).unwrap();
    for number in 0..300 {
        fs::write(
            tree.join(format!("wide/{number:03}{}", "w".repeat(number % 250))),
            noise(number as u64, number * 13),
        )
        .unwrap();
    }
    let long = "v".repeat(3000);
    for (at, name, value) in [
        ("usr/lib/text", "user.note", "again"),
        ("one", "user.note", "again"),
        ("usr/lib/exact", "user.long", &*long),
        ("usr/lib/exact", "user.short", "s"),
        ("usr/lib/exact-again", "user.long", &*long),
        ("empty", "user.empty", ""),
        ("wide", "user.long", &*long),
        // Only root can set these two.
        ("usr/bin", "security.kind", "word"),
        ("usr/bin/tool", "trusted.of", "a tool"),
    ] {
        // Not every filesystem of a host takes them.
        let _ = ask(
            "setfattr",
            ["-n", name, "-v", value, text(&tree.join(at))],
            b"",
        );
    }
}

/// Packs a tree, and devices with it.
fn squashfs(dir: &Path, tree: &Path) -> Option<Squashfs<FileDevice>> {
    let image = dir.join("source.raw");
    let pseudo = dir.join("pseudo");
    let nodes = "/dev d 0755 3 4\n/dev/disk b 0660 0 6 259 70000\n/dev/null c 0666 0 0 1 3\n/dev/pipe i 0600 7 8 f\n\
                 /dev/socket i 0600 70000 8 s\n";
    fs::write(&pseudo, nodes).unwrap();
    let options = ["-noappend", "-no-progress", "-quiet", "-pf", text(&pseudo)];
    succeed(
        "mksquashfs",
        &[&[text(tree), text(&image)], &options[..]].concat(),
    )?;
    Some(Squashfs::open(FileDevice::open(&image).unwrap()).unwrap())
}

fn open(image: &Path) -> Erofs<FileDevice> {
    Erofs::open(FileDevice::open(image).unwrap()).unwrap()
}

fn options(compression: ErofsCompression) -> ErofsOptions {
    ErofsOptions {
        compression,
        seed: b"test".to_vec(),
        label: b"a label".to_vec(),
        ..ErofsOptions::default()
    }
}

fn pack(source: &dyn FileSystem, image: &Path, added: &[AddedFile], options: &ErofsOptions) {
    let _ = fs::remove_file(image);
    let out = File::create_new(image).unwrap();
    let report = write(source, added, &out, options, &NoProgress).unwrap();
    assert_eq!(report.image_bytes, out.metadata().unwrap().len());
    assert_eq!(report.image_bytes % 4096, 0);
}

#[test]
fn the_tree_comes_back() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let expected = fs_tree(&source);
    let image = dir.path().join("image.raw");
    for way in WAYS {
        pack(&source, &image, &[], &options(way));
        erofs_clean(&image).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        let fs = open(&image);
        compare(&expected, &fs_tree(&fs)).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert_eq!(fs.label().unwrap(), b"a label");
        if let Some(found) = kernel_tree(&image, "erofs", dir.path()) {
            compare(&expected, &found)
                .unwrap_or_else(|error| panic!("{way:?}, the kernel: {error}"));
        }
        // Packed again from there, it has the same bytes.
        let copy = dir.path().join("copy.raw");
        pack(&fs, &copy, &[], &options(way));
        assert!(
            fs::read(&image).unwrap() == fs::read(&copy).unwrap(),
            "{way:?}"
        );
    }
}

#[test]
fn pieces_read_anywhere_are_right() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let image = dir.path().join("image.raw");
    let content = read_file(&source, &path("/large"), 1 << 24).unwrap();
    let mut random = Random::new(9);
    for way in WAYS {
        pack(&source, &image, &[], &options(way));
        let fs = open(&image);
        let file = fs.open_at(&path("/large")).unwrap();
        for _ in 0..300 {
            let start = random.below(content.len());
            let mut piece = vec![0; 1 + random.below((content.len() - start).min(50_000))];
            file.read_at(start as u64, &mut piece).unwrap();
            assert!(
                piece == content[start..start + piece.len()],
                "{way:?} at {start}"
            );
        }
    }
}

#[test]
fn many_threads_read_at_once() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let image = dir.path().join("image.raw");
    pack(&source, &image, &[], &options(lz4(16_384)));
    let fs = open(&image);
    let content = read_file(&source, &path("/large"), 1 << 24).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let fs = &fs;
            let content = &content;
            scope.spawn(move || {
                let file = fs.open_at(&path("/large")).unwrap();
                let mut random = Random::new(seed);
                for _ in 0..40 {
                    let start = random.below(content.len() - 5000);
                    let mut piece = vec![0; 5000];
                    file.read_at(start as u64, &mut piece).unwrap();
                    assert!(piece == content[start..start + 5000]);
                }
            });
        }
    });
}

#[test]
fn threads_do_not_change_the_bytes() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let mut images = Vec::new();
    for threads in [1, 5] {
        let image = dir.path().join(format!("{threads}.raw"));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| pack(&source, &image, &[], &options(lz4(16_384))));
        images.push(fs::read(&image).unwrap());
    }
    assert!(images[0] == images[1]);
}

#[test]
fn it_is_about_as_small_as_by_mkfs() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    make_source_tree(&tree);
    let lib = tree.join("usr/lib");
    // mkfs.erofs 1.5 cannot pack a name of 255 bytes, nor does it see files of equal content.
    fs::remove_file(lib.join("n".repeat(255))).unwrap();
    fs::remove_file(tree.join("large-again")).unwrap();
    let Some(source) = squashfs(dir.path(), &tree) else {
        return;
    };
    let ours = dir.path().join("ours.raw");
    let theirs = dir.path().join("theirs.raw");
    for (way, arguments) in [
        (WAYS[0], vec![]),
        (WAYS[1], vec!["-zlz4"]),
        (WAYS[2], vec!["-zlz4", "-C16384"]),
    ] {
        let start = Instant::now();
        pack(&source, &ours, &[], &options(way));
        let took = start.elapsed();
        let start = Instant::now();
        if succeed(
            "mkfs.erofs",
            &[&arguments[..], &["--quiet", text(&theirs), text(&tree)]].concat(),
        )
        .is_none()
        {
            return;
        }
        let ours = fs::metadata(&ours).unwrap().len();
        let theirs = fs::metadata(&theirs).unwrap().len();
        eprintln!(
            "{way:?}: {ours} bytes in {took:?}, mkfs.erofs {theirs} in {:?}",
            start.elapsed()
        );
        assert!(
            ours < theirs + theirs / 20,
            "{way:?}: {ours} bytes, mkfs.erofs makes {theirs}"
        );
    }
}

#[test]
fn added_files_take_the_place_of_others() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let image = dir.path().join("image.raw");
    let attributes = Attributes {
        mode: 0o640,
        uid: 1,
        gid: 2,
        mtime: Timestamp { secs: 77, nanos: 5 },
    };
    let file = |at: &str, content: &[u8]| AddedFile {
        path: path(at),
        attributes: attributes.clone(),
        content: content.to_vec(),
    };
    let big = b"content ".repeat(100_000);
    let added = [file("/usr/lib/text", b"new"), file("/usr/bin/more", &big)];
    pack(
        &source,
        &image,
        &added,
        &ErofsOptions {
            latest_time: Some(1_704_067_210),
            ..options(lz4(4096))
        },
    );
    erofs_clean(&image).unwrap();
    let fs = open(&image);
    assert_eq!(read_file(&fs, &path("/usr/lib/text"), 100).unwrap(), b"new");
    assert!(read_file(&fs, &path("/usr/bin/more"), 1 << 20).unwrap() == big);
    let metadata = fs.metadata_at(&path("/usr/lib/text")).unwrap();
    assert_eq!(
        (metadata.mode, metadata.uid, metadata.gid, metadata.mtime),
        (0o640, 1, 2, attributes.mtime)
    );
    assert!(
        fs_tree(&fs)
            .values()
            .all(|entry| entry.mtime.unwrap().0 <= 1_704_067_210)
    );
    let out = tempfile::tempfile().unwrap();
    let error = write(
        &source,
        &[file("/no/such", b"")],
        &out,
        &options(lz4(4096)),
        &NoProgress,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// squashfs has no access control lists, so these come from an EROFS by mkfs.erofs.
#[test]
fn access_control_lists_and_capabilities_come_along() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir_all(tree.join("folder/deeper")).unwrap();
    fs::write(tree.join("folder/tool"), noise(1, 9000)).unwrap();
    fs::write(tree.join("folder/other"), b"other").unwrap();
    let entry = |tag: u8, permissions: u8, id: u32| {
        [&[tag, 0, permissions, 0][..], &id.to_le_bytes()].concat()
    };
    let entries = [
        (1, 6, u32::MAX),
        (2, 4, 1000),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ];
    let entries: Vec<u8> = entries
        .into_iter()
        .flat_map(|(tag, permissions, id)| entry(tag, permissions, id))
        .collect();
    let acl = [&2u32.to_le_bytes()[..], &entries].concat();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (at, name, value) in [
        ("folder/tool", "system.posix_acl_access", acl.as_slice()),
        ("folder/other", "system.posix_acl_access", &acl),
        ("folder/deeper", "system.posix_acl_default", &acl),
        ("folder/tool", "security.capability", &capability),
        ("folder/tool", "user.value", &noise(2, 3000)),
    ] {
        // Not every filesystem of a host takes them, and only root sets some.
        let _ = rustix::fs::setxattr(tree.join(at), name, value, rustix::fs::XattrFlags::empty());
    }
    let made = dir.path().join("made.raw");
    if succeed("mkfs.erofs", &["--quiet", "-x1", text(&made), text(&tree)]).is_none() {
        return;
    }
    let expected = host_tree(&tree);
    let source = open(&made);
    compare(&expected, &fs_tree(&source)).unwrap();
    pack(&source, &image, &[], &options(lz4(4096)));
    erofs_clean(&image).unwrap();
    compare(&expected, &fs_tree(&open(&image))).unwrap();
    if let Some(found) = kernel_tree(&image, "erofs", dir.path()) {
        compare(&expected, &found).unwrap();
    }
}

#[test]
fn systemd_reads_it_as_an_extension() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("tool.raw");
    fs::create_dir_all(tree.join("usr/lib/extension-release.d")).unwrap();
    fs::write(
        tree.join("usr/lib/extension-release.d/extension-release.tool"),
        "ID=flatcar\nSYSEXT_LEVEL=1.0\n",
    )
    .unwrap();
    fs::write(tree.join("usr/lib/tool"), "words ".repeat(9000)).unwrap();
    let Some(source) = squashfs(dir.path(), &tree) else {
        return;
    };
    pack(&source, &image, &[], &options(lz4(16_384)));
    let arguments = ["--json=short", "--no-pager", text(&image)];
    let Some(output) = ask("systemd-dissect", arguments, b"") else {
        return;
    };
    let said = said(&output);
    if !output.status.success() && said.contains("Failed to set up loopback device") {
        eprintln!("skipped: systemd-dissect: {said}");
        return;
    }
    assert!(
        output.status.success() && said.contains("\"fstype\":\"erofs\""),
        "{said}"
    );
}

#[test]
fn an_empty_tree_and_entries_of_the_build_time_are_small() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir(&tree).unwrap();
    let squashfs = dir.path().join("source.raw");
    let arguments = [
        text(&tree),
        text(&squashfs),
        "-noappend",
        "-no-progress",
        "-quiet",
        "-all-time",
        "1704067200",
    ];
    if succeed("mksquashfs", &arguments).is_none() {
        return;
    }
    let source = Squashfs::open(FileDevice::open(&squashfs).unwrap()).unwrap();
    pack(
        &source,
        &image,
        &[],
        &ErofsOptions {
            build_time: 1_704_067_200,
            ..options(lz4(4096))
        },
    );
    erofs_clean(&image).unwrap();
    assert_eq!(
        fs::metadata(&image).unwrap().len(),
        8192,
        "the superblock's block, and one of inodes"
    );
    compare(&fs_tree(&source), &fs_tree(&open(&image))).unwrap();
}

#[test]
fn broken_bytes_of_written_images_give_a_result_or_an_error() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let image = dir.path().join("image.raw");
    pack(&source, &image, &[], &options(lz4(16_384)));
    let bytes = fs::read(&image).unwrap();
    let mut random = Random::new(4);
    for _ in 0..crate::common::longer(20) {
        let mut changed = bytes.clone();
        // The indexes lie at the end.
        for _ in 0..20 {
            let at = bytes.len() - 1 - random.below(200_000);
            changed[at] ^= 1 << random.below(8);
        }
        if let Ok(fs) = Erofs::open(MemoryDevice::new(changed)) {
            read_everything(&fs, 1 << 20);
        }
    }
}
