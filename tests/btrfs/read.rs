//! What we read equals what the kernel showed, and what mkfs.btrfs was given.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use flatbake::ErrorKind;
use flatbake::fs::btrfs::{Btrfs, probe};
use flatbake::fs::{ByPath, FileSystem, FileType, FsPath};
use tempfile::{NamedTempFile, TempDir};

use crate::btrfs::fixture::{device, image, run, tool, tree};
use crate::btrfs::manifest::{hash, hex, manifest};

pub fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

/// Compares line by line, so that a failure shows the entry.
pub fn same_tree(ours: &str, theirs: &str) {
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn fixtures_read_as_the_kernel_shows_them() {
    for name in [
        "oem-bgt",
        "oem-plain",
        "oem-v1cache",
        "kernel-zstd",
        "kernel-lzo",
        "kernel-zlib",
        "kernel-plain",
        "kernel-small",
        "kernel-shared",
    ] {
        let image = image(name);
        let device = device(image.path());
        assert!(probe(&*device).unwrap());
        let fs = Btrfs::open(device).unwrap();
        same_tree(&manifest(&fs), &tree(name));
        let label = fs.label().unwrap();
        assert_eq!(
            label,
            if name.starts_with("oem") { "OEM" } else { name }.as_bytes()
        );
        let capacity = fs.capacity().unwrap();
        assert!(
            capacity.free_bytes > capacity.total_bytes / 2
                && capacity.free_bytes < capacity.total_bytes,
            "{name}"
        );
    }
}

#[test]
fn other_subvolumes_are_listed_and_not_entered() {
    let image = image("kernel-zstd");
    let top = Btrfs::open_top_level(device(image.path())).unwrap();
    let names: Vec<_> = top
        .entries_at(&FsPath::root())
        .unwrap()
        .into_iter()
        .map(|e| (e.name, e.file_type))
        .collect();
    assert_eq!(
        names,
        [
            (b"only-at-the-top".to_vec(), FileType::File),
            (b"root".to_vec(), FileType::Directory),
            (b"snapshot".to_vec(), FileType::Directory)
        ]
    );
    assert_eq!(
        top.metadata_at(&path("/snapshot")).unwrap().file_type,
        FileType::Directory
    );
    for inside in ["/snapshot/etc", "/root/bin/numbers"] {
        let error = top.metadata_at(&path(inside)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains("another btrfs subvolume"),
            "{error}"
        );
    }
    assert_eq!(
        top.entries_at(&path("/snapshot")).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn every_offset_of_a_file_reads_the_same() {
    let image = image("kernel-zstd");
    let fs = Btrfs::open(device(image.path())).unwrap();
    for name in [
        "/bin/numbers",
        "/etc/patched",
        "/etc/sparse",
        "/etc/reflink",
        "/etc/inline",
        "/etc/preallocated",
    ] {
        let file = fs.open_at(&path(name)).unwrap();
        let whole = flatbake::fs::read_file(&fs, &path(name), 4 << 20).unwrap();
        let len = whole.len();
        for (from, to) in [
            (0, 1),
            (1, 5000),
            (4095, 4097),
            (131_071, 131_073),
            (len / 2, len),
            (len - 1, len),
            (len, len),
        ] {
            let from = from.min(len);
            let to = to.min(len);
            let mut part = vec![1; to - from];
            file.read_at(from as u64, &mut part).unwrap();
            assert!(part == whole[from..to], "{name} {from}..{to}");
        }
        assert_eq!(
            file.read_at(len as u64, &mut [0]).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

#[test]
fn errors_name_the_path_and_the_fault() {
    let image = image("oem-plain");
    let fs = Btrfs::open(device(image.path())).unwrap();
    let kind = |name: &str| fs.metadata_at(&path(name)).unwrap_err().kind();
    assert_eq!(kind("/nothing"), ErrorKind::NotFound);
    assert_eq!(kind("/grub.cfg/below"), ErrorKind::NotFound);
    assert!(
        fs.metadata_at(&path("/nothing"))
            .unwrap_err()
            .to_string()
            .starts_with("/nothing: ")
    );
    assert_eq!(
        fs.entries_at(&path("/grub.cfg")).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        fs.read_link_at(&path("/grub.cfg")).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        fs.open_at(&path("/deep")).map(drop).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let empty = NamedTempFile::new().unwrap();
    empty.as_file().set_len(1 << 20).unwrap();
    assert!(!probe(&*device(empty.path())).unwrap());
    assert_eq!(
        Btrfs::open(device(empty.path())).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

/// The logical address of a file's first extent, which is also its place on a device with one chunk per address.
fn place_of(image: &Path, needle: &[u8]) -> u64 {
    let bytes = fs::read(image).unwrap();
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap() as u64
}

#[test]
fn damaged_data_is_named_and_a_second_copy_helps() {
    let image = image("kernel-plain");
    let at = place_of(image.path(), b"\n59998\n59999\n60000\n");
    image.as_file().write_at(b"?", at + 3).unwrap();
    let fs = Btrfs::open(device(image.path())).unwrap();
    let error = flatbake::fs::read_file(&fs, &path("/bin/numbers"), 1 << 20).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("checksum of data block"),
        "{error}"
    );
    // The root tree's root, in the first of two copies of metadata: the other one is read instead.
    let Some(mut btrfs) = tool("btrfs") else {
        return;
    };
    let (_, dump) = run(btrfs
        .args(["inspect-internal", "dump-super"])
        .arg(image.path()));
    let root: u64 = dump
        .lines()
        .find_map(|line| line.strip_prefix("root\t"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let (_, map) = run(tool("btrfs-map-logical")
        .unwrap()
        .args(["-l", &root.to_string()])
        .arg(image.path()));
    let places: Vec<u64> = map
        .lines()
        .filter_map(|l| l.split("physical ").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(places.len(), 2, "{map}");
    image
        .as_file()
        .write_at(b"damage", places[0] + 200)
        .unwrap();
    assert!(Btrfs::open(device(image.path())).is_ok());
    image
        .as_file()
        .write_at(b"damage", places[1] + 200)
        .unwrap();
    let error = Btrfs::open(device(image.path())).unwrap_err();
    assert!(
        error.to_string().contains(&format!(
            "tree block {root}: crc32c checksum does not match"
        )),
        "{error}"
    );
}

#[test]
fn a_mirror_replaces_a_damaged_superblock() {
    let image = image("oem-plain");
    image.as_file().write_at(b"\xff", 65536 + 300).unwrap();
    let fs = Btrfs::open(device(image.path())).unwrap();
    same_tree(&manifest(&fs), &tree("oem-plain"));
    image.as_file().write_at(b"\xff", (64 << 20) + 300).unwrap();
    let error = Btrfs::open(device(image.path())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("superblock at 65536: crc32c checksum"),
        "{error}"
    );
}

pub fn mkfs(folder: &Path, options: &[&str]) -> Option<NamedTempFile> {
    let image = NamedTempFile::new().unwrap();
    image.as_file().set_len(256 << 20).unwrap();
    let (ok, text) = run(tool("mkfs.btrfs")?
        .arg("-q")
        .arg("--rootdir")
        .arg(folder)
        .args(options)
        .arg(image.path()));
    assert!(ok, "{text}");
    Some(image)
}

#[test]
fn mkfs_trees_of_every_layout() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    let mut expected = Vec::new();
    for (number, size) in [0usize, 1, 2000, 4096, 70_000, 1_500_000]
        .into_iter()
        .enumerate()
    {
        let content: Vec<u8> = (0..size).map(|i| ((i * i) >> 3).to_le_bytes()[0]).collect();
        fs::write(folder.path().join(format!("a/file{number}")), &content).unwrap();
        expected.push(hex(&<sha2::Sha256 as sha2::Digest>::digest(&content)));
    }
    symlink("../file1", folder.path().join("a/b/link")).unwrap();
    let layouts: [&[&str]; 8] = [
        &["--mixed", "-m", "single", "-d", "single"],
        &["-m", "single", "-d", "single", "-n", "4096"],
        &["-m", "dup", "-n", "16384", "--csum", "xxhash"],
        &["-m", "dup", "-d", "dup", "-n", "32768", "--csum", "sha256"],
        &["-n", "65536", "--csum", "blake2"],
        &["-s", "16384", "-n", "16384"],
        &["-s", "65536", "-n", "65536"],
        &["--mixed", "-O", "^no-holes", "-R", "^free-space-tree"],
    ];
    for options in layouts {
        let Some(image) = mkfs(folder.path(), options) else {
            return;
        };
        let fs = Btrfs::open(device(image.path())).unwrap();
        for (number, expected) in expected.iter().enumerate() {
            assert_eq!(
                &hash(&fs, &path(&format!("/a/file{number}"))),
                expected,
                "{options:?}"
            );
        }
        assert_eq!(fs.read_link_at(&path("/a/b/link")).unwrap(), b"../file1");
    }
}

#[test]
fn several_devices_and_profiles_are_refused() {
    let images = [NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap()];
    for image in &images {
        image.as_file().set_len(256 << 20).unwrap();
    }
    let Some(mut mkfs) = tool("mkfs.btrfs") else {
        return;
    };
    let (ok, text) = run(mkfs
        .args(["-q", "-m", "raid1", "-d", "raid0"])
        .args(images.iter().map(NamedTempFile::path)));
    assert!(ok, "{text}");
    let error = Btrfs::open(device(images[0].path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("on 2 devices"), "{error}");
}
