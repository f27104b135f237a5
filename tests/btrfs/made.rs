//! Filesystems that mkfs.btrfs made, filled and emptied by us; their limits and refusals.

use std::fs;
use std::io::Read;
use std::path::Path;

use flatbake::ErrorKind;
use flatbake::block::BlockDevice;
use flatbake::fs::btrfs::{Btrfs, BtrfsEditor};
use flatbake::fs::{ByPath, FileSystem, FileSystemMut, FsPath};
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use crate::btrfs::fixture::{
    Target, assert_clean, blank, check, device, image, run, same_bytes, tool,
};
use crate::btrfs::kernel;
use crate::btrfs::manifest::{hex, manifest, shown};
use crate::btrfs::read::path;
use crate::btrfs::write::{attributes, commit, edit, noise, put, text};

const MIB: u64 = 1 << 20;

/// An empty filesystem; `None` without mkfs.btrfs.
fn made(size: u64, options: &[&str]) -> Option<NamedTempFile> {
    let image = blank(size);
    let (ok, text) = run(tool("mkfs.btrfs")?
        .args(["-q", "-L", "made"])
        .args(options)
        .arg(image.path()));
    assert!(ok, "{options:?}: {text}");
    Some(image)
}

/// What the superblock says of a filesystem's use.
fn bytes_used(image: &Path) -> Option<u64> {
    let (_, text) = run(tool("btrfs")?
        .args(["inspect-internal", "dump-super"])
        .arg(image));
    text.lines()
        .find_map(|line| line.strip_prefix("bytes_used"))
        .map(|value| value.trim().parse().unwrap())
}

/// `btrfs restore` brings back the files that the manifest tells of.
fn restores(image: &Path, expected: &str) {
    let Some(mut btrfs) = tool("btrfs") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let (ok, text) = run(btrfs.args(["restore", "-S"]).arg(image).arg(folder.path()));
    assert!(ok, "{text}");
    let mut seen = 0;
    for line in expected.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let plain = fields[0].bytes().all(|byte| byte != b'\\');
        if fields[1].starts_with("100") && plain {
            let content = fs::read(folder.path().join(&fields[0][1..])).unwrap();
            assert_eq!(hex(&Sha256::digest(&content)), fields[7], "{}", fields[0]);
            seen += 1;
        } else if fields[1].starts_with("120") && plain {
            let target = fs::read_link(folder.path().join(&fields[0][1..])).unwrap();
            assert_eq!(shown(target.as_os_str().as_encoded_bytes()), fields[7]);
        }
    }
    assert!(seen > 3);
}

#[test]
fn every_layout_of_mkfs_takes_files() {
    let layouts: [(u64, &[&str], &[u8]); 10] = [
        (128, &["--mixed", "-m", "single", "-d", "single"], b"zlib"),
        (
            512,
            &["--mixed", "-m", "dup", "-d", "dup", "--csum", "xxhash"],
            b"zlib",
        ),
        (128, &["-m", "single", "-d", "single", "-n", "4096"], b"lzo"),
        (256, &["-m", "dup", "-d", "single"], b"zstd"),
        (
            512,
            &["-m", "dup", "-d", "dup", "-n", "32768", "--csum", "sha256"],
            b"",
        ),
        (
            256,
            &["-n", "65536", "--csum", "blake2", "-O", "^no-holes"],
            b"zlib",
        ),
        (
            256,
            &[
                "-n",
                "16384",
                "-O",
                "^no-holes,^extref",
                "-R",
                "^free-space-tree",
            ],
            b"none",
        ),
        (256, &["-s", "16384", "-n", "16384"], b"zlib"),
        (256, &["-s", "65536", "-n", "65536", "-m", "dup"], b"zlib"),
        (16, &["--mixed"], b"zlib"),
    ];
    for (size, options, compression) in layouts {
        let Some(source) = made(size * MIB, options) else {
            return;
        };
        let (mut fs, target) = edit(&source);
        if !compression.is_empty() {
            fs.set_xattr(&FsPath::root(), b"btrfs.compression", compression)
                .unwrap();
        }
        fs.create_dir(&path("/many"), &attributes(0o755, 7))
            .unwrap();
        for number in 0..50 {
            put(
                &mut fs,
                &format!("/many/file-{number}"),
                &text(number * number * 3),
            );
        }
        put(&mut fs, "/text", &text(2_000_000));
        put(&mut fs, "/noise", &noise(1_500_000));
        fs.hard_link(&path("/text"), &path("/many/text")).unwrap();
        fs.symlink(&path("/link"), b"many/text", &attributes(0o777, 0))
            .unwrap();
        let what = format!("{options:?} {}", compression.escape_ascii());
        let packed = !matches!(compression, b"" | b"none");
        let expected = if options.contains(&"-s") {
            // The kernel mounts no sectors larger than its pages.
            let expected = manifest(&fs);
            fs.commit().unwrap();
            assert_clean(target.path(), &what);
            expected
        } else {
            commit(fs, &target, &what)
        };
        restores(target.path(), &expected);
        if let Some(used) = bytes_used(target.path()) {
            assert!(
                used < 3 * MIB || !packed || options.contains(&"-s"),
                "{what}: {used} bytes"
            );
            assert!(used > 3 * MIB || packed, "{what}: {used} bytes");
        }
        // Emptied again.
        let (mut fs, emptied) = edit(&target);
        for entry in fs.entries_at(&path("/many")).unwrap() {
            fs.remove(&path("/many").join(&entry.name).unwrap())
                .unwrap();
        }
        for name in ["/many", "/text", "/noise", "/link"] {
            fs.remove(&path(name)).unwrap();
        }
        fs.commit().unwrap();
        assert_clean(emptied.path(), &what);
        if !options.contains(&"-s") {
            kernel::changes_without_harm(target.path(), "noise");
        }
    }
}

#[test]
fn thousands_of_files_and_links() {
    let Some(source) = made(1024 * MIB, &["--mixed", "-m", "single", "-d", "single"]) else {
        return;
    };
    let (mut fs, target) = edit(&source);
    fs.set_xattr(&FsPath::root(), b"btrfs.compression", b"zlib")
        .unwrap();
    for folder in 0..50 {
        fs.create_dir(&path(&format!("/folder-{folder}")), &attributes(0o755, 7))
            .unwrap();
        for number in 0..100 {
            put(
                &mut fs,
                &format!("/folder-{folder}/a-file-of-some-name-{number}"),
                &text(number * 40),
            );
        }
    }
    // More names in one folder than an inode reference holds.
    for number in 0..1000 {
        fs.hard_link(
            &path("/folder-0/a-file-of-some-name-7"),
            &path(&format!("/folder-1/link-{number}")),
        )
        .unwrap();
    }
    let expected = commit(fs, &target, "thousands");
    assert_eq!(expected.lines().count(), 1 + 50 + 5000 + 1000);
    let (mut fs, second) = edit(&target);
    fs.commit().unwrap();
    same_bytes(target.path(), second.path());
    // Most links go again.
    for number in 0..900 {
        fs.remove(&path(&format!("/folder-1/link-{number}")))
            .unwrap();
    }
    fs.commit().unwrap();
    assert_clean(second.path(), "fewer links");
}

/// A long file that is never in memory as a whole.
struct Stream {
    at: u64,
    pattern: Vec<u8>,
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = u64::try_from(self.pattern.len()).unwrap();
        let from = usize::try_from(self.at % len).unwrap();
        let count = buf.len().min(self.pattern.len() - from);
        buf[..count].copy_from_slice(&self.pattern[from..from + count]);
        self.at += count as u64;
        Ok(count)
    }
}

#[test]
fn a_large_file_over_a_superblock_mirror() {
    const LEN: u64 = 300_000_001;
    for (options, compression) in [
        (&["--mixed"][..], &b""[..]),
        (&["-m", "dup", "-n", "16384"], b"zlib"),
    ] {
        let Some(source) = made(1024 * MIB, options) else {
            return;
        };
        let (mut fs, target) = edit(&source);
        if !compression.is_empty() {
            fs.set_xattr(&FsPath::root(), b"btrfs.compression", compression)
                .unwrap();
        }
        let mut stream = Stream {
            at: 0,
            pattern: if compression.is_empty() {
                noise(9_999_991)
            } else {
                vec![b'x'; 99_991]
            },
        };
        fs.write_file(
            &path("/large"),
            &attributes(0o644, 0),
            LEN,
            &mut (&mut stream).take(LEN),
        )
        .unwrap();
        put(&mut fs, "/small", b"small");
        fs.commit().unwrap();
        assert_clean(target.path(), "a large file");
        let read = Btrfs::open(device(target.path())).unwrap();
        let file = read.open_at(&path("/large")).unwrap();
        let mut again = Stream {
            at: 0,
            pattern: stream.pattern,
        };
        let mut ours = vec![0; 1 << 20];
        let mut theirs = vec![0; 1 << 20];
        let mut at = 0;
        while at < LEN {
            let len = usize::try_from((LEN - at).min(1 << 20)).unwrap();
            file.read_at(at, &mut ours[..len]).unwrap();
            again.read_exact(&mut theirs[..len]).unwrap();
            assert!(ours[..len] == theirs[..len], "after {at}");
            at += len as u64;
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    for (size, options) in [
        (128, &["--mixed"][..]),
        (160, &["-m", "dup"]),
        (128, &["-m", "single", "-d", "single", "-n", "4096"]),
    ] {
        let Some(source) = made(size * MIB, options) else {
            return;
        };
        let (mut fs, target) = edit(&source);
        // What is promised to be free can be used,
        let free = fs.capacity().unwrap().free_bytes;
        assert!(free > size * MIB / 3, "{free}");
        let content = noise(usize::try_from(free).unwrap());
        put(&mut fs, "/large", &content);
        let left = fs.capacity().unwrap().free_bytes;
        assert!(left < free / 8, "{left} of {free}");
        // and much more cannot.
        put(&mut fs, "/more", &content[..content.len() / 8 + 8_000_000]);
        assert_eq!(fs.capacity().unwrap().free_bytes, 0);
        let error = fs.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(
            error.hint().unwrap().contains("ROOT") && error.to_string().contains("MiB of data"),
            "{error}"
        );
        assert_eq!(
            device(target.path()).extent_at(0).unwrap().len,
            size * MIB,
            "something was written"
        );
        fs.remove(&path("/more")).unwrap();
        commit(fs, &target, "a full filesystem");
        kernel::changes_without_harm(target.path(), "large");
    }
}

#[test]
fn a_stream_of_another_length_is_refused() {
    let source = image("kernel-small");
    let (mut fs, _target) = edit(&source);
    for (size, content) in [
        (10, &b"short"[..]),
        (3, b"long"),
        (0, b"x"),
        (200_000, &[7; 199_999]),
        (200_000, &[7; 200_001]),
    ] {
        let error = fs
            .write_file(
                &path("/file"),
                &attributes(0o644, 0),
                size,
                &mut &content[..],
            )
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let error = fs
        .write_file(
            &path("/huge"),
            &attributes(0o644, 0),
            1 << 40,
            &mut std::io::repeat(1),
        )
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSpace), "{error}");
}

fn refused(source: &NamedTempFile) -> flatbake::Error {
    let target = blank(source.as_file().metadata().unwrap().len());
    Btrfs::edit(
        device(source.path()),
        Target::open(target.path()),
        &std::env::temp_dir(),
    )
    .map(drop::<BtrfsEditor>)
    .unwrap_err()
}

#[test]
fn what_cannot_be_carried_over_is_refused_by_name() {
    let error = refused(&image("kernel-zstd"));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("several subvolumes") && error.hint().is_some(),
        "{error}"
    );
    if let Some(source) = made(256 * MIB, &["-R", "quota"]) {
        assert!(refused(&source).to_string().contains("quotas"));
    }
    if let Some(source) = made(256 * MIB, &[]) {
        let (ok, text) = run(tool("btrfstune")
            .unwrap()
            .args(["-f", "-S", "1"])
            .arg(source.path()));
        assert!(ok, "{text}");
        assert!(refused(&source).to_string().contains("seed"));
    }
    if let Some(source) = made(256 * MIB, &["-O", "^skinny-metadata"]) {
        assert!(refused(&source).to_string().contains("skinny metadata"));
    }
}

/// Everything that names the filesystem or says what it is stays; only the generation goes on.
#[test]
fn identity_is_kept() {
    let same = [
        "fsid",
        "metadata_uuid",
        "label",
        "total_bytes",
        "sectorsize",
        "nodesize",
        "csum_type",
        "compat_flags",
        "compat_ro_flags",
        "incompat_flags",
        "dev_item.uuid",
        "dev_item.fsid",
        "dev_item.devid",
        "num_devices",
    ];
    for options in [
        &["--mixed", "--csum", "xxhash"][..],
        &["-m", "dup", "-n", "32768"],
    ] {
        let Some(source) = made(256 * MIB, options) else {
            return;
        };
        let (ok, text) = run(tool("btrfstune")
            .unwrap()
            .args(["-f", "-m"])
            .arg(source.path()));
        assert!(ok, "{text}");
        let (mut fs, target) = edit(&source);
        put(&mut fs, "/file", b"content");
        fs.commit().unwrap();
        assert_clean(target.path(), "with a metadata UUID");
        let dump = |image: &Path| {
            run(tool("btrfs")
                .unwrap()
                .args(["inspect-internal", "dump-super"])
                .arg(image))
            .1
        };
        let before = dump(source.path());
        let after = dump(target.path());
        let field = |dump: &str, name: &str| {
            let line = dump
                .lines()
                .find(|line| line.split_whitespace().next() == Some(name));
            line.unwrap_or_else(|| panic!("{name} in {dump}"))
                .split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        };
        for name in same {
            assert_eq!(field(&before, name), field(&after, name), "{name}");
        }
        assert_ne!(field(&after, "fsid"), field(&after, "metadata_uuid"));
        let generation = |dump: &str| field(dump, "generation").parse::<u64>().unwrap();
        assert_eq!(generation(&after), generation(&before) + 1);
    }
}

/// The judge can say no: one byte of a tree block, one of data.
#[test]
fn the_checker_sees_damage() {
    use std::os::unix::fs::FileExt;
    let source = image("oem-plain");
    let (mut fs, target) = edit(&source);
    put(&mut fs, "/noise", &noise(100_000));
    fs.commit().unwrap();
    let Some((clean, _)) = check(target.path()) else {
        return;
    };
    assert!(clean);
    let bytes = fs::read(target.path()).unwrap();
    let needle = &noise(100_000)[50_000..50_016];
    let data = bytes
        .windows(16)
        .position(|window| window == needle)
        .unwrap() as u64;
    let root = u64::from_le_bytes(bytes[65536 + 0x50..65536 + 0x58].try_into().unwrap());
    for at in [data, root + 300] {
        let old = [bytes[usize::try_from(at).unwrap()]];
        target.as_file().write_at(&[!old[0]], at).unwrap();
        assert!(!check(target.path()).unwrap().0, "damage at {at}");
        target.as_file().write_at(&old, at).unwrap();
    }
    assert!(check(target.path()).unwrap().0);
}
