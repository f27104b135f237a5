//! What we write is clean to btrfs-progs, and the kernel and GRUB read from it what was put in.

use std::fs;

use flatbake::fs::FileSystemMut;
use flatbake::fs::btrfs::{Btrfs, BtrfsEditor};
use tempfile::{NamedTempFile, TempDir};

use crate::fixture::{Target, assert_clean, blank, device, image, tree};
use crate::manifest::manifest;
use crate::read::same_tree;

const EDITABLE: [&str; 7] =
    ["oem-bgt", "oem-plain", "oem-v1cache", "kernel-lzo", "kernel-zlib", "kernel-plain", "kernel-small"];

/// Opens `source` for editing; `commit` writes to the new file returned.
fn edit(source: &NamedTempFile) -> (BtrfsEditor, NamedTempFile) {
    let target = blank(source.as_file().metadata().unwrap().len());
    let folder = std::env::temp_dir();
    let editor = Btrfs::edit(device(source.path()), Target::open(target.path()), &folder).unwrap();
    (editor, target)
}

#[test]
fn unchanged_fixtures_are_rebuilt() {
    for name in EDITABLE {
        let source = image(name);
        let (mut editor, target) = edit(&source);
        same_tree(&manifest(&editor), &tree(name));
        editor.commit().unwrap();
        assert_clean(target.path(), name);
        same_tree(&manifest(&Btrfs::open(device(target.path())).unwrap()), &tree(name));
        // Our own work is a fixed point, and writing twice gives the same bytes.
        let (mut again, second) = edit(&target);
        again.commit().unwrap();
        assert!(fs::read(target.path()).unwrap() == fs::read(second.path()).unwrap(), "{name}");
        again.commit().unwrap();
        assert!(fs::read(target.path()).unwrap() == fs::read(second.path()).unwrap(), "{name}");
    }
    let _ = TempDir::new();
}
