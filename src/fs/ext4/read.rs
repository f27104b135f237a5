//! Reading: from nodes, which are inode numbers, to bytes.

use super::directory::Directory;
use super::extent::{self, Extent};
use super::inode::{Inode, ROOT_INO};
use super::map::Mapping;
use super::raw_inode::RawInode;
use super::store::Store;
use super::superblock::ensure;
use super::xattr::{self, Attribute, Value};
use super::{Ext4, dir, inline};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::acl;
use crate::fs::{
    ByPath, Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Node,
    Xattr, check_within,
};

/// Largest directory in bytes; a million entries with names of 255 bytes take 272 MB.
const DIRECTORY_BYTES_MAX: u64 = 512 << 20;
/// Entries of one directory that are kept in memory.
const DIRECTORY_ENTRIES_MAX: usize = 1 << 20;
/// Longest symlink target (`PATH_MAX` of Linux).
const SYMLINK_MAX: u64 = 4096;
/// Longest value of an extended attribute that lies in an inode (`XATTR_SIZE_MAX` of Linux).
const XATTR_VALUE_MAX: u64 = 65536;

impl<D: BlockDevice> Ext4<D> {
    /// Byte offset of the inode `ino`.
    pub(super) fn inode_offset(&self, ino: u32) -> Result<u64> {
        let superblock = &self.superblock;
        ensure((1..=superblock.inodes_count).contains(&ino), || {
            format!(
                "inode {ino} is out of range 1 to {}",
                superblock.inodes_count
            )
        })?;
        let group = (ino - 1) / superblock.inodes_per_group;
        let index = (ino - 1) % superblock.inodes_per_group;
        let descriptor = self.space.groups.get(group as usize);
        let descriptor = descriptor
            .ok_or_else(|| Error::internal("the superblock's inode count fits its groups"))?;
        Ok(descriptor.inode_table * u64::from(superblock.block_size)
            + u64::from(index) * u64::from(superblock.inode_size))
    }

    /// The bytes of an inode, as edited so far.
    pub(super) fn raw_inode(&self, ino: u32) -> Result<RawInode<Vec<u8>>> {
        let offset = self.inode_offset(ino)?;
        if let Some(raw) = self
            .editor
            .as_ref()
            .and_then(|editor| editor.inodes.get(&ino))
        {
            return Ok(raw.clone());
        }
        let mut raw = vec![0; usize::from(self.superblock.inode_size)];
        self.store.read_at(offset, &mut raw)?;
        let raw = RawInode::over(raw)?;
        raw.check(&self.superblock, ino)?;
        Ok(raw)
    }

    /// Reads and checks an inode that has a name.
    pub(super) fn inode(&self, ino: u32) -> Result<Inode> {
        Inode::parse(ino, self.raw_inode(ino)?)
    }

    /// An inode that a directory names.
    pub(super) fn named_inode(&self, ino: u32) -> Result<Inode> {
        let inode = self.inode(ino)?;
        let named = !self.superblock.is_special(ino) && !inode.is_xattr_value();
        ensure(named, || {
            format!("a directory names inode {ino}, which is kept for the filesystem itself")
        })?;
        Ok(inode)
    }

    /// A directory that is being edited.
    fn edited(&self, ino: u32) -> Option<&Directory> {
        self.editor.as_ref()?.directories.get(&ino)
    }

    /// The inode at `path`, no symlink followed.
    pub(super) fn inode_at(&self, path: &FsPath) -> Result<Inode> {
        self.at_node(self.node_at(path)?).at(|| path.to_string())
    }

    /// The inode number of `name` in a directory.
    pub(super) fn find_name(&self, directory: &Inode, name: &[u8]) -> Result<Option<u32>> {
        if let Some(edited) = self.edited(directory.ino) {
            return Ok(edited.find(name));
        }
        match self.find_by_hash(directory, name)? {
            Some(found) => Ok(found),
            None => self.scan(directory, name),
        }
    }

    /// The inode of a node.
    fn at_node(&self, node: Node) -> Result<Inode> {
        match number(node)? {
            ROOT_INO => self.inode(ROOT_INO),
            ino => self.named_inode(ino),
        }
    }

    fn scan(&self, directory: &Inode, name: &[u8]) -> Result<Option<u32>> {
        let mut found = None;
        self.for_each_record(directory, &mut |record| {
            if record.name == name {
                found = Some(record.ino);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Whether a directory holds anything but `.` and `..`.
    pub(super) fn has_entries(&self, directory: &Inode) -> Result<bool> {
        if let Some(edited) = self.edited(directory.ino) {
            return Ok(!edited.is_empty());
        }
        let mut any = false;
        self.for_each_record(directory, &mut |record| {
            any = !matches!(record.name, b"." | b"..");
            Ok(!any)
        })?;
        Ok(any)
    }

    /// Calls `visit` for each record of a directory as stored, until it returns false. All blocks met are checked.
    pub(super) fn for_each_record(
        &self,
        directory: &Inode,
        visit: &mut dyn FnMut(dir::Record<'_>) -> Result<bool>,
    ) -> Result<()> {
        let block_size = u64::from(self.superblock.block_size);
        let ino = directory.ino;
        if directory.is_inline() {
            return inline::for_each(directory, visit).at(|| format!("directory inode {ino}"));
        }
        ensure(
            directory.size <= DIRECTORY_BYTES_MAX && directory.size.is_multiple_of(block_size),
            || {
                format!(
                    "directory inode {ino} has an impossible size of {} bytes",
                    directory.size
                )
            },
        )?;
        let seed = self
            .superblock
            .has_checksums()
            .then(|| directory.seed(&self.superblock));
        let mapping = self.mapping(directory)?;
        let mut block = vec![0; self.superblock.block_bytes()];
        let blocks = directory.size / block_size;
        let mut next = 0;
        let hole = |at: u64| {
            Error::corrupt(format!(
                "directory inode {ino} has {blocks} blocks, and none is at {at}"
            ))
        };
        for extent in &mapping.extents {
            if next < blocks && (extent.logical != next || !extent.written) {
                return Err(hole(next));
            }
            for step in 0..extent.len {
                let logical = extent.logical + step;
                if logical >= blocks {
                    return Ok(());
                }
                self.store
                    .read_at((extent.physical + step) * block_size, &mut block)?;
                if let Some(seed) = seed {
                    dir::check(&block, seed, directory.is_indexed(), logical)
                        .at(|| format!("directory inode {ino}"))?;
                }
                if !dir::for_each(&block, visit)
                    .at(|| format!("directory inode {ino}, block {logical}"))?
                {
                    return Ok(());
                }
            }
            next = extent.logical + extent.len;
        }
        if next < blocks {
            Err(hole(next))
        } else {
            Ok(())
        }
    }

    /// Where an inode's content lies.
    pub(super) fn mapping(&self, inode: &Inode) -> Result<Mapping> {
        Mapping::read(&self.store, &self.superblock, inode)
    }

    /// The type of a record's inode.
    fn record_type(&self, record: &dir::Record<'_>) -> Result<FileType> {
        match FileType::from_entry_code(record.file_type) {
            Some(file_type) => Ok(file_type),
            None => Ok(self.inode(record.ino)?.file_type),
        }
    }

    fn link_target(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.file_type != FileType::Symlink {
            return Err(Error::invalid("not a symlink"));
        }
        ensure((1..=SYMLINK_MAX).contains(&inode.size), || {
            format!("a symlink of {} bytes", inode.size)
        })?;
        if inode.is_inline() {
            return inline::content(inode);
        }
        let size = to_usize(inode.size)?;
        if !inode.has_blocks() {
            let target = inode.block().get(..size);
            return target
                .map(<[u8]>::to_vec)
                .ok_or_else(|| Error::corrupt("a long symlink has no block"));
        }
        let mapping = self.mapping(inode)?;
        let mut target = vec![0; size];
        extent::read_at(
            &self.store,
            self.superblock.block_size,
            &mapping.extents,
            0,
            &mut target,
        )?;
        Ok(target)
    }

    /// The block of extended attributes of an inode, if it has one.
    pub(super) fn xattr_block(&self, inode: &Inode) -> Result<Option<Vec<u8>>> {
        let number = inode.file_acl;
        if number == 0 {
            return Ok(None);
        }
        ensure(self.superblock.contains(number, 1), || {
            format!("block {number} of extended attributes lies outside the filesystem")
        })?;
        let mut block = vec![0; self.superblock.block_bytes()];
        self.store
            .read_at(number * u64::from(self.superblock.block_size), &mut block)?;
        Ok(Some(block))
    }

    /// The extended attributes of an inode as stored.
    pub(super) fn attributes(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        let mut found = Vec::new();
        xattr::parse_area(inode.xattr_area(), &mut found)?;
        if let Some(block) = self.xattr_block(inode)? {
            xattr::parse_block(&self.superblock, &block, inode.file_acl, &mut found)?;
        }
        Ok(found)
    }

    pub(super) fn inode_xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        let mut found = Vec::new();
        for attribute in self.attributes(inode)? {
            if attribute.is_inline_data() {
                continue;
            }
            let name = attribute.full_name()?;
            let value = match attribute.value {
                Value::Bytes(bytes) => bytes,
                Value::Inode(ino, len) => self.xattr_value(ino, len)?,
            };
            let is_acl = acl::is_acl(&name);
            let value = if is_acl {
                acl::from_ext4(&value).map_err(|error| Error::corrupt(error.to_string()))?
            } else {
                value
            };
            found.push(Xattr { name, value });
        }
        found.sort();
        Ok(found)
    }

    /// A value that is the content of an inode.
    fn xattr_value(&self, ino: u32, len: u64) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        ensure(
            inode.is_xattr_value() && inode.size == len && len <= XATTR_VALUE_MAX,
            || format!("inode {ino} does not hold the {len} bytes of an extended attribute"),
        )?;
        let mut value = vec![0; to_usize(len)?];
        let mapping = self.mapping(&inode)?;
        extent::read_at(
            &self.store,
            self.superblock.block_size,
            &mapping.extents,
            0,
            &mut value,
        )?;
        Ok(value)
    }
}

impl<D: BlockDevice> FileSystem for Ext4<D> {
    fn kind(&self) -> FsKind {
        FsKind::Ext4
    }

    fn label(&self) -> Result<Vec<u8>> {
        Ok(self.superblock.volume_name.clone())
    }

    fn last_mounted(&self) -> Result<Vec<u8>> {
        Ok(self.superblock.last_mounted.clone())
    }

    fn capacity(&self) -> Result<Capacity> {
        let block_bytes = u64::from(self.superblock.block_size);
        Ok(Capacity {
            total_bytes: self.superblock.blocks_count * block_bytes,
            free_bytes: self.usable_blocks() * block_bytes,
            block_bytes,
            inodes: Some((
                u64::from(self.superblock.inodes_count),
                u64::from(self.space.free_inodes()),
            )),
        })
    }

    fn root(&self) -> Node {
        Node::new(ROOT_INO.into())
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let inode = self.at_node(directory)?;
        if inode.file_type != FileType::Directory {
            return Err(Error::not_found("not a directory").because(Reason::NotADirectory));
        }
        let found = if matches!(name, b"." | b"..") {
            None
        } else {
            self.find_name(&inode, name)?
        };
        Ok(found.map(|ino| Node::new(ino.into())))
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        let inode = self.at_node(directory)?;
        if inode.file_type != FileType::Directory {
            return Err(Error::invalid("not a directory").because(Reason::NotADirectory));
        }
        let mut entries = Vec::new();
        let mut visit = |record: dir::Record<'_>| {
            if !matches!(record.name, b"." | b"..") {
                check_entry_count(entries.len())?;
                let file_type = self.record_type(&record)?;
                entries.push(DirEntry {
                    name: record.name.to_vec(),
                    file_type,
                    node: Node::new(record.ino.into()),
                });
            }
            Ok(true)
        };
        match self.edited(inode.ino) {
            Some(edited) => edited.for_each(&mut visit)?,
            None => self.for_each_record(&inode, &mut visit)?,
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        Ok(self.at_node(node)?.metadata())
    }

    fn allocated_bytes(&self, node: Node) -> Result<u64> {
        let superblock = &self.superblock;
        let blocks = self.at_node(node)?.raw.blocks(superblock);
        Ok(blocks.saturating_mul(superblock.block_size.into()))
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        self.link_target(&self.at_node(node)?)
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        self.inode_xattrs(&self.at_node(node)?)
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        let inode = self.at_node(node)?;
        if inode.file_type != FileType::File {
            return Err(Error::invalid("not a regular file"));
        }
        if inode.is_inline() {
            return Ok(Box::new(InlineFile(inline::content(&inode)?)));
        }
        let extents = self.mapping(&inode)?.extents;
        Ok(Box::new(OpenFile {
            store: &self.store,
            block_size: self.superblock.block_size,
            size: inode.size,
            extents,
        }))
    }
}

/// The inode number that a node stands for.
fn number(node: Node) -> Result<u32> {
    u32::try_from(node.get()).map_err(|_| Error::invalid("a node of another filesystem"))
}

pub(super) fn check_entry_count(count: usize) -> Result<()> {
    if count < DIRECTORY_ENTRIES_MAX {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "a directory of more than {DIRECTORY_ENTRIES_MAX} entries"
    ))
    .because(Reason::Limit))
}

/// A file with its extents at hand.
struct OpenFile<'a, D> {
    store: &'a Store<D>,
    block_size: u32,
    size: u64,
    extents: Vec<Extent>,
}

impl<D: BlockDevice> FileRead for OpenFile<'_, D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        extent::read_at(self.store, self.block_size, &self.extents, offset, buf)
    }
}

/// A file whose content lies in its inode.
struct InlineFile(Vec<u8>);

impl FileRead for InlineFile {
    fn size(&self) -> u64 {
        to_u64(self.0.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size(), offset, buf)?;
        let at = to_usize(offset)?;
        buf.copy_from_slice(&self.0[at..at + buf.len()]);
        Ok(())
    }
}
