//! Staged trees: folders, archives, layers and edits come out of every writer as they went in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::ext::make_ext;
use crate::common::judges::{erofs_clean, ext4_clean, squashfs_clean};
use crate::common::programs::{must_run, run};
use crate::common::reading::{path, succeed, text};
use crate::common::region::Region;
use crate::common::tree::{Tree, compare, fs_tree, host_tree, squashfs_tree};
use crate::common::trees::make_tree;
use crate::common::{noise, scratch_dir};
use flatbake::archive::{TarOptions, inject};
use flatbake::block::{FileDevice, Inputs, Overlay, OverlayOptions};
use flatbake::fs::{
    self as filesystems, Attributes, ByPath, CopyOptions, EditOptions, FileContent, FileSystem,
    FileSystemMut, FileType, FolderOptions, FsPath, MetadataChange, StagedTree, Timestamp,
    copy_tree, read_file,
};
use flatbake::{Cancel, ErrorKind, NoProgress, Reason};

const OPTIONS: FolderOptions = FolderOptions {
    role: "folder",
    owner: None,
};

fn inputs() -> Inputs {
    Inputs::new(Cancel::new())
}

fn empty(dir: &Path) -> StagedTree {
    StagedTree::new(dir, Timestamp::default())
}

fn staged(dir: &Path, folder: &Path) -> StagedTree {
    let mut tree = empty(dir);
    tree.add_folder(folder, &FsPath::root(), &OPTIONS, &inputs())
        .unwrap();
    tree
}

/// A tree with what a folder of a host may have: links, long names, attributes, a sparse file, a fifo, odd modes.
fn folder(dir: &Path) -> std::path::PathBuf {
    let root = dir.join("folder");
    make_tree(&root, 300);
    let sparse = File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 10 << 20).unwrap();
    sparse.set_len(30 << 20).unwrap();
    run("mkfifo", [text(&root.join("fifo"))]);
    // Not every filesystem of a host takes them.
    let noted = text(&root.join("one")).to_owned();
    let _ = succeed("setfattr", &["-n", "user.note", "-v", "again", &noted]);
    root
}

#[test]
fn a_folder_is_staged_as_it_is() {
    let dir = scratch_dir();
    let folder = folder(dir.path());
    let tree = staged(dir.path(), &folder);
    compare(&host_tree(&folder), &fs_tree(&tree)).unwrap();

    let owned = FolderOptions {
        owner: Some((7, 8)),
        ..OPTIONS
    };
    let mut tree = empty(dir.path());
    let attributes = Attributes::default();
    tree.create_dir(&path("/below"), &attributes).unwrap();
    tree.add_folder(&folder, &path("/below"), &owned, &inputs())
        .unwrap();
    let metadata = tree.metadata_at(&path("/below/one")).unwrap();
    assert_eq!((metadata.uid, metadata.gid), (7, 8));
}

#[test]
fn every_writer_takes_a_staged_tree() {
    let dir = scratch_dir();
    let folder = folder(dir.path());
    let tree = staged(dir.path(), &folder);
    let expected = host_tree(&folder);

    let image = dir.path().join("squashfs");
    let out = File::create_new(&image).unwrap();
    filesystems::squashfs::write(&tree, &[], &out, &Default::default(), &NoProgress).unwrap();
    squashfs_clean(&image).unwrap();
    if let Some(found) = squashfs_tree(&image) {
        compare(&in_seconds(&expected), &found).unwrap();
    }

    let image = dir.path().join("erofs");
    let out = File::create_new(&image).unwrap();
    filesystems::erofs::write(&tree, &[], &out, &Default::default(), &NoProgress).unwrap();
    erofs_clean(&image).unwrap();
    let device = FileDevice::open(&image).unwrap();
    let found = filesystems::open(std::sync::Arc::new(device)).unwrap();
    compare(&expected, &fs_tree(&*found)).unwrap();

    let nothing = dir.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let image = dir.path().join("ext4");
    let uuid = "01234567-89ab-4cde-8f01-23456789abcd";
    make_ext(&nothing, &image, "ext4", uuid, "-b 4096", 128 << 20);
    let base = std::sync::Arc::new(FileDevice::open(&image).unwrap());
    let overlay = Overlay::new(base.clone(), OverlayOptions::new(dir.path())).unwrap();
    let overlay = std::sync::Arc::new(overlay);
    let options = EditOptions::new(dir.path());
    let mut target = filesystems::edit(base, overlay.clone(), &options).unwrap();
    let to = path("/copied");
    target.create_dir(&to, &Attributes::default()).unwrap();
    let copied = copy_tree(
        &tree,
        &mut *target,
        &CopyOptions {
            to,
            ..CopyOptions::default()
        },
        &mut |_| Ok(true),
        &NoProgress,
    );
    let copied = copied.unwrap();
    assert!(copied.hard_links > 0 && copied.symlinks > 0 && copied.nodes == 1);
    let free = target.capacity().unwrap().free_bytes;
    target.commit().unwrap();
    assert!(free > 90 << 20, "holes take no room: {free} bytes are left");
    drop(target);
    let raw = dir.path().join("raw");
    write_out(&overlay, &raw);
    ext4_clean(&Region::whole(&raw)).unwrap();
    let found = filesystems::open(overlay).unwrap();
    compare(&expected, &below(&fs_tree(&*found), "copied")).unwrap();
}

#[test]
fn what_is_not_wanted_of_a_tree_is_left_out_with_all_below_it() {
    let dir = scratch_dir();
    let mut source = empty(dir.path());
    for name in ["/a", "/a/b", "/a/b/c", "/ab", "/d"] {
        let made = source.create_dir(&path(name), &Attributes::default());
        made.unwrap();
    }
    let mut target = empty(dir.path());
    let mut asked = Vec::new();
    let mut is_wanted = |entry: &filesystems::Entry| {
        asked.push(entry.path.to_string());
        Ok(entry.path != path("/a/b") && entry.path != path("/d"))
    };
    let options = CopyOptions::default();
    let copied = copy_tree(&source, &mut target, &options, &mut is_wanted, &NoProgress);
    assert_eq!(copied.unwrap().directories, 2);
    assert_eq!(asked, ["/", "/a", "/a/b", "/ab", "/d"]);
    let found = fs_tree(&target);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["", "a", "ab"]);
}

/// The whole of a device as a file.
fn write_out(device: &dyn flatbake::BlockDevice, file: &Path) {
    let mut bytes = vec![0; usize::try_from(device.size()).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    fs::write(file, bytes).unwrap();
}

/// A tree whose times have no fractions of seconds.
fn in_seconds(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.values_mut()
        .for_each(|entry| entry.mtime = entry.mtime.map(|(seconds, _)| (seconds, 0)));
    tree
}

/// The part of a tree below a directory, as a tree of its own.
fn below(tree: &Tree, top: &str) -> Tree {
    let stripped = |path: &str| {
        let rest = path.strip_prefix(top)?;
        Some(rest.strip_prefix('/').unwrap_or(rest).to_owned())
    };
    let part = tree.iter().filter_map(|(path, entry)| {
        let mut entry = entry.clone();
        entry.linked_to = entry.linked_to.and_then(|first| stripped(&first));
        Some((stripped(path)?, entry))
    });
    part.collect::<BTreeMap<_, _>>()
}

#[test]
fn an_archive_and_its_folder_are_one_tree() {
    let dir = scratch_dir();
    let folder = folder(dir.path());
    let archive = dir.path().join("tree.tar.gz");
    must_run(
        "tar",
        [
            "--format=pax",
            "--xattrs",
            "-czf",
            text(&archive),
            "-C",
            text(&folder),
            ".",
        ],
    );
    let mut tree = empty(dir.path());
    let options = TarOptions::default();
    let archive = File::open(&archive).unwrap();
    inject(&mut tree, archive, &FsPath::root(), &options, &NoProgress).unwrap();
    compare(&host_tree(&folder), &fs_tree(&tree)).unwrap();
}

#[test]
fn layers_take_away_what_they_say() {
    let dir = scratch_dir();
    let mut tree = empty(dir.path());
    let options = TarOptions {
        oci_layer: true,
        ..TarOptions::default()
    };
    for (number, files) in [
        &["a/one", "a/two", "b/three"][..],
        &["a/.wh.one", "b/.wh..wh..opq", "b/four"],
    ]
    .iter()
    .enumerate()
    {
        let layer = dir.path().join(format!("layer{number}"));
        for file in *files {
            let file = layer.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, b"x").unwrap();
        }
        let archive = dir.path().join(format!("layer{number}.tar"));
        must_run("tar", ["-cf", text(&archive), "-C", text(&layer), "."]);
        let archive = File::open(&archive).unwrap();
        inject(&mut tree, archive, &FsPath::root(), &options, &NoProgress).unwrap();
    }
    let found: Vec<String> = fs_tree(&tree).into_keys().collect();
    assert_eq!(found, ["", "a", "a/two", "b", "b/four"]);
}

#[test]
fn what_changes_on_the_host_is_refused() {
    let dir = scratch_dir();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, b"12345").unwrap();
    for name in ["replaced", "linked", "longer", "gone"] {
        fs::write(folder.join(name), b"12345").unwrap();
    }
    let inputs = inputs();
    let mut tree = empty(dir.path());
    tree.add_folder(&folder, &FsPath::root(), &OPTIONS, &inputs)
        .unwrap();

    fs::write(folder.join("new"), b"12345").unwrap();
    fs::rename(folder.join("new"), folder.join("replaced")).unwrap();
    fs::remove_file(folder.join("linked")).unwrap();
    symlink(&secret, folder.join("linked")).unwrap();
    fs::write(folder.join("longer"), b"123456").unwrap();
    fs::remove_file(folder.join("gone")).unwrap();
    for name in ["/replaced", "/linked", "/longer", "/gone"] {
        let read = read_file(&tree, &path(name), 100);
        let error = read.expect_err(name).to_string();
        assert!(error.contains(&name[1..]), "{error}");
    }
    // Nothing may be written into a folder that is read.
    assert!(inputs.refuse(&folder.join("output")).is_err());
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let dir = scratch_dir();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    let mut tree = empty(dir.path());
    for (folder, kind) in [
        (file, ErrorKind::InvalidInput),
        (dir.path().join("missing"), ErrorKind::NotFound),
    ] {
        let added = tree.add_folder(&folder, &FsPath::root(), &OPTIONS, &inputs());
        assert_eq!(added.unwrap_err().kind(), kind);
    }
}

/// Random edits of a staged tree and of an ext4 filesystem have the same outcomes and lead to the same trees.
#[test]
fn edits_are_those_of_a_filesystem() {
    let dir = scratch_dir();
    let nothing = dir.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let image = dir.path().join("ext4");
    let uuid = "01234567-89ab-4cde-8f01-23456789abcd";
    make_ext(&nothing, &image, "ext4", uuid, "", 32 << 20);
    let base = std::sync::Arc::new(FileDevice::open(&image).unwrap());
    let overlay = Overlay::new(base.clone(), OverlayOptions::new(dir.path())).unwrap();
    let options = EditOptions::new(dir.path());
    let mut ext4 = filesystems::edit(base, std::sync::Arc::new(overlay), &options).unwrap();
    ext4.create_dir(&path("/t"), &Attributes::default())
        .unwrap();
    let mut tree = empty(dir.path());
    tree.create_dir(&path("/t"), &Attributes::default())
        .unwrap();

    let mut dice = noise(11, 8 * 1500).into_iter();
    let mut next = || usize::from(dice.next().unwrap());
    let names = ["/t/a", "/t/b", "/t/a/c", "/t/b/c", "/t/a/c/d", "/t/e"];
    let (mut done, mut refused) = (0, 0);
    for _ in 0..1500 {
        let (operation, one, two) = (next() % 9, next() % names.len(), next() % names.len());
        let (one, two) = (path(names[one]), path(names[two]));
        let (len, seed) = (next() * 300, next());
        let attributes = Attributes {
            mode: 0o600 + u32::try_from(seed % 8).unwrap(),
            mtime: Timestamp { secs: 5, nanos: 6 },
            ..Attributes::default()
        };
        let edit = |fs: &mut dyn FileSystemMut| match operation {
            0 | 1 => fs.create_dir(&one, &attributes),
            2 | 3 => {
                let content = noise(u64::try_from(seed).unwrap(), len);
                let mut content: &[u8] = &content;
                let size = u64::try_from(len).unwrap();
                fs.write_content(&one, &attributes, FileContent::whole(size, &mut content))
            }
            4 => fs.symlink(&one, b"a/b", &attributes),
            5 => fs.hard_link(&one, &two),
            6 => fs.rename(&one, &two),
            7 => fs.remove(&one),
            _ => fs.set_xattr(&one, b"user.x", &[1; 20]),
        };
        let (left, right) = (edit(&mut tree), edit(&mut *ext4));
        assert_eq!(
            left.is_ok(),
            right.is_ok(),
            "operation {operation} on {one} and {two}: {left:?} and {right:?}"
        );
        if left.is_ok() {
            done += 1;
        } else {
            refused += 1;
        }
    }
    assert!(
        done > 300 && refused > 100,
        "{done} done, {refused} refused"
    );
    // Times of directories are the callers' own with a staged tree.
    let undated = |tree: Tree| {
        let dated = tree.into_iter().map(|(path, mut entry)| {
            entry.mtime = None;
            (path, entry)
        });
        dated.collect::<Tree>()
    };
    compare(
        &below(&undated(fs_tree(&*ext4)), "t"),
        &below(&undated(fs_tree(&tree)), "t"),
    )
    .unwrap();
}

#[test]
fn content_is_exact_and_shared_by_its_names() {
    let dir = scratch_dir();
    let mut tree = empty(dir.path());
    let attributes = Attributes::default();
    let mut short: &[u8] = b"123";
    let wrong = tree.write_file(&path("/file"), &attributes, 4, &mut short);
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut empty_tree = empty(dir.path());
    let mut content: &[u8] = b"1234";
    empty_tree
        .write_file(&path("/file"), &attributes, 4, &mut content)
        .unwrap();
    empty_tree
        .hard_link(&path("/file"), &path("/other"))
        .unwrap();
    let mut content: &[u8] = b"56";
    empty_tree
        .write_file(&path("/other"), &attributes, 2, &mut content)
        .unwrap();
    assert_eq!(read_file(&empty_tree, &path("/file"), 9).unwrap(), b"56");
    empty_tree.remove(&path("/file")).unwrap();
    let metadata = empty_tree.metadata_at(&path("/other")).unwrap();
    assert_eq!((metadata.nlink, metadata.file_type), (1, FileType::File));
    let node = empty_tree.node_at(&path("/other")).unwrap();
    let file = empty_tree.open(node).unwrap();
    let beyond = file.read_at(1, &mut [0; 2]).unwrap_err();
    assert_eq!(beyond.reason(), Some(Reason::OutOfRange));
    drop(file);
    let change = MetadataChange {
        mode: Some(0o1_0000),
        ..MetadataChange::default()
    };
    assert!(empty_tree.set_metadata(&path("/other"), &change).is_err());
}
