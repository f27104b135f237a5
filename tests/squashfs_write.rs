//! squashfs images written by flatbake: compared with their source by `unsquashfs` and by our own reader.

use std::fs::File;
use std::path::Path;

use crate::common::judges::squashfs_clean;
use crate::common::programs::{ask, judge};
use crate::common::reading::{path, succeed, text};
use crate::common::tree::{compare, squashfs_tree};
use crate::common::trees::make_tree;
use crate::common::{noise, scratch_dir};
use flatbake::block::FileDevice;
use flatbake::fs::squashfs::{AddedFile, Squashfs, SquashfsCompression, SquashfsOptions, write};
use flatbake::fs::{Attributes, ByPath, FileSystem, FileType, FsPath, Timestamp, read_file, walk};
use flatbake::{ErrorKind, NoProgress};

/// A tree by mksquashfs with devices, other owners and attributes, which ordinary files do not show.
fn source(dir: &Path) -> Option<Squashfs<FileDevice>> {
    let tree = dir.join("tree");
    let image = dir.join("source.raw");
    let pseudo = dir.join("pseudo");
    make_tree(&tree, 700);
    let long = "v".repeat(3000);
    for (at, name, value) in [
        ("usr/lib/text", "user.note", "again"),
        ("one", "user.note", "again"),
        ("usr/lib/exact", "user.long", &*long),
        ("usr/lib/exact", "user.short", "s"),
        ("empty", "user.empty", ""),
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
    let nodes = "/dev d 0755 3 4\n/dev/disk b 0660 0 6 259 70000\n/dev/null c 0666 0 0 1 3\n/dev/pipe i 0600 7 8 f\n\
                 /dev/socket i 0600 70000 8 s\n";
    std::fs::write(&pseudo, nodes).unwrap();
    let options = [
        "-noappend",
        "-no-progress",
        "-quiet",
        "-always-use-fragments",
        "-pf",
        text(&pseudo),
    ];
    succeed(
        "mksquashfs",
        &[&[text(&tree), text(&image)], &options[..]].concat(),
    )?;
    Some(open(&image))
}

fn open(image: &Path) -> Squashfs<FileDevice> {
    Squashfs::open(FileDevice::open(image).unwrap()).unwrap()
}

fn pack(source: &dyn FileSystem, image: &Path, added: &[AddedFile], options: &SquashfsOptions) {
    let out = File::create_new(image).unwrap();
    let report = write(source, added, &out, options, &NoProgress).unwrap();
    assert_eq!(report.image_bytes, out.metadata().unwrap().len());
}

/// Everything that our reader tells of a tree.
fn told(fs: &dyn FileSystem) -> Vec<String> {
    let mut lines = Vec::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        let mut metadata = entry.metadata;
        let content = match metadata.file_type {
            FileType::File => crc32fast::hash(&read_file(fs, &entry.path, 1 << 30)?).to_string(),
            FileType::Symlink => String::from_utf8(fs.read_link_at(&entry.path)?).unwrap(),
            _ => String::new(),
        };
        (metadata.inode, metadata.size) = (
            0,
            if metadata.file_type == FileType::Directory {
                0
            } else {
                metadata.size
            },
        );
        lines.push(format!(
            "{} {metadata:?} {content} {:?}",
            entry.path,
            fs.xattrs_at(&entry.path)?
        ));
        Ok(())
    })
    .unwrap();
    lines
}

#[test]
fn the_tree_comes_back() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    for (name, compression, block_bytes) in [
        ("gzip", SquashfsCompression::Gzip(6), 128 << 10),
        ("zstd", SquashfsCompression::Zstd(3), 128 << 10),
        ("small", SquashfsCompression::Gzip(1), 4096),
        ("large", SquashfsCompression::Zstd(9), 1 << 20),
        ("xz", SquashfsCompression::Xz(1), 64 << 10),
        ("lz4", SquashfsCompression::Lz4, 128 << 10),
        ("plain", SquashfsCompression::None, 128 << 10),
    ] {
        let image = dir.path().join(name);
        pack(
            &source,
            &image,
            &[],
            &SquashfsOptions {
                compression,
                block_bytes,
                ..SquashfsOptions::default()
            },
        );
        let back = open(&image);
        assert!(told(&back) == told(&source), "{name}");
        squashfs_clean(&image).unwrap();
        let both = [
            squashfs_tree(&dir.path().join("source.raw")),
            squashfs_tree(&image),
        ];
        if let [Some(wanted), Some(found)] = both {
            compare(&wanted, &found).unwrap();
        }
        let list = |image: &Path| {
            let text = succeed("unsquashfs", &["-lln", text(image)])?;
            // The size of a directory is that of its listing, which depends on the order of the inodes.
            let mut lines: Vec<String> = text
                .lines()
                .filter(|line| !line.starts_with('d'))
                .map(str::to_owned)
                .collect();
            lines.sort();
            Some(lines)
        };
        assert!(
            list(&image) == list(&dir.path().join("source.raw")),
            "{name}"
        );
        let stat = succeed("unsquashfs", &["-s", text(&image)]).unwrap_or_default();
        assert!(
            stat.contains("Filesystem is exportable via NFS") || judge("unsquashfs").is_none(),
            "{stat}"
        );
        let packed = std::fs::metadata(&image).unwrap().len();
        println!("{name}: {packed} bytes");
        assert_eq!(
            packed < 1 << 20,
            compression != SquashfsCompression::None,
            "{name} is compressed to {packed} bytes"
        );
    }
}

#[test]
fn the_kernels_smallest_trees() {
    let dir = scratch_dir();
    for (name, pseudo) in [
        ("empty", "/ d 0750 5 6\n"),
        ("one", "/ d 0755 0 0\n/a i 0600 0 0 f\n"),
    ] {
        let tree = dir.path().join(format!("{name}.d"));
        let image = dir.path().join(name);
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(dir.path().join("pseudo"), pseudo).unwrap();
        let options = [
            "-noappend",
            "-no-progress",
            "-quiet",
            "-pf",
            text(&dir.path().join("pseudo")),
        ]
        .map(str::to_owned);
        let options: Vec<&str> = [text(&tree), text(&image)]
            .into_iter()
            .chain(options.iter().map(|s| &**s))
            .collect();
        let Some(_) = succeed("mksquashfs", &options) else {
            return;
        };
        let copy = dir.path().join(format!("{name}.copy"));
        pack(&open(&image), &copy, &[], &SquashfsOptions::default());
        assert_eq!(told(&open(&copy)), told(&open(&image)));
        squashfs_clean(&copy).unwrap();
    }
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let bytes = |name: &str, threads: usize| {
        let image = dir.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let source = open(&dir.path().join("source.raw"));
        pool.install(move || pack(&source, &image, &[], &SquashfsOptions::default()));
        std::fs::read(dir.path().join(name)).unwrap()
    };
    let outside = dir.path().join("outside");
    pack(&source, &outside, &[], &SquashfsOptions::default());
    let outside = std::fs::read(outside).unwrap();
    for threads in [1, 2, 5] {
        assert!(
            bytes(&threads.to_string(), threads) == outside,
            "{threads} threads"
        );
    }
}

fn file(at: &str, content: &[u8]) -> AddedFile {
    let attributes = Attributes {
        mode: 0o444,
        uid: 9,
        gid: 0,
        mtime: Timestamp { secs: 99, nanos: 0 },
    };
    AddedFile {
        path: path(at),
        attributes,
        content: content.to_vec(),
    }
}

#[test]
fn files_are_added_and_replaced_and_times_held_back() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let image = dir.path().join("image");
    let added = [
        file("/.new", b""),
        file("/usr/lib/text", &noise(4, 200_000)),
        file("/usr/bin/link", b"no link"),
    ];
    pack(
        &source,
        &image,
        &added,
        &SquashfsOptions {
            latest_time: Some(1234),
            ..SquashfsOptions::default()
        },
    );
    squashfs_clean(&image).unwrap();
    let back = open(&image);
    for added in &added {
        assert_eq!(
            read_file(&back, &added.path, 1 << 20).unwrap(),
            added.content,
            "{}",
            added.path
        );
        let metadata = back.metadata_at(&added.path).unwrap();
        assert_eq!(
            (
                metadata.mode,
                metadata.uid,
                metadata.mtime.secs,
                metadata.nlink
            ),
            (0o444, 9, 99, 1)
        );
    }
    assert_eq!(
        back.xattrs_at(&path("/usr/lib/text")).unwrap(),
        source.xattrs_at(&path("/usr/lib/text")).unwrap()
    );
    let other_name = back.metadata_at(&path("/text-elsewhere")).unwrap();
    assert_eq!((other_name.nlink, other_name.mtime.secs), (2, 1234));
    let text = b"all work and no play makes a dull file\n".repeat(20_000);
    assert_eq!(
        read_file(&back, &path("/text-elsewhere"), 1 << 20).unwrap(),
        text
    );
}

#[test]
fn files_of_equal_content_are_stored_once() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let large = noise(7, 300_000);
    let small = noise(8, 5000);
    let mut other = large.clone();
    other[299_999] ^= 1;
    let once = [file("/large", &large), file("/small", &small)];
    let again = [
        file("/large again", &large),
        file("/usr/large", &large),
        file("/small again", &small),
        file("/usr/small", &small),
    ];
    let all = [&once[..], &again[..], &[file("/other", &other)]].concat();
    let options = SquashfsOptions {
        compression: SquashfsCompression::None,
        ..SquashfsOptions::default()
    };
    let bytes = |name: &str, added: &[AddedFile]| {
        let image = dir.path().join(name);
        pack(&source, &image, added, &options);
        squashfs_clean(&image).unwrap();
        let back = open(&image);
        for added in added {
            let content = read_file(&back, &added.path, 1 << 20).unwrap();
            assert!(content == added.content, "{name}: {}", added.path);
        }
        image.metadata().unwrap().len()
    };
    let without = bytes("once", &once);
    let with = bytes("all", &all);
    assert!(
        (296_000..310_000).contains(&(with - without)),
        "{without} bytes, then {with}: only the other large file takes room"
    );
    // mksquashfs finds the same from the unpacked tree.
    let tree = dir.path().join("unpacked");
    let image = dir.path().join("usual");
    let written = dir.path().join("all");
    let unpack = [
        "-no-progress",
        "-no-xattrs",
        "-d",
        text(&tree),
        text(&written),
    ];
    succeed("unsquashfs", &unpack).unwrap();
    let options = [
        "-noappend",
        "-no-progress",
        "-quiet",
        "-noD",
        "-noF",
        "-noI",
        "-noX",
    ];
    succeed(
        "mksquashfs",
        &[&[text(&tree), text(&image)], &options[..]].concat(),
    )
    .unwrap();
    let usual = image.metadata().unwrap().len();
    assert!(with <= usual + 8192, "{with} bytes, {usual} by mksquashfs");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let dir = scratch_dir();
    let Some(source) = source(dir.path()) else {
        return;
    };
    let attempt = |added: &[AddedFile], options: &SquashfsOptions| {
        let out = tempfile::tempfile().unwrap();
        write(&source, added, &out, options, &NoProgress).unwrap_err()
    };
    let usual = SquashfsOptions::default();
    assert_eq!(
        attempt(&[file("/no/such/folder", b"")], &usual).kind(),
        ErrorKind::NotFound
    );
    for at in ["/", "/usr", "/one/two"] {
        let error = attempt(&[file(at, b"")], &usual);
        assert!(
            matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound),
            "{at}: {error}"
        );
    }
    for block_bytes in [0, 2048, 5000, 2 << 20] {
        let options = SquashfsOptions {
            block_bytes,
            ..usual.clone()
        };
        assert!(
            attempt(&[], &options)
                .to_string()
                .contains("4096 to 1048576")
        );
    }
    for compression in [
        SquashfsCompression::Gzip(0),
        SquashfsCompression::Zstd(20),
        SquashfsCompression::Xz(10),
    ] {
        assert_eq!(
            attempt(
                &[],
                &SquashfsOptions {
                    compression,
                    ..usual.clone()
                }
            )
            .kind(),
            ErrorKind::InvalidInput
        );
    }
    let error = attempt(
        &[],
        &SquashfsOptions {
            content_max: 1 << 20,
            ..usual.clone()
        },
    );
    assert!(error.to_string().contains("at most 1048576"), "{error}");
    let full = tempfile::tempfile().unwrap();
    full.set_len(1).unwrap();
    assert!(write(&source, &[], &full, &usual, &NoProgress).is_err());
}
