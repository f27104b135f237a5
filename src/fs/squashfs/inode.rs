//! Inodes: 16 common bytes, then a part for each of 14 types (`struct squashfs_*_inode` of the kernel).

use std::fmt;

use super::volume::{MetaReader, Place, Volume};
use crate::block::BlockDevice;
use crate::bytes::{Fields, to_usize};
use crate::error::{Error, Result, ResultExt};
use crate::fs::FileType;

/// Longest target of a symlink (`PATH_MAX` of Linux; the kernel refuses more than a page).
const SYMLINK_MAX: u32 = 4096;
/// An absent fragment or xattr index.
const NONE: u32 = u32::MAX;

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
        let common: [u8; 16] = meta.array()?;
        let fields = Fields::new("inode", &common);
        let inode_type = fields.le16(0)?;
        let (nlink, xattr, part) = type_part(&mut meta, inode_type, superblock.block_size)?;
        Ok(Self {
            file_type: file_type(basic_type(inode_type))?,
            mode: fields.le16(2)? & 0o7777,
            uid: fields.le16(4)?,
            gid: fields.le16(6)?,
            mtime: fields.le32(8)?,
            nlink,
            xattr: Some(xattr).filter(|&xattr| xattr != NONE),
            part,
        })
    }
}

/// Types 8 to 14 are the extended forms of 1 to 7.
fn basic_type(inode_type: u16) -> u16 {
    if inode_type > 7 {
        inode_type - 7
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
    let extended = inode_type > 7;
    match basic_type(inode_type) {
        1 => directory(meta, extended),
        2 => file(meta, extended, block_size),
        3 => symlink(meta, extended),
        4 | 5 => {
            let nlink = number(meta)?;
            let part = Part::Device(number(meta)?);
            Ok((nlink, if extended { number(meta)? } else { NONE }, part))
        }
        6 | 7 => Ok((
            number(meta)?,
            if extended { number(meta)? } else { NONE },
            Part::Ipc,
        )),
        _ => Err(Error::corrupt(format!(
            "inode type {inode_type} is not one of 1 to 14"
        ))),
    }
}

fn number<D: BlockDevice>(meta: &mut MetaReader<'_, D>) -> Result<u32> {
    Ok(u32::from_le_bytes(meta.array()?))
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
        let bytes: [u8; 24] = meta.array()?;
        let fields = Fields::new("extended directory inode", &bytes);
        Ok((
            fields.le32(0)?,
            fields.le32(20)?,
            part(fields.le32(8)?, fields.le16(18)?, fields.le32(4)?),
        ))
    } else {
        let bytes: [u8; 16] = meta.array()?;
        let fields = Fields::new("directory inode", &bytes);
        Ok((
            fields.le32(4)?,
            NONE,
            part(fields.le32(0)?, fields.le16(10)?, fields.le16(8)?.into()),
        ))
    }
}

fn file<D: BlockDevice>(
    meta: &mut MetaReader<'_, D>,
    extended: bool,
    block_size: u32,
) -> Result<(u32, u32, Part)> {
    let (start_block, file_size, nlink, fragment, offset, xattr) = if extended {
        let bytes: [u8; 40] = meta.array()?;
        let fields = Fields::new("extended file inode", &bytes);
        (
            fields.le64(0)?,
            fields.le64(8)?,
            fields.le32(24)?,
            fields.le32(28)?,
            fields.le32(32)?,
            fields.le32(36)?,
        )
    } else {
        let bytes: [u8; 16] = meta.array()?;
        let fields = Fields::new("file inode", &bytes);
        (
            fields.le32(0)?.into(),
            fields.le32(12)?.into(),
            1,
            fields.le32(4)?,
            fields.le32(8)?,
            NONE,
        )
    };
    if fragment != NONE && offset >= block_size {
        return Err(Error::corrupt(format!(
            "fragment begins at {offset} of a block of {block_size} bytes"
        )));
    }
    let fragment = Some((fragment, offset)).filter(|_| fragment != NONE);
    Ok((
        nlink,
        xattr,
        Part::File(FilePart {
            start_block,
            file_size,
            fragment,
            block_list: meta.place(),
        }),
    ))
}

fn symlink<D: BlockDevice>(
    meta: &mut MetaReader<'_, D>,
    extended: bool,
) -> Result<(u32, u32, Part)> {
    let nlink = number(meta)?;
    let len = number(meta)?;
    if len == 0 || len > SYMLINK_MAX {
        return Err(Error::corrupt(format!(
            "symlink target of {len} bytes, 1 to {SYMLINK_MAX} are possible"
        )));
    }
    let target = meta.place();
    if !extended {
        return Ok((nlink, NONE, Part::Symlink(target, len)));
    }
    meta.bytes(to_usize(len.into())?)?;
    Ok((nlink, number(meta)?, Part::Symlink(target, len)))
}
