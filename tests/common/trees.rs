//! Trees of files on this machine, for tests to pack: the same on every one, with times of their own.

use super::programs::EPOCH;
use super::random::Random;
use super::sysext::{set_time, set_times};
use super::{noise, usual_umask};
use flatbake::Cancel;
use flatbake::block::Inputs;
use flatbake::fs::{Attributes, FileSystemMut, FolderOptions, FsPath, StagedTree, Timestamp};
use rustix::fs::{CWD, Mode, XattrFlags, mkfifoat, setxattr};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// A tree with what filesystems find hard: deep paths, many entries, long names, holes, links, odd sizes.
pub fn make_tree(root: &Path, many: usize) {
    usual_umask();
    let dir = |path: &str| fs::create_dir_all(root.join(path)).unwrap();
    let file = |path: &str, content: &[u8]| fs::write(root.join(path), content).unwrap();
    dir("usr/bin");
    dir("usr/lib/deep/er/and/deeper/still");
    dir("empty-dir");
    dir("many");
    file("empty", b"");
    file("one", b"1");
    file("usr/bin/tool", &noise(1, 300_000));
    fs::set_permissions(
        root.join("usr/bin/tool"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    file(
        "usr/lib/text",
        "all work and no play makes a dull file\n"
            .repeat(20_000)
            .as_bytes(),
    );
    file("usr/lib/exact", &vec![b'x'; 131_072]);
    file("usr/lib/exact-and-one", &vec![b'y'; 131_073]);
    file("usr/lib/deep/er/and/deeper/still/leaf", b"leaf");
    file(&format!("usr/lib/{}", "n".repeat(255)), b"long name");
    file("usr/lib/caf\u{e9} \u{4e16}", b"unicode");
    let mut code = noise(2, 4096);
    for at in (0..4000).step_by(50) {
        code[at] = 0xe8;
        code[at + 3..at + 5].fill(0);
    }
    file("usr/lib/code", &code.repeat(40));
    fs::hard_link(root.join("usr/lib/text"), root.join("usr/lib/text-again")).unwrap();
    fs::hard_link(root.join("usr/lib/text"), root.join("text-elsewhere")).unwrap();
    symlink("../lib/text", root.join("usr/bin/link")).unwrap();
    symlink("t".repeat(3000), root.join("usr/bin/long-link")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 1_500_000).unwrap();
    let hole = File::create(root.join("only-a-hole")).unwrap();
    hole.set_len(1 << 20).unwrap();
    for number in 0..many {
        file(
            &format!("many/file-{number:05}-with-a-name"),
            number.to_string().repeat(number % 50).as_bytes(),
        );
    }
    spread_times(root);
}

/// A little tree with every inode type that needs no privilege, so that mutations of its image hit something.
pub fn make_small_tree(root: &Path) {
    usual_umask();
    fs::create_dir_all(root.join("usr/lib/x")).unwrap();
    fs::write(root.join("usr/lib/file"), noise(5, 9000)).unwrap();
    fs::write(root.join("usr/lib/text"), "some text to pack ".repeat(1000)).unwrap();
    fs::write(root.join("usr/lib/x/tail"), b"tail").unwrap();
    fs::hard_link(root.join("usr/lib/file"), root.join("usr/again")).unwrap();
    File::create(root.join("hole"))
        .unwrap()
        .set_len(50_000)
        .unwrap();
    symlink("usr/lib/file", root.join("link")).unwrap();
    for number in 0..20 {
        fs::write(root.join(format!("usr/{number}")), [number]).unwrap();
    }
    for (name, value) in [
        ("user.a", "short".to_owned()),
        ("user.long", "v".repeat(3000)),
    ] {
        for file in ["usr/lib/file", "usr/lib/text", "usr"] {
            // Not every filesystem of a host takes so much.
            let _ = setxattr(root.join(file), name, value.as_bytes(), XattrFlags::empty());
        }
    }
    spread_times(root);
}

/// A tree with what listers easily get wrong.
pub fn make_odd_tree(root: &Path) {
    usual_umask();
    fs::create_dir_all(root.join("sub/deeper")).unwrap();
    fs::write(root.join("sub/file"), b"content\n").unwrap();
    fs::write(root.join("sub/deeper/empty"), b"").unwrap();
    fs::write(root.join("big"), noise(10, 300_000)).unwrap();
    fs::write(root.join("a \"quoted\" name"), b"q").unwrap();
    fs::write(
        root.join("mtime 12 (3) = name: ..."),
        b"words of the tools' own output",
    )
    .unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not-utf8-\xff\xfe")), b"x").unwrap();
    File::create(root.join("sparse"))
        .unwrap()
        .set_len(5 << 20)
        .unwrap();
    fs::hard_link(root.join("sub/file"), root.join("hard")).unwrap();
    symlink("sub/file", root.join("short-link")).unwrap();
    symlink("x".repeat(100), root.join("long-link")).unwrap();
    mkfifoat(CWD, root.join("fifo"), Mode::from_raw_mode(0o620)).unwrap();
    let xattrs: [(&str, &[u8]); 3] = [
        ("user.text", b"a \"b\""),
        ("user.binary", b"\0\n\xff"),
        ("user.long", &[b'y'; 900]),
    ];
    for (name, value) in xattrs {
        setxattr(root.join("sub/file"), name, value, XattrFlags::empty()).unwrap();
    }
    set_times(root);
    set_time(&root.join("big"), -1000);
    fs::set_permissions(root.join("big"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("sub"), fs::Permissions::from_mode(0o1777)).unwrap();
}

/// What a fresh machine may have, for a ROOT to start from.
pub fn make_etc_tree(root: &Path) {
    usual_umask();
    fs::create_dir_all(root.join("etc/deep/er")).unwrap();
    fs::write(root.join("etc/hostname"), "localhost\n").unwrap();
    fs::write(root.join("etc/big"), vec![b'b'; 300_000]).unwrap();
    fs::hard_link(root.join("etc/hostname"), root.join("etc/alias")).unwrap();
    symlink("hostname", root.join("etc/link")).unwrap();
    symlink("x".repeat(90), root.join("etc/long-link")).unwrap();
    spread_times(root);
}

/// Gives everything below `root`, and itself, a time of its own: one second after the other, in the order of names.
fn spread_times(root: &Path) {
    let mut time = EPOCH;
    set_next_time(root, &mut time);
}

fn set_next_time(path: &Path, time: &mut i64) {
    if path.symlink_metadata().unwrap().is_dir() {
        let mut children: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|child| child.unwrap().path())
            .collect();
        children.sort();
        children.iter().for_each(|child| set_next_time(child, time));
    }
    set_time(path, *time);
    *time += 1;
}

/// An empty tree in memory.
pub fn staged_tree(temp_dir: &Path) -> StagedTree {
    StagedTree::new(temp_dir, Timestamp { secs: 99, nanos: 0 })
}

/// A folder of this machine as a tree, as it is.
pub fn staged_folder(temp_dir: &Path, folder: &Path) -> StagedTree {
    let mut tree = staged_tree(temp_dir);
    let options = FolderOptions {
        role: "tree",
        owner: None,
    };
    let inputs = Inputs::new(Cancel::default());
    tree.add_folder(folder, &FsPath::root(), &options, &inputs)
        .unwrap();
    tree
}

/// A tree of up to 400 entries of all sorts, some with holes, some with attributes.
pub fn random_tree(temp_dir: &Path, seed: u64) -> StagedTree {
    let mut random = Random::new(seed);
    let mut tree = staged_tree(temp_dir);
    let mut folders = vec![FsPath::root()];
    for entry in 0..random.below(400) {
        let parent = &folders[random.below(folders.len())];
        let name = format!("{entry}{}", "x".repeat(random.below(240)));
        let path = parent.join(name.as_bytes()).unwrap();
        let attributes = Attributes {
            mode: 0o700 + u32::try_from(random.below(64)).unwrap(),
            uid: u32::try_from(random.below(100_000)).unwrap(),
            ..Attributes::default()
        };
        match random.below(4) {
            0 => {
                tree.create_dir(&path, &attributes).unwrap();
                folders.push(path.clone());
            }
            1 => {
                let target = vec![b't'; 1 + random.below(200)];
                tree.symlink(&path, &target, &attributes).unwrap();
            }
            _ => {
                let len = random.below(40_000);
                let mut content = random.bytes(len);
                if random.below(3) == 0 {
                    // Every other block is a hole.
                    let blocks = content.chunks_mut(4096);
                    blocks.step_by(2).for_each(|block| block.fill(0));
                }
                tree.write_file(&path, &attributes, len as u64, &mut &content[..])
                    .unwrap();
            }
        }
        if random.below(5) == 0 {
            let value = vec![b'v'; random.below(1000)];
            tree.set_xattr(&path, b"trusted.note", &value).unwrap();
        }
    }
    tree
}
