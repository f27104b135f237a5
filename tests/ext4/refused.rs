//! Filesystems that cannot be edited: refused before any write.

use std::sync::Arc;

use flatbake::ErrorKind;
use flatbake::fs::ext4::{Ext4, Recovery};
use flatbake::fs::read_file;

use crate::ext4::images::mke2fs;
use crate::ext4::model::path;
use crate::ext4::support::{Scratch, file_in, have_judges};

/// The hint must say what to do.
fn assert_refused(image: &Arc<Vec<u8>>, kind: ErrorKind, words: &str) {
    let device = Arc::new(Scratch::new(image.clone()));
    let error = Ext4::open(device.clone()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().unwrap().contains("e2fsck"));
    assert!(device.is_unchanged());
}

#[test]
fn each_sign_of_use_is_seen() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    mke2fs(&file, 16, "^metadata_csum", None, &[]);
    let clean = std::fs::read(&file).unwrap();
    let superblock = |offset: usize, bits: u8| {
        let mut image = clean.clone();
        image[1024 + offset] ^= bits;
        Arc::new(image)
    };
    assert!(Ext4::open(Scratch::new(Arc::new(clean.clone()))).is_ok());
    assert_refused(
        &superblock(0x3A, 1),
        ErrorKind::Unsupported,
        "not marked clean",
    );
    assert_refused(&superblock(0x3A, 2), ErrorKind::Corrupt, "found errors");
    assert_refused(
        &superblock(0xE0, 8),
        ErrorKind::Unsupported,
        "another device",
    );
    let refused = |image: Arc<Vec<u8>>, words: &str| {
        let error = Ext4::open_with(Scratch::new(image), Recovery::Refuse).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(superblock(0xE8, 12), "inode 12");
    refused(superblock(0x66, 1), "orphan file");
    // The inode is not in use, so the list is damaged.
    let error = Ext4::open(Scratch::new(superblock(0xE8, 12))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // Without checksums the journal's superblock can be found by its magic and block type.
    let magic = [0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4];
    let journal = clean
        .chunks(4096)
        .position(|block| block.starts_with(&magic))
        .unwrap()
        * 4096;
    let mut image = clean.clone();
    image[journal + 0x1F] = 1;
    assert_refused(&Arc::new(image), ErrorKind::Unsupported, "not empty");
    for offset in [0xE8, 0x3A] {
        assert!(
            Ext4::open_read_only(Scratch::new(superblock(offset, 4))).is_ok(),
            "reading stays possible"
        );
    }
}

#[test]
fn features_beyond_reach_are_named() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    let sets = [
        ("mmp", false, "mmp"),
        ("quota", true, "quota"),
        ("bigalloc", true, "bigalloc"),
        ("encrypt", false, "encrypt"),
    ];
    for (features, readable, words) in sets {
        mke2fs(&file, 16, features, None, &[]);
        let image = Arc::new(std::fs::read(&file).unwrap());
        let error = Ext4::open(Scratch::new(image.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{features}");
        assert!(error.to_string().contains(words), "{features}: {error}");
        assert_eq!(
            Ext4::open_read_only(Scratch::new(image)).is_ok(),
            readable,
            "{features}"
        );
    }
}

#[test]
fn sound_but_unusual_filesystems_are_read_or_refused_with_the_reason() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    let source = file_in(&folder, "tree");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    let make = |options: &[&str]| {
        std::fs::File::create(&image)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        let mut command = crate::ext4::support::judge("mke2fs").unwrap();
        let output = command
            .args(["-q", "-F"])
            .args(options)
            .arg("-d")
            .arg(&source)
            .arg(&image)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{options:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Arc::new(std::fs::read(&image).unwrap())
    };
    // Clusters larger than blocks of 1 KiB: the first group begins with block 0, its superblock is block 1.
    for block in ["1024", "2048", "4096"] {
        let bytes = make(&["-t", "ext4", "-O", "bigalloc", "-b", block, "-C", "16384"]);
        let fs = Ext4::open_read_only(Scratch::new(bytes.clone())).unwrap();
        assert_eq!(
            read_file(&fs, &path("/file"), 100).unwrap(),
            b"content",
            "{block}"
        );
        let error = Ext4::open(Scratch::new(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("bigalloc"), "{error}");
    }
    let bytes = make(&["-t", "ext2", "-r", "0", "-b", "1024"]);
    let error = Ext4::open_read_only(Scratch::new(bytes))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("revision 0"), "{error}");
    // Descriptors of another size that the format allows.
    let mut bytes = make(&["-t", "ext4", "-O", "^metadata_csum,64bit"]).to_vec();
    bytes[1024 + 0xFE..1024 + 0x100].copy_from_slice(&128u16.to_le_bytes());
    let error = Ext4::open_read_only(Scratch::new(Arc::new(bytes)))
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
