//! The content of a usr partition, seen at the place where it is mounted.

use crate::error::{Error, Result};
use crate::fs::{Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Timestamp, Xattr};

const USR: &[u8] = b"usr";

/// A filesystem whose root is `/usr` of an otherwise empty tree.
pub(super) struct UsrView {
    inner: Box<dyn FileSystem>,
}

impl UsrView {
    pub fn new(inner: Box<dyn FileSystem>) -> Self {
        Self { inner }
    }

    /// The path in the partition; `None` for the root above it.
    fn inside(path: &FsPath) -> Result<Option<FsPath>> {
        let mut names = path.components();
        match names.next() {
            None => Ok(None),
            Some(USR) => names.try_fold(FsPath::root(), |path, name| path.join(name)).map(Some),
            Some(_) => Err(Error::not_found("no such file or directory").at(path.to_string())),
        }
    }

    fn below(path: &FsPath) -> Result<FsPath> {
        Self::inside(path)?.ok_or_else(|| Error::invalid("is a directory").at(path.to_string()))
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

    fn metadata(&self, path: &FsPath) -> Result<Metadata> {
        match Self::inside(path)? {
            Some(path) => self.inner.metadata(&path),
            None => Ok(Metadata {
                file_type: FileType::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                size: 0,
                nlink: 3,
                mtime: Timestamp::default(),
                device: (0, 0),
                inode: u64::MAX,
            }),
        }
    }

    fn read_dir(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        match Self::inside(path)? {
            Some(path) => self.inner.read_dir(&path),
            None => {
                let inode = self.inner.metadata(&FsPath::root())?.inode;
                Ok(vec![DirEntry { name: USR.to_vec(), file_type: FileType::Directory, inode }])
            }
        }
    }

    fn read_link(&self, path: &FsPath) -> Result<Vec<u8>> {
        self.inner.read_link(&Self::below(path)?)
    }

    fn open(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        self.inner.open(&Self::below(path)?)
    }

    fn xattrs(&self, path: &FsPath) -> Result<Vec<Xattr>> {
        match Self::inside(path)? {
            Some(path) => self.inner.xattrs(&path),
            None => Ok(Vec::new()),
        }
    }
}
