//! Reading: from paths to inodes to bytes.

use super::extent::{self, Extent, TreeReader};
use super::inode::{Inode, ROOT_INO};
use super::names::{Answer, Index};
use super::superblock::{Superblock, ensure};
use super::{Ext4, dir, xattr};
use crate::block::BlockDevice;
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};
use crate::fs::{Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Xattr, check_within};

/// Largest directory in bytes; a million entries with names of 255 bytes take 272 MB.
const DIRECTORY_BYTES_MAX: u64 = 512 << 20;
/// Entries of one directory that are kept in memory.
const DIRECTORY_ENTRIES_MAX: usize = 1 << 20;
/// Longest symlink target: one block of the largest size taken.
const SYMLINK_MAX: u64 = 4096;

impl<D: BlockDevice> Ext4<D> {
    /// Byte offset of the inode `ino`.
    pub(super) fn inode_offset(&self, ino: u32) -> Result<u64> {
        let superblock = &self.superblock;
        ensure((1..=superblock.inodes_count).contains(&ino), || {
            format!("inode {ino} is out of range 1 to {}", superblock.inodes_count)
        })?;
        let (group, index) = ((ino - 1) / superblock.inodes_per_group, (ino - 1) % superblock.inodes_per_group);
        let table = self.inode_tables.get(to_usize(u64::from(group))?);
        let table = table.ok_or_else(|| Error::internal("the superblock's inode count fits its groups"))?;
        Ok(table * u64::from(superblock.block_size) + u64::from(index) * u64::from(superblock.inode_size))
    }

    /// Reads and checks an inode.
    pub(super) fn inode(&self, ino: u32) -> Result<Inode> {
        let mut raw = vec![0; usize::from(self.superblock.inode_size)];
        self.device.read_at(self.inode_offset(ino)?, &mut raw)?;
        Inode::parse(&self.superblock, ino, raw)
    }

    /// The inode at `path`, no symlink followed.
    pub(super) fn lookup(&self, path: &FsPath) -> Result<Inode> {
        let mut inode = self.inode(ROOT_INO).at(|| path.to_string())?;
        for name in path.components() {
            if inode.file_type != FileType::Directory {
                return Err(Error::not_found("a part of the path is not a directory").at(path.to_string()));
            }
            let entry = self.find(&inode, name).at(|| path.to_string())?;
            let ino = entry.ok_or_else(|| Error::not_found("no such file or directory").at(path.to_string()))?;
            inode = self.inode(ino).at(|| path.to_string())?;
        }
        Ok(inode)
    }

    /// The inode number of `name` in a directory.
    pub(super) fn find(&self, directory: &Inode, name: &[u8]) -> Result<Option<u32>> {
        // One block is searched as fast as an index is made.
        if directory.size <= u64::from(self.superblock.block_size) {
            return self.scan(directory, name);
        }
        let answer = self.names.borrow_mut().find(directory.ino, name);
        match answer {
            Answer::Known(found) => Ok(found),
            Answer::Scan => self.scan(directory, name),
            Answer::Index => {
                let mut index = Index::new();
                self.for_each_record(directory, &mut |record| {
                    check_entry_count(index.len())?;
                    index.entry(record.name.to_vec()).or_insert(record.ino);
                    Ok(true)
                })?;
                let found = index.get(name).copied();
                self.names.borrow_mut().remember(directory.ino, index);
                Ok(found)
            }
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
        let mut any = false;
        self.for_each_record(directory, &mut |record| {
            any = !matches!(record.name, b"." | b"..");
            Ok(!any)
        })?;
        Ok(any)
    }

    /// Calls `visit` for each record of a directory until it returns false. All blocks met are checked.
    fn for_each_record(&self, directory: &Inode, visit: &mut dyn FnMut(dir::Record<'_>) -> Result<bool>) -> Result<()> {
        let block_size = u64::from(self.superblock.block_size);
        let ino = directory.ino;
        ensure(directory.size <= DIRECTORY_BYTES_MAX && directory.size.is_multiple_of(block_size), || {
            format!("directory inode {ino} has an impossible size of {} bytes", directory.size)
        })?;
        let seed = self.superblock.has_checksums().then(|| directory.seed(&self.superblock));
        let extents = self.extent_tree(directory)?;
        let mut block = vec![0; self.block_bytes()?];
        for extent in extents.iter().filter(|extent| extent.written) {
            for step in 0..extent.len {
                let logical = extent.logical + step;
                if logical >= directory.size / block_size {
                    return Ok(());
                }
                self.device.read_at((extent.physical + step) * block_size, &mut block)?;
                if let Some(seed) = seed {
                    dir::check(&block, seed, directory.is_indexed(), logical)
                        .at(|| format!("directory inode {ino}"))?;
                }
                if !dir::for_each(&block, visit).at(|| format!("directory inode {ino}, block {logical}"))? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The extents of an inode.
    pub(super) fn extent_tree(&self, inode: &Inode) -> Result<Vec<Extent>> {
        TreeReader::read(&self.device, &self.superblock, inode)
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
        ensure((1..=SYMLINK_MAX).contains(&inode.size), || format!("a symlink of {} bytes", inode.size))?;
        let size = to_usize(inode.size)?;
        if !inode.has_extents() {
            let target = inode.block().get(..size);
            return target.map(<[u8]>::to_vec).ok_or_else(|| Error::corrupt("a long symlink has no block"));
        }
        let extents = self.extent_tree(inode)?;
        let mut target = vec![0; size];
        extent::read_at(&self.device, self.superblock.block_size, &extents, 0, &mut target)?;
        Ok(target)
    }

    pub(super) fn inode_xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        let mut found = Vec::new();
        xattr::parse_area(inode.xattr_area(), &mut found)?;
        if inode.file_acl != 0 {
            let number = inode.file_acl;
            ensure(
                number > u64::from(self.superblock.first_data_block) && number < self.superblock.blocks_count,
                || format!("block {number} of extended attributes lies outside the filesystem"),
            )?;
            let mut block = vec![0; self.block_bytes()?];
            self.device.read_at(number * u64::from(self.superblock.block_size), &mut block)?;
            let seed = self.superblock.has_checksums().then_some(self.superblock.checksum_seed);
            xattr::parse_block(&block, number, seed, &mut found)?;
        }
        found.sort();
        Ok(found)
    }
}

impl<D: BlockDevice> FileSystem for Ext4<D> {
    fn kind(&self) -> FsKind {
        FsKind::Ext4
    }

    fn label(&self) -> Result<Vec<u8>> {
        Ok(self.superblock.volume_name.clone())
    }

    fn capacity(&self) -> Result<Capacity> {
        let free = Superblock::read(&self.device)?.free;
        let block_bytes = u64::from(self.superblock.block_size);
        Ok(Capacity {
            total_bytes: self.superblock.blocks_count * block_bytes,
            free_bytes: free.usable_blocks() * block_bytes,
            block_bytes,
            inodes: Some((u64::from(self.superblock.inodes_count), u64::from(free.inodes))),
        })
    }

    fn metadata(&self, path: &FsPath) -> Result<Metadata> {
        self.lookup(path)?.metadata().at(|| path.to_string())
    }

    fn read_dir(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        let inode = self.lookup(path)?;
        if inode.file_type != FileType::Directory {
            return Err(Error::invalid("not a directory").at(path.to_string()));
        }
        let mut entries = Vec::new();
        let mut visit = |record: dir::Record<'_>| {
            if !matches!(record.name, b"." | b"..") {
                check_entry_count(entries.len())?;
                let file_type = self.record_type(&record)?;
                entries.push(DirEntry { name: record.name.to_vec(), file_type, inode: u64::from(record.ino) });
            }
            Ok(true)
        };
        self.for_each_record(&inode, &mut visit).at(|| path.to_string())?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn read_link(&self, path: &FsPath) -> Result<Vec<u8>> {
        let inode = self.lookup(path)?;
        self.link_target(&inode).at(|| path.to_string())
    }

    fn open(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        let inode = self.lookup(path)?;
        if inode.file_type != FileType::File {
            return Err(Error::invalid("not a regular file").at(path.to_string()));
        }
        let extents = self.extent_tree(&inode).at(|| path.to_string())?;
        Ok(Box::new(OpenFile {
            device: &*self.device,
            block_size: self.superblock.block_size,
            size: inode.size,
            extents,
        }))
    }

    fn xattrs(&self, path: &FsPath) -> Result<Vec<Xattr>> {
        let inode = self.lookup(path)?;
        self.inode_xattrs(&inode).at(|| path.to_string())
    }
}

fn check_entry_count(count: usize) -> Result<()> {
    if count < DIRECTORY_ENTRIES_MAX {
        return Ok(());
    }
    Err(Error::unsupported(format!("a directory of more than {DIRECTORY_ENTRIES_MAX} entries")))
}

/// A file with its extents at hand.
struct OpenFile<'a, D> {
    device: &'a D,
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
        extent::read_at(self.device, self.block_size, &self.extents, offset, buf)
    }
}
