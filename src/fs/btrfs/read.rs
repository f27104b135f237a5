//! The [`FileSystem`] of a btrfs image: inodes, directories, links, attributes.

use std::path::Path;
use std::sync::Arc;

use super::checksum::name_hash;
use super::dir::{self, DirItem};
use super::edit::BtrfsEditor;
use super::file::{File, Trees};
use super::inode::{Inode, only_reference};
use super::key::{Key, kind, object};
use super::tree::Cursor;
use super::volume::Volume;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};
use crate::fs::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, Metadata, Node, Timestamp, Xattr,
};

/// Inode numbers above it stand for other subvolumes. Linux gives out numbers from 256 up, one after another.
const INODE_MAX: u64 = u64::MAX / 2;
/// Longest symlink target Linux makes or follows (`PATH_MAX`).
const TARGET_MAX: u64 = 4096;

/// A btrfs filesystem on one device, opened for reading.
///
/// The tree shown is one subvolume. Entries that lead to other subvolumes are listed as directories, and
/// anything below them is [`crate::ErrorKind::Unsupported`].
#[derive(Debug)]
pub struct Btrfs {
    pub(super) volume: Volume,
    pub(super) trees: Trees,
}

/// What a node stands for.
enum Place {
    Inode(u64),
    Subvolume(u64),
}

impl Btrfs {
    /// Opens the default subvolume, as mounting does: the top level unless the filesystem names another.
    pub fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let volume = Volume::open(device)?;
        let id = default_subvolume(&volume)?;
        Self::open_tree(volume, id)
    }

    /// Opens the top-level subvolume, which is what GRUB reads.
    pub fn open_top_level(device: Arc<dyn BlockDevice>) -> Result<Self> {
        Self::open_tree(Volume::open(device)?, object::FS_TREE)
    }

    /// Opens a filesystem for editing. Its top level must be its only subvolume.
    ///
    /// `source` is read until the end and must not change: a snapshot of `target` where both begin as the same disk.
    /// `target` is written by [`commit`](crate::fs::FileSystemMut::commit) alone. New contents wait in an unlinked
    /// file in the folder `temp_dir`.
    pub fn edit(
        source: Arc<dyn BlockDevice>,
        target: Arc<dyn BlockDeviceMut>,
        temp_dir: &Path,
    ) -> Result<BtrfsEditor> {
        BtrfsEditor::open(source, target, temp_dir)
    }

    fn open_tree(volume: Volume, id: u64) -> Result<Self> {
        let trees = Trees {
            fs: volume.tree(id)?,
            csum: volume.tree(object::CSUM_TREE)?,
        };
        let fs = Self { volume, trees };
        if fs.inode(object::FIRST_FREE)?.file_type()? != FileType::Directory {
            return Err(Error::corrupt(format!(
                "the root of subvolume {id} is not a directory"
            )));
        }
        Ok(fs)
    }

    fn seek(&self, key: Key) -> Result<Cursor<'_>> {
        Cursor::seek(&self.volume, &self.trees.fs, key)
    }

    /// The item with exactly this key, handed to `take`.
    fn exact<T>(&self, key: Key, take: impl FnOnce(&[u8]) -> Result<T>) -> Result<Option<T>> {
        let cursor = self.seek(key)?;
        cursor
            .item()
            .filter(|(found, _)| *found == key)
            .map(|(_, item)| take(item))
            .transpose()
    }

    pub(super) fn inode(&self, number: u64) -> Result<Inode> {
        self.exact(Key::new(number, kind::INODE_ITEM, 0), Inode::parse)?
            .ok_or_else(|| Error::corrupt(format!("inode {number} is missing")))
    }

    /// Calls `visit` with each entry or attribute of inode `number`.
    fn each_dir_item(
        &self,
        number: u64,
        kind: u8,
        mut visit: impl FnMut(&DirItem<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut cursor = self.seek(Key::new(number, kind, 0))?;
        while let Some((key, item)) = cursor.item().filter(|(key, _)| key.is(number, kind)) {
            dir::parse_all(item)
                .and_then(|all| all.iter().try_for_each(&mut visit))
                .at(|| format!("item {key}"))?;
            cursor.advance()?;
        }
        Ok(())
    }

    fn place(node: Node) -> Place {
        match node.get() {
            number if number > INODE_MAX => Place::Subvolume(!number),
            number => Place::Inode(number),
        }
    }

    fn child(&self, parent: u64, name: &[u8]) -> Result<Option<Place>> {
        let key = Key::new(parent, kind::DIR_ITEM, name_hash(name));
        let found = self.exact(key, |item| {
            let Some(entry) = dir::parse_all(item)?
                .into_iter()
                .find(|entry| entry.name == name)
            else {
                return Ok(None);
            };
            entry.check_entry()?;
            Ok(Some((
                entry.location.objectid,
                entry.is_subvolume(),
                entry.file_type()?,
            )))
        })?;
        let Some((number, is_subvolume, file_type)) = found.flatten() else {
            return Ok(None);
        };
        if is_subvolume {
            return Ok(Some(Place::Subvolume(number)));
        }
        if file_type == FileType::Directory {
            self.check_parent(number, parent, name)?;
        }
        Ok(Some(Place::Inode(number)))
    }

    /// A directory has one parent and one name. Holding on to that makes the tree finite, whatever the image says.
    fn check_parent(&self, number: u64, parent: u64, name: &[u8]) -> Result<()> {
        let cursor = self.seek(Key::new(number, kind::INODE_REF, 0))?;
        let fault = match cursor.item() {
            Some((key, item)) if key == Key::new(number, kind::INODE_REF, parent) => {
                only_reference(item)? != name
            }
            _ => true,
        };
        if fault {
            return Err(Error::corrupt(format!(
                "directory inode {number} does not name inode {parent} as its parent"
            )));
        }
        Ok(())
    }

    /// The inode of `node`, which must be of one type.
    fn inode_of(&self, node: Node, wanted: FileType, called: &str) -> Result<(u64, Inode)> {
        let number = match Self::place(node) {
            Place::Inode(number) => number,
            Place::Subvolume(id) => return Err(other_subvolume(id)),
        };
        let inode = self.inode(number)?;
        if inode.file_type()? != wanted {
            return Err(Error::invalid(format!("not a {called}")));
        }
        Ok((number, inode))
    }

    fn list(&self, number: u64) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        self.each_dir_item(number, kind::DIR_ITEM, |entry| {
            entry.check_entry()?;
            let inode = entry.location.objectid;
            entries.push(DirEntry {
                name: entry.name.to_vec(),
                file_type: entry.file_type()?,
                node: if entry.is_subvolume() {
                    subvolume_node(inode)
                } else {
                    inode_node(inode)?
                },
            });
            Ok(())
        })?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::corrupt(format!(
                "two entries are called '{}'",
                pair[0].name.escape_ascii()
            )));
        }
        Ok(entries)
    }

    fn attributes(&self, number: u64) -> Result<Vec<Xattr>> {
        let mut xattrs = Vec::new();
        self.each_dir_item(number, kind::XATTR_ITEM, |item| {
            xattrs.push(Xattr {
                name: item.name.to_vec(),
                value: item.data.to_vec(),
            });
            Ok(())
        })?;
        xattrs.sort();
        Ok(xattrs)
    }
}

/// The subvolume that the directory of the root tree calls "default".
fn default_subvolume(volume: &Volume) -> Result<u64> {
    let key = Key::new(object::ROOT_TREE_DIR, kind::DIR_ITEM, name_hash(b"default"));
    let cursor = Cursor::seek(volume, &volume.root_tree(), key)?;
    let Some((_, item)) = cursor.item().filter(|(found, _)| *found == key) else {
        return Ok(object::FS_TREE);
    };
    let entries = dir::parse_all(item).at(|| "default subvolume".to_owned())?;
    Ok(entries
        .iter()
        .find(|entry| entry.name == b"default")
        .map_or(object::FS_TREE, |entry| entry.location.objectid))
}

fn other_subvolume(id: u64) -> Error {
    Error::unsupported(format!("it lies in another btrfs subvolume (id {id})"))
        .with_hint("only one subvolume is read: the default one or the top level")
}

/// A node for the entry of a subvolume that no inode of this one has.
fn subvolume_node(id: u64) -> Node {
    Node::new(!(id & INODE_MAX))
}

fn inode_node(number: u64) -> Result<Node> {
    if number > INODE_MAX {
        return Err(Error::corrupt(format!(
            "a directory names inode {number}: at most {INODE_MAX} is possible"
        )));
    }
    Ok(Node::new(number))
}

impl FileSystem for Btrfs {
    fn kind(&self) -> FsKind {
        FsKind::Btrfs
    }

    fn label(&self) -> Result<Vec<u8>> {
        Ok(self.volume.superblock.label.clone())
    }

    /// Free is what no tree block and no data uses; space that mirrors or trees of new files would take is not counted.
    fn capacity(&self) -> Result<Capacity> {
        let superblock = &self.volume.superblock;
        Ok(Capacity {
            total_bytes: superblock.total_bytes,
            free_bytes: superblock.total_bytes.saturating_sub(superblock.bytes_used),
            block_bytes: superblock.sectorsize.into(),
            inodes: None,
        })
    }

    fn root(&self) -> Node {
        Node::new(object::FIRST_FREE)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let parent = match Self::place(directory) {
            Place::Inode(number) => number,
            Place::Subvolume(id) => return Err(other_subvolume(id)),
        };
        Ok(match self.child(parent, name)? {
            Some(Place::Inode(number)) => Some(inode_node(number)?),
            Some(Place::Subvolume(id)) => Some(subvolume_node(id)),
            None => None,
        })
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        let (number, _) = self.inode_of(directory, FileType::Directory, "directory")?;
        self.list(number)
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        match Self::place(node) {
            Place::Inode(number) => self.inode(number)?.metadata(number),
            Place::Subvolume(id) => Ok(subvolume_metadata(id)),
        }
    }

    /// What the contents take before they are compressed (`nbytes`).
    fn allocated_bytes(&self, node: Node) -> Result<u64> {
        match Self::place(node) {
            Place::Inode(number) => Ok(self.inode(number)?.nbytes),
            Place::Subvolume(_) => Ok(0),
        }
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        let (number, inode) = self.inode_of(node, FileType::Symlink, "symlink")?;
        if inode.size > TARGET_MAX {
            return Err(Error::corrupt(format!(
                "a symlink target of {} bytes, at most {TARGET_MAX}",
                inode.size
            )));
        }
        let mut target = vec![0; to_usize(inode.size)?];
        File::new(&self.volume, self.trees, number, &inode).read_at(0, &mut target)?;
        Ok(target)
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        match Self::place(node) {
            Place::Inode(number) => self.attributes(number),
            Place::Subvolume(_) => Ok(Vec::new()),
        }
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        let (number, inode) = self.inode_of(node, FileType::File, "regular file")?;
        Ok(Box::new(File::new(
            &self.volume,
            self.trees,
            number,
            &inode,
        )))
    }
}

/// What is known of another subvolume without entering it, as Linux shows one that it cannot reach.
fn subvolume_metadata(id: u64) -> Metadata {
    Metadata {
        file_type: FileType::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        nlink: 1,
        mtime: Timestamp::default(),
        device: (0, 0),
        inode: subvolume_node(id).get(),
    }
}
