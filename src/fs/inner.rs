//! A file within a filesystem as a device: an image in an image, a file of a tree in an archive.

use std::fmt;
use std::ops::Deref;

use super::{ByPath, FileSystem, FsPath, Node};
use crate::block::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::to_u64;
use crate::error::{Result, ResultExt};

/// A regular file of a filesystem, which it holds (`Box`) or borrows (`&`).
pub struct InnerFile<F> {
    fs: F,
    path: FsPath,
    node: Node,
    size: u64,
}

impl<F: Deref<Target: FileSystem>> InnerFile<F> {
    /// The file at `path`.
    ///
    /// # Errors
    /// As of [`FileSystem::open`].
    pub fn open(fs: F, path: FsPath) -> Result<Self> {
        let node = fs.node_at(&path)?;
        Self::of_node(fs, path, node)
    }

    /// The file that is `node`; errors name it as `path`.
    ///
    /// # Errors
    /// As of [`FileSystem::open`].
    pub fn of_node(fs: F, path: FsPath, node: Node) -> Result<Self> {
        let size = fs.open(node).at(|| path.to_string())?.size();
        Ok(Self {
            fs,
            path,
            node,
            size,
        })
    }
}

impl<F> fmt::Debug for InnerFile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InnerFile")
            .field("path", &self.path)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<F: Deref<Target: FileSystem> + Send + Sync> BlockDevice for InnerFile<F> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size)?;
        let read = self
            .fs
            .open(self.node)
            .and_then(|file| file.read_at(offset, buf));
        read.at(|| self.path.to_string())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}
