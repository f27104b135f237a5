//! The content of a usr partition, seen at the place where it is mounted.

use crate::error::{Error, Reason, Result};
use crate::fs::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Node, Timestamp, Xattr,
};

const USR: &[u8] = b"usr";
/// The root above the partition; no filesystem has so many inodes.
const ROOT: Node = Node::new(u64::MAX);

/// A filesystem whose root is `/usr` of an otherwise empty tree.
pub(super) struct UsrView {
    inner: Box<dyn FileSystem>,
}

impl UsrView {
    pub fn new(inner: Box<dyn FileSystem>) -> Self {
        Self { inner }
    }
}

impl FileSystem for UsrView {
    fn kind(&self) -> FsKind {
        self.inner.kind()
    }

    fn label(&self) -> Result<Vec<u8>> {
        self.inner.label()
    }

    fn capacity(&self) -> Result<Capacity> {
        self.inner.capacity()
    }

    fn root(&self) -> Node {
        ROOT
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        match directory {
            ROOT => Ok((name == USR).then(|| self.inner.root())),
            inner => self.inner.lookup(inner, name),
        }
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        match directory {
            ROOT => Ok(vec![DirEntry {
                name: USR.to_vec(),
                file_type: FileType::Directory,
                node: self.inner.root(),
            }]),
            inner => self.inner.entries(inner),
        }
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        if node != ROOT {
            return self.inner.metadata(node);
        }
        Ok(Metadata {
            file_type: FileType::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            nlink: 3,
            mtime: Timestamp::default(),
            device: (0, 0),
            inode: ROOT.get(),
        })
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        self.inner.read_link(below(node)?)
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        match node {
            ROOT => Ok(Vec::new()),
            inner => self.inner.xattrs(inner),
        }
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        self.inner.open(below(node)?)
    }
}

/// The node in the partition.
fn below(node: Node) -> Result<Node> {
    if node == ROOT {
        Err(Error::invalid("is a directory").because(Reason::IsADirectory))
    } else {
        Ok(node)
    }
}
