//! Trees from a filesystem that says whatever a test wants, also what no sound one would.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::ErrorKind;
use crate::fs::{Capacity, DirEntry, FileRead, FsKind, Timestamp, Xattr};
use tempfile::TempDir;

#[derive(Clone)]
enum Node {
    /// Names and what they are; a name may stand here twice.
    Folder(Vec<(Vec<u8>, usize)>),
    File(Vec<u8>),
    /// A file of this size whose content is computed, and where reading it fails.
    Huge(u64, Option<u64>),
    Link(Vec<u8>),
    Other(FileType),
}

/// Nodes with their modes by number, 0 is the root directory.
struct Mock(Vec<(Node, u32)>);

impl Mock {
    fn new(nodes: Vec<(Node, u32)>) -> Self {
        Self(nodes)
    }

    fn at(&self, node: super::Node) -> &(Node, u32) {
        &self.0[usize::try_from(node.get()).unwrap()]
    }
}

fn node(number: usize) -> super::Node {
    super::Node::new(crate::bytes::to_u64(number))
}

struct MockFile {
    content: Vec<u8>,
    size: u64,
    fails_at: Option<u64>,
}

impl FileRead for MockFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        assert!(buf.len() <= 1 << 20, "memory is bounded");
        if self
            .fails_at
            .is_some_and(|fails| fails < offset + crate::bytes::to_u64(buf.len()))
        {
            return Err(Error::corrupt("unreadable"));
        }
        let start = usize::try_from(offset).unwrap();
        for (index, byte) in buf.iter_mut().enumerate() {
            *byte = self.content.get(start + index).copied().unwrap_or(0);
        }
        Ok(())
    }
}

impl FileSystem for Mock {
    fn kind(&self) -> FsKind {
        FsKind::Ext4
    }
    fn label(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn capacity(&self) -> Result<Capacity> {
        Ok(Capacity {
            total_bytes: 0,
            free_bytes: 0,
            block_bytes: 1,
            inodes: None,
        })
    }
    fn root(&self) -> super::Node {
        node(0)
    }
    fn lookup(&self, directory: super::Node, name: &[u8]) -> Result<Option<super::Node>> {
        Ok(self
            .entries(directory)?
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| entry.node))
    }
    fn entries(&self, directory: super::Node) -> Result<Vec<DirEntry>> {
        let Node::Folder(entries) = &self.at(directory).0 else {
            panic!("no folder")
        };
        let entry = |(name, number): &(Vec<u8>, usize)| DirEntry {
            name: name.clone(),
            file_type: FileType::File,
            node: node(*number),
        };
        Ok(entries.iter().map(entry).collect())
    }
    fn metadata(&self, at: super::Node) -> Result<Metadata> {
        let (node, mode) = self.at(at);
        let (file_type, size) = match node {
            Node::Folder(_) => (FileType::Directory, 0),
            Node::File(content) => (FileType::File, crate::bytes::to_u64(content.len())),
            Node::Huge(size, _) => (FileType::File, *size),
            Node::Link(target) => (FileType::Symlink, crate::bytes::to_u64(target.len())),
            Node::Other(file_type) => (*file_type, 0),
        };
        let mtime = Timestamp {
            secs: 1_000_000_000 + i64::try_from(at.get()).unwrap(),
            nanos: 5,
        };
        let inode = at.get();
        Ok(Metadata {
            file_type,
            mode: *mode,
            uid: 1,
            gid: 1,
            size,
            nlink: 2,
            mtime,
            device: (0, 0),
            inode,
        })
    }
    fn read_link(&self, at: super::Node) -> Result<Vec<u8>> {
        let Node::Link(target) = &self.at(at).0 else {
            panic!("no symlink")
        };
        Ok(target.clone())
    }
    fn open(&self, at: super::Node) -> Result<Box<dyn FileRead + '_>> {
        Ok(Box::new(match self.at(at).0.clone() {
            Node::File(content) => MockFile {
                size: crate::bytes::to_u64(content.len()),
                content,
                fails_at: None,
            },
            Node::Huge(size, fails_at) => MockFile {
                size,
                content: vec![9; 5000],
                fails_at,
            },
            _ => panic!("no file"),
        }))
    }
    fn xattrs(&self, _at: super::Node) -> Result<Vec<Xattr>> {
        Ok(Vec::new())
    }
}

fn folder(entries: &[(&[u8], usize)]) -> Node {
    Node::Folder(
        entries
            .iter()
            .map(|(name, node)| (name.to_vec(), *node))
            .collect(),
    )
}

fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

/// A folder with a place to extract to and one that must stay untouched.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(TempDir::new().unwrap());
        fs::create_dir(host.outside()).unwrap();
        host
    }
    fn to(&self) -> PathBuf {
        self.0.path().join("to")
    }
    fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }
    fn extract(&self, mock: &Mock, from: &str, options: ExtractOptions) -> Result<Extracted> {
        extract(mock, &path(from), &self.to(), &options)
    }
    /// Extraction fails as a damaged image (or clash of names) and nothing appears anywhere but in `to`.
    fn assert_refused(&self, mock: &Mock, kind: ErrorKind) -> Error {
        let error = self
            .extract(mock, "/", ExtractOptions::default())
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(
            fs::read_dir(self.outside()).unwrap().count(),
            0,
            "written outside"
        );
        assert_eq!(
            fs::read_dir(self.0.path()).unwrap().count(),
            2,
            "written beside"
        );
        error
    }
}

/// Every path below `top` with its size, sorted.
fn listing(top: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut todo = vec![top.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            found.insert(
                path.strip_prefix(top).unwrap().to_str().unwrap().to_owned(),
                metadata.len(),
            );
            if metadata.is_dir() {
                todo.push(path);
            }
        }
    }
    found
}

#[test]
fn a_tree_with_everything() {
    let mock = Mock::new(vec![
        (
            folder(&[
                (b"closed", 1),
                (b"file", 2),
                (b"link", 3),
                (b"pipe", 4),
                (b"second name", 2),
            ]),
            0o1755,
        ),
        (folder(&[(b"inner", 5), (b"third name", 2)]), 0o500),
        (Node::File(b"content".to_vec()), 0o4751),
        (Node::Link(b"../outside".to_vec()), 0o777),
        (Node::Other(FileType::Fifo), 0o600),
        (Node::File(Vec::new()), 0o000),
    ]);
    let host = Host::new();
    let done = host.extract(&mock, "/", ExtractOptions::default()).unwrap();
    assert_eq!(
        (
            done.files,
            done.directories,
            done.symlinks,
            done.hard_links,
            done.bytes
        ),
        (2, 2, 1, 2, 7)
    );
    assert_eq!(done.skipped, [(path("/pipe"), FileType::Fifo)]);

    let stat = |name: &str| host.to().join(name).symlink_metadata().unwrap();
    assert_eq!(fs::read(host.to().join("file")).unwrap(), b"content");
    assert_eq!(stat("file").ino(), stat("second name").ino());
    assert_eq!(stat("file").ino(), stat("closed/third name").ino());
    assert_eq!(
        fs::read_link(host.to().join("link")).unwrap(),
        Path::new("../outside")
    );
    assert_eq!(
        (stat("file").mode() & 0o7777, stat("closed").mode() & 0o7777),
        (0o751, 0o500)
    );
    assert_eq!(
        (
            stat("closed/inner").mode() & 0o7777,
            stat("").mode() & 0o7777
        ),
        (0, 0o755)
    );
    for (name, number) in [
        ("", 0),
        ("closed", 1),
        ("file", 2),
        ("link", 3),
        ("closed/inner", 5),
    ] {
        assert_eq!(
            (stat(name).mtime(), stat(name).mtime_nsec()),
            (1_000_000_000 + number, 5),
            "{name}"
        );
    }
    fs::set_permissions(host.to().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let names: Vec<String> = listing(&host.to()).into_keys().collect();
    assert_eq!(
        names,
        [
            "closed",
            "closed/inner",
            "closed/third name",
            "file",
            "link",
            "second name"
        ]
    );

    let special = Host::new();
    special
        .extract(
            &mock,
            "/",
            ExtractOptions {
                special_bits: true,
                ..Default::default()
            },
        )
        .unwrap();
    assert_eq!(
        special.to().join("file").metadata().unwrap().mode() & 0o7777,
        0o4751
    );
    fs::set_permissions(
        special.to().join("closed"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
}

#[test]
fn evil_names_never_leave_the_target() {
    let long = [b'n'; 766];
    for name in [
        &b"../outside/x"[..],
        b"..",
        b".",
        b"",
        b"a/b",
        b"/etc",
        b"a\0b",
        &long,
    ] {
        let file = Mock::new(vec![
            (folder(&[(name, 1)]), 0o755),
            (Node::File(b"x".to_vec()), 0o644),
        ]);
        Host::new().assert_refused(&file, ErrorKind::Corrupt);
    }
    // FAT has such names, and Linux has not.
    let file = Mock::new(vec![
        (folder(&[(&[b'n'; 256], 1)]), 0o755),
        (Node::File(b"x".to_vec()), 0o644),
    ]);
    Host::new().assert_refused(&file, ErrorKind::Unsupported);
}

#[test]
fn a_symlink_is_never_passed_through() {
    let target = b"../outside".to_vec();
    let below = folder(&[(b"file", 3)]);
    let file = (Node::File(b"x".to_vec()), 0o644);
    let both = folder(&[(b"x", 1), (b"x", 2)]);
    let orders = [
        [Node::Link(target.clone()), below.clone()],
        [below, Node::Link(target.clone())],
    ];
    for [first, second] in orders {
        let mock = Mock::new(vec![
            (both.clone(), 0o755),
            (first, 0o755),
            (second, 0o755),
            file.clone(),
        ]);
        Host::new().assert_refused(&mock, ErrorKind::InvalidInput);
    }
    let written = Mock::new(vec![
        (both, 0o755),
        (Node::Link(b"../outside/file".to_vec()), 0o777),
        file,
    ]);
    let mut written = written;
    written.0.insert(2, (Node::File(b"y".to_vec()), 0o644));
    let error = Host::new().assert_refused(&written, ErrorKind::InvalidInput);
    assert!(error.to_string().contains("exists already"), "{error}");

    // Even if a symlink should stand where a folder was made, steps below it fail.
    let host = Host::new();
    let top = Folder::create_top(&host.to()).unwrap();
    symlink(host.outside(), host.to().join("x")).unwrap();
    let error = top.descend(&[b"x".to_vec()]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn impossible_trees_and_targets_end_in_errors() {
    let below_itself = Mock::new(vec![(folder(&[(b"a", 0), (b"b", 0)]), 0o755)]);
    let error = Host::new().assert_refused(&below_itself, ErrorKind::Corrupt);
    assert!(error.to_string().contains("twice"), "{error}");
    for target in [&b""[..], b"a\0b"] {
        let link = Mock::new(vec![
            (folder(&[(b"a", 1)]), 0o755),
            (Node::Link(target.to_vec()), 0o777),
        ]);
        Host::new().assert_refused(&link, ErrorKind::Corrupt);
    }
}

#[test]
fn names_like_our_own_passing_ones_are_ordinary() {
    let file = (Node::File(b"x".to_vec()), 0o644);
    let names = folder(&[(b".flatbake-partial-0", 1), (b"other", 2)]);
    let host = Host::new();
    host.extract(
        &Mock::new(vec![(names, 0o755), file.clone(), file]),
        "/",
        ExtractOptions::default(),
    )
    .unwrap();
    assert_eq!(listing(&host.to()).len(), 2);
}

#[test]
fn targets_of_a_single_file() {
    let mock = Mock::new(vec![
        (folder(&[(b"file", 1), (b"link", 2), (b"node", 3)]), 0o755),
        (Node::File(b"new".to_vec()), 0o644),
        (Node::Link(b"anywhere".to_vec()), 0o777),
        (Node::Other(FileType::BlockDevice), 0o600),
    ]);
    let host = Host::new();
    let plain = ExtractOptions::default();
    let over = ExtractOptions {
        overwrite: true,
        ..plain
    };
    host.extract(&mock, "/file", plain).unwrap();
    assert_eq!(fs::read(host.to()).unwrap(), b"new");
    fs::write(host.to(), "old").unwrap();
    assert_eq!(
        host.extract(&mock, "/file", plain).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(fs::read(host.to()).unwrap(), b"old");
    host.extract(&mock, "/file", over).unwrap();
    assert_eq!(fs::read(host.to()).unwrap(), b"new");

    // A symlink at the target is replaced, not followed.
    fs::remove_file(host.to()).unwrap();
    symlink(host.outside().join("file"), host.to()).unwrap();
    assert!(host.extract(&mock, "/file", plain).is_err());
    host.extract(&mock, "/file", over).unwrap();
    assert!(host.to().symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read_dir(host.outside()).unwrap().count(), 0);

    // Into a folder, under its own name.
    extract(&mock, &path("/file"), &host.outside(), &plain).unwrap();
    extract(&mock, &path("/link"), &host.outside(), &plain).unwrap();
    assert_eq!(fs::read(host.outside().join("file")).unwrap(), b"new");
    assert_eq!(
        fs::read_link(host.outside().join("link")).unwrap(),
        Path::new("anywhere")
    );
    assert!(extract(&mock, &path("/file"), &host.outside(), &plain).is_err());
    assert_eq!(
        extract(&mock, &path("/node"), &host.outside(), &plain)
            .unwrap_err()
            .kind(),
        ErrorKind::Unsupported
    );
    let nowhere = host.0.path().join("no/where");
    assert_eq!(
        extract(&mock, &path("/file"), &nowhere, &plain)
            .unwrap_err()
            .kind(),
        ErrorKind::NotFound
    );

    // A tree wants an empty folder, whatever the options.
    for target in [host.outside(), host.to()] {
        assert!(extract(&mock, &FsPath::root(), &target, &over).is_err());
    }
    assert_eq!(fs::read_dir(host.outside()).unwrap().count(), 2);
}

#[test]
fn large_files_come_in_pieces_with_their_holes() {
    let size = 300 << 20;
    let mock = Mock::new(vec![
        (folder(&[(b"sparse", 1)]), 0o755),
        (Node::Huge(size, None), 0o644),
    ]);
    let host = Host::new();
    host.extract(&mock, "/", ExtractOptions::default()).unwrap();
    let written = host.to().join("sparse").metadata().unwrap();
    assert_eq!(written.len(), size);
    assert!(
        written.blocks() * 512 < 1 << 20,
        "{} blocks",
        written.blocks()
    );
    let mut start = [0; 6000];
    std::os::unix::fs::FileExt::read_exact_at(
        &fs::File::open(host.to().join("sparse")).unwrap(),
        &mut start,
        0,
    )
    .unwrap();
    assert!(
        start[..5000].iter().all(|&byte| byte == 9) && start[5000..].iter().all(|&byte| byte == 0)
    );
}

#[test]
fn a_file_that_fails_half_way_does_not_appear() {
    let mock = Mock::new(vec![
        (folder(&[(b"broken", 1)]), 0o755),
        (Node::Huge(5 << 20, Some(3 << 20)), 0o644),
    ]);
    let host = Host::new();
    let error = host.assert_refused(&mock, ErrorKind::Corrupt);
    assert!(error.to_string().starts_with("/broken"), "{error}");
    assert!(listing(&host.to()).is_empty());
}
