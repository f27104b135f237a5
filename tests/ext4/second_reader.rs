//! A reader that knows nothing of ours, the crate `ext4-view`, finds in edited images what the model holds.
//!
//! It refuses `meta_bg`, `large_dir`, `ea_inode`, `inline_data` and directories without file types, and every time
//! whose low 32 bits are negative (as in the years 2038 to 2106), so the edits here keep to other times. Targets of
//! symlinks must be paths to it: no name in them is longer than 255 bytes.

use std::collections::BTreeMap;
use std::path::Path;

use ext4_view::{FileType as Kind, PathBuf};
use flatbake::fs::ext4::Ext4;
use flatbake::fs::{FileSystemMut, FileType, FsPath};

use crate::common::longer;
use crate::ext4::images::{SETS, Set, mke2fs, tree};
use crate::ext4::model::{Body, Model, Node, attributes};
use crate::ext4::random::edits;
use crate::ext4::recipe::recipe;
use crate::ext4::support::{ImageFile, Numbers, assert_clean, edit, file_in, have_judges};

/// What both sides tell of a path.
#[derive(Debug, PartialEq)]
struct Seen {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    /// Of directories, whose size is their own affair, zero.
    size: usize,
    /// Content of a file, target of a symlink.
    bytes: Vec<u8>,
}

type Listing = BTreeMap<Vec<u8>, Seen>;

fn expected(model: &Model) -> Listing {
    model
        .paths
        .iter()
        .map(|(path, number)| (path.as_bytes().to_vec(), modelled(&model.nodes[*number])))
        .collect()
}

fn modelled(node: &Node) -> Seen {
    let a = &node.attributes;
    let (kind, bytes) = match &node.body {
        Body::File(content) => (Kind::Regular, content.clone()),
        Body::Directory => (Kind::Directory, Vec::new()),
        Body::Symlink(target) => (Kind::Symlink, target.clone()),
        Body::Node(file_type, _) => (special(*file_type), Vec::new()),
    };
    let mtime = (a.mtime.secs, a.mtime.nanos);
    Seen {
        kind,
        mode: a.mode,
        owner: (a.uid, a.gid),
        mtime,
        size: bytes.len(),
        bytes,
    }
}

fn special(file_type: FileType) -> Kind {
    match file_type {
        FileType::CharDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        other => panic!("{other:?} is nothing special"),
    }
}

/// Everything in the image but the root and `lost+found`.
fn found(image: &Path) -> Listing {
    let fs = ext4_view::Ext4::load(Box::new(std::fs::read(image).unwrap())).unwrap();
    let mut listing = Listing::new();
    let mut folders = vec![PathBuf::new("/")];
    while let Some(folder) = folders.pop() {
        for entry in fs.read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let path = entry.path();
            if name == "." || name == ".." || path == "/lost+found" {
                continue;
            }
            let seen = seen(&fs, &path);
            assert_eq!(
                entry.file_type().unwrap(),
                seen.kind,
                "the directory's word on {path:?}"
            );
            let known = listing.insert(path.as_ref().to_vec(), seen);
            assert!(known.is_none(), "{path:?} is listed twice");
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            }
        }
    }
    listing
}

fn seen(fs: &ext4_view::Ext4, path: &PathBuf) -> Seen {
    let metadata = fs
        .symlink_metadata(path)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let bytes = match metadata.file_type() {
        Kind::Regular => fs.read(path).unwrap(),
        Kind::Symlink => fs.read_link(path).unwrap().as_ref().to_vec(),
        _ => Vec::new(),
    };
    Seen {
        kind: metadata.file_type(),
        mode: metadata.mode().into(),
        owner: (metadata.uid(), metadata.gid()),
        mtime: (
            metadata.modified().seconds(),
            metadata.modified().nanoseconds(),
        ),
        size: if metadata.is_dir() {
            0
        } else {
            usize::try_from(metadata.len()).unwrap()
        },
        bytes,
    }
}

/// The paths that one side does not have or that are not the same on both.
fn differences(one: &Listing, other: &Listing) -> Vec<String> {
    let paths = one
        .keys()
        .chain(other.keys().filter(|path| !one.contains_key(*path)));
    let differ = paths.filter(|path| one.get(*path) != other.get(*path));
    differ
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect()
}

fn assert_same(model: &Model, image: &Path) {
    let expected = expected(model);
    let found = found(image);
    let different = differences(&expected, &found);
    let first = different
        .first()
        .map(|path| (expected.get(path.as_bytes()), found.get(path.as_bytes())));
    assert!(
        different.is_empty(),
        "{different:?} differ, the first: {first:.500?}"
    );
}

/// The sets that the second reader knows.
fn sets() -> impl Iterator<Item = &'static Set> {
    let unknown = [
        "meta_bg",
        "large_dir",
        "ea_inode",
        "inline_data",
        "^filetype",
    ];
    SETS.iter().filter(move |set| {
        !set.features
            .split(',')
            .any(|feature| unknown.contains(&feature))
    })
}

#[test]
fn every_operation_as_a_second_reader_sees_it() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = file_in(&folder, "tree");
    let image = file_in(&folder, "a.img");
    tree(&source);
    for set in sets() {
        eprintln!("{set}");
        set.make(&image, 48, Some(&source));
        let mut fs = edit(&image);
        let mut model = Model::of(&fs);
        recipe(&mut fs, &mut model, set.block(), [1_000_000, 5_000_000_000]);
        fs.commit().unwrap();
        assert_clean(&image);
        assert_same(&model, &image);
    }
}

#[test]
fn random_edits_as_a_second_reader_sees_them() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = file_in(&folder, "tree");
    let image = file_in(&folder, "a.img");
    tree(&source);
    for seed in 0..longer(1) {
        for (number, set) in (1000..).zip(sets()) {
            set.make(&image, 64, Some(&source));
            let mut numbers = Numbers::new(seed << 32 | number);
            let mut fs = edit(&image);
            let mut model = Model::of(&fs);
            for _ in 0..2 {
                edits(&mut fs, &mut model, &mut numbers, set, 0..1 << 31);
                fs.commit().unwrap();
                assert_same(&model, &image);
            }
        }
    }
}

#[test]
fn the_second_reader_sees_a_changed_byte() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 16, "", None, &[]);
    let mut fs = edit(&image);
    let mut model = Model::of(&fs);
    two_files(&mut fs, &mut model);
    assert_same(&model, &image);
    let mut bytes = std::fs::read(&image).unwrap();
    let content = bytes
        .windows(12)
        .position(|window| window == b"second words")
        .unwrap();
    bytes[content] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    assert_eq!(differences(&expected(&model), &found(&image)), ["/two"]);
    model.paths.remove(&FsPath::new("/one").unwrap());
    assert_eq!(
        differences(&expected(&model), &found(&image)),
        ["/two", "/one"]
    );
}

fn two_files(fs: &mut Ext4<ImageFile>, model: &mut Model) {
    for (name, content) in [("/one", &b"first words"[..]), ("/two", b"second words")] {
        let at = FsPath::new(name).unwrap();
        let attributes = attributes(0o640, 7);
        fs.write_file(&at, &attributes, content.len() as u64, &mut &content[..])
            .unwrap();
        model.add(&at, Body::File(content.to_vec()), &attributes);
    }
    fs.commit().unwrap();
}
