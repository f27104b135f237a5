//! squashfs images by `mksquashfs` and `sqfstar`, compared with the source tree and with `unsquashfs`; hostile images.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::programs::{ask, command, feed, judge, must_run};
use crate::common::random::Random;
use crate::common::reading::{assert_same_tree, device, path, read_everything, succeed, text};
use crate::common::trees::{make_small_tree, make_tree};
use crate::common::{longer, noise, scratch_dir};
use flatbake::ErrorKind;
use flatbake::block::{BlockDevice, FileDevice};
use flatbake::fs::squashfs::{self, Squashfs};
use flatbake::fs::{ByPath, FileSystem, FileType, FsPath, walk};

/// Makes `image` from the tree; `false` where mksquashfs is missing.
fn mksquashfs(tree: &Path, image: &Path, options: &[&str]) -> bool {
    let mut args = vec![
        text(tree),
        text(image),
        "-noappend",
        "-all-root",
        "-no-progress",
        "-quiet",
    ];
    args.extend(options);
    succeed("mksquashfs", &args).is_some()
}

fn open(image: &Path) -> Squashfs<FileDevice> {
    let device = FileDevice::open(image).unwrap();
    assert!(squashfs::probe(&device).unwrap());
    Squashfs::open(device).unwrap()
}

/// The listing of `unsquashfs -lln`: mode, owner, size or device, time, path.
fn listing(fs: &dyn FileSystem) -> Vec<String> {
    let mut lines = Vec::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        let metadata = entry.metadata;
        let bit = |shift: u32, letters: &str| {
            let set = metadata.mode >> shift & 1 == 1;
            if set {
                letters.to_owned()
            } else {
                "-".to_owned()
            }
        };
        let kind = match metadata.file_type {
            FileType::File => '-',
            FileType::Directory => 'd',
            FileType::Symlink => 'l',
            FileType::CharDevice => 'c',
            FileType::BlockDevice => 'b',
            FileType::Fifo => 'p',
            FileType::Socket => 's',
        };
        let special = |shift: u32, exec: u32, both: &str, alone: &str| match (
            metadata.mode >> shift & 1,
            metadata.mode >> exec & 1,
        ) {
            (1, 1) => both.to_owned(),
            (1, 0) => alone.to_owned(),
            _ => bit(exec, "x"),
        };
        let mode = [
            bit(8, "r"),
            bit(7, "w"),
            special(11, 6, "s", "S"),
            bit(5, "r"),
            bit(4, "w"),
            special(10, 3, "s", "S"),
            bit(2, "r"),
            bit(1, "w"),
            special(9, 0, "t", "T"),
        ]
        .concat();
        let size = match metadata.file_type {
            FileType::CharDevice | FileType::BlockDevice => {
                format!("{},{}", metadata.device.0, metadata.device.1)
            }
            _ => metadata.size.to_string(),
        };
        let mut name = entry.path.to_string();
        if metadata.file_type == FileType::Symlink {
            name += &format!(
                " -> {}",
                String::from_utf8(fs.read_link_at(&entry.path)?).unwrap()
            );
        }
        let name = if entry.path.is_root() {
            String::new()
        } else {
            name
        };
        lines.push(format!(
            "{kind}{mode} {}/{} {size} squashfs-root{name}",
            metadata.uid, metadata.gid
        ));
        Ok(())
    })
    .unwrap();
    lines.sort();
    lines
}

/// What unsquashfs says, its date and time (two words) left out and its columns closed up.
fn judged_listing(image: &Path) -> Option<Vec<String>> {
    let output = succeed("unsquashfs", &["-lln", text(image)])?;
    let mut lines: Vec<String> = output
        .lines()
        .filter(|line| line.contains("squashfs-root"))
        .map(|line| {
            let (columns, name) = line.split_at(line.find("squashfs-root").unwrap());
            let words: Vec<&str> = columns.split_whitespace().collect();
            // Devices print as "major, minor".
            let size = words[2..words.len() - 2].concat();
            format!("{} {} {size} {name}", words[0], words[1])
        })
        .collect();
    lines.sort();
    Some(lines)
}

#[test]
fn every_compressor_gives_the_tree_back() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    make_tree(&tree, 300);
    let image = dir.path().join("image.raw");
    for options in [
        &["-comp", "gzip"][..],
        &["-comp", "zstd", "-Xcompression-level", "19", "-b", "512k"],
        &["-comp", "xz"],
        &[
            "-comp",
            "xz",
            "-Xbcj",
            "x86,arm,armthumb,powerpc,sparc",
            "-b",
            "1M",
        ],
        &["-comp", "lz4", "-b", "4096"],
        &["-comp", "lz4", "-Xhc"],
        &["-comp", "lzma"],
        &["-comp", "lzo"],
        &["-comp", "lzo", "-Xalgorithm", "lzo1x_1"],
        &["-noI", "-noD", "-noF", "-noX"],
        &["-no-fragments", "-no-exports"],
        &["-always-use-fragments", "-no-duplicates"],
        &["-tailends", "-comp", "zstd", "-noI"],
    ] {
        if !mksquashfs(&tree, &image, options) {
            return;
        }
        let fs = open(&image);
        assert_same_tree(&fs, &tree);
        assert_eq!(listing(&fs), judged_listing(&image).unwrap(), "{options:?}");
    }
}

#[test]
fn extraction_by_unsquashfs_is_the_same() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    let out = dir.path().join("out");
    make_tree(&tree, 50);
    if !mksquashfs(&tree, &image, &["-comp", "zstd"]) {
        return;
    }
    succeed(
        "unsquashfs",
        &["-no-progress", "-d", text(&out), text(&image)],
    )
    .unwrap();
    assert_same_tree(&open(&image), &out);
    // The judge says no: one byte of a data block changed.
    let mut bytes = fs::read(&image).unwrap();
    let tool = fs::read(tree.join("usr/bin/tool")).unwrap();
    let at = bytes
        .windows(16)
        .position(|window| window == &tool[1000..1016])
        .unwrap();
    bytes[at] ^= 0x55;
    fs::write(&image, &bytes).unwrap();
    fs::remove_dir_all(&out).unwrap();
    ask(
        "unsquashfs",
        ["-no-progress", "-d", text(&out), text(&image)],
        b"",
    )
    .unwrap();
    assert!(
        fs::read(out.join("usr/bin/tool")).unwrap() != tool,
        "unsquashfs does not see a broken byte"
    );
}

#[test]
fn five_thousand_files_with_and_without_an_index() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir_all(tree.join("d")).unwrap();
    for number in 0..5000 {
        fs::write(tree.join(format!("d/{number}")), []).unwrap();
    }
    if !mksquashfs(&tree, &image, &[]) {
        return;
    }
    let fs = open(&image);
    let start = Instant::now();
    let entries = fs.entries_at(&path("/d")).unwrap();
    assert_eq!(entries.len(), 5000);
    assert!(entries.is_sorted_by(|a, b| a.name < b.name));
    for entry in &entries {
        let metadata = fs
            .metadata_at(&path("/d").join(&entry.name).unwrap())
            .unwrap();
        assert_eq!((metadata.inode, metadata.size), (entry.node.get(), 0));
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let error = fs.metadata_at(&path("/d/5000")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        fs.metadata_at(&path("/d/1/2")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(fs.entries_at(&path("/d/1")).is_err());
    assert!(fs.open_at(&path("/d")).is_err() && fs.read_link_at(&path("/d")).is_err());
}

#[test]
fn devices_owners_and_special_files() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_tree(&tree, 3);
    must_run("mkfifo", [tree.join("pipe")]);
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let pseudo = [
        "-p",
        "null c 666 0 0 1 3",
        "-p",
        "disk b 660 7 6 259 1048575",
        "-p",
        "mine d 1777 1000 70000",
        "-p",
        "usr/bin/tool m 2711 1234567 3",
    ];
    let args: Vec<&str> = [
        text(&tree),
        text(&image),
        "-noappend",
        "-quiet",
        "-no-progress",
    ]
    .to_vec();
    if succeed("mksquashfs", &[&args[..], &pseudo].concat()).is_none() {
        return;
    }
    let fs = open(&image);
    // unsquashfs prints eight bits of a minor number, so the large one is left out there.
    let without_disk = |lines: Vec<String>| {
        lines
            .into_iter()
            .filter(|line| !line.ends_with("/disk"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        without_disk(listing(&fs)),
        without_disk(judged_listing(&image).unwrap())
    );
    assert_eq!(
        fs.metadata_at(&path("/disk")).unwrap().device,
        (259, 1_048_575)
    );
    assert_eq!(fs.metadata_at(&path("/mine")).unwrap().gid, 70_000);
}

/// One member of a tar with PAX extended attributes.
fn tar_member(name: &str, content: &[u8], xattrs: &[(&str, &[u8])]) -> Vec<u8> {
    let header = |name: &str, kind: u8, size: usize| {
        let mut block = vec![0; 512];
        let mut put =
            |at: usize, field: &str| block[at..at + field.len()].copy_from_slice(field.as_bytes());
        put(0, name);
        put(100, "0000644\0");
        put(108, "0000000\0");
        put(116, "0000000\0");
        put(124, &format!("{size:011o}\0"));
        put(136, "00000000000\0");
        put(148, "        ");
        put(257, "ustar\x0000");
        block[156] = kind;
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    };
    let padded = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let mut records = Vec::new();
    for (key, value) in xattrs {
        let rest = [format!(" SCHILY.xattr.{key}=").as_bytes(), value, b"\n"].concat();
        let len = (rest.len()..)
            .find(|len| len.to_string().len() + rest.len() == *len)
            .unwrap();
        records.extend([len.to_string().as_bytes(), &rest].concat());
    }
    let mut member = Vec::new();
    if !records.is_empty() {
        member.extend(header("pax", b'x', records.len()));
        member.extend(padded(&records));
    }
    member.extend(header(name, b'0', content.len()));
    member.extend(padded(content));
    member
}

#[test]
fn xattrs_of_all_namespaces_in_and_out_of_line() {
    let dir = scratch_dir();
    let image = dir.path().join("image.raw");
    let Some(sqfstar) = judge("sqfstar") else {
        return;
    };
    let long = noise(3, 5000);
    let strict: (&str, &[u8]) = ("user.extension-release.strict", b"false");
    let mut tar = Vec::new();
    tar.extend(tar_member(
        "all",
        b"x",
        &[
            strict,
            ("trusted.overlay.opaque", b"y"),
            (
                "security.capability",
                &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
            ("user.empty", b""),
        ],
    ));
    tar.extend(tar_member(
        "long-1",
        b"",
        &[("user.long", &long), ("user.a", b"1")],
    ));
    tar.extend(tar_member(
        "long-2",
        b"",
        &[("user.long", &long), ("user.b", b"2")],
    ));
    tar.extend(tar_member("none", b"", &[]));
    for number in 0..600 {
        let value = number.to_string();
        tar.extend(tar_member(
            &format!("n{number}"),
            b"",
            &[("user.number", value.as_bytes())],
        ));
    }
    tar.extend([0; 1024]);
    for options in [&[][..], &["-noX"]] {
        let _ = fs::remove_file(&image);
        let output = feed(
            command(&sqfstar)
                .args(["-quiet", "-no-progress"])
                .args(options)
                .arg(&image),
            &tar,
        );
        assert!(output.status.success(), "{output:?}");
        let fs = open(&image);
        let named = |entry: &str| {
            let xattrs = fs.xattrs_at(&path(entry)).unwrap();
            xattrs
                .into_iter()
                .map(|x| (String::from_utf8(x.name).unwrap(), x.value))
                .collect::<Vec<_>>()
        };
        let names: Vec<String> = named("/all").into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "security.capability",
                "trusted.overlay.opaque",
                "user.empty",
                strict.0
            ]
        );
        assert_eq!(named("/all")[3].1, b"false");
        assert_eq!(named("/all")[2].1, b"");
        assert_eq!(
            named("/long-1"),
            [
                ("user.a".into(), b"1".to_vec()),
                ("user.long".into(), long.clone())
            ]
        );
        assert_eq!(
            named("/long-2"),
            [
                ("user.b".into(), b"2".to_vec()),
                ("user.long".into(), long.clone())
            ]
        );
        assert_eq!(named("/none"), []);
        for number in 0..600 {
            assert_eq!(
                named(&format!("/n{number}"))[0].1,
                number.to_string().into_bytes()
            );
        }
        let directory = fs.metadata_at(&FsPath::root()).unwrap();
        assert_eq!(directory.file_type, FileType::Directory);
    }
}

#[test]
fn small_reads_of_a_large_file_are_not_quadratic() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir(&tree).unwrap();
    let content = b"0123456789abcdef".repeat(2 << 20);
    fs::write(tree.join("large"), &content).unwrap();
    if !mksquashfs(&tree, &image, &["-comp", "gzip", "-b", "4096"]) {
        return;
    }
    let fs = open(&image);
    let file = fs.open_at(&path("/large")).unwrap();
    let start = Instant::now();
    let mut buffer = [0; 1000];
    let mut at = 0;
    while at < content.len() {
        let len = buffer.len().min(content.len() - at);
        file.read_at(at as u64, &mut buffer[..len]).unwrap();
        assert!(buffer[..len] == content[at..at + len]);
        at += len;
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?} for 32 MiB in steps of 1000 bytes",
        start.elapsed()
    );
}

/// A small image and how often to change it.
fn mutate(bytes: &[u8], rounds: u64, seed: u64, targets: &[std::ops::Range<usize>]) -> (u64, u64) {
    let rounds = longer(rounds);
    let mut random = Random::new(seed);
    let mut opened = 0;
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        let mut changed = bytes.to_vec();
        for _ in 0..1 + random.below(3) {
            let range = targets[random.below(targets.len())].clone();
            let at = range.start + random.below(range.len());
            match random.below(4) {
                0 => changed[at] ^= 1 << random.below(8),
                1 => changed[at] = [0, 0xff, 0x7f, 0x80, 1][random.below(5)],
                2 => changed[at] = u8::try_from(random.below(256)).unwrap(),
                _ => {
                    let from = random.below(bytes.len());
                    let len = [1, 2, 4, 8][random.below(4)]
                        .min(range.end - at)
                        .min(bytes.len() - from);
                    changed[at..at + len].copy_from_slice(&bytes[from..from + len]);
                }
            }
        }
        if random.below(50) == 0 {
            changed.truncate(random.below(bytes.len()));
        }
        let start = Instant::now();
        if let Ok(fs) = Squashfs::open(device(changed)) {
            opened += 1;
            read_everything(&fs, 4 << 20);
        }
        longest = longest.max(start.elapsed());
    }
    assert!(
        longest < Duration::from_secs(2),
        "one image took {longest:?}"
    );
    (opened, rounds)
}

#[test]
fn mutated_images_never_panic_hang_or_swell() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_small_tree(&tree);
    let pseudo = [
        "-p",
        "null c 666 0 0 1 3",
        "-p",
        "disk b 660 7 6 8 1",
        "-b",
        "4096",
    ];
    let plain = [&["-noI", "-noD", "-noF", "-noX"][..], &pseudo].concat();
    if !mksquashfs(&tree, &image, &plain) {
        return;
    }
    let bytes = fs::read(&image).unwrap();
    let field = |at: usize| {
        usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
    };
    let inodes = field(64);
    let used = field(40);
    assert!(inodes < used && used <= bytes.len());
    // The superblock is the door: most changes belong behind it.
    let (opened, rounds) = mutate(
        &bytes,
        16_000,
        1,
        &[inodes..used, inodes..field(72), field(72)..used, 96..used],
    );
    assert!(
        opened * 10 > rounds * 8,
        "mutations must reach what lies behind the superblock: {opened} of {rounds}"
    );
    let (opened, _) = mutate(&bytes, 4000, 2, &[0..96, inodes..used]);
    assert!(opened > 100, "{opened}");
    for (seed, compressor) in ["gzip", "zstd", "xz", "lz4", "lzma"]
        .into_iter()
        .enumerate()
    {
        let packed = [&["-comp", compressor][..], &pseudo].concat();
        assert!(mksquashfs(&tree, &image, &packed));
        let bytes = fs::read(&image).unwrap();
        let used = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
        mutate(&bytes, 1500, 10 + seed as u64, &[0..used, 96..used]);
    }
}

#[test]
fn directories_that_do_not_form_a_tree_are_refused() {
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    fs::create_dir_all(tree.join("aaaa/bbbb")).unwrap();
    fs::create_dir_all(tree.join("cccc")).unwrap();
    if !mksquashfs(&tree, &image, &["-noI"]) {
        return;
    }
    let bytes = fs::read(&image).unwrap();
    let entry = |name: &[u8]| bytes.windows(4).rposition(|window| window == name).unwrap() - 8;
    let (a, b, c) = (entry(b"aaaa"), entry(b"bbbb"), entry(b"cccc"));
    let count = |bytes: &[u8]| {
        let fs = Squashfs::open(device(bytes.to_vec())).unwrap();
        let mut seen = 0;
        walk(&fs, &FsPath::root(), &mut |_| {
            seen += 1;
            Ok(())
        })
        .map(|()| seen)
    };
    assert_eq!(count(&bytes).unwrap(), 4);
    // b becomes its own parent; c becomes a second name of a.
    for (to, from) in [(b, a), (c, a)] {
        let mut bytes = bytes.clone();
        bytes.copy_within(from..from + 2, to);
        let error = count(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("also elsewhere"), "{error}");
    }
}

#[test]
fn a_device_longer_than_the_filesystem_and_no_filesystem_at_all() {
    assert!(!squashfs::probe(&*device(vec![])).unwrap());
    assert!(!squashfs::probe(&*device(vec![0; 4096])).unwrap());
    assert_eq!(
        Squashfs::open(device(vec![0; 4096])).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let dir = scratch_dir();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image.raw");
    make_tree(&tree, 3);
    if !mksquashfs(&tree, &image, &["-nopad"]) {
        return;
    }
    let mut bytes = fs::read(&image).unwrap();
    let used = bytes.len() as u64;
    bytes.resize(bytes.len() + 70_000, 0xaa);
    let device = device(bytes);
    assert!(device.size() > used);
    let fs = Squashfs::open(device).unwrap();
    assert_eq!(fs.capacity().unwrap().total_bytes, used);
    assert_same_tree(&fs, &tree);
}
