//! Structures that few filesystems have: two-level hash trees, uncounted links, preallocated extents, values in inodes,
//! shared attribute blocks, very sparse files, interrupted truncation.

use std::io::Read;
use std::path::Path;

use flatbake::ErrorKind;
use flatbake::fs::ext4::Ext4;
use flatbake::fs::{ByPath, FileSystem, FileSystemMut, read_file};

use crate::ext4::images::{debugfs_write, mke2fs, replayed, tree};
use crate::ext4::model::{Body, Model, attributes, path};
use crate::ext4::support::{ImageFile, assert_clean, debugfs, edit, file_in, have_judges};

const EXT3: &str = "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize";

#[test]
fn hash_trees_of_two_levels() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    for (features, block, levels) in [
        ("", "1024", 1),
        ("large_dir", "1024", 1),
        ("^metadata_csum", "4096", 0),
        (EXT3, "1024", 1),
    ] {
        mke2fs(&image, 64, features, None, &["-b", block, "-N", "24000"]);
        let mut fs = edit(&image);
        fs.create_dir(&path("/many"), &attributes(0o755, 1))
            .unwrap();
        for number in 0..20_000 {
            let at = path(&format!("/many/the-name-of-file-number-{number}"));
            fs.write_file(&at, &attributes(0o644, 2), 0, &mut &b""[..])
                .unwrap();
        }
        fs.commit().unwrap();
        assert_clean(&image);
        let root = debugfs(&image, "htree /many\n");
        assert!(
            root.contains(&format!("Indirect levels: {levels}")),
            "{}",
            &root[..400]
        );
        // Most go; what is left needs fewer blocks.
        let free = fs.capacity().unwrap().free_bytes;
        for number in 0..19_900 {
            fs.remove(&path(&format!("/many/the-name-of-file-number-{number}")))
                .unwrap();
        }
        fs.commit().unwrap();
        assert_clean(&image);
        assert!(fs.capacity().unwrap().free_bytes > free + 500_000);
        let fs = Ext4::open_read_only(ImageFile::open(&image)).unwrap();
        assert_eq!(fs.entries_at(&path("/many")).unwrap().len(), 100);
    }
}

#[test]
fn more_directories_than_links_are_counted() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    for features in ["^metadata_csum", "^dir_nlink"] {
        mke2fs(
            &image,
            112,
            features,
            None,
            &[
                "-b", "1024", "-N", "66000", "-m", "0", "-I", "128", "-J", "size=1",
            ],
        );
        let mut fs = edit(&image);
        let mut outcome = Ok(());
        for number in 0..65_005 {
            outcome = fs.create_dir(&path(&format!("/{number}")), &attributes(0o755, 1));
            if outcome.is_err() {
                break;
            }
        }
        assert_eq!(outcome.is_ok(), features == "^metadata_csum");
        outcome
            .map_err(|error| assert_eq!(error.kind(), ErrorKind::Unsupported))
            .ok();
        fs.commit().unwrap();
        assert_clean(&image);
    }
}

#[test]
fn preallocated_extents_read_as_zeroes_and_are_freed() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    let source = file_in(&folder, "tree");
    tree(&source);
    mke2fs(&image, 16, "", Some(&source), &[]);
    debugfs_write(
        &image,
        "fallocate /etc/hostname 0 99\nsif /etc/hostname size 250000\n",
    );
    let stat = debugfs(&image, "stat /etc/hostname\n");
    assert!(stat.contains("[u]"), "unwritten extents: {stat}");
    assert_clean(&image);
    let mut fs = edit(&image);
    let content = read_file(&fs, &path("/etc/hostname"), 1 << 20).unwrap();
    assert!(content.starts_with(b"localhost\n") && content.len() == 250_000);
    assert!(content[10..].iter().all(|byte| *byte == 0));
    let free = fs.capacity().unwrap().free_bytes;
    fs.write_file(
        &path("/etc/hostname"),
        &attributes(0o644, 1),
        3,
        &mut &b"new"[..],
    )
    .unwrap();
    fs.commit().unwrap();
    assert_clean(&image);
    assert_eq!(fs.capacity().unwrap().free_bytes, free + 99 * 4096);
}

#[test]
fn values_in_inodes_are_read_and_kept() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    let source = file_in(&folder, "tree");
    let value = file_in(&folder, "value");
    tree(&source);
    std::fs::write(
        &value,
        (0..4096u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>(),
    )
    .unwrap();
    mke2fs(&image, 16, "ea_inode", Some(&source), &[]);
    debugfs_write(
        &image,
        &format!("ea_set -f {} /etc/hostname user.big\n", value.display()),
    );
    // debugfs forgets to count the blocks of the value.
    replayed(&image);
    assert_clean(&image);
    let mut fs = edit(&image);
    let found = fs.xattrs_at(&path("/etc/hostname")).unwrap();
    assert_eq!((found.len(), &found[0].name[..]), (1, &b"user.big"[..]));
    assert!(found[0].value == std::fs::read(&value).unwrap());
    for outcome in [
        fs.write_file(
            &path("/etc/hostname"),
            &attributes(0o644, 1),
            0,
            &mut &b""[..],
        ),
        fs.set_xattr(&path("/etc/hostname"), b"user.more", b"x"),
    ] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    fs.remove(&path("/etc/link")).unwrap();
    fs.commit().unwrap();
    assert_clean(&image);
    drop(fs);
    // A folder counts the blocks of its values: nothing may be put into it.
    debugfs_write(
        &image,
        &format!("ea_set -f {} /etc user.big\n", value.display()),
    );
    replayed(&image);
    assert_clean(&image);
    let mut fs = edit(&image);
    let outcome = fs.write_file(&path("/etc/new"), &attributes(0o644, 1), 0, &mut &b""[..]);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_clean(&image);
}

#[test]
fn names_have_255_bytes() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 16, "", None, &[]);
    let mut fs = edit(&image);
    for (bytes, fits) in [(255, true), (256, false), (700, false)] {
        let name = path(&format!("/{}", "n".repeat(bytes)));
        assert_eq!(
            fs.create_dir(&name, &attributes(0o755, 1)).is_ok(),
            fits,
            "{bytes}"
        );
        if !fits {
            fs = edit(&image);
        }
        fs.commit().unwrap();
    }
    assert_clean(&image);
}

#[test]
fn shared_attribute_blocks_are_counted() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    for features in ["", "^metadata_csum"] {
        mke2fs(&image, 16, features, None, &[]);
        let mut fs = edit(&image);
        for name in ["/a", "/b", "/c"] {
            fs.write_file(&path(name), &attributes(0o644, 1), 0, &mut &b""[..])
                .unwrap();
        }
        fs.set_xattr(&path("/a"), b"user.large", &[7; 1500])
            .unwrap();
        fs.commit().unwrap();
        drop(fs);
        share_block(&image, features.is_empty());
        assert_clean(&image);
        let mut fs = edit(&image);
        let free = fs.capacity().unwrap().free_bytes;
        fs.set_xattr(&path("/b"), b"user.own", &[8; 500]).unwrap();
        assert_eq!(
            fs.capacity().unwrap().free_bytes,
            free - 4096,
            "a block of its own"
        );
        fs.remove(&path("/c")).unwrap();
        assert_eq!(
            fs.capacity().unwrap().free_bytes,
            free - 4096,
            "one inode less"
        );
        fs.commit().unwrap();
        assert_clean(&image);
        assert_eq!(fs.xattrs_at(&path("/a")).unwrap()[0].value, vec![7; 1500]);
        assert_eq!(fs.xattrs_at(&path("/b")).unwrap().len(), 2);
        fs.remove_xattr(&path("/a"), b"user.large").unwrap();
        assert_eq!(
            fs.capacity().unwrap().free_bytes,
            free,
            "the last one frees it"
        );
        fs.commit().unwrap();
        assert_clean(&image);
    }
}

/// Lets /b and /c share the attribute block of /a, as Linux does for equal attributes.
fn share_block(image: &Path, sealed: bool) {
    let stat = debugfs(image, "stat /a\n");
    let block: usize = stat
        .split("File ACL: ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let set = |name: &str| format!("sif {name} file_acl {block}\nsif {name} blocks 8\n");
    debugfs_write(image, &(set("/b") + &set("/c")));
    let mut bytes = std::fs::read(image).unwrap();
    let seed = !crc32c::crc32c(&bytes[1024 + 0x68..1024 + 0x78]);
    let page = &mut bytes[block * 4096..(block + 1) * 4096];
    page[4] = 3;
    if sealed {
        page[16..20].fill(0);
        let crc = crc32c::crc32c_append(!seed, &u64::try_from(block).unwrap().to_le_bytes());
        let crc = !crc32c::crc32c_append(crc, page);
        page[16..20].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(image, bytes).unwrap();
}

#[test]
fn interrupted_truncation_is_finished() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    let source = file_in(&folder, "tree");
    let other = file_in(&folder, "b.img");
    tree(&source);
    for features in ["", "^metadata_csum", EXT3] {
        mke2fs(&image, 16, features, Some(&source), &[]);
        let stat = debugfs(&image, "stat /etc/big\n");
        let ino: u32 = stat
            .split("Inode: ")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        debugfs_write(
            &image,
            &format!("sif /etc/big size 50001\nsif /etc/big dtime 0\nssv last_orphan {ino}\n"),
        );
        std::fs::copy(&image, &other).unwrap();
        replayed(&other);
        let fs = edit(&image);
        assert_clean(&image);
        let content = read_file(&fs, &path("/etc/big"), 1 << 20).unwrap();
        assert!(content == vec![b'b'; 50_001]);
        let theirs = Ext4::open_read_only(ImageFile::open(&other)).unwrap();
        assert_eq!(
            fs.capacity().unwrap(),
            theirs.capacity().unwrap(),
            "{features}"
        );
        Model::of(&theirs).compare(&fs);
    }
}

#[test]
fn large_and_very_sparse_files() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    for features in [
        "",
        "^has_journal,^large_file,^extent,^64bit,^huge_file,^flex_bg,^metadata_csum",
    ] {
        mke2fs(&image, 2300, features, None, &["-b", "1024", "-N", "1024"]);
        let mut fs = edit(&image);
        let mut model = Model::of(&fs);
        // Every other block is a hole: as many pieces as there can be.
        let content: Vec<u8> = (0..3000u32)
            .flat_map(|n| [u8::from(n % 2 == 0); 1024])
            .collect();
        fs.write_file(
            &path("/comb"),
            &attributes(0o600, 1),
            content.len() as u64,
            &mut &content[..],
        )
        .unwrap();
        model.add(&path("/comb"), Body::File(content), &attributes(0o600, 1));
        let size = (1 << 31) + 5;
        let free = fs.capacity().unwrap().free_bytes;
        let mut content = std::io::repeat(0).take(size - 2).chain(&b"!!"[..]);
        fs.write_file(&path("/large"), &attributes(0o600, 1), size, &mut content)
            .unwrap();
        fs.commit().unwrap();
        assert_clean(&image);
        let file = fs.open_at(&path("/large")).unwrap();
        let mut end = [1; 4];
        file.read_at(size - 4, &mut end).unwrap();
        assert_eq!((file.size(), end), (size, [0, 0, b'!', b'!']));
        drop(file);
        assert!(
            free - fs.capacity().unwrap().free_bytes < 10 << 20,
            "holes take nothing"
        );
        fs.remove(&path("/large")).unwrap();
        fs.commit().unwrap();
        assert_clean(&image);
        model.compare(&fs);
    }
}
