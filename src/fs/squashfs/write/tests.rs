//! Sources that lie, and sources that hold what squashfs cannot.

use std::sync::Mutex;

use super::*;
use crate::error::ErrorKind;
use crate::finding::{Finding, code};
use crate::fs::{Capacity, DirEntry, FileRead, FileType, FsKind, Metadata, Node, Timestamp, Xattr};
use crate::progress::NoProgress;

/// A filesystem with one directory and these entries.
#[derive(Default)]
struct Fake {
    entries: Vec<(&'static str, Metadata)>,
    target: Vec<u8>,
    content_bytes: u64,
    xattrs: Vec<Xattr>,
}

fn metadata(file_type: FileType, inode: u64) -> Metadata {
    Metadata {
        file_type,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        nlink: 1,
        mtime: Timestamp::default(),
        device: (0, 0),
        inode,
    }
}

struct Zeroes(u64);

impl FileRead for Zeroes {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        Ok(())
    }
}

impl FileSystem for Fake {
    fn kind(&self) -> FsKind {
        FsKind::Ext4
    }

    fn label(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn capacity(&self) -> Result<Capacity> {
        Err(Error::internal("not asked"))
    }

    fn root(&self) -> Node {
        Node::new(1)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        Ok(self
            .entries(directory)?
            .into_iter()
            .find(|entry| entry.name == name)
            .map(|entry| entry.node))
    }

    /// Nodes are positions behind the root.
    fn entries(&self, _: Node) -> Result<Vec<DirEntry>> {
        let entry = |((name, metadata), number): (&(&str, Metadata), u64)| DirEntry {
            name: name.as_bytes().to_vec(),
            file_type: metadata.file_type,
            node: Node::new(number),
        };
        Ok(self.entries.iter().zip(2..).map(entry).collect())
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        let Some(position) = node.get().checked_sub(2) else {
            return Ok(metadata(FileType::Directory, 1));
        };
        Ok(self.entries[usize::try_from(position).unwrap()].1.clone())
    }

    fn read_link(&self, _: Node) -> Result<Vec<u8>> {
        Ok(self.target.clone())
    }

    fn open(&self, _: Node) -> Result<Box<dyn FileRead + '_>> {
        Ok(Box::new(Zeroes(self.content_bytes)))
    }

    fn xattrs(&self, _: Node) -> Result<Vec<Xattr>> {
        Ok(self.xattrs.clone())
    }
}

fn attempt(source: &Fake) -> Result<SquashfsReport> {
    let out = tempfile::tempfile().unwrap();
    write(source, &[], &out, &SquashfsOptions::default(), &NoProgress)
}

fn one(entry: Metadata) -> Fake {
    Fake {
        entries: vec![("a", entry)],
        ..Fake::default()
    }
}

fn sized(file_type: FileType, size: u64) -> Metadata {
    Metadata {
        size,
        ..metadata(file_type, 2)
    }
}

#[test]
fn what_squashfs_cannot_hold_is_refused() {
    let unsupported = |source: &Fake| {
        let error = attempt(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    };
    // Nothing of these is read: that would take years.
    for size in [u64::MAX, 1 << 62, (1 << 41) + 1, 1 << 41] {
        unsupported(&one(sized(FileType::File, size)));
    }
    for size in [0, 4097, u64::MAX] {
        unsupported(&one(sized(FileType::Symlink, size)));
    }
    unsupported(&Fake {
        target: vec![b'x'; 5000],
        ..one(sized(FileType::Symlink, 10))
    });
    for device in [(4096, 0), (0, 1 << 20), (u32::MAX, u32::MAX)] {
        unsupported(&one(Metadata {
            device,
            ..metadata(FileType::CharDevice, 2)
        }));
    }
    let xattr = |name: &[u8], len| {
        vec![Xattr {
            name: name.to_vec(),
            value: vec![1; len],
        }]
    };
    for (name, len) in [
        (b"user.".to_vec(), 1),
        ([b"user.", &[b'n'; 256][..]].concat(), 1),
        (b"user.a".to_vec(), 65_537),
    ] {
        unsupported(&Fake {
            xattrs: xattr(&name, len),
            ..Fake::default()
        });
    }
    attempt(&Fake {
        xattrs: xattr(b"user.a", 65_536),
        ..Fake::default()
    })
    .unwrap();
}

#[test]
fn a_source_that_lies_is_found_out() {
    let file = || sized(FileType::File, 200_000);
    attempt(&Fake {
        content_bytes: 200_000,
        ..one(file())
    })
    .unwrap();
    for content_bytes in [0, 199_999, u64::MAX] {
        assert_eq!(
            attempt(&Fake {
                content_bytes,
                ..one(file())
            })
            .unwrap_err()
            .kind(),
            ErrorKind::Corrupt
        );
    }
    let twice = Fake {
        entries: vec![("a", file()), ("a", file())],
        content_bytes: 200_000,
        ..Fake::default()
    };
    assert_eq!(attempt(&twice).unwrap_err().kind(), ErrorKind::Corrupt);
    // A directory that lies within itself.
    assert_eq!(
        attempt(&one(metadata(FileType::Directory, 1)))
            .unwrap_err()
            .kind(),
        ErrorKind::Corrupt
    );
    assert!(
        attempt(&one(metadata(FileType::Directory, 2))).is_err(),
        "and one level further down"
    );
    for name in ["", ".", "..", "a/b", "a\0"] {
        let entries = vec![(name, metadata(FileType::Fifo, 2))];
        assert!(
            attempt(&Fake {
                entries,
                ..Fake::default()
            })
            .is_err(),
            "{name:?}"
        );
    }
}

#[test]
fn attributes_that_are_left_out_are_told_once() {
    #[derive(Default)]
    struct Findings(Mutex<Vec<Finding>>);
    impl Progress for Findings {
        fn start(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn found(&self, finding: &Finding) {
            self.0.lock().unwrap().push(finding.clone());
        }
    }
    let told = |name: &[u8]| {
        let xattrs = vec![Xattr {
            name: name.to_vec(),
            value: Vec::new(),
        }];
        let entries = vec![("a", metadata(FileType::Fifo, 2))];
        let findings = Findings::default();
        let out = tempfile::tempfile().unwrap();
        let source = Fake {
            xattrs,
            entries,
            ..Fake::default()
        };
        write(&source, &[], &out, &SquashfsOptions::default(), &findings).unwrap();
        findings.0.into_inner().unwrap()
    };
    let acls = "system.posix_acl_access";
    assert_eq!(
        told(acls.as_bytes()),
        [Finding::new(code::SQUASHFS_XATTRS)
            .with("name", acls)
            .with("path", "/")]
    );
    assert_eq!(
        (told(b"btrfs.compression"), told(b"user.a")),
        (vec![], vec![])
    );
}
