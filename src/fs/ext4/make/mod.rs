//! Making a filesystem: an empty one in its first group, which then grows to its size and takes a tree.
//!
//! ```text
//!   group 0   │ superblock │ descriptors │ bitmaps │ inode table │ /, /lost+found │ …
//!   then      as growing any other filesystem, and as editing it
//! ```
//!
//! It has the features of `mke2fs -t ext4` but for the journal, flexible groups and blocks kept for growing: what is made
//! here is for reading.

mod room;

use super::bitmap::Bitmap;
use super::directory::Directory;
use super::edit::{INODE_OVERHEAD, INODES_BYTES_MAX, set_attributes};
use super::features::{
    COMPAT_DIR_INDEX, COMPAT_EXT_ATTR, INCOMPAT_64BIT, INCOMPAT_EXTENTS, INCOMPAT_FILETYPE,
    RO_COMPAT_DIR_NLINK, RO_COMPAT_EXTRA_ISIZE, RO_COMPAT_HUGE_FILE, RO_COMPAT_LARGE_FILE,
    RO_COMPAT_METADATA_CSUM, RO_COMPAT_SPARSE_SUPER,
};
use super::group::Group;
use super::inode::ROOT_INO;
use super::raw_inode::RawInode;
use super::space::Space;
use super::store::Store;
use super::superblock::{self, MAGIC, OnDisk, STATE_VALID, Superblock};
use super::{Editor, Ext4};
use crate::block::{Blank, BlockDeviceMut, NewFile};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::identity::seeded_uuid;
use crate::fs::{
    Attributes, CopyOptions, FileSystem, FileSystemMut, FileType, FsPath, Timestamp, copy_tree,
};
use crate::progress::Progress;
use room::Room;

/// The block size.
const BLOCK_BYTES: u64 = 4096;
/// Blocks of a group, as many as a block has bits.
const GROUP_BLOCKS: u32 = 32_768;
const INODE_BYTES: u16 = 256;
const DESCRIPTOR_BYTES: u16 = 64;
/// The first inode that is not reserved (`EXT4_GOOD_OLD_FIRST_INO`).
const FIRST_INO: u32 = 11;
/// `s_want_extra_isize` and `s_min_extra_isize`, as `mke2fs` has them.
const EXTRA_BYTES: u16 = 32;
/// `EXT4_BG_INODE_ZEROED`: the inode table holds nothing old.
const INODE_ZEROED: u16 = 4;
/// `DX_HASH_HALF_MD4`
const HASH_HALF_MD4: u8 = 1;
/// `EXT4_CRC32C_CHKSUM`
const CHECKSUM_CRC32C: u8 = 1;
/// `EXT4_ERRORS_CONTINUE`
const ERRORS_CONTINUE: u16 = 1;
/// `s_max_mnt_count` of a filesystem that is never checked for being old.
const NEVER_CHECKED: u16 = u16::MAX;
/// Longest label.
const LABEL_MAX: usize = 16;
/// Times that a larger filesystem is tried where the tree did not fit: files with many holes need more than was counted.
const TRIES: u32 = 6;

/// How to write an ext4.
#[derive(Debug, Clone, Default)]
pub struct Ext4Options {
    /// What UUID and seeds are made of: the same seed gives the same.
    pub seed: Vec<u8>,
    /// The label, at most 16 bytes without zeroes.
    pub label: Vec<u8>,
    /// When the filesystem was made, in seconds since 1970.
    pub build_time: i64,
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
}

/// Writes the tree of `source` into `out`, an empty file, as an ext4 without a journal that is about as small as it can be.
///
/// Modes, owners, times, links, devices, holes and extended attributes come as they are in the source; those that ext4
/// cannot have are left out with a warning. `out` is neither synced nor renamed, and left unfinished on failure. Returns the
/// length of the filesystem in bytes.
///
/// # Errors
///
/// The source's read errors; [`ErrorKind::InvalidInput`] for options out of range and for an `out` that holds something;
/// [`ErrorKind::Unsupported`] for a tree that is too large and for what ext4 cannot have; [`ErrorKind::Io`] and
/// [`ErrorKind::Environment`] for `out`.
pub fn write<'a>(
    source: &dyn FileSystem,
    out: impl Into<Blank<'a>>,
    options: &Ext4Options,
    progress: &dyn Progress,
) -> Result<u64> {
    check(options)?;
    let out = out.into();
    let mut room = Room::of(source)?;
    for _ in 0..TRIES {
        match fill(source, out, options, &room, progress) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                // What was written is no use: a larger filesystem has its tables elsewhere.
                out.set_len(0)
                    .map_err(|error| Error::io("emptying the file for the ext4", error))?;
                room.enlarge();
            }
            result => return result,
        }
    }
    Err(Error::unsupported(
        "the tree does not fit an ext4 of many times its size",
    ))
}

/// Makes a filesystem with so much room and copies the tree into it.
fn fill(
    source: &dyn FileSystem,
    out: Blank<'_>,
    options: &Ext4Options,
    room: &Room,
    progress: &dyn Progress,
) -> Result<u64> {
    let size = room.blocks()? * BLOCK_BYTES;
    let device = NewFile::new(out, size, "ext4")?;
    let mut fs = Ext4::make(device, options, room.inodes_per_group()?)?;
    fs.grow(size)?;
    let copy = CopyOptions {
        latest_time: options.latest_time,
        ..CopyOptions::default()
    };
    copy_tree(source, &mut fs, &copy, &mut |_| Ok(true), progress)?;
    fs.commit()?;
    Ok(size)
}

impl<D: BlockDeviceMut> Ext4<D> {
    /// Makes an empty filesystem in the first group of a device that reads as zeroes.
    fn make(device: D, options: &Ext4Options, inodes_per_group: u32) -> Result<Self> {
        let blocks = (device.size() / BLOCK_BYTES).min(GROUP_BLOCKS.into());
        let blocks =
            u32::try_from(blocks).map_err(|_| Error::internal("a group is counted in 16 bits"))?;
        let raw = superblock(options, blocks, inodes_per_group)?;
        let superblock = Superblock::parse(raw.bytes(), device.size())?;
        let mut store = Store::new(device, 0);
        store.set_block_size(superblock.block_size);
        let mut fs = Self {
            store,
            space: first_group(&superblock, blocks),
            superblock,
            editor: Some(Editor::default()),
            inodes_max: INODES_BYTES_MAX / (usize::from(INODE_BYTES) + INODE_OVERHEAD),
        };
        fs.space.protect(&fs.superblock)?;
        fs.make_root(options.build_time)?;
        fs.commit()?;
        Ok(fs)
    }

    /// The top folder, and the one in which e2fsck puts what it finds.
    fn make_root(&mut self, time: i64) -> Result<()> {
        let attributes = |mode| Attributes {
            mode,
            mtime: Timestamp {
                secs: time,
                nanos: 0,
            },
            ..Attributes::default()
        };
        let mut raw = RawInode::new(&self.superblock, FileType::Directory)?;
        set_attributes(&mut raw, &attributes(0o755));
        self.stage(ROOT_INO, raw)?;
        self.add_directory(ROOT_INO, Directory::new(ROOT_INO, 0))?;
        self.create_dir(&FsPath::new("/lost+found")?, &attributes(0o700))
    }
}

/// Blocks of the first group that are in use from the beginning: superblock, descriptors, two bitmaps, inode table.
const BLOCK_BITMAP: u64 = 2;
const INODE_BITMAP: u64 = 3;
const INODE_TABLE: u64 = 4;

/// The first group, in which only its own tables and the reserved inodes are in use.
fn first_group(superblock: &Superblock, blocks: u32) -> Space {
    let inodes = superblock.inodes_per_group;
    let used = table_end(inodes);
    let reserved = FIRST_INO - 1;
    let group = Group {
        block_bitmap: BLOCK_BITMAP,
        inode_bitmap: INODE_BITMAP,
        inode_table: INODE_TABLE,
        free_blocks: blocks - used,
        free_inodes: inodes - reserved,
        used_dirs: 1,
        flags: INODE_ZEROED,
        itable_unused: inodes - reserved,
        ..Group::default()
    };
    let map = |len: u32, used: u32| {
        let mut map = Bitmap::clear_with_padding(superblock.block_bytes(), len);
        map.put(0, used, true);
        Some(map)
    };
    let mut space = Space::new(vec![group]);
    space.block_maps[0] = map(blocks, used);
    space.inode_maps[0] = map(inodes, reserved);
    space.dirty.insert(0);
    space
}

/// Blocks of the first group up to the end of its inode table.
fn table_end(inodes: u32) -> u32 {
    let table = inodes * u32::from(INODE_BYTES) / 4096;
    4 + table
}

/// The superblock of a filesystem of one group.
fn superblock(options: &Ext4Options, blocks: u32, inodes: u32) -> Result<OnDisk<Vec<u8>>> {
    let time = u32::try_from(options.build_time).map_err(|_| Error::internal("was checked"))?;
    let mut label = [0; LABEL_MAX];
    label[..options.label.len()].copy_from_slice(&options.label);
    let mut on_disk = OnDisk::zeroed();
    on_disk.set_inodes_count(inodes);
    on_disk.set_blocks_count_lo(blocks);
    on_disk.set_free_blocks_count_lo(blocks - table_end(inodes));
    on_disk.set_free_inodes_count(inodes - (FIRST_INO - 1));
    on_disk.set_log_block_size(2);
    on_disk.set_log_cluster_size(2);
    on_disk.set_blocks_per_group(GROUP_BLOCKS);
    on_disk.set_clusters_per_group(GROUP_BLOCKS);
    on_disk.set_inodes_per_group(inodes);
    on_disk.set_wtime(time);
    on_disk.set_max_mnt_count(NEVER_CHECKED);
    on_disk.set_magic(MAGIC);
    on_disk.set_state(STATE_VALID);
    on_disk.set_errors(ERRORS_CONTINUE);
    on_disk.set_lastcheck(time);
    on_disk.set_rev_level(1);
    on_disk.set_first_ino(FIRST_INO);
    on_disk.set_inode_size(INODE_BYTES);
    on_disk.set_feature_compat(COMPAT_EXT_ATTR | COMPAT_DIR_INDEX);
    on_disk.set_feature_incompat(INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT);
    on_disk.set_feature_ro_compat(
        RO_COMPAT_SPARSE_SUPER
            | RO_COMPAT_LARGE_FILE
            | RO_COMPAT_HUGE_FILE
            | RO_COMPAT_DIR_NLINK
            | RO_COMPAT_EXTRA_ISIZE
            | RO_COMPAT_METADATA_CSUM,
    );
    on_disk.set_uuid(seeded_uuid("flatbake ext4 uuid", &options.seed));
    on_disk.set_volume_name(label);
    let seed = seeded_uuid("flatbake ext4 hash seed", &options.seed);
    on_disk.set_hash_seed(std::array::from_fn(|word| {
        u32::from_le_bytes(std::array::from_fn(|byte| seed[word * 4 + byte]))
    }));
    on_disk.set_def_hash_version(HASH_HALF_MD4);
    on_disk.set_desc_size(DESCRIPTOR_BYTES);
    on_disk.set_mkfs_time(time);
    on_disk.set_min_extra_isize(EXTRA_BYTES);
    on_disk.set_want_extra_isize(EXTRA_BYTES);
    on_disk.set_flags(superblock::SIGNED_HASH);
    on_disk.set_checksum_type(CHECKSUM_CRC32C);
    on_disk.seal();
    Ok(on_disk)
}

fn check(options: &Ext4Options) -> Result<()> {
    if u32::try_from(options.build_time).is_err() {
        return Err(Error::invalid(format!(
            "ext4 made {} seconds after 1970: must be from 0 to {}",
            options.build_time,
            u32::MAX
        )));
    }
    if options.label.len() > LABEL_MAX || options.label.contains(&0) {
        return Err(Error::invalid(format!(
            "ext4 label '{}' is invalid: must have at most {LABEL_MAX} bytes, none of them 0",
            options.label.escape_ascii()
        )));
    }
    Ok(())
}
