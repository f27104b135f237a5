//! EROFS images by `mkfs.erofs`, compared with the source tree and judged by `fsck.erofs`; hostile images.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::judges::erofs_clean;
use crate::common::programs::{ask, judge, said};
use crate::common::random::Random;
use crate::common::reading::{assert_same_tree, device, path, read_everything, succeed, text};
use crate::common::sysext::set_times;
use crate::common::tree::{compare, fs_tree, host_tree};
use crate::common::trees::{make_small_tree, make_tree};
use crate::common::{longer, noise, scratch_dir};
use flatbake::ErrorKind;
use flatbake::block::FileDevice;
use flatbake::fs::erofs::{self, Erofs};
use flatbake::fs::{ByPath, FileSystem, FileType, FsPath, walk};

/// How official sysexts with compression are packed.
const OFFICIAL: &[&str] = &["-zlz4hc,12", "-C65536", "-Efragments,ztailpacking"];

/// Makes `image` from the tree and asks the judge; `false` where mkfs.erofs is missing.
fn mkfs(tree: &Path, image: &Path, options: &[&str]) -> bool {
    let _ = fs::remove_file(image);
    let mut args = options.to_vec();
    args.extend([
        "--all-root",
        "-U00000000-0000-0000-0000-000000000000",
        "--quiet",
        text(image),
        text(tree),
    ]);
    if succeed("mkfs.erofs", &args).is_none() {
        return false;
    }
    // fsck.erofs 1.8.6 refuses what mkfs.erofs makes of blocks as small as these.
    if !options.contains(&"-b512") && !options.contains(&"-b1024") {
        erofs_clean(image).unwrap();
    }
    true
}

/// The usual tree but for a name of 255 bytes, which mkfs.erofs 1.5 cannot pack.
fn make_tree_for_mkfs(tree: &Path, many: usize) {
    make_tree(tree, many);
    let lib = tree.join("usr/lib");
    fs::rename(lib.join("n".repeat(255)), lib.join("n".repeat(200))).unwrap();
}

fn open(image: &Path) -> Erofs<FileDevice> {
    let device = FileDevice::open(image).unwrap();
    assert!(erofs::probe(&device).unwrap());
    Erofs::open(device).unwrap()
}

#[test]
fn every_layout_gives_the_tree_back() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    make_tree_for_mkfs(&tree, 300);
    let image = dir.path().join("image.raw");
    for options in [
        &[][..],
        OFFICIAL,
        &["-zlz4"],
        &["-zlz4hc"],
        &["-zlz4hc", "-C1048576"],
        &["-zlz4hc", "-Eall-fragments"],
        &["-Enoinline_data"],
        &["-Eforce-inode-extended"],
        &["-Eforce-inode-compact", "-T0"],
        &["--chunksize=65536"],
        &["-zlz4", "-Elegacy-compress"],
    ] {
        if !mkfs(&tree, &image, options) {
            return;
        }
        if options.contains(&"-T0") {
            let fs = open(&image);
            assert_eq!(
                fs.metadata_at(&path("/usr/lib/text")).unwrap().mtime.secs,
                0
            );
            continue;
        }
        assert_same_tree(&open(&image), &tree);
    }
}

/// Whether the installed mkfs.erofs has the options of version 1.8.
fn is_recent() -> bool {
    let help = ask("mkfs.erofs", ["--help"], b"")
        .map(|output| said(&output))
        .unwrap_or_default();
    let is_recent = help.contains("zstd") && help.contains("lzma");
    if !is_recent {
        eprintln!("skipped: mkfs.erofs is too old for this");
    }
    is_recent
}

/// The usual tree, and what takes more: 20 MiB in one file, equal files, attributes, and devices where root makes them.
fn make_rich_tree(tree: &Path) {
    make_tree_for_mkfs(tree, 300);
    let mut large = Vec::new();
    for seed in 0..20 {
        large.extend(noise(seed, 200_000));
        large.extend(
            format!("line {seed} of a large file\n")
                .repeat(30_000)
                .into_bytes(),
        );
        large.extend(vec![0; 100_000]);
    }
    large.resize((20 << 20) + 77, 7);
    fs::write(tree.join("large"), &large).unwrap();
    fs::write(tree.join("large-part"), &large[300_000..900_000]).unwrap();
    fs::write(tree.join("usr/bin/tool-again"), noise(1, 300_000)).unwrap();
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255,
        255, 255, 16, 0, 4, 0,
    ];
    let acl = [
        &acl[..],
        &[255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = "v".repeat(3000);
    for (at, name, value) in [
        ("usr/lib/text", "user.overlay.kind.of", b"again".as_slice()),
        ("one", "user.overlay.kind.of", b"again"),
        ("usr/lib/exact", "user.overlay.kind.of", b"again"),
        ("usr/lib/exact", "user.long", long.as_bytes()),
        ("empty", "user.empty", b""),
        ("usr/bin/tool", "security.capability", &capability),
        ("usr/bin/tool", "trusted.overlay.of", b"a tool"),
        ("usr/lib/code", "system.posix_acl_access", &acl),
        ("many", "system.posix_acl_default", &acl),
    ] {
        // Not every filesystem of a host takes them, and only root sets some.
        let _ = rustix::fs::setxattr(tree.join(at), name, value, rustix::fs::XattrFlags::empty());
    }
    for (name, kind, major, minor) in [
        ("null", "c", "1", "3"),
        ("disk", "b", "259", "70000"),
        ("pipe", "p", "", ""),
    ] {
        let file = tree.join(name);
        let arguments = [text(&file), kind, major, minor];
        // Only root makes devices.
        let _ = ask(
            "mknod",
            arguments
                .into_iter()
                .filter(|argument| !argument.is_empty()),
            b"",
        );
    }
    set_times(tree);
}

/// Packs the rich tree with each set of options and compares everything that is read.
fn assert_all_come_back(sets: &[&[&str]]) {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_rich_tree(&tree);
    let expected = host_tree(&tree);
    for options in sets {
        if !mkfs(&tree, &image, options) {
            return;
        }
        let fs = open(&image);
        compare(&expected, &fs_tree(&fs)).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_same_tree(&fs, &tree);
    }
}

#[test]
fn packed_trees_of_every_kind_come_back() {
    assert_all_come_back(&[
        &[],
        OFFICIAL,
        &["-zlz4", "-C16384"],
        &["-zlz4hc,9", "-C1048576", "-Eztailpacking"],
        &["-zlz4", "-Elegacy-compress,ztailpacking"],
        &["-zlz4", "-Elegacy-compress,fragments", "-C65536"],
        &["-zlz4hc", "-Eall-fragments", "-x1"],
        &["-zlz4", "-Ededupe", "-C32768"],
        &["-zlz4hc", "-Ededupe,fragments"],
        &["--chunksize=4096", "-Enoinline_data"],
        &["-Eforce-chunk-indexes", "--chunksize=8192"],
    ]);
}

#[test]
fn what_newer_versions_pack_comes_back() {
    if !is_recent() {
        return;
    }
    assert_all_come_back(&[
        &["-zlzma"],
        &[
            "-zlzma,level=6,dictsize=131072",
            "-C65536",
            "-Eztailpacking",
        ],
        &["-zdeflate", "-C16384", "-Efragments"],
        &["-zlibdeflate,level=9", "-C131072"],
        &["-zzstd", "-C65536", "-Efragments,ztailpacking"],
        &["-zzstd,level=15", "-C1048576", "-Ededupe"],
        &[
            "-zlzma:lz4hc:deflate:zstd",
            "-C65536",
            "-Eall-fragments,fragdedupe=inode",
        ],
        &[
            "-zlz4",
            "-Eztailpacking",
            "--xattr-prefix=user.overlay.",
            "--xattr-prefix=trusted.overlay.",
            "-Exattr-name-filter",
        ],
        &["--xattr-prefix=user.overlay.", "-x1", "-Lsome label"],
        &["-b512", "-zlz4"],
        &["-b1024", "-zzstd", "-C8192", "-Efragments"],
        &["-b2048", "--chunksize=2048"],
        &[
            "-zlz4",
            "-Efragments,dedupe,force-inode-compact",
            "--mkfs-time",
            "-T1704067200",
        ],
    ]);
}

#[test]
fn the_judge_sees_a_broken_byte_and_so_do_we() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_tree_for_mkfs(&tree, 3);
    if !mkfs(&tree, &image, OFFICIAL) {
        return;
    }
    let mut bytes = fs::read(&image).unwrap();
    bytes[1024 + 44] ^= 1;
    fs::write(&image, &bytes).unwrap();
    assert!(judge("fsck.erofs").is_none() || erofs_clean(&image).unwrap_err().contains("chksum"));
    let error = Erofs::open(FileDevice::open(&image).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn xattrs_devices_and_special_files() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_tree_for_mkfs(&tree, 3);
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    if succeed("mkfifo", &[text(&tree.join("pipe"))]).is_none() {
        return;
    }
    for (file, name, value) in [
        ("usr/lib/text", "user.extension-release.strict", "false"),
        ("usr/lib/code", "user.extension-release.strict", "false"),
        ("usr/lib/exact", "user.extension-release.strict", "false"),
        ("usr/lib/text", "user.other", "1"),
        ("usr", "user.directory", "yes"),
    ] {
        if succeed(
            "setfattr",
            &["-n", name, "-v", value, text(&tree.join(file))],
        )
        .is_none()
        {
            return;
        }
    }
    if !mkfs(&tree, &image, &[]) {
        return;
    }
    let fs = open(&image);
    let named = |entry: &str| {
        let xattrs = fs.xattrs_at(&path(entry)).unwrap().into_iter();
        xattrs
            .map(|x| format!("{}={}", x.name.escape_ascii(), x.value.escape_ascii()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named("/usr/lib/text"),
        ["user.extension-release.strict=false", "user.other=1"]
    );
    assert_eq!(
        named("/usr/lib/exact"),
        ["user.extension-release.strict=false"]
    );
    assert_eq!(named("/usr"), ["user.directory=yes"]);
    assert_eq!(named("/one"), [""; 0]);
    assert_eq!(
        fs.metadata_at(&path("/pipe")).unwrap().file_type,
        FileType::Fifo
    );
    assert_eq!(
        fs.metadata_at(&path("/socket")).unwrap().file_type,
        FileType::Socket
    );
    assert_eq!(fs.capacity().unwrap().block_bytes, 4096);
    assert_eq!(fs.label().unwrap(), b"");
    for (entry, wrong) in [
        ("/nothing", ErrorKind::NotFound),
        ("/one/x", ErrorKind::NotFound),
    ] {
        assert_eq!(
            fs.metadata_at(&path(entry)).unwrap_err().kind(),
            wrong,
            "{entry}"
        );
    }
    assert_eq!(
        fs.open_at(&path("/usr")).err().unwrap().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        fs.read_link_at(&path("/one")).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn many_files_and_small_reads_are_not_quadratic() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir_all(tree.join("d")).unwrap();
    for number in 0..5000 {
        fs::write(tree.join(format!("d/{number}")), []).unwrap();
    }
    let content = [
        noise(1, 100_000),
        b"0123456789abcdef".repeat(1 << 20),
        noise(2, 100_000),
    ]
    .concat();
    fs::write(tree.join("large"), &content).unwrap();
    if !mkfs(&tree, &image, OFFICIAL) {
        return;
    }
    let fs = open(&image);
    let start = Instant::now();
    for entry in fs.entries_at(&path("/d")).unwrap() {
        let by_path = fs
            .metadata_at(&path("/d").join(&entry.name).unwrap())
            .unwrap();
        assert_eq!(by_path, fs.metadata(entry.node).unwrap());
    }
    let file = fs.open_at(&path("/large")).unwrap();
    let mut buffer = [0; 1000];
    for (index, wanted) in content.chunks(1000).enumerate() {
        let buffer = &mut buffer[..wanted.len()];
        file.read_at(index as u64 * 1000, buffer).unwrap();
        assert!(buffer == wanted);
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

/// Makes the superblock's checksum right again.
fn repair(bytes: &mut [u8]) {
    let bits = u32::from(bytes.get(1024 + 12).copied().unwrap_or(0));
    let end = 1usize.checked_shl(bits).unwrap_or(0).max(2048);
    if let Some(covered) = bytes.get_mut(1024..end) {
        covered[4..8].fill(0);
        let checksum = !crc32c::crc32c(covered);
        covered[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
}

#[test]
fn mutated_images_never_panic_hang_or_swell() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_small_tree(&tree);
    let mut sets = vec![
        &[][..],
        OFFICIAL,
        &["-zlz4hc"],
        &["--chunksize=4096"],
        &["-zlz4", "-Elegacy-compress"],
    ];
    if is_recent() {
        sets.push(&[
            "-zzstd:lzma:deflate",
            "-C16384",
            "-Eall-fragments",
            "--xattr-prefix=user.lo",
        ]);
    }
    for (seed, options) in sets.into_iter().enumerate() {
        if !mkfs(&tree, &image, options) {
            return;
        }
        let bytes = fs::read(&image).unwrap();
        // Places that hold something: most of the blocks are padding.
        let used: Vec<usize> = (1024..bytes.len())
            .filter(|&at| {
                bytes[at.saturating_sub(4)..]
                    .iter()
                    .take(9)
                    .any(|&b| b != 0)
            })
            .collect();
        let mut random = Random::new(seed as u64);
        let mut opened = 0;
        let mut longest = Duration::ZERO;
        let rounds = longer(4000);
        for _ in 0..rounds {
            let mut changed = bytes.clone();
            for _ in 0..1 + random.below(3) {
                // Half the changes go to the superblock and the inodes right behind it.
                let among = if random.below(2) == 0 {
                    used.len()
                } else {
                    used.len().min(2500)
                };
                let at = used[random.below(among)];
                changed[at] = match random.below(3) {
                    0 => changed[at] ^ 1 << random.below(8),
                    1 => [0, 0xff, 0x7f, 0x80, 1][random.below(5)],
                    _ => u8::try_from(random.below(256)).unwrap(),
                };
            }
            repair(&mut changed);
            if random.below(50) == 0 {
                changed.truncate(random.below(bytes.len()));
            }
            let start = Instant::now();
            if let Ok(fs) = Erofs::open(device(changed)) {
                opened += 1;
                read_everything(&fs, 4 << 20);
            }
            longest = longest.max(start.elapsed());
        }
        assert!(
            opened * 2 > rounds,
            "{options:?}: mutations must reach behind the superblock: {opened} of {rounds}"
        );
        assert!(
            longest < Duration::from_secs(2),
            "{options:?}: one image took {longest:?}"
        );
    }
}

#[test]
fn every_byte_of_the_superblock_may_be_wrong() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_small_tree(&tree);
    if !mkfs(&tree, &image, OFFICIAL) {
        return;
    }
    let bytes = fs::read(&image).unwrap();
    let mut refused = 0;
    for at in 1024..1024 + 256 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            repair(&mut changed);
            match Erofs::open(device(changed)) {
                Ok(fs) => drop(read_everything(&fs, 1 << 20)),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn directories_that_do_not_form_a_tree_are_refused() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir_all(tree.join("aaaa/bbbb")).unwrap();
    fs::create_dir_all(tree.join("cccc")).unwrap();
    if !mkfs(&tree, &image, &[]) {
        return;
    }
    let bytes = fs::read(&image).unwrap();
    let nid = |name: &str| {
        open(&image)
            .metadata_at(&path(name))
            .unwrap()
            .inode
            .to_le_bytes()
    };
    // Entries of 12 bytes begin with the inode number and lie in one block with their names.
    let replace = |from: [u8; 8], to: [u8; 8]| {
        let mut bytes = bytes.clone();
        let places: Vec<usize> = (0..bytes.len() - 11)
            .filter(|&at| bytes[at..at + 8] == from && bytes[at + 10..at + 12] == [2, 0])
            .collect();
        // The entry in the parent comes first or last; `.` and `..` are not followed, so all may change.
        for at in places {
            bytes[at..at + 8].copy_from_slice(&to);
        }
        repair(&mut bytes);
        let fs = Erofs::open(device(bytes)).unwrap();
        walk(&fs, &FsPath::root(), &mut |_| Ok(())).unwrap_err()
    };
    for error in [
        replace(nid("/cccc"), nid("/aaaa")),
        replace(nid("/aaaa/bbbb"), nid("/aaaa")),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}
