//! Inodes: a common part, then one for each of 14 types.

use std::fmt;

use super::on_disk::{
    BaseInode, DeviceInode, DirInode, EXTENDED, FileInode, IpcInode, LongDirInode, LongFileInode,
    NONE, SymlinkInode, XattrIndex,
};
use super::volume::{MetaReader, Place, Volume};
use crate::block::BlockDevice;
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};
use crate::fs::FileType;

/// Longest target of a symlink (`PATH_MAX` of Linux; the kernel refuses more than a page).
const SYMLINK_MAX: u32 = 4096;

/// Where an inode lies in the inode table: 48 bits of block offset and 16 bits of byte offset in the unpacked block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InodeRef(pub u64);

impl InodeRef {
    pub fn new(block: u32, offset: u16) -> Self {
        Self(u64::from(block) << 16 | u64::from(offset))
    }
}

impl fmt::Display for InodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode at {}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// Where a directory's listing lies in the directory table.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirPart {
    pub start_block: u32,
    pub offset: u16,
    /// Bytes of the listing, without the 3 that stand for `.` and `..`.
    pub listing_bytes: u32,
}

/// Where a file's content lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilePart {
    pub start_block: u64,
    pub file_size: u64,
    /// Fragment index and offset in the fragment block.
    pub fragment: Option<(u32, u32)>,
    /// Where the list of block sizes begins.
    pub block_list: Place,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Directory(DirPart),
    File(FilePart),
    /// Where the target lies, and its length.
    Symlink(Place, u32),
    /// Encoded device number.
    Device(u32),
    Ipc,
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub file_type: FileType,
    pub mode: u16,
    pub uid: u16,
    pub gid: u16,
    pub mtime: u32,
    pub nlink: u32,
    pub xattr: Option<u32>,
    pub part: Part,
}

impl Inode {
    pub fn read<D: BlockDevice>(volume: &Volume<D>, at: InodeRef) -> Result<Self> {
        Self::parse(volume, at).at(|| at.to_string())
    }

    fn parse<D: BlockDevice>(volume: &Volume<D>, at: InodeRef) -> Result<Self> {
        let superblock = &volume.superblock;
        let place = Place {
            block: superblock.inode_table_start + (at.0 >> 16),
            offset: to_usize(at.0 & 0xffff)?,
        };
        let mut meta = volume.meta(place, superblock.directory_table_start);
        let mut base = BaseInode::blank();
        meta.fill(base.bytes_mut())?;
        let inode_type = base.inode_type();
        let (nlink, xattr, part) = type_part(&mut meta, inode_type, superblock.block_size)?;
        Ok(Self {
            file_type: file_type(basic_type(inode_type))?,
            mode: base.mode() & 0o7777,
            uid: base.uid(),
            gid: base.guid(),
            mtime: base.mtime(),
            nlink,
            xattr: Some(xattr).filter(|&xattr| xattr != NONE),
            part,
        })
    }
}

/// Types 8 to 14 are the extended forms of 1 to 7.
fn basic_type(inode_type: u16) -> u16 {
    if inode_type > EXTENDED {
        inode_type - EXTENDED
    } else {
        inode_type
    }
}

/// The type that inodes (in their basic form) and directory entries name by number.
pub(super) fn file_type(number: u16) -> Result<FileType> {
    Ok(match number {
        1 => FileType::Directory,
        2 => FileType::File,
        3 => FileType::Symlink,
        4 => FileType::BlockDevice,
        5 => FileType::CharDevice,
        6 => FileType::Fifo,
        7 => FileType::Socket,
        _ => return Err(Error::corrupt(format!("type {number} is not known"))),
    })
}

/// The fields behind the common ones: nlink, xattr index, and what the type needs.
fn type_part<D: BlockDevice>(
    meta: &mut MetaReader<'_, D>,
    inode_type: u16,
    block_size: u32,
) -> Result<(u32, u32, Part)> {
    let extended = inode_type > EXTENDED;
    match basic_type(inode_type) {
        1 => directory(meta, extended),
        2 => file(meta, extended, block_size),
        3 => symlink(meta, extended),
        4 | 5 => {
            let mut device = DeviceInode::blank();
            meta.fill(device.bytes_mut())?;
            let part = Part::Device(device.rdev());
            Ok((device.nlink(), xattr_index(meta, extended)?, part))
        }
        6 | 7 => {
            let mut ipc = IpcInode::blank();
            meta.fill(ipc.bytes_mut())?;
            Ok((ipc.nlink(), xattr_index(meta, extended)?, Part::Ipc))
        }
        _ => Err(Error::corrupt(format!(
            "inode type {inode_type} is not one of 1 to 14"
        ))),
    }
}

/// The index at the end of extended inodes.
fn xattr_index<D: BlockDevice>(meta: &mut MetaReader<'_, D>, extended: bool) -> Result<u32> {
    if !extended {
        return Ok(NONE);
    }
    let mut index = XattrIndex::blank();
    meta.fill(index.bytes_mut())?;
    Ok(index.xattr())
}

fn directory<D: BlockDevice>(
    meta: &mut MetaReader<'_, D>,
    extended: bool,
) -> Result<(u32, u32, Part)> {
    let part = |start_block, offset, file_size: u32| {
        Part::Directory(DirPart {
            start_block,
            offset,
            listing_bytes: file_size.saturating_sub(3),
        })
    };
    if extended {
        let mut inode = LongDirInode::blank();
        meta.fill(inode.bytes_mut())?;
        let part = part(inode.start_block(), inode.offset(), inode.file_size());
        Ok((inode.nlink(), inode.xattr(), part))
    } else {
        let mut inode = DirInode::blank();
        meta.fill(inode.bytes_mut())?;
        let file_size = inode.file_size().into();
        let part = part(inode.start_block(), inode.offset(), file_size);
        Ok((inode.nlink(), NONE, part))
    }
}

fn file<D: BlockDevice>(
    meta: &mut MetaReader<'_, D>,
    extended: bool,
    block_size: u32,
) -> Result<(u32, u32, Part)> {
    let mut inode = LongFileInode::blank();
    if extended {
        meta.fill(inode.bytes_mut())?;
    } else {
        let mut short = FileInode::blank();
        meta.fill(short.bytes_mut())?;
        inode.set_start_block(short.start_block().into());
        inode.set_file_size(short.file_size().into());
        inode.set_nlink(1);
        inode.set_fragment(short.fragment());
        inode.set_offset(short.offset());
        inode.set_xattr(NONE);
    }
    let fragment = inode.fragment();
    let offset = inode.offset();
    if fragment != NONE && offset >= block_size {
        return Err(Error::corrupt(format!(
            "fragment begins at {offset} of a block of {block_size} bytes"
        )));
    }
    let fragment = Some((fragment, offset)).filter(|_| fragment != NONE);
    Ok((
        inode.nlink(),
        inode.xattr(),
        Part::File(FilePart {
            start_block: inode.start_block(),
            file_size: inode.file_size(),
            fragment,
            block_list: meta.place(),
        }),
    ))
}

fn symlink<D: BlockDevice>(
    meta: &mut MetaReader<'_, D>,
    extended: bool,
) -> Result<(u32, u32, Part)> {
    let mut inode = SymlinkInode::blank();
    meta.fill(inode.bytes_mut())?;
    let len = inode.symlink_size();
    if len == 0 || len > SYMLINK_MAX {
        return Err(Error::corrupt(format!(
            "symlink target of {len} bytes, 1 to {SYMLINK_MAX} are possible"
        )));
    }
    let target = meta.place();
    if extended {
        meta.bytes(to_usize(len.into())?)?;
    }
    let xattr = xattr_index(meta, extended)?;
    Ok((inode.nlink(), xattr, Part::Symlink(target, len)))
}
