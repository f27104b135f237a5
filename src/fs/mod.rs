//! Filesystems inside an image, read and edited in-process.
//!
//! Every filesystem speaks through [`FileSystem`] and, where it can be edited, [`FileSystemMut`]. Readers know entries by
//! [`Node`]; [`ByPath`] finds them by their paths, which name entries exactly: no operation follows a symlink.
//! [`resolve`] does that on top, inside the filesystem's own root only.

mod acl;
pub mod btrfs;
mod cache;
mod content;
mod copy;
mod detect;
mod edit;
pub mod erofs;
pub mod ext4;
mod extract;
pub mod fat;
mod host;
mod identity;
mod inner;
mod path;
mod reader;
mod sectors;
mod source;
pub mod squashfs;
mod staged;
mod types;
pub mod verity;
mod walk;

pub(crate) use acl::from_text as acl_from_text;
pub use content::{FileContent, Stretch};
pub use copy::{Copied, CopyOptions, copy_tree};
pub use detect::{EditOptions, edit, open, probe};
pub use extract::{ExtractOptions, Extracted, extract};
pub use host::{HostEntry, HostFile, walk_host};
pub use inner::InnerFile;
pub use path::FsPath;
pub use reader::FileReader;
pub use sectors::unit_bytes;
pub use staged::{FolderOptions, StagedTree};
pub use types::{
    Attributes, Capacity, DirEntry, FileType, FsKind, Metadata, MetadataChange, Node, Timestamp,
    Xattr,
};
pub use walk::{ByPath, Entry, exists, read_file, resolve, walk};

use std::io::Read;

use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};

/// A filesystem that can be read, by the nodes of its entries. Times, modes and names come back exactly as stored.
///
/// Nothing is changed by reading, so any number of threads may read at once. Paths are on top of it: [`ByPath`].
pub trait FileSystem: Send + Sync {
    /// Which filesystem it is.
    fn kind(&self) -> FsKind;

    /// The volume label, empty where there is none.
    fn label(&self) -> Result<Vec<u8>>;

    /// Where it was mounted last, as the filesystem itself notes it; empty where it notes nothing.
    fn last_mounted(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Bytes and inodes, total and free.
    fn capacity(&self) -> Result<Capacity>;

    /// The root directory.
    fn root(&self) -> Node;

    /// The entry `name` of a directory; `None` where there is none. Where `directory` is something else,
    /// [`crate::ErrorKind::NotFound`].
    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>>;

    /// The entries of a directory without `.` and `..`, sorted by name.
    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>>;

    /// What is known of an entry; a symlink is not followed.
    fn metadata(&self, node: Node) -> Result<Metadata>;

    /// The target of a symlink.
    fn read_link(&self, node: Node) -> Result<Vec<u8>>;

    /// Extended attributes with their full names (`user.mime_type`), sorted by name; access control lists in the form of
    /// `getxattr`, whatever the filesystem's own is.
    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>>;

    /// Opens a regular file for positional reading.
    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>>;

    /// Bytes of the blocks that an entry takes, as the filesystem counts them. One that keeps no count takes as many blocks
    /// as its content fills.
    fn allocated_bytes(&self, node: Node) -> Result<u64> {
        let metadata = self.metadata(node)?;
        if metadata.file_type != FileType::File {
            return Ok(0);
        }
        let block = self.capacity()?.block_bytes.max(1);
        Ok(metadata.size.div_ceil(block).saturating_mul(block))
    }
}

/// An open file of a [`FileSystem`].
pub trait FileRead: Send {
    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`; a range beyond the end is an error. Holes read as zeroes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// An error where `buf` does not lie within a file of `size` bytes.
pub(crate) fn check_within(size: u64, offset: u64, buf: &[u8]) -> Result<()> {
    let len = to_u64(buf.len());
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(
            Error::invalid(format!("{len} bytes at {offset} of a file of {size} bytes"))
                .because(Reason::OutOfRange),
        ),
    }
}

/// A filesystem that can be edited. What is asked for is checked before an editor sees it (`edit.rs`). Changes may be held back until [`commit`](Self::commit).
///
/// Parents must exist. An existing entry is an error unless the method says otherwise.
/// A method that fails leaves the filesystem as a whole unusable for writing: the caller drops it and its overlay.
pub trait FileSystemMut: FileSystem {
    /// This filesystem for reading (the edits so far are seen).
    fn as_read(&self) -> &dyn FileSystem;

    /// Creates an empty directory.
    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()>;

    /// Creates a regular file, or replaces one's content and attributes. Extended attributes of the old one go: those that
    /// give rights, such as capabilities, were for another content. Holes stay holes where the filesystem has them, and
    /// then cost nothing.
    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()>;

    /// The same with exactly `size` bytes of `content`; fewer or more are an error.
    fn write_file(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        self.write_content(path, attributes, FileContent::whole(size, content))
    }

    /// Creates a symlink.
    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()>;

    /// Creates `path` as another name of `existing`, which is not a directory.
    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()>;

    /// Creates a device node, fifo or socket; `device` is (major, minor), (0, 0) for the latter two.
    fn mknod(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()>;

    /// Changes the fields that are given.
    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()>;

    /// Sets or replaces one extended attribute.
    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()>;

    /// Removes one extended attribute; a missing one is [`crate::ErrorKind::NotFound`].
    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()>;

    /// Moves an entry; an existing `to` that is not a directory is replaced.
    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()>;

    /// Removes an entry; a directory must be empty.
    fn remove(&mut self, path: &FsPath) -> Result<()>;

    /// Writes everything held back, leaving a filesystem that its checker calls clean.
    fn commit(&mut self) -> Result<()>;
}
