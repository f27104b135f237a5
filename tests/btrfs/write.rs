//! What we write is clean to btrfs-progs, and the kernel and GRUB read from it what was put in.

use std::fs::{self};
use std::path::Path;

use flatbake::fs::btrfs::{Btrfs, BtrfsEditor};
use flatbake::fs::{
    Attributes, ByPath, FileSystemMut, FileType, FsPath, MetadataChange, Timestamp,
};
use tempfile::NamedTempFile;

use crate::btrfs::fixture::{
    Target, assert_clean, blank, device, image, run, same_bytes, tool, tree,
};
use crate::btrfs::kernel;
use crate::btrfs::manifest::manifest;
use crate::btrfs::read::{path, same_tree};

/// Fixtures without subvolumes.
const EDITABLE: [&str; 8] = [
    "oem-bgt",
    "oem-plain",
    "oem-v1cache",
    "kernel-lzo",
    "kernel-zlib",
    "kernel-plain",
    "kernel-small",
    "kernel-shared",
];

/// Opens `source` for editing; `commit` writes to the new file returned.
pub fn edit(source: &NamedTempFile) -> (BtrfsEditor, NamedTempFile) {
    let target = blank(source.as_file().metadata().unwrap().len());
    let folder = std::env::temp_dir();
    let editor = Btrfs::edit(device(source.path()), Target::open(target.path()), &folder).unwrap();
    (editor, target)
}

pub fn attributes(mode: u32, secs: i64) -> Attributes {
    Attributes {
        mode,
        uid: 500,
        gid: 501,
        mtime: Timestamp {
            secs,
            nanos: 123_456_789,
        },
    }
}

pub fn put(editor: &mut BtrfsEditor, name: &str, content: &[u8]) {
    editor
        .write_file(
            &path(name),
            &attributes(0o644, 1_700_000_000),
            content.len() as u64,
            &mut &content[..],
        )
        .unwrap();
}

/// Lines of numbers, which compress, and noise, which does not.
pub fn text(len: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|i| format!("line {}\n", i / 3).into_bytes())
        .take(len)
        .collect()
}

pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(next());
    }
    bytes.truncate(len);
    bytes
}

/// Committed and clean, what was read before is what is there now, and every judge agrees.
pub fn commit(mut editor: BtrfsEditor, target: &NamedTempFile, what: &str) -> String {
    let expected = manifest(&editor);
    editor.commit().unwrap();
    assert_clean(target.path(), what);
    same_tree(
        &manifest(&Btrfs::open(device(target.path())).unwrap()),
        &expected,
    );
    kernel::reads(target.path(), &expected);
    expected
}

#[test]
fn unchanged_fixtures_are_rebuilt() {
    for name in EDITABLE {
        let source = image(name);
        let (mut editor, target) = edit(&source);
        same_tree(&manifest(&editor), &tree(name));
        editor.commit().unwrap();
        assert_clean(target.path(), name);
        same_tree(
            &manifest(&Btrfs::open(device(target.path())).unwrap()),
            &tree(name),
        );
        // Our own work is a fixed point, and writing twice gives the same bytes.
        let (mut again, second) = edit(&target);
        again.commit().unwrap();
        same_bytes(target.path(), second.path());
        again.commit().unwrap();
        same_bytes(target.path(), second.path());
        kernel::reads(target.path(), &tree(name));
    }
}

#[test]
fn all_edits_on_all_fixtures() {
    for name in EDITABLE {
        let source = image(name);
        let (mut fs, target) = edit(&source);
        fs.create_dir(&path("/new"), &attributes(0o750, -86_400))
            .unwrap();
        put(&mut fs, "/new/empty", b"");
        put(&mut fs, "/new/short", b"short");
        put(&mut fs, "/new/inline", &text(1900));
        put(&mut fs, "/new/inline-packed", &text(4096));
        put(&mut fs, "/new/text", &text(1_000_000));
        put(&mut fs, "/new/noise", &noise(3_000_001));
        put(&mut fs, "/grub.cfg", b"set oem_id=test\n");
        fs.symlink(
            &path("/new/link"),
            b"../grub.cfg",
            &attributes(0, 5_000_000_000),
        )
        .unwrap();
        fs.hard_link(&path("/new/text"), &path("/hard")).unwrap();
        fs.mknod(
            &path("/new/tty"),
            FileType::CharDevice,
            (4, 64),
            &attributes(0o620, 1),
        )
        .unwrap();
        fs.mknod(
            &path("/new/disk"),
            FileType::BlockDevice,
            (4095, 1_048_575),
            &attributes(0o660, 1),
        )
        .unwrap();
        fs.mknod(
            &path("/new/pipe"),
            FileType::Fifo,
            (0, 0),
            &attributes(0o600, 1),
        )
        .unwrap();
        fs.mknod(
            &path("/new/socket"),
            FileType::Socket,
            (0, 0),
            &attributes(0o600, 1),
        )
        .unwrap();
        fs.set_xattr(&path("/new/text"), b"user.name", b"value")
            .unwrap();
        fs.set_xattr(
            &path("/new"),
            b"security.selinux",
            b"system_u:object_r:etc_t:s0\0",
        )
        .unwrap();
        fs.remove_xattr(&path("/new/text"), b"user.name").unwrap();
        fs.set_xattr(&path("/new/text"), b"trusted.other", &[0, 255, 7])
            .unwrap();
        let change = MetadataChange {
            mode: Some(0o4711),
            mtime: Some(Timestamp { secs: -1, nanos: 5 }),
            ..Default::default()
        };
        fs.set_metadata(&path("/new/noise"), &change).unwrap();
        fs.rename(&path("/new/short"), &path("/new/empty")).unwrap();
        fs.rename(&path("/new/inline"), &path("/moved")).unwrap();
        let bad = FsPath::root().join(b"bad\xff name").unwrap();
        fs.write_file(&bad, &attributes(0o600, 0), 3, &mut &b"abc"[..])
            .unwrap();
        put(&mut fs, &format!("/{}", "n".repeat(255)), b"long name");
        // A replaced file, and a removed tree.
        let first = fs.entries_at(&FsPath::root()).unwrap();
        let folder = first
            .iter()
            .find(|entry| entry.file_type == FileType::Directory && entry.name != b"new")
            .unwrap();
        let folder = FsPath::root().join(&folder.name).unwrap();
        remove_tree(&mut fs, &folder);
        let expected = commit(fs, &target, name);
        assert!(
            expected.contains(
                "/new/link 120777 500:501 11 1 5000000000.123456789 /new/link ../grub.cfg"
            ),
            "{expected}"
        );
        grub_agrees(target.path(), "/grub.cfg", b"set oem_id=test\n");
        grub_agrees(target.path(), "/new/text", &text(1_000_000));
        kernel::changes(target.path());
    }
}

/// Nothing of what was on the target before is left, wherever the new filesystem has nothing.
#[test]
fn unused_blocks_read_as_zeroes() {
    let source = image("kernel-small");
    let (mut fs, target) = edit(&source);
    fs.commit().unwrap();
    let full = NamedTempFile::new().unwrap();
    fs::write(full.path(), vec![0xff; 16 << 20]).unwrap();
    let target_device = Target::open(full.path());
    let mut fs = Btrfs::edit(device(source.path()), target_device, &std::env::temp_dir()).unwrap();
    fs.commit().unwrap();
    same_bytes(target.path(), full.path());
}

fn remove_tree(fs: &mut BtrfsEditor, folder: &FsPath) {
    for entry in fs.entries_at(folder).unwrap() {
        let below = folder.join(&entry.name).unwrap();
        if entry.file_type == FileType::Directory {
            remove_tree(fs, &below)
        } else {
            fs.remove(&below).unwrap()
        }
    }
    fs.remove(folder).unwrap();
}

/// GRUB's own driver reads the same content.
fn grub_agrees(image: &Path, name: &str, content: &[u8]) {
    let Some(mut grub) = tool("grub-fstest") else {
        return;
    };
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    let (ok, text) = run(grub.arg(image).args(["cmp", name]).arg(file.path()));
    assert!(ok && text.is_empty(), "{name}: {text}");
    let (_, crc) = run(tool("grub-fstest").unwrap().arg(image).args(["crc", name]));
    assert_eq!(crc.trim(), format!("{:08x}", crc32fast::hash(content)));
    // And says no to other content.
    fs::write(file.path(), [content, b"?"].concat()).unwrap();
    let (ok, text) = run(tool("grub-fstest")
        .unwrap()
        .arg(image)
        .args(["cmp", name])
        .arg(file.path()));
    assert!(!ok || !text.is_empty());
}
