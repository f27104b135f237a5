//! Where entries go: symlinks, links, replaced entries, options.

use flatbake::archive::TarOptions;
use flatbake::finding::code;
use flatbake::fs::{Attributes, ByPath, FileSystemMut, FileType, Timestamp};
use flatbake::{ErrorKind, Finding};

use super::maker::{Maker, header};
use super::model::Model;
use super::{listing, path, unpack, unpack_to};

fn plain() -> TarOptions {
    TarOptions::default()
}

fn attributes(mode: u32) -> Attributes {
    Attributes {
        mode,
        ..Attributes::default()
    }
}

/// An image with a file that must not change, links that lead out of it, and one that leads within.
fn image() -> Model {
    let mut fs = Model::new();
    for name in ["/etc", "/usr", "/usr/local", "/in"] {
        fs.create_dir(&path(name), &attributes(0o755)).unwrap();
    }
    fs.write_file(
        &path("/etc/passwd"),
        &attributes(0o644),
        4,
        &mut &b"root"[..],
    )
    .unwrap();
    for (name, target) in [
        ("/opt", "/usr/local"),
        ("/in/up", "../../../../.."),
        ("/in/etc", "/etc"),
        ("/in/loop", "loop"),
        ("/in/nowhere", "/missing/dir"),
        ("/in/passwd", "/etc/passwd"),
    ] {
        fs.symlink(&path(name), target.as_bytes(), &attributes(0o777))
            .unwrap();
    }
    fs
}

#[test]
fn symlinks_of_the_image_are_followed_inside_it() {
    let mut fs = image();
    let archive = Maker::new()
        .file("opt/app/bin/x", "new")
        .file("in/up/tmp/y", "up")
        .file("in/etc/z", "etc")
        .end();
    unpack_to(&mut fs, &archive, "/", &plain()).unwrap();
    let found = listing(&fs);
    for line in [
        "/usr/local/app/bin/x = new",
        "/tmp/y = up",
        "/etc/z = etc",
        "/opt -> /usr/local",
        "/etc/passwd = root",
    ] {
        assert!(
            found.iter().any(|found| found == line),
            "{line} in {found:?}"
        );
    }
    assert_eq!(fs.metadata_at(&path("/usr/local/app")).unwrap().mode, 0o755);
}

#[test]
fn the_last_name_is_never_followed() {
    let mut fs = image();
    let archive = Maker::new()
        .file("in/passwd", "mine")
        .symlink("in/etc", "elsewhere")
        .end();
    unpack_to(&mut fs, &archive, "/", &plain()).unwrap();
    let found = listing(&fs);
    assert!(
        found.contains(&"/etc/passwd = root".to_owned())
            && found.contains(&"/in/passwd = mine".to_owned())
    );
    assert!(found.contains(&"/in/etc -> elsewhere".to_owned()));
}

#[test]
fn links_that_lead_nowhere_are_named() {
    for (name, words) in [
        ("in/nowhere/x", "leads to"),
        ("in/loop/x", "loop"),
        ("in/passwd/x", "no directory"),
        ("etc/passwd/x", "is not a directory"),
    ] {
        let error = unpack_to(
            &mut image(),
            &Maker::new().file(name, "").end(),
            "/",
            &plain(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(
            error.to_string().contains(words) && error.to_string().contains(name),
            "{error:?}"
        );
    }
}

/// As tar does in a chroot: the link is there when the entry below it comes.
#[test]
fn a_symlink_of_the_archive_is_followed_too() {
    let archive = Maker::new()
        .dir("a/")
        .symlink("l", "/../../a")
        .file("l/x", "through")
        .symlink("l", "b")
        .dir("b")
        .file("l/y", "2");
    let fs = unpack(&archive.end(), &plain()).unwrap();
    assert_eq!(
        listing(&fs),
        ["/a/", "/a/x = through", "/b/", "/b/y = 2", "/l -> b"]
    );
}

#[test]
fn paths_stay_below_the_destination() {
    for name in ["../x", "a/../x", "/..", "a/..", "./../x"] {
        let error = unpack(&Maker::new().file(name, "").end(), &plain()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error:?}");
        let error = unpack(
            &Maker::new().file("a", "").hard_link("b", name).end(),
            &plain(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error:?}");
    }
    let archive = Maker::new()
        .file("/abs//x", "1")
        .file("./rel/./y", "2")
        .file("..a/b..", "3")
        .end();
    let mut fs = Model::new();
    unpack_to(&mut fs, &archive, "/var/lib", &plain()).unwrap();
    let files: Vec<_> = listing(&fs)
        .into_iter()
        .filter(|line| line.contains('='))
        .collect();
    assert_eq!(
        files,
        [
            "/var/lib/..a/b.. = 3",
            "/var/lib/abs/x = 1",
            "/var/lib/rel/y = 2"
        ]
    );
    let error = unpack(&Maker::new().file(&"n".repeat(300), "").end(), &plain());
    assert!(error.is_ok(), "a name cut at 100 bytes");
    // Filesystems have limits of their own below this one.
    let long = Maker::new()
        .pax(&[("path", "n".repeat(766).as_bytes())])
        .file("x", "")
        .end();
    assert!(
        unpack(&long, &plain())
            .unwrap_err()
            .to_string()
            .contains("765")
    );
    let deep = Maker::new()
        .pax(&[("path", "n/".repeat(3000).as_bytes())])
        .file("x", "")
        .end();
    assert!(
        unpack(&deep, &plain())
            .unwrap_err()
            .to_string()
            .contains("4096")
    );
}

#[test]
fn hard_links_reach_what_is_there() {
    let mut fs = image();
    let archive = Maker::new()
        .file("a", "one")
        .hard_link("b/c", "./a")
        .hard_link("d", "/etc/passwd")
        .hard_link("a", "b/c");
    let summary = unpack_to(&mut fs, &archive.end(), "/", &plain()).unwrap();
    let inode = |fs: &Model, name| fs.metadata_at(&path(name)).unwrap().inode;
    assert_eq!(inode(&fs, "/a"), inode(&fs, "/b/c"));
    assert_eq!(inode(&fs, "/d"), inode(&fs, "/etc/passwd"));
    assert_eq!(
        (
            summary.hard_links,
            fs.metadata_at(&path("/a")).unwrap().nlink
        ),
        (2, 2)
    );
    for target in ["missing", "etc", "in/missing/x"] {
        let error = unpack_to(
            &mut image(),
            &Maker::new().hard_link("b", target).end(),
            "/",
            &plain(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(error.to_string().contains(target), "{error:?}");
    }
}

/// A new file under an old name must not change what other names of the old file show.
#[test]
fn replacing_a_file_leaves_its_other_names_alone() {
    let archive = Maker::new()
        .file("a", "old")
        .hard_link("b", "a")
        .file("a", "new")
        .end();
    assert_eq!(
        listing(&unpack(&archive, &plain()).unwrap()),
        ["/a = new", "/b = old"]
    );
}

#[test]
fn directories_are_replaced_by_directories_only() {
    let mut fs = image();
    unpack_to(
        &mut fs,
        &Maker::new().dir("empty").file("empty", "file").end(),
        "/",
        &plain(),
    )
    .unwrap();
    assert_eq!(
        fs.metadata_at(&path("/empty")).unwrap().file_type,
        FileType::File
    );
    let error = unpack_to(&mut fs, &Maker::new().file("etc", "").end(), "/", &plain()).unwrap_err();
    assert!(
        error.to_string().contains("directory with entries"),
        "{error:?}"
    );
    let summary = unpack_to(
        &mut fs,
        &Maker::new().dir("opt").file("opt/x", "").end(),
        "/",
        &plain(),
    )
    .unwrap();
    assert_eq!(
        fs.metadata_at(&path("/opt")).unwrap().file_type,
        FileType::Directory
    );
    let replaced = Finding::new(code::ARCHIVE_SYMLINK_REPLACED).with("paths", "/opt -> /usr/local");
    assert_eq!(summary.findings, [replaced]);
}

#[test]
fn metadata_of_directories_comes_from_the_archive() {
    let mut fs = image();
    let old = |block: &mut [u8; 512]| {
        block[136..148].copy_from_slice(b"00000000017\0");
        block[108..116].copy_from_slice(b"0000764\0");
        block[100..108].copy_from_slice(b"0002711\0");
    };
    let archive = Maker::new()
        .block(header("etc/", b'5', 0, ""), old)
        .file("etc/new", "")
        .file("new/dir/x", "")
        .end();
    unpack_to(&mut fs, &archive, "/", &plain()).unwrap();
    let etc = fs.metadata_at(&path("/etc")).unwrap();
    assert_eq!(
        (etc.mode, etc.uid, etc.gid, etc.mtime),
        (0o2711, 500, 0, Timestamp { secs: 15, nanos: 0 })
    );
    // Parents that the archive does not have get the time of what needed them.
    assert_eq!(
        fs.metadata_at(&path("/new")).unwrap().mtime.secs,
        0o14_000_000_000
    );
    let options = TarOptions {
        owner: Some((7, 8)),
        ..plain()
    };
    unpack_to(&mut fs, &archive, "/", &options).unwrap();
    for name in ["/etc", "/etc/new", "/new/dir/x"] {
        let metadata = fs.metadata_at(&path(name)).unwrap();
        assert_eq!((metadata.uid, metadata.gid), (7, 8), "{name}");
    }
}

#[test]
fn the_top_directory_of_the_archive_is_the_destination() {
    let mut fs = image();
    let archive = Maker::new().dir("./").file("./x", "").end();
    unpack_to(&mut fs, &archive, "/opt", &plain()).unwrap();
    assert_eq!(fs.metadata_at(&path("/usr/local")).unwrap().mode, 0o750);
    assert!(fs.metadata_at(&path("/usr/local/x")).is_ok());
    let summary = unpack_to(&mut fs, &archive, "/", &plain()).unwrap();
    let [found] = summary.findings.as_slice() else {
        panic!("{:?}", summary.findings)
    };
    assert_eq!(
        (found.code(), found.value("mode")),
        (code::ARCHIVE_ROOT_CHANGED, Some("0750"))
    );
    assert!(unpack(&Maker::new().file("./.", "").end(), &plain()).is_err());
}

#[test]
fn each_kind_of_finding_comes_once_and_of_the_top_directory_the_last_entry_counts() {
    let top =
        |mode: &'static [u8; 8]| move |block: &mut [u8; 512]| block[100..108].copy_from_slice(mode);
    let entry = || header("./", b'5', 0, "");
    let mut fs = image();
    fs.symlink(&path("/mnt"), b"in", &attributes(0o777))
        .unwrap();
    let twice = Maker::new()
        .block(entry(), top(b"0000700\0"))
        .block(entry(), top(b"0000711\0"));
    let archive = twice.dir("opt").dir("mnt").end();
    let findings = unpack_to(&mut fs, &archive, "/", &plain())
        .unwrap()
        .findings;
    let [symlinks, odd_root] = findings.as_slice() else {
        panic!("{findings:?}")
    };
    assert_eq!(
        (symlinks.code(), symlinks.value("paths")),
        (
            code::ARCHIVE_SYMLINK_REPLACED,
            Some("/opt -> /usr/local, /mnt -> in")
        )
    );
    assert_eq!(
        (odd_root.code(), odd_root.value("mode")),
        (code::ARCHIVE_ROOT_CHANGED, Some("0711"))
    );
    let mended = Maker::new()
        .block(entry(), top(b"0000700\0"))
        .block(entry(), top(b"0000755\0"))
        .end();
    assert_eq!(
        unpack_to(&mut fs, &mended, "/", &plain()).unwrap().findings,
        []
    );
}

#[test]
fn top_level_directories_are_those_that_something_is_put_into() {
    let archive = || {
        Maker::new()
            .dir("./")
            .file("a/b/c", "")
            .file("file", "")
            .dir("empty")
            .symlink("opt/x", "y")
            .end()
    };
    let top_level = |dest: &str| {
        unpack_to(&mut image(), &archive(), dest, &plain())
            .unwrap()
            .top_level
    };
    assert_eq!(top_level("/"), ["/a", "/empty", "/opt"].map(path).into());
    assert!(top_level("/srv").is_empty());
}

#[test]
fn names_are_stripped_and_entries_left_out() {
    let archive = Maker::new()
        .dir("top/")
        .file("top/a/keep", "1")
        .file("top/a/cache/x", "2")
        .file("top/b.log", "3")
        .file("top/a/link-me", "4")
        .hard_link("top/b", "top/a/link-me")
        .file("outside", "5")
        .end();
    let excludes = ["cache", "*.log"]
        .map(|pattern| pattern.parse().unwrap())
        .to_vec();
    let fs = unpack(
        &archive,
        &TarOptions {
            strip_components: 1,
            excludes,
            ..plain()
        },
    )
    .unwrap();
    assert_eq!(
        listing(&fs),
        ["/a/", "/a/keep = 1", "/a/link-me = 4", "/b = 4"]
    );
    let excludes = vec!["link-me".parse().unwrap()];
    let error = unpack(
        &archive,
        &TarOptions {
            excludes,
            ..plain()
        },
    )
    .unwrap_err();
    assert_eq!(error.setting(), Some("tarballs[].exclude"), "{error:?}");
}

#[test]
fn attributes_and_devices_arrive() {
    let archive = Maker::new()
        .pax(&[
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\n="),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .dir("d/")
        .node("d/null", b'3', 1, 3)
        .node("d/sda", b'4', 259, 1_048_575)
        .node("d/pipe", b'6', 0, 0)
        .node("d/gone", b'3', 0, 0)
        .end();
    let fs = unpack(&archive, &plain()).unwrap();
    let xattrs = fs.xattrs_at(&path("/d")).unwrap();
    assert_eq!(xattrs[0].value, b"\x01\0\0\x02\n=");
    assert_eq!(xattrs[1].name, b"trusted.overlay.opaque");
    let node = |name: &str| {
        fs.metadata_at(&path(name))
            .map(|node| (node.file_type, node.device))
            .unwrap()
    };
    assert_eq!(node("/d/null"), (FileType::CharDevice, (1, 3)));
    assert_eq!(node("/d/sda"), (FileType::BlockDevice, (259, 1_048_575)));
    assert_eq!(node("/d/pipe"), (FileType::Fifo, (0, 0)));
    assert_eq!(node("/d/gone"), (FileType::CharDevice, (0, 0)));
}
