//! Archives by GNU tar in all its formats, unpacked here and by `tar -x`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use flatbake::archive::TarOptions;
use flatbake::finding::code;
use flatbake::fs::{FileType, Timestamp};
use rustix::fs::{AtFlags, CWD, Timestamps, XattrFlags};
use tempfile::TempDir;

use super::model::Model;
use super::unpack_to;
use crate::common::programs::{command, judges, success};

fn gnu_tar() -> bool {
    let is_gnu =
        |output: std::process::Output| String::from_utf8_lossy(&output.stdout).contains("GNU tar");
    judges(&["tar"]) && tar().arg("--version").output().is_ok_and(is_gnu)
}

fn tar() -> Command {
    command(Path::new("tar"))
}

fn set_time(path: &Path, secs: i64, nanos: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What every format can hold.
fn simple_tree(top: &Path) {
    fs::create_dir_all(top.join("dir/sub")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("dir/file"), "content\n".repeat(1000)).unwrap();
    fs::write(top.join("dir/exact"), [7; 1024]).unwrap();
    fs::write(top.join("dir/sub/none"), "").unwrap();
    fs::write(top.join("umläut \n new"), "x").unwrap();
    fs::hard_link(top.join("dir/file"), top.join("dir/sub/linked")).unwrap();
    symlink("../dir/file", top.join("dir/link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(top.join("dir/file"), Some(1234), Some(567_890)).unwrap();
    }
    fs::set_permissions(top.join("dir/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(top.join("empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    for (name, secs) in [
        ("dir/file", 1),
        ("dir/link", 1_600_000_000),
        ("dir/sub", 1_700_000_000),
        ("dir", 1_000_000_000),
    ] {
        set_time(&top.join(name), secs, 0);
    }
}

/// Long names and targets, a fifo.
fn long_tree(top: &Path) {
    simple_tree(top);
    let long = top
        .join("d".repeat(60))
        .join("e".repeat(60))
        .join("f".repeat(95));
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    fs::write(&long, "long").unwrap();
    rustix::fs::mknodat(
        CWD,
        top.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o640.into(),
        0,
    )
    .unwrap();
}

fn extreme_tree(top: &Path) {
    long_tree(top);
    let long = top
        .join("n".repeat(200))
        .join("o".repeat(255))
        .join("p".repeat(255));
    fs::create_dir_all(long.parent().unwrap()).unwrap();
    fs::write(&long, "longer").unwrap();
    fs::hard_link(&long, top.join("short")).unwrap();
    symlink("/".repeat(50) + &"t".repeat(900), top.join("far")).unwrap();
    set_time(&top.join("short"), -86_400 * 365, 0);
}

/// Fractions of seconds, also before 1970, and attributes with any bytes in them.
fn pax_tree(top: &Path) -> bool {
    extreme_tree(top);
    set_time(&top.join("dir/exact"), -2, 250_000_000);
    set_time(&top.join("empty"), 1_234_567_890, 123_456_789);
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(top.join("dir/exact"), name, value, XattrFlags::empty())
    };
    let kept = set("user.binary", b"\0\xff\n=\0").is_ok() && set("user.empty", b"").is_ok();
    if !kept {
        eprintln!("skipped: the temporary folder has no user attributes");
    }
    kept
}

fn sparse_tree(top: &Path) {
    let file = |name: &str| File::create(top.join(name)).unwrap();
    file("holes-only").set_len(1 << 20).unwrap();
    let many = file("many");
    for at in 0..60 {
        many.write_all_at(
            &[b'a' + u8::try_from(at % 20).unwrap(); 4096],
            at * 65_536 + 8192,
        )
        .unwrap();
    }
    many.set_len(60 * 65_536 + 12_345).unwrap();
    let few = file("few");
    few.write_all_at(b"start", 0).unwrap();
    few.write_all_at(b"end", 3_000_000).unwrap();
    fs::write(top.join("dense"), [1; 10_000]).unwrap();
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    file_type: FileType,
    mode: u32,
    owner: Option<(u32, u32)>,
    mtime: Timestamp,
    bytes: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode.
    first: Vec<u8>,
}

fn host_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65_536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| name.starts_with(b"user."));
    names
        .map(|name| {
            let mut value = vec![0; 65_536];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect()
}

/// Everything below a folder of the host.
fn host_tree(top: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![top.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let file_type = FileType::from_mode(metadata.mode()).unwrap();
            let bytes = match file_type {
                FileType::File => fs::read(&path).unwrap(),
                FileType::Symlink => fs::read_link(&path)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
                FileType::Directory => {
                    todo.push(path.clone());
                    Vec::new()
                }
                _ => Vec::new(),
            };
            let name = [b"/", path.strip_prefix(top).unwrap().as_os_str().as_bytes()].concat();
            let entry = Seen {
                file_type,
                mode: metadata.mode() & 0o7777,
                owner: rustix::process::geteuid()
                    .is_root()
                    .then(|| (metadata.uid(), metadata.gid())),
                mtime: Timestamp {
                    secs: metadata.mtime(),
                    nanos: u32::try_from(metadata.mtime_nsec()).unwrap(),
                },
                bytes,
                xattrs: host_xattrs(&path),
                first: metadata.ino().to_string().into_bytes(),
            };
            seen.insert(name, entry);
        }
    }
    name_inodes(&mut seen);
    seen
}

fn model_tree(fs: &Model) -> BTreeMap<Vec<u8>, Seen> {
    let is_root = rustix::process::geteuid().is_root();
    let mut seen: BTreeMap<_, _> = fs
        .all()
        .into_iter()
        .map(|(path, node)| {
            let entry = Seen {
                file_type: node.metadata.file_type,
                mode: node.metadata.mode,
                owner: is_root.then_some((node.metadata.uid, node.metadata.gid)),
                mtime: node.metadata.mtime,
                bytes: node.bytes.clone(),
                xattrs: node.xattrs.clone(),
                first: node.metadata.inode.to_string().into_bytes(),
            };
            (path, entry)
        })
        .collect();
    name_inodes(&mut seen);
    seen
}

/// Replaces inode numbers by the first path that has them.
fn name_inodes(seen: &mut BTreeMap<Vec<u8>, Seen>) {
    let mut first: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for (path, entry) in seen {
        entry.first = first
            .entry(entry.first.clone())
            .or_insert_with(|| path.clone())
            .clone();
    }
}

/// Packs `tree` with tar, unpacks the archive here and by tar, and compares everything.
fn compare(tree: &Path, arguments: &[&str], extract: &[&str], options: &TarOptions) {
    let work = TempDir::new().unwrap();
    let archive = work.path().join("archive");
    success(
        tar()
            .arg("-cf")
            .arg(&archive)
            .args(arguments)
            .arg("-C")
            .arg(tree)
            .arg("."),
    );
    let out = work.path().join("out");
    fs::create_dir(&out).unwrap();
    let xattrs = ["--xattrs", "--xattrs-include=user.*"];
    success(
        tar()
            .arg("-xpf")
            .arg(&archive)
            .args(xattrs)
            .args(extract)
            .arg("-C")
            .arg(&out),
    );
    let mut model = Model::new();
    let summary = unpack_to(&mut model, &fs::read(&archive).unwrap(), "/", options).unwrap();
    let odd = summary
        .findings
        .iter()
        .filter(|finding| finding.code() != code::ARCHIVE_ROOT_CHANGED);
    assert_eq!(odd.count(), 0, "{:?}", summary.findings);
    let expected = host_tree(&out);
    let found = model_tree(&model);
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>(),
        "{arguments:?}"
    );
    for (path, expected) in &expected {
        assert!(
            *expected == found[path],
            "{arguments:?} {}: {expected:?} {:?}",
            String::from_utf8_lossy(path),
            found[path]
        );
    }
}

#[test]
fn every_format_gives_what_tar_gives() {
    if !gnu_tar() {
        return;
    }
    let plain = TarOptions::default();
    let tree = || TempDir::new().unwrap();
    let simple = tree();
    let long = tree();
    let extreme = tree();
    simple_tree(simple.path());
    long_tree(long.path());
    extreme_tree(extreme.path());
    for (format, tree) in [
        ("v7", &simple),
        ("ustar", &simple),
        ("ustar", &long),
        ("oldgnu", &extreme),
        ("gnu", &extreme),
        ("pax", &extreme),
    ] {
        compare(tree.path(), &[&format!("--format={format}")], &[], &plain);
    }
}

#[test]
fn pax_keeps_times_and_attributes() {
    let tree = TempDir::new().unwrap();
    if !gnu_tar() || !pax_tree(tree.path()) {
        return;
    }
    let arguments = ["--format=pax", "--xattrs", "--xattrs-include=user.*"];
    compare(tree.path(), &arguments, &[], &TarOptions::default());
    compare(
        tree.path(),
        &[&arguments[..], &["--numeric-owner", "--sort=name"]].concat(),
        &[],
        &TarOptions::default(),
    );
}

#[test]
fn sparse_files_of_every_kind() {
    let tree = TempDir::new().unwrap();
    if !gnu_tar() {
        return;
    }
    sparse_tree(tree.path());
    let sparse = ["--sparse", "--hole-detection=raw"];
    for kind in [
        &["--format=gnu"][..],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        compare(
            tree.path(),
            &[&sparse[..], kind].concat(),
            &[],
            &TarOptions::default(),
        );
        let archive = tar()
            .args(sparse)
            .args(kind)
            .args(["-c", "-C"])
            .arg(tree.path())
            .arg(".")
            .output();
        let archive = archive.unwrap().stdout;
        assert!(
            archive.len() < 500_000,
            "{kind:?} did not make a sparse archive"
        );
        let summary = unpack_to(&mut Model::new(), &archive, "/", &TarOptions::default()).unwrap();
        assert!(summary.content_bytes > 7_900_000);
    }
}

#[test]
fn options_mean_what_they_mean_to_tar() {
    if !gnu_tar() {
        return;
    }
    let tree = TempDir::new().unwrap();
    simple_tree(tree.path());
    let globs = |patterns: &[&str]| {
        patterns
            .iter()
            .map(|pattern| pattern.parse().unwrap())
            .collect()
    };
    for strip_components in 1..3 {
        let strip = format!("--strip-components={strip_components}");
        compare(
            tree.path(),
            &[],
            &[&strip],
            &TarOptions {
                strip_components,
                ..TarOptions::default()
            },
        );
    }
    for patterns in [
        &["sub"][..],
        &["dir/sub", "e*"],
        &["d*k"],
        &["[a-d]ir"],
        &["*"],
        &["dir/?[nx]*"],
        &["dir/link/"],
    ] {
        let given: Vec<String> = patterns
            .iter()
            .map(|pattern| format!("--exclude={}", pattern.trim_end_matches('/')))
            .collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        compare(
            tree.path(),
            &[],
            &given,
            &TarOptions {
                excludes: globs(patterns),
                ..TarOptions::default()
            },
        );
    }
}

#[test]
fn packed_archives_are_unpacked_on_the_way() {
    if !gnu_tar() {
        return;
    }
    let tree = TempDir::new().unwrap();
    simple_tree(tree.path());
    for (option, program) in [
        ("-z", "gzip"),
        ("-j", "bzip2"),
        ("-J", "xz"),
        ("--zstd", "zstd"),
    ] {
        if judges(&[program]) {
            compare(tree.path(), &[option], &[], &TarOptions::default());
        }
    }
}

/// The comparison itself must see a difference.
#[test]
fn a_changed_byte_is_seen() {
    let tree = TempDir::new().unwrap();
    simple_tree(tree.path());
    let before = host_tree(tree.path());
    fs::write(tree.path().join("dir/exact"), [8; 1024]).unwrap();
    set_time(
        &tree.path().join("dir/exact"),
        before[&b"/dir/exact"[..]].mtime.secs,
        before[&b"/dir/exact"[..]].mtime.nanos.into(),
    );
    let after = host_tree(tree.path());
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, seen)| after[*path] != **seen)
        .map(|(path, _)| path.as_slice())
        .collect();
    assert_eq!(changed, [b"/dir/exact"]);
}
