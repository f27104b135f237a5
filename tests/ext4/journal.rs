//! Filesystems that were in use when they were copied: journals replayed, orphans finished.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flatbake::ErrorKind;
use flatbake::fs::ext4::{Ext4, Recovery};
use flatbake::fs::{FileSystem, FileSystemMut, FileType, FsPath, read_file, walk};
use sha2::{Digest, Sha256};

use crate::ext4::images::{mke2fs, replayed};
use crate::ext4::model::{attributes, path};
use crate::ext4::support::{
    ImageFile, Scratch, assert_clean, debugfs, e2fsck, file_in, have_judges, judge,
};

fn fixture(name: &str) -> Vec<u8> {
    let packed = std::fs::read(format!("testdata/ext4/{name}.img.zst")).unwrap();
    let mut image = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(&packed[..])
        .unwrap()
        .read_to_end(&mut image)
        .unwrap();
    image
}

/// Hashes of all regular files.
fn hashes(fs: &dyn FileSystem) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        if entry.metadata.file_type == FileType::File {
            let content = read_file(fs, &entry.path, 1 << 30)?;
            let hash = Sha256::digest(&content)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            found.insert(format!(".{}", entry.path), hash);
        }
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn copied_while_mounted() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    for name in ["ext4-dirty", "ext4-dirty-orphan-file"] {
        let list = std::fs::read_to_string(format!("testdata/ext4/{name}.sha256")).unwrap();
        let expected: BTreeMap<String, String> = list
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(hash, at)| (at.into(), hash.into()))
            .collect();
        assert!(expected.len() > 50);
        let image = fixture(name);
        std::fs::write(&file, &image).unwrap();
        assert!(
            e2fsck(&file).unwrap_err().contains("count wrong"),
            "the judge sees that it is dirty"
        );

        let device = Arc::new(Scratch::new(Arc::new(image)));
        assert!(
            hashes(&Ext4::open_read_only(device.clone()).unwrap()) == expected,
            "{name}, read through"
        );
        let refused = Ext4::open_with(device.clone(), Recovery::Refuse).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.hint().unwrap().contains("e2fsck"));
        assert!(device.is_unchanged());

        let mut fs = Ext4::open(ImageFile::open(&file)).unwrap();
        assert_clean(&file);
        assert!(hashes(&fs) == expected, "{name}, replayed");
        fs.write_file(
            &path("/etc/new"),
            &attributes(0o600, 1),
            3,
            &mut &b"new"[..],
        )
        .unwrap();
        fs.remove(&path("/etc/f10")).unwrap();
        fs.commit().unwrap();
        assert_clean(&file);
        assert_eq!(hashes(&fs).len(), expected.len());
    }
}

/// A kind of journal: `mke2fs -O`, options of debugfs' journal_open.
struct Log<'a> {
    features: &'a str,
    open: &'a str,
}

impl Log<'_> {
    /// debugfs writes wrong version 1 checksums for transactions that revoke.
    fn can_revoke(&self) -> bool {
        self.open.is_empty() || !self.features.contains("^metadata_csum")
    }
}

/// Writes a journal with debugfs: two transactions, a block revoked in between, one that looks like the journal's own.
fn write_log(image: &Path, log: &Log<'_>, commit_last: bool) -> Vec<u64> {
    let block = |name: &str| -> u64 {
        let words = debugfs(image, &format!("blocks {name}\n"));
        words
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap()
    };
    let blocks: Vec<u64> = ["/a", "/b", "/c", "/d"]
        .iter()
        .map(|name| block(name))
        .collect();
    let put = |name: &str, head: &[u8], fill: u8| {
        let mut bytes = vec![fill; 4096];
        bytes[..head.len()].copy_from_slice(head);
        let at = image.with_extension(name);
        std::fs::write(&at, bytes).unwrap();
        at.display().to_string()
    };
    let first = put("first", b"first", 1);
    let both = std::fs::read(&first).unwrap().repeat(2);
    std::fs::write(&first, both).unwrap();
    let escaped = put("escaped", &[0xC0, 0x3B, 0x39, 0x98], 2);
    let last = put("last", b"last", 3);
    let commit = if commit_last { "" } else { " -c" };
    let revoke = if log.can_revoke() {
        format!("jw -r {}\n", blocks[1])
    } else {
        String::new()
    };
    let script = format!(
        "jo {}\njw -b {},{} {first}\njw -b {} {escaped}\n{revoke}jw -b {}{commit} {last}\njc\n",
        log.open, blocks[0], blocks[1], blocks[2], blocks[3]
    );
    let at = image.with_extension("script");
    std::fs::write(&at, script).unwrap();
    let output = judge("debugfs")
        .unwrap()
        .arg("-w")
        .arg("-f")
        .arg(&at)
        .arg(image)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    blocks
}

#[test]
fn journals_of_every_kind() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    let source = file_in(&folder, "tree");
    let other = file_in(&folder, "b.img");
    std::fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c", "d"] {
        std::fs::write(source.join(name), vec![b'o'; 4096]).unwrap();
    }
    let logs = [
        Log {
            features: "^metadata_csum,^64bit",
            open: "",
        },
        Log {
            features: "^metadata_csum",
            open: "",
        },
        Log {
            features: "^metadata_csum,^64bit",
            open: "-c",
        },
        Log {
            features: "^metadata_csum",
            open: "-c",
        },
        Log {
            features: "",
            open: "-c -v 2",
        },
        Log {
            features: "^64bit",
            open: "-c -v 2",
        },
        Log {
            features: "",
            open: "-c -v 3",
        },
        Log {
            features: "^64bit",
            open: "-c -v 3",
        },
    ];
    for log in &logs {
        for whole in [true, false] {
            let kind = format!("-O '{}' jo {} {whole}", log.features, log.open);
            mke2fs(&file, 16, log.features, Some(&source), &[]);
            write_log(&file, log, whole);
            std::fs::copy(&file, &other).unwrap();
            let image = Arc::new(std::fs::read(&file).unwrap());
            let through = hashes(&Ext4::open_read_only(Scratch::new(image)).unwrap());
            let fs = Ext4::open(ImageFile::open(&file)).unwrap();
            assert_clean(&file);
            replayed(&other);
            let judged = hashes(&Ext4::open_read_only(ImageFile::open(&other)).unwrap());
            assert_eq!(hashes(&fs), judged, "{kind}");
            assert_eq!(through, judged, "{kind}");
            let head = |name: &str| read_file(&fs, &path(name), 4096).unwrap()[..5].to_vec();
            assert_eq!(head("/a"), b"first", "{kind}");
            assert_eq!(
                head("/b"),
                if log.can_revoke() { b"ooooo" } else { b"first" },
                "revoked ({kind})"
            );
            assert_eq!(head("/c"), [0xC0, 0x3B, 0x39, 0x98, 2], "{kind}");
            let expected = if whole { &b"last\x03"[..] } else { b"ooooo" };
            assert_eq!(head("/d"), expected, "{kind}");
        }
    }
}
