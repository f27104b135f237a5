//! Inode items (`struct btrfs_inode_item`) and the references that name their parents.

use crate::bytes::{Field, Fields, Order, structure};
use crate::error::{Error, Result};
use crate::fs::{FileType, Metadata, Timestamp};

structure! {
    /// An inode item (`struct btrfs_inode_item`).
    struct InodeItem: "btrfs inode item", Little, 160 {
        /// The transaction that made it.
        0 => generation / set_generation: u64,
        /// The transaction that changed it last.
        8 => transid / set_transid: u64,
        /// Bytes of its content; of a directory, twice those of its names.
        16 => size / set_size: u64,
        /// Bytes its extents cover, holes not counted.
        24 => nbytes / set_nbytes: u64,
        /// Not used any more.
        32 => block_group: u64,
        /// Number of its names; 1 for a directory.
        40 => nlink / set_nlink: u32,
        /// Owner.
        44 => uid / set_uid: u32,
        /// Group.
        48 => gid / set_gid: u32,
        /// Type and permissions, as POSIX has them.
        52 => mode / set_mode: u32,
        /// Device number: major in bits 20 and up, minor below.
        56 => rdev / set_rdev: u64,
        /// See [`flag`].
        64 => flags / set_flags: u64,
        /// Counts changes, for NFS.
        72 => sequence / set_sequence: u64,
        /// Time of the last access.
        112 => atime / set_atime: Timespec,
        /// Time of the last change of the inode.
        124 => ctime / set_ctime: Timespec,
        /// Time of the last change of the content.
        136 => mtime / set_mtime: Timespec,
        /// Time when it was made.
        148 => otime / set_otime: Timespec,
    }
}

structure! {
    /// A time (`struct btrfs_timespec`).
    struct DiskTimespec: "btrfs time", Little, 12 {
        /// Seconds since 1970.
        0 => sec / set_sec: i64,
        /// Nanoseconds on top.
        8 => nsec / set_nsec: u32,
    }
}

structure! {
    /// A name of an inode before the name itself (`struct btrfs_inode_ref`); its key's offset is the parent.
    struct InodeRef: "btrfs inode reference", Little, 10 {
        /// The name's place in the order of creation.
        0 => index / set_index: u64,
        /// Bytes of the name, which follows.
        8 => name_len / set_name_len: u16,
    }
}

structure! {
    /// The same where names of one parent do not fit one item (`struct btrfs_inode_extref`).
    struct InodeExtref: "btrfs extended inode reference", Little, 18 {
        /// The directory that the name is in.
        0 => parent_objectid / set_parent_objectid: u64,
        /// The name's place in the order of creation.
        8 => index / set_index: u64,
        /// Bytes of the name, which follows.
        16 => name_len / set_name_len: u16,
    }
}

/// Bytes of an inode reference before the name.
pub(super) const REF_LEN: usize = InodeRef::<&[u8]>::SIZE;
/// Bytes of an extended reference before the name.
const EXTREF_LEN: usize = InodeExtref::<&[u8]>::SIZE;

/// A time as btrfs stores it.
#[derive(Debug, Clone, Copy)]
struct Timespec(Timestamp);

impl Field for Timespec {
    const WIDTH: usize = DiskTimespec::<&[u8]>::SIZE;

    fn get(bytes: &[u8], _order: Order) -> Self {
        let disk = DiskTimespec(bytes);
        Self(Timestamp {
            secs: disk.sec(),
            nanos: disk.nsec(),
        })
    }

    fn put(self, bytes: &mut [u8], _order: Order) {
        let mut disk = DiskTimespec(bytes);
        disk.set_sec(self.0.secs);
        disk.set_nsec(self.0.nanos);
    }
}

/// Flags of an inode (`BTRFS_INODE_*`).
pub(super) mod flag {
    pub const NODATASUM: u64 = 1 << 0;
    pub const NODATACOW: u64 = 1 << 1;
    pub const NOCOMPRESS: u64 = 1 << 3;
    pub const PREALLOC: u64 = 1 << 4;
    pub const COMPRESS: u64 = 1 << 11;
    /// fs-verity and whatever later kernels put into the upper half.
    pub const READ_ONLY_FEATURES: u64 = 0xffff_ffff_0000_0000;
}

/// An inode; fields have the names of the kernel header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    /// The transaction that made it.
    pub generation: u64,
    /// The transaction that changed it last.
    pub transid: u64,
    pub size: u64,
    /// Bytes its extents cover, holes not counted.
    pub nbytes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    /// Device number in the kernel's own form: major in bits 20 and up, minor below.
    pub rdev: u64,
    pub flags: u64,
    pub sequence: u64,
    pub atime: Timestamp,
    pub ctime: Timestamp,
    pub mtime: Timestamp,
    pub otime: Timestamp,
}

impl Inode {
    pub(super) fn parse(item: &[u8]) -> Result<Self> {
        let on_disk = InodeItem::over(item)?;
        Ok(Self {
            generation: on_disk.generation(),
            transid: on_disk.transid(),
            size: on_disk.size(),
            nbytes: on_disk.nbytes(),
            nlink: on_disk.nlink(),
            uid: on_disk.uid(),
            gid: on_disk.gid(),
            mode: on_disk.mode(),
            rdev: on_disk.rdev(),
            flags: on_disk.flags(),
            sequence: on_disk.sequence(),
            atime: on_disk.atime().0,
            ctime: on_disk.ctime().0,
            mtime: on_disk.mtime().0,
            otime: on_disk.otime().0,
        })
    }

    /// Its form on disk.
    pub(super) fn to_disk(&self) -> Vec<u8> {
        let mut on_disk = InodeItem::zeroed();
        on_disk.set_generation(self.generation);
        on_disk.set_transid(self.transid);
        on_disk.set_size(self.size);
        on_disk.set_nbytes(self.nbytes);
        on_disk.set_nlink(self.nlink);
        on_disk.set_uid(self.uid);
        on_disk.set_gid(self.gid);
        on_disk.set_mode(self.mode);
        on_disk.set_rdev(self.rdev);
        on_disk.set_flags(self.flags);
        on_disk.set_sequence(self.sequence);
        on_disk.set_atime(Timespec(self.atime));
        on_disk.set_ctime(Timespec(self.ctime));
        on_disk.set_mtime(Timespec(self.mtime));
        on_disk.set_otime(Timespec(self.otime));
        on_disk.into_inner()
    }

    pub(super) fn file_type(&self) -> Result<FileType> {
        FileType::from_mode(self.mode)
            .ok_or_else(|| Error::corrupt(format!("mode {:o} names no file type", self.mode)))
    }

    /// What the filesystem traits tell of an entry.
    pub(super) fn metadata(&self, number: u64) -> Result<Metadata> {
        let file_type = self.file_type()?;
        let device = match file_type {
            FileType::CharDevice | FileType::BlockDevice => device_numbers(self.rdev)?,
            _ => (0, 0),
        };
        Ok(Metadata {
            file_type,
            mode: self.mode & 0o7777,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            nlink: self.nlink,
            mtime: self.mtime,
            device,
            inode: number,
        })
    }
}

fn device_numbers(rdev: u64) -> Result<(u32, u32)> {
    let major = u32::try_from(rdev >> 20)
        .map_err(|_| Error::corrupt(format!("device number {rdev:#x}")))?;
    let minor = u32::try_from(rdev & 0xf_ffff).map_err(|_| Error::internal("20 bits"))?;
    Ok((major, minor))
}

/// A name of an inode, as an item gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// Its place in the order of creation.
    pub index: u64,
    pub name: &'a [u8],
}

impl<'a> Reference<'a> {
    /// The first name in an `INODE_REF` item, and what follows it.
    pub(super) fn split_first(item: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let head = InodeRef::over(item)?;
        let len = usize::from(head.name_len());
        let name = Fields::new("btrfs inode reference", item).slice(REF_LEN, len)?;
        let index = head.index();
        Ok((Self { index, name }, &item[REF_LEN + len..]))
    }

    /// The first name in an `INODE_EXTREF` item with the directory that it is in, and what follows them.
    pub(super) fn split_first_extended(item: &'a [u8]) -> Result<(u64, Self, &'a [u8])> {
        let head = InodeExtref::over(item)?;
        let len = usize::from(head.name_len());
        let name = Fields::new("btrfs extended inode reference", item).slice(EXTREF_LEN, len)?;
        let index = head.index();
        let rest = &item[EXTREF_LEN + len..];
        Ok((head.parent_objectid(), Self { index, name }, rest))
    }

    /// Its form in an `INODE_REF` item.
    pub(super) fn to_disk(self) -> Result<Vec<u8>> {
        let mut head = InodeRef::blank();
        head.set_index(self.index);
        head.set_name_len(self.name_len()?);
        Ok([head.bytes(), self.name].concat())
    }

    /// Its form in an `INODE_EXTREF` item.
    pub(super) fn to_disk_extended(self, parent: u64) -> Result<Vec<u8>> {
        let mut head = InodeExtref::blank();
        head.set_parent_objectid(parent);
        head.set_index(self.index);
        head.set_name_len(self.name_len()?);
        Ok([head.bytes(), self.name].concat())
    }

    fn name_len(&self) -> Result<u16> {
        u16::try_from(self.name.len()).map_err(|_| Error::internal("names have at most 255 bytes"))
    }
}

/// The single name in an `INODE_REF` item of a directory.
pub(super) fn only_reference(item: &[u8]) -> Result<&[u8]> {
    let (reference, rest) = Reference::split_first(item)?;
    if !rest.is_empty() {
        return Err(Error::corrupt("a directory with several names"));
    }
    Ok(reference.name)
}
