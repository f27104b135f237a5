//! Inodes: compact ones of 32 bytes, and extended ones of 64, which also have a time and large numbers of their own.

use super::volume::Volume;
use crate::block::BlockDevice;
use crate::bytes::structure;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::{FileType, Timestamp};

/// Inodes are numbered in units of 32 bytes.
pub(super) const INODE_UNIT: u64 = 32;
/// Largest file (`MAX_LFS_FILESIZE` of Linux).
const SIZE_MAX: u64 = i64::MAX.unsigned_abs();
/// Bits of `i_format`: the version, and what lies above the layout.
pub(super) const FORMAT_EXTENDED: u16 = 1;
const FORMAT_UNKNOWN: u16 = !0xf;

structure! {
    /// `struct erofs_inode_compact`
    pub(super) struct Compact: "compact inode", Little, 32 {
        /// Bit 0: whether it is extended; bits 1 to 3: the layout of its data.
        0 => i_format / set_format: u16,
        /// Units of 4 bytes of attributes behind the inode, counted from a header of 12 bytes, which is one.
        2 => i_xattr_icount / set_xattr_icount: u16,
        /// Type and permissions.
        4 => i_mode / set_mode: u16,
        /// Names.
        6 => i_nlink / set_nlink: u16,
        /// Bytes.
        8 => i_size / set_size: u32,
        /// Seconds since the superblock's time.
        12 => i_mtime / set_mtime: u32,
        /// Where data begin, or a device number, or how chunks are listed.
        16 => i_u / set_u: u32,
        /// A number for programs that know 32 bits only.
        20 => i_ino / set_ino: u32,
        /// Owner.
        24 => i_uid / set_uid: u16,
        /// Group.
        26 => i_gid / set_gid: u16,
    }
}

structure! {
    /// `struct erofs_inode_extended`
    pub(super) struct Extended: "extended inode", Little, 64 {
        /// As of [`Compact`].
        0 => i_format / set_format: u16,
        /// As of [`Compact`].
        2 => i_xattr_icount / set_xattr_icount: u16,
        /// Type and permissions.
        4 => i_mode / set_mode: u16,
        /// Bytes.
        8 => i_size / set_size: u64,
        /// As of [`Compact`].
        16 => i_u / set_u: u32,
        /// As of [`Compact`].
        20 => i_ino / set_ino: u32,
        /// Owner.
        24 => i_uid / set_uid: u32,
        /// Group.
        28 => i_gid / set_gid: u32,
        /// Seconds since 1970.
        32 => i_mtime / set_mtime: i64,
        /// And nanoseconds.
        40 => i_mtime_nsec / set_mtime_nsec: u32,
        /// Names.
        44 => i_nlink / set_nlink: u32,
    }
}

/// How the data of an inode are stored (`EROFS_INODE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// In blocks.
    FlatPlain,
    /// Packed, with an index of 8 bytes for each block.
    CompressedFull,
    /// In blocks, the last one behind the inode.
    FlatInline,
    /// Packed, with an index of 2 or 4 bytes for each block.
    CompressedCompact,
    /// In chunks that may lie anywhere, or are holes.
    Chunks,
}

impl Layout {
    const ALL: [Self; 5] = [
        Self::FlatPlain,
        Self::CompressedFull,
        Self::FlatInline,
        Self::CompressedCompact,
        Self::Chunks,
    ];

    /// The layout that `i_format` names.
    fn from_format(format: u16) -> Result<Self> {
        let number = usize::from(format >> 1 & 7);
        let known = Self::ALL
            .get(number)
            .filter(|_| format & FORMAT_UNKNOWN == 0);
        known.copied().ok_or_else(|| {
            Error::unsupported(format!(
                "an inode in the format {format:#x}, at most 0x9 are known"
            ))
            .because(Reason::Feature)
        })
    }

    /// Its bits in `i_format`.
    pub fn format(self) -> u16 {
        match self {
            Self::FlatPlain => 0,
            Self::CompressedFull => 1 << 1,
            Self::FlatInline => 2 << 1,
            Self::CompressedCompact => 3 << 1,
            Self::Chunks => 4 << 1,
        }
    }
}

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub nid: u64,
    pub file_type: FileType,
    /// Permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub nlink: u32,
    pub mtime: Timestamp,
    pub layout: Layout,
    /// The meaning depends on type and layout.
    pub i_u: u32,
    /// Where the attributes begin, and their bytes.
    pub xattr_position: u64,
    pub xattr_bytes: u64,
}

impl Inode {
    /// Reads the inode `nid`.
    pub fn read<D: BlockDevice>(volume: &Volume<D>, nid: u64) -> Result<Self> {
        Self::read_unnamed(volume, nid).at(|| format!("inode {nid}"))
    }

    fn read_unnamed<D: BlockDevice>(volume: &Volume<D>, nid: u64) -> Result<Self> {
        let position = volume.inode_position(nid)?;
        let compact = Compact::over(volume.meta::<32>(position)?)?;
        let format = compact.i_format();
        let layout = Layout::from_format(format)?;
        let mode = u32::from(compact.i_mode());
        let file_type = FileType::from_mode(mode)
            .ok_or_else(|| Error::corrupt(format!("the mode {mode:#o} has no type of file")))?;
        let xattr_bytes = xattr_bytes(compact.i_xattr_icount());
        let common = Self {
            nid,
            file_type,
            mode: mode & 0o7777,
            uid: compact.i_uid().into(),
            gid: compact.i_gid().into(),
            size: compact.i_size().into(),
            nlink: compact.i_nlink().into(),
            mtime: Timestamp {
                secs: volume
                    .superblock
                    .epoch
                    .saturating_add(compact.i_mtime().into()),
                nanos: volume.superblock.fixed_nsec,
            },
            layout,
            i_u: compact.i_u(),
            xattr_position: position + 32,
            xattr_bytes,
        };
        if format & FORMAT_EXTENDED == 0 {
            return Ok(common);
        }
        let extended = Extended::over(volume.meta::<64>(position)?)?;
        if extended.i_size() > SIZE_MAX {
            return Err(Error::corrupt(format!(
                "{} bytes, at most {SIZE_MAX} are possible",
                extended.i_size()
            )));
        }
        Ok(Self {
            uid: extended.i_uid(),
            gid: extended.i_gid(),
            size: extended.i_size(),
            nlink: extended.i_nlink(),
            mtime: Timestamp {
                secs: extended.i_mtime(),
                nanos: extended.i_mtime_nsec(),
            },
            xattr_position: position + 64,
            ..common
        })
    }

    /// The number of a device node.
    pub fn device(&self) -> (u32, u32) {
        match self.file_type {
            FileType::CharDevice | FileType::BlockDevice => {
                let major = self.i_u >> 8 & 0xfff;
                let minor = self.i_u & 0xff | self.i_u >> 12 & 0xf_ff00;
                (major, minor)
            }
            _ => (0, 0),
        }
    }

    /// What lies behind the inode and its attributes: data, or where to find them.
    pub fn end(&self) -> u64 {
        self.xattr_position + self.xattr_bytes
    }
}

/// Bytes of attributes behind an inode (`erofs_xattr_ibody_size` of the kernel).
fn xattr_bytes(icount: u16) -> u64 {
    if icount == 0 {
        0
    } else {
        12 + 4 * (u64::from(icount) - 1)
    }
}
