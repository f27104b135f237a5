//! Making a filesystem: an empty one in memory takes a tree as any that is edited does, and is laid out in the least room.
//!
//! Data and trees share one block group (mixed), as on Flatcar's OEM partition: what is small stays small.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::checksum::{ChecksumType, name_hash};
use super::super::chunk::ChunkMap;
use super::super::dir::DirItem;
use super::super::inode::{Inode, Reference, flag};
use super::super::key::{Key, kind, object};
use super::super::root::RootItem;
use super::super::superblock::{
    DevItemOnDisk, LABEL_LEN, MAGIC, OnDisk, SUPER_OFFSETS, Superblock, incompat,
};
use super::super::tree::TreeRoot;
use super::super::volume::Volume;
use super::BtrfsEditor;
use super::model::{Content, Directory, FIRST_INDEX, Node, Tree};
use super::source::{Carried, Item, Profiles, compat_ro};
use super::store::Store;
use crate::block::{Blank, MemoryDevice, NewFile};
use crate::error::{Error, ErrorKind, Reason, Result};
use crate::fs::identity::seeded_uuid;
use crate::fs::{CopyOptions, FileSystem, FileType, Timestamp, copy_tree};
use crate::progress::Progress;

/// Bytes of sectors, and of tree blocks, which must be the same where data and trees share block groups.
const BLOCK_BYTES: u32 = 4096;
/// Bytes of the superblock's place and all before it.
const BOOT_BYTES: usize = 64 << 10;
/// Largest filesystem; the tree is taken into one as large as that, and is laid out in less.
const SIZE_MAX: u64 = 1 << 44;
/// Sizes are multiples of this.
const STEP: u64 = 1 << 20;
/// The transaction that makes it; the tree comes in the next one.
const GENERATION: u64 = 1;
/// The only device.
const DEVICE: u64 = 1;
/// Permissions and type of a top folder.
const TOP_MODE: u32 = 0o755;

/// How to write a btrfs.
#[derive(Debug, Clone, Default)]
pub struct BtrfsOptions {
    /// What UUIDs are made of: the same seed gives the same.
    pub seed: Vec<u8>,
    /// The label, at most 255 bytes without zeroes.
    pub label: Vec<u8>,
    /// Whether content is compressed with zlib, where it shrinks.
    pub compress: bool,
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
}

/// Writes the tree of `source` into `out`, an empty file, as a btrfs that is about as small as it can be.
///
/// Modes, owners, times, links, devices, holes and extended attributes come as they are in the source. `temp_dir` takes a
/// file without a name that holds content in between. `out` is neither synced nor renamed, and left unfinished on failure.
/// Returns the length of the filesystem in bytes.
///
/// # Errors
///
/// The source's read errors; [`ErrorKind::InvalidInput`] for options out of range and for an `out` that holds something;
/// [`ErrorKind::Unsupported`] for a tree that is too large and for what btrfs cannot have; [`ErrorKind::Io`] and
/// [`ErrorKind::Environment`] for `out`.
pub fn write<'a>(
    source: &dyn FileSystem,
    out: impl Into<Blank<'a>>,
    options: &BtrfsOptions,
    temp_dir: &Path,
    progress: &dyn Progress,
) -> Result<u64> {
    let mut editor = BtrfsEditor::make(options, temp_dir)?;
    let copy = CopyOptions {
        latest_time: options.latest_time,
        ..CopyOptions::default()
    };
    copy_tree(source, &mut editor, &copy, &mut |_| Ok(true), progress)?;
    editor.shrink(options)?;
    let size = editor.store.volume.superblock.total_bytes;
    editor.target = Arc::new(NewFile::new(out.into(), size, "btrfs")?);
    editor.write()?;
    Ok(size)
}

impl BtrfsEditor {
    /// An empty filesystem as large as can be, in memory.
    fn make(options: &BtrfsOptions, temp_dir: &Path) -> Result<Self> {
        let superblock = superblock(options, SIZE_MAX)?;
        let boot = Arc::new(MemoryDevice::new(vec![0; BOOT_BYTES]));
        let volume = Volume::unread(boot.clone(), superblock, ChunkMap::default());
        // Nothing is read from it: no extent lies in the source.
        let csum_root = TreeRoot {
            id: object::CSUM_TREE,
            bytenr: 0,
            generation: GENERATION,
            level: 0,
        };
        let mut top = directory(options.compress);
        top.transid = GENERATION;
        let root = Node {
            inode: top,
            names: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            content: Content::Directory(Directory {
                children: BTreeMap::new(),
                next_index: FIRST_INDEX,
            }),
        };
        Ok(Self {
            store: Store::new(volume, csum_root, Vec::new(), temp_dir)?,
            tree: Tree::new(BTreeMap::from([(object::FIRST_FREE, root)])),
            carried: carried(&options.seed)?,
            target: boot,
            changed: true,
        })
    }

    /// Makes the filesystem as small as its content can be laid out in.
    fn shrink(&mut self, options: &BtrfsOptions) -> Result<()> {
        let used = self.layout()?.bytes_used;
        let mut size = used.next_multiple_of(STEP);
        loop {
            self.store.volume.superblock = superblock(options, size)?;
            match self.layout() {
                Err(error) if error.kind() == ErrorKind::NoSpace && size < SIZE_MAX => {
                    size += STEP.max(size / 64 / STEP * STEP);
                }
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// The inode of a top folder.
fn directory(compress: bool) -> Inode {
    let made = Timestamp::default();
    Inode {
        generation: GENERATION,
        transid: GENERATION,
        size: 0,
        nbytes: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        mode: FileType::Directory.mode_bits() | TOP_MODE,
        rdev: 0,
        flags: if compress { flag::COMPRESS } else { 0 },
        sequence: 0,
        atime: made,
        ctime: made,
        mtime: made,
        otime: made,
    }
}

/// The items of a top folder that has nothing in it.
fn top_items(number: u64) -> Result<Vec<Item>> {
    let up = Reference {
        index: 0,
        name: b"..",
    };
    Ok(vec![
        Item {
            key: Key::new(number, kind::INODE_ITEM, 0),
            data: directory(false).to_disk(),
        },
        Item {
            key: Key::new(number, kind::INODE_REF, number),
            data: up.to_disk()?,
        },
    ])
}

/// What `mkfs.btrfs` makes besides the tree of files: roots, the folder that names the default subvolume, an empty tree for
/// data on the move.
fn carried(seed: &[u8]) -> Result<Carried> {
    const DEFAULT: &[u8] = b"default";
    let mut root_tree = top_items(object::ROOT_TREE_DIR)?;
    let entry = DirItem {
        location: Key::new(object::FS_TREE, kind::ROOT_ITEM, u64::MAX),
        transid: 0,
        item_type: FileType::Directory.entry_code(),
        name: DEFAULT,
        data: b"",
    };
    root_tree.push(Item {
        key: Key::new(object::ROOT_TREE_DIR, kind::DIR_ITEM, name_hash(DEFAULT)),
        data: entry.to_disk()?,
    });
    let name = Reference {
        index: 0,
        name: DEFAULT,
    };
    root_tree.push(Item {
        key: Key::new(object::FS_TREE, kind::INODE_REF, object::ROOT_TREE_DIR),
        data: name.to_disk()?,
    });
    let trees = [
        object::EXTENT_TREE,
        object::DEV_TREE,
        object::FS_TREE,
        object::CSUM_TREE,
        object::FREE_SPACE_TREE,
        object::DATA_RELOC_TREE,
    ];
    Ok(Carried {
        root_tree,
        roots: trees.into_iter().map(root_item).collect(),
        uuid_tree: Vec::new(),
        data_reloc: top_items(object::FIRST_FREE)?,
        dev_stats: Vec::new(),
        chunk_tree_uuid: seeded_uuid("flatbake btrfs chunk tree", seed),
        profiles: Profiles {
            system: 0,
            metadata: 0,
            data: 0,
        },
    })
}

/// The root item of a tree, without where it lies.
fn root_item(tree: u64) -> Item {
    let mut inode = directory(false);
    inode.size = 3;
    inode.nbytes = BLOCK_BYTES.into();
    let mut item = RootItem::zeroed();
    let mut bytes = [0; 160];
    bytes.copy_from_slice(&inode.to_disk());
    item.set_inode(bytes);
    item.set_refs(1);
    if [object::FS_TREE, object::DATA_RELOC_TREE].contains(&tree) {
        item.set_root_dirid(object::FIRST_FREE);
    }
    Item {
        key: Key::new(tree, kind::ROOT_ITEM, 0),
        data: item.into_inner(),
    }
}

/// The superblock of a filesystem of `size` bytes, without what says where its trees lie.
fn superblock(options: &BtrfsOptions, size: u64) -> Result<Superblock> {
    if options.label.len() >= LABEL_LEN || options.label.contains(&0) {
        return Err(Error::invalid(format!(
            "btrfs label '{}' is invalid: must have at most {} bytes, none of them 0",
            options.label.escape_ascii(),
            LABEL_LEN - 1
        )));
    }
    if size > SIZE_MAX {
        return Err(Error::unsupported(format!(
            "a btrfs of {size} bytes, at most {SIZE_MAX} are made"
        ))
        .because(Reason::Limit));
    }
    let fsid = seeded_uuid("flatbake btrfs filesystem", &options.seed);
    let mut device = DevItemOnDisk::blank();
    device.set_devid(DEVICE);
    device.set_total_bytes(size);
    device.set_io_align(BLOCK_BYTES);
    device.set_io_width(BLOCK_BYTES);
    device.set_sector_size(BLOCK_BYTES);
    device.set_uuid(seeded_uuid("flatbake btrfs device", &options.seed));
    device.set_fsid(fsid);
    let mut label = [0; LABEL_LEN];
    label[..options.label.len()].copy_from_slice(&options.label);

    let mut on_disk = OnDisk::zeroed();
    on_disk.set_fsid(fsid);
    on_disk.set_bytenr(SUPER_OFFSETS[0]);
    on_disk.set_flags(WRITTEN);
    on_disk.set_magic(*MAGIC);
    on_disk.set_generation(GENERATION);
    on_disk.set_total_bytes(size);
    on_disk.set_root_dir_objectid(object::ROOT_TREE_DIR);
    on_disk.set_num_devices(1);
    on_disk.set_sectorsize(BLOCK_BYTES);
    on_disk.set_nodesize(BLOCK_BYTES);
    on_disk.set_leafsize(BLOCK_BYTES);
    on_disk.set_stripesize(BLOCK_BYTES);
    on_disk.set_compat_ro_flags(compat_ro::FREE_SPACE_TREE);
    on_disk.set_incompat_flags(
        incompat::MIXED_BACKREF
            | incompat::MIXED_GROUPS
            | incompat::EXTENDED_IREF
            | incompat::SKINNY_METADATA
            | incompat::NO_HOLES,
    );
    on_disk.set_dev_item(device.into_inner());
    on_disk.set_label(label);
    on_disk.seal(ChecksumType::Crc32c);
    Superblock::parse(on_disk.into_inner(), SUPER_OFFSETS[0])
}

/// `BTRFS_HEADER_FLAG_WRITTEN`, which `mkfs.btrfs` sets in the superblock, too.
const WRITTEN: u64 = 1;
