//! Every operation on every feature set.

use std::io::Read;
use std::path::Path;

use flatbake::ErrorKind;
use flatbake::fs::ext4::{Ext4, probe};
use flatbake::fs::{
    ByPath, FileSystem, FileSystemMut, FileType, FsKind, FsPath, MetadataChange, Timestamp,
    read_file,
};

use crate::ext4::images::{SETS, Set, index_directories, mke2fs, tree};
use crate::ext4::model::{Body, Model, attributes, path};
use crate::ext4::support::{ImageFile, assert_clean, e2fsck, edit, file_in, have_judges, journal};

/// Before 1970, and after 2038.
pub const TIMES: [i64; 2] = [-1_000_000, 2_300_000_000];

/// Applies every operation to filesystem and model alike; `early` and `late` are the times of new entries.
pub fn recipe(fs: &mut Ext4<ImageFile>, model: &mut Model, block: usize, [early, late]: [i64; 2]) {
    let early = attributes(0o4755, early);
    let late = attributes(0o640, late);
    let put = |fs: &mut Ext4<ImageFile>, model: &mut Model, at: &FsPath, content: Vec<u8>| {
        fs.write_file(at, &late, content.len() as u64, &mut &content[..])
            .unwrap();
        model.add(at, Body::File(content), &late);
    };
    for name in ["/opt", "/opt/a", "/opt/b", "/opt/a/inner"] {
        fs.create_dir(&path(name), &early).unwrap();
        model.add(&path(name), Body::Directory, &early);
    }
    put(fs, model, &path("/opt/empty"), Vec::new());
    put(fs, model, &path("/opt/one"), vec![1]);
    put(fs, model, &path("/opt/block"), vec![2; 4096]);
    put(
        fs,
        model,
        &path("/opt/more"),
        (0..3_000_001u32).map(|n| n.to_le_bytes()[1]).collect(),
    );
    put(
        fs,
        model,
        &FsPath::new(b"/opt/not-utf8-\xff").unwrap(),
        b"bytes".to_vec(),
    );
    put(
        fs,
        model,
        &path(&format!("/opt/{}", "n".repeat(255))),
        b"long name".to_vec(),
    );
    for (name, len) in [
        ("fast", 5),
        ("fast59", 59),
        ("slow60", 60),
        ("slow", 4000.min(block - 1)),
    ] {
        // Names that could exist, of less than 255 bytes each.
        let target: Vec<u8> = (0..len)
            .map(|at| if at % 100 == 99 { b'/' } else { b't' })
            .collect();
        let at = path(&format!("/opt/{name}"));
        fs.symlink(&at, &target, &late).unwrap();
        model.add(
            &at,
            Body::Symlink(target),
            &flatbake::fs::Attributes {
                mode: 0o777,
                ..late.clone()
            },
        );
    }
    let nodes = [
        ("null", FileType::CharDevice, (1, 3)),
        ("disk", FileType::BlockDevice, (259, 1_000_000)),
        ("fifo", FileType::Fifo, (0, 0)),
        ("sock", FileType::Socket, (0, 0)),
    ];
    for (name, file_type, device) in nodes {
        let at = path(&format!("/opt/{name}"));
        fs.mknod(&at, file_type, device, &early).unwrap();
        model.add(&at, Body::Node(file_type, device), &early);
    }
    fs.hard_link(&path("/opt/one"), &path("/opt/a/uno"))
        .unwrap();
    model
        .paths
        .insert(path("/opt/a/uno"), model.paths[&path("/opt/one")]);
    xattrs(fs, model, block);
    // Overwriting keeps the other name, drops attributes.
    let content = vec![9; 10_000];
    fs.write_file(&path("/opt/a/uno"), &early, 10_000, &mut &content[..])
        .unwrap();
    let node = model.node(&path("/opt/one"));
    (node.body, node.attributes) = (Body::File(content), early);
    node.xattrs.clear();
    for (from, to) in [
        ("/opt/block", "/opt/a/inner/moved"),
        ("/opt/a/inner", "/inner"),
        ("/opt/empty", "/opt/fast"),
    ] {
        fs.rename(&path(from), &path(to)).unwrap();
        model.rename(&path(from), &path(to));
    }
    for gone in [
        "/opt/slow60",
        "/opt/null",
        "/opt/b",
        "/opt/one",
        "/etc/hostname",
        "/etc/big",
    ] {
        fs.remove(&path(gone)).unwrap();
        model.paths.remove(&path(gone));
    }
    let mtime = Timestamp {
        secs: 1 << 32,
        nanos: 1,
    };
    let change = MetadataChange {
        mode: Some(0o1777),
        uid: Some(u32::MAX - 1),
        gid: None,
        mtime: Some(mtime),
    };
    fs.set_metadata(&path("/opt/a"), &change).unwrap();
    let node = model.node(&path("/opt/a"));
    (
        node.attributes.mode,
        node.attributes.uid,
        node.attributes.mtime,
    ) = (0o1777, u32::MAX - 1, mtime);
}

/// An access list as ext4 stores it: version, then tag and permissions, for a named user with a number.
const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 57, 5, 0, 0, 4, 0, 4, 0, 255, 255, 255,
    255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// A file capability of version 2: cap_net_bind_service, permitted and effective.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn xattrs(fs: &mut Ext4<ImageFile>, model: &mut Model, block: usize) {
    let values = [
        ("/opt/one", "user.dropped", 30),
        ("/opt/more", "user.small", 3),
        ("/opt/more", "security.capability", 20),
        ("/opt/more", "trusted.large", 2000.min(block / 2)),
        ("/opt/more", "system.posix_acl_access", 28),
        ("/opt/a", "user.empty", 0),
        ("/opt/a", "user.gone", 900),
        ("/opt/fast", "trusted.link", 10),
    ];
    for (at, name, len) in values {
        let value = match name {
            "system.posix_acl_access" => ACL.to_vec(),
            "security.capability" => CAPABILITY.to_vec(),
            _ => vec![b'v'; len],
        };
        fs.set_xattr(&path(at), name.as_bytes(), &value).unwrap();
        model.node(&path(at)).xattrs.insert(name.into(), value);
    }
    fs.set_xattr(&path("/opt/more"), b"user.small", b"grown")
        .unwrap();
    model
        .node(&path("/opt/more"))
        .xattrs
        .insert(b"user.small".to_vec(), b"grown".to_vec());
    fs.remove_xattr(&path("/opt/a"), b"user.gone").unwrap();
    model.node(&path("/opt/a")).xattrs.remove(&b"user.gone"[..]);
    assert_eq!(
        fs.remove_xattr(&path("/opt/a"), b"user.gone")
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );
}

fn bake(image: &Path, set: &Set, source: &Path) -> Model {
    set.make(image, 48, Some(source));
    let mut fs = edit(image);
    let mut model = Model::of(&fs);
    recipe(&mut fs, &mut model, set.block(), TIMES);
    fs.commit().unwrap();
    model
}

#[test]
fn every_operation_on_every_feature_set() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = file_in(&folder, "tree");
    tree(&source);
    for (number, set) in SETS.iter().enumerate() {
        eprintln!("{set}");
        let image = file_in(&folder, "a.img");
        set.make(&image, 48, Some(&source));
        assert_clean(&image);
        let journal_before = journal(&image);
        assert!(!set.has_journal() || journal_before.len() >= 1 << 20);
        let model = bake(&image, set, &source);
        assert_clean(&image);
        assert!(journal(&image) == journal_before, "the journal changed");
        let fs = Ext4::open_read_only(ImageFile::open(&image)).unwrap();
        model.compare(&fs);
        model.compare_debugfs(&image, folder.path());
        assert_eq!(
            (fs.kind(), fs.label().unwrap()),
            (FsKind::Ext4, b"ROOT".to_vec())
        );
        assert!(probe(&ImageFile::open(&image)));
        if number % 4 > 0 {
            continue;
        }
        let first = std::fs::read(&image).unwrap();
        bake(&image, set, &source);
        assert!(std::fs::read(&image).unwrap() == first, "two runs differ");
    }
}

#[test]
fn edits_go_on_after_a_commit_and_nothing_else_changes() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 16, "", None, &[]);
    let before = std::fs::read(&image).unwrap();
    let mut fs = edit(&image);
    fs.commit().unwrap();
    assert!(
        std::fs::read(&image).unwrap() == before,
        "opening and commit without edits write nothing"
    );
    let free = fs.capacity().unwrap();
    for name in ["/one", "/two"] {
        fs.write_file(
            &path(name),
            &attributes(0o600, 5),
            4096,
            &mut &[7; 4096][..],
        )
        .unwrap();
        fs.commit().unwrap();
    }
    let now = fs.capacity().unwrap();
    assert_eq!(free.free_bytes - now.free_bytes, 8192);
    assert_eq!(free.inodes.unwrap().1 - now.inodes.unwrap().1, 2);
    assert_clean(&image);
    // The judge says no where one byte of an inode is wrong.
    let needle = 7u8;
    let mut bytes = std::fs::read(&image).unwrap();
    let content = bytes
        .chunks(4096)
        .position(|block| block.iter().all(|byte| *byte == needle))
        .unwrap();
    bytes[content * 4096] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    assert_clean(&image);
    assert_ne!(read_file(&fs, &path("/one"), 5000).unwrap(), vec![7; 4096]);
    bytes[1024 + 0xC] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    e2fsck(&image).unwrap_err();
}

#[test]
fn directories_of_500_and_3000_files() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = file_in(&folder, "tree");
    std::fs::create_dir_all(source.join("indexed")).unwrap();
    for number in 0..1000 {
        std::fs::write(
            source.join(format!("indexed/start-with-a-longer-name-{number}")),
            "x",
        )
        .unwrap();
    }
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 48, "", Some(&source), &[]);
    index_directories(&image);
    let mut fs = edit(&image);
    fs.create_dir(&path("/plain"), &attributes(0o755, 1))
        .unwrap();
    for number in 0..500 {
        let at = path(&format!("/plain/file-{number}"));
        fs.write_file(&at, &attributes(0o644, 2), 3, &mut &b"abc"[..])
            .unwrap();
    }
    for number in 0..2000 {
        let at = path(&format!("/indexed/some-name-of-a-file-{number}"));
        fs.write_file(&at, &attributes(0o644, 3), 0, &mut &b""[..])
            .unwrap();
    }
    for number in (0..1000).step_by(3) {
        fs.remove(&path(&format!(
            "/indexed/start-with-a-longer-name-{number}"
        )))
        .unwrap();
    }
    fs.commit().unwrap();
    assert_clean(&image);
    let fs = Ext4::open_read_only(ImageFile::open(&image)).unwrap();
    assert_eq!(fs.entries_at(&path("/plain")).unwrap().len(), 500);
    assert_eq!(fs.entries_at(&path("/indexed")).unwrap().len(), 3000 - 334);
    let listing = crate::ext4::support::debugfs(&image, "ls -p /indexed\nhtree /indexed\n");
    assert_eq!(
        listing
            .lines()
            .filter(|line| line.contains("some-name"))
            .count()
            / 2,
        2000,
        "in both listings"
    );
}

#[test]
fn smaller_blocks_and_inodes() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    for (block, inode) in [("1024", "256"), ("2048", "512"), ("4096", "128")] {
        mke2fs(&image, 24, "", None, &["-b", block, "-I", inode, "-q"]);
        let mut fs = edit(&image);
        let mut model = Model::of(&fs);
        let stamp = Timestamp { secs: -7, nanos: 0 };
        let attributes = flatbake::fs::Attributes {
            mode: 0o640,
            uid: 1 << 20,
            gid: 3,
            mtime: stamp,
        };
        for number in 0..60 {
            let at = path(&format!("/some-name-that-fills-the-directory-{number}"));
            let content = vec![1; 3000 * number];
            fs.write_file(&at, &attributes, content.len() as u64, &mut &content[..])
                .unwrap();
            model.add(&at, Body::File(content), &attributes);
            fs.set_xattr(&at, b"user.block", &[3; 300]).unwrap();
            model
                .node(&at)
                .xattrs
                .insert(b"user.block".to_vec(), vec![3; 300]);
        }
        fs.commit().unwrap();
        assert_clean(&image);
        model.compare(&fs);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_writing() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 16, "", None, &["-N", "64"]);
    let before = std::fs::read(&image).unwrap();
    let mut fs = edit(&image);
    let free = fs.capacity().unwrap().free_bytes;
    let error = fs
        .write_file(
            &path("/f"),
            &attributes(0o644, 1),
            free + 1,
            &mut std::io::repeat(1),
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains(&free.to_string()), "{error}");
    assert!(std::fs::read(&image).unwrap() == before);
    // All free bytes in pieces of one block, every second one freed, one file into the holes.
    let blocks = free / 4096;
    let mut count = 0;
    for number in 0..50 {
        let size = if number == 49 {
            fs.capacity().unwrap().free_bytes
        } else {
            blocks / 50 * 4096
        };
        fs.write_file(
            &path(&format!("/f{number}")),
            &attributes(0o644, 1),
            size,
            &mut std::io::repeat(1).take(size),
        )
        .unwrap();
        count += 1;
    }
    assert_eq!(fs.capacity().unwrap().free_bytes, 0);
    assert_eq!(
        fs.write_file(&path("/g"), &attributes(0o644, 1), 1, &mut &b"x"[..])
            .unwrap_err()
            .kind(),
        ErrorKind::NoSpace
    );
    for number in (0..count - 1).step_by(2) {
        fs.remove(&path(&format!("/f{number}"))).unwrap();
    }
    // One block is for the tree of so many pieces.
    let size = fs.capacity().unwrap().free_bytes - 4096;
    fs.write_file(
        &path("/scattered"),
        &attributes(0o644, 1),
        size,
        &mut std::io::repeat(3).take(size),
    )
    .unwrap();
    // An overwrite may use what the old content held.
    fs.write_file(
        &path("/scattered"),
        &attributes(0o644, 1),
        size,
        &mut std::io::repeat(4).take(size),
    )
    .unwrap();
    while fs.capacity().unwrap().inodes.unwrap().1 > 0 {
        count += 1;
        fs.create_dir(&path(&format!("/d{count}")), &attributes(0o755, 1))
            .map(drop)
            .or_else(only_no_space)
            .unwrap();
        if fs.capacity().unwrap().free_bytes == 0 {
            break;
        }
    }
    fs.commit().unwrap();
    assert_clean(&image);
    let scattered = read_file(&fs, &path("/scattered"), 1 << 30).unwrap();
    assert!(scattered.len() as u64 == size && scattered.iter().all(|byte| *byte == 4));
}

fn only_no_space(error: flatbake::Error) -> flatbake::Result<()> {
    if error.kind() == ErrorKind::NoSpace {
        Ok(())
    } else {
        Err(error)
    }
}

#[test]
fn requests_that_make_no_sense_change_nothing() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    tree(&file_in(&folder, "tree"));
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 16, "", Some(&file_in(&folder, "tree")), &[]);
    let before = std::fs::read(&image).unwrap();
    let mut fs = edit(&image);
    let good = attributes(0o644, 0);
    let file = path("/etc/hostname");
    let dir = path("/etc");
    let far = flatbake::fs::Attributes {
        mtime: Timestamp {
            secs: 1 << 40,
            nanos: 0,
        },
        ..good.clone()
    };
    use ErrorKind::{InvalidInput, NotFound};
    let outcomes = [
        (fs.create_dir(&dir, &good), InvalidInput),
        (fs.create_dir(&FsPath::root(), &good), InvalidInput),
        (fs.create_dir(&path("/no/such"), &good), NotFound),
        (fs.create_dir(&path("/etc/hostname/x"), &good), InvalidInput),
        (fs.create_dir(&path("/new"), &far), InvalidInput),
        (
            fs.create_dir(&path("/new"), &attributes(0o10_000, 0)),
            InvalidInput,
        ),
        (fs.write_file(&dir, &good, 0, &mut &b""[..]), InvalidInput),
        (fs.symlink(&file, b"x", &good), InvalidInput),
        (fs.symlink(&path("/new"), b"", &good), InvalidInput),
        (
            fs.symlink(&path("/new"), &[b'x'; 4096], &good),
            InvalidInput,
        ),
        (fs.hard_link(&dir, &path("/new")), InvalidInput),
        (
            fs.mknod(&path("/new"), FileType::File, (0, 0), &good),
            InvalidInput,
        ),
        (
            fs.mknod(&path("/new"), FileType::CharDevice, (1 << 12, 0), &good),
            InvalidInput,
        ),
        (
            fs.mknod(&path("/new"), FileType::Fifo, (1, 0), &good),
            InvalidInput,
        ),
        (fs.set_xattr(&file, b"nonsense", b""), InvalidInput),
        (fs.set_xattr(&file, b"user.", b""), InvalidInput),
        (
            fs.set_xattr(&file, b"user.x", &[0; 4096]),
            ErrorKind::Unsupported,
        ),
        (fs.remove_xattr(&file, b"user.x"), NotFound),
        (fs.rename(&dir, &path("/etc/deep/x")), InvalidInput),
        (fs.rename(&file, &path("/etc/deep")), InvalidInput),
        (fs.rename(&path("/none"), &path("/x")), NotFound),
        (fs.remove(&dir), InvalidInput),
        (fs.remove(&path("/none")), NotFound),
        (
            fs.set_metadata(
                &file,
                &MetadataChange {
                    mode: Some(1 << 12),
                    ..Default::default()
                },
            ),
            InvalidInput,
        ),
    ];
    for (number, (outcome, kind)) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.unwrap_err().kind(), kind, "request {number}");
    }
    fs.commit().unwrap();
    assert!(std::fs::read(&image).unwrap() == before);
    // Content of the wrong length leaves a file half-written: no commit any more.
    for content in [&b"12"[..], b"1234"] {
        let mut fs = edit(&image);
        assert_eq!(
            fs.write_file(&path("/x"), &good, 3, &mut &content[..])
                .unwrap_err()
                .kind(),
            InvalidInput
        );
        assert!(fs.commit().is_err());
        std::fs::write(&image, &before).unwrap();
    }
    let mut fs = Ext4::open_read_only(ImageFile::open(&image)).unwrap();
    assert_eq!(fs.remove(&file).unwrap_err().kind(), InvalidInput);
}
