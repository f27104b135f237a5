//! The superblock: 4 KiB at 64 KiB, with mirrors at 64 MiB and 256 GiB (`struct btrfs_super_block`).
//!
//! ```text
//!   superblock ── sys_chunk_array ──▶ where the chunk tree lies
//!       ├─ chunk_root ──▶ chunk tree: logical addresses → bytes of the device
//!       └─ root ──▶ root tree: the roots of all other trees
//! ```

use super::checksum::{CSUM_ROOM, ChecksumType};
use crate::block::BlockDevice;
use crate::bytes::{ByteSize, Place, structure, to_u64};
use crate::error::{Error, Reason, Result, ResultExt};

structure! {
    /// `struct btrfs_super_block`
    pub(super) struct OnDisk: "btrfs superblock", Little, 4096 {
        /// Over all that follows it.
        0x00 => csum / set_csum: [u8; CSUM_ROOM],
        /// The filesystem's UUID.
        0x20 => fsid / set_fsid: [u8; 16],
        /// Where on the device this superblock lies.
        0x30 => bytenr / set_bytenr: u64,
        /// `BTRFS_SUPER_FLAG_*`.
        0x38 => flags / set_flags: u64,
        /// [`MAGIC`].
        0x40 => magic / set_magic: [u8; 8],
        /// The last transaction.
        0x48 => generation / set_generation: u64,
        /// Logical address of the root tree's root.
        0x50 => root / set_root: u64,
        /// Logical address of the chunk tree's root.
        0x58 => chunk_root / set_chunk_root: u64,
        /// Logical address of the log tree's root; 0 without one.
        0x60 => log_root / set_log_root: u64,
        /// Not used any more.
        0x68 => log_root_transid / set_log_root_transid: u64,
        /// Bytes of the filesystem, on all its devices.
        0x70 => total_bytes / set_total_bytes: u64,
        /// Bytes of data and tree blocks.
        0x78 => bytes_used / set_bytes_used: u64,
        /// The root tree's directory.
        0x80 => root_dir_objectid / set_root_dir_objectid: u64,
        /// Number of devices.
        0x88 => num_devices / set_num_devices: u64,
        /// The unit of data.
        0x90 => sectorsize / set_sectorsize: u32,
        /// Bytes of a tree block.
        0x94 => nodesize / set_nodesize: u32,
        /// The same as `nodesize`.
        0x98 => leafsize / set_leafsize: u32,
        /// The same as `sectorsize`.
        0x9c => stripesize / set_stripesize: u32,
        /// Bytes in use of `sys_chunk_array`.
        0xa0 => sys_chunk_array_size / set_sys_chunk_array_size: u32,
        /// The transaction that wrote the chunk tree's root.
        0xa4 => chunk_root_generation / set_chunk_root_generation: u64,
        /// Features that may be passed over.
        0xac => compat_flags: u64,
        /// Features that writers must know.
        0xb4 => compat_ro_flags / set_compat_ro_flags: u64,
        /// Features that everybody must know, see [`incompat`].
        0xbc => incompat_flags / set_incompat_flags: u64,
        /// See [`ChecksumType`].
        0xc4 => csum_type: u16,
        /// Level of the root tree's root.
        0xc6 => root_level / set_root_level: u8,
        /// Level of the chunk tree's root.
        0xc7 => chunk_root_level / set_chunk_root_level: u8,
        /// Level of the log tree's root.
        0xc8 => log_root_level / set_log_root_level: u8,
        /// The device that this superblock is on, see [`DevItemOnDisk`].
        0xc9 => dev_item / set_dev_item: [u8; DEV_ITEM_LEN],
        /// The label, filled up with zeroes.
        0x12b => label / set_label: [u8; LABEL_LEN],
        /// The transaction that wrote the free space cache v1.
        0x22b => cache_generation / set_cache_generation: u64,
        /// The transaction that wrote the tree of subvolume UUIDs.
        0x233 => uuid_tree_generation / set_uuid_tree_generation: u64,
        /// The UUID in tree blocks, with [`incompat::METADATA_UUID`].
        0x23b => metadata_uuid: [u8; 16],
        /// Keys and chunk items of the system chunks, one after another.
        0x32b => sys_chunk_array / set_sys_chunk_array: [u8; SYS_CHUNK_ARRAY_LEN],
        /// The roots of the last transactions, see [`RootBackup`].
        0xb2b => super_roots / set_super_roots: [u8; SUPER_ROOTS_LEN],
        /// Zeroes.
        0xdcb => padding / set_padding: [u8; PADDING_LEN],
    }
}

structure! {
    /// A device item (`struct btrfs_dev_item`).
    pub(super) struct DevItemOnDisk: "btrfs device item", Little, 98 {
        /// The device's number in the filesystem.
        0 => devid / set_devid: u64,
        /// Bytes of the device.
        8 => total_bytes / set_total_bytes: u64,
        /// Bytes that chunks take.
        16 => bytes_used / set_bytes_used: u64,
        /// Alignment that is best for the device.
        24 => io_align / set_io_align: u32,
        /// Width that is best for the device.
        28 => io_width / set_io_width: u32,
        /// The device's smallest unit.
        32 => sector_size / set_sector_size: u32,
        /// `type`: not used.
        36 => device_type: u64,
        /// The transaction expected on it.
        44 => generation: u64,
        /// Where chunks may begin.
        52 => start_offset: u64,
        /// Not used.
        60 => dev_group: u32,
        /// Not used.
        64 => seek_speed: u8,
        /// Not used.
        65 => bandwidth: u8,
        /// The device's UUID.
        66 => uuid / set_uuid: [u8; 16],
        /// The filesystem's UUID.
        82 => fsid / set_fsid: [u8; 16],
    }
}

structure! {
    /// The roots of one transaction, kept for repair (`struct btrfs_root_backup`).
    pub(super) struct RootBackup: "btrfs backup of roots", Little, 168 {
        /// Logical address of the root tree's root.
        0 => tree_root / set_tree_root: u64,
        /// The transaction that wrote it, as for all others.
        8 => tree_root_gen / set_tree_root_gen: u64,
        /// The chunk tree.
        16 => chunk_root / set_chunk_root: u64,
        /// Its transaction.
        24 => chunk_root_gen / set_chunk_root_gen: u64,
        /// The extent tree.
        32 => extent_root / set_extent_root: u64,
        /// Its transaction.
        40 => extent_root_gen / set_extent_root_gen: u64,
        /// The tree of files.
        48 => fs_root / set_fs_root: u64,
        /// Its transaction.
        56 => fs_root_gen / set_fs_root_gen: u64,
        /// The device tree.
        64 => dev_root / set_dev_root: u64,
        /// Its transaction.
        72 => dev_root_gen / set_dev_root_gen: u64,
        /// The checksum tree.
        80 => csum_root / set_csum_root: u64,
        /// Its transaction.
        88 => csum_root_gen / set_csum_root_gen: u64,
        /// As in the superblock of then.
        96 => total_bytes / set_total_bytes: u64,
        /// As in the superblock of then.
        104 => bytes_used / set_bytes_used: u64,
        /// As in the superblock of then.
        112 => num_devices / set_num_devices: u64,
        /// Levels of the roots.
        152 => tree_root_level / set_tree_root_level: u8,
        /// Of the chunk tree.
        153 => chunk_root_level / set_chunk_root_level: u8,
        /// Of the extent tree.
        154 => extent_root_level / set_extent_root_level: u8,
        /// Of the tree of files.
        155 => fs_root_level / set_fs_root_level: u8,
        /// Of the device tree.
        156 => dev_root_level / set_dev_root_level: u8,
        /// Of the checksum tree.
        157 => csum_root_level / set_csum_root_level: u8,
    }
}

/// Bytes of a superblock (`BTRFS_SUPER_INFO_SIZE`).
pub(super) const SUPER_LEN: usize = OnDisk::<&[u8]>::SIZE;
/// Room for backups of roots (`BTRFS_NUM_BACKUP_ROOTS` of them).
pub(super) const SUPER_ROOTS_LEN: usize = 4 * RootBackup::<&[u8]>::SIZE;
/// What is left of the superblock behind them.
pub(super) const PADDING_LEN: usize = 565;
/// Where superblocks lie (`btrfs_sb_offset`), as far as the device reaches.
pub(super) const SUPER_OFFSETS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// `BTRFS_MAGIC`.
pub(super) const MAGIC: &[u8; 8] = b"_BHRfS_M";
/// Room for the chunk items of system chunks (`BTRFS_SYSTEM_CHUNK_ARRAY_SIZE`).
pub(super) const SYS_CHUNK_ARRAY_LEN: usize = 2048;
/// Room for the label (`BTRFS_LABEL_SIZE`).
pub(super) const LABEL_LEN: usize = 256;
/// Bytes of a device item.
const DEV_ITEM_LEN: usize = DevItemOnDisk::<&[u8]>::SIZE;
/// Smallest and largest sector and node (`BTRFS_MIN_BLOCKSIZE`, `BTRFS_MAX_METADATA_BLOCKSIZE`).
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4096..=65536;

/// Incompatible features (`BTRFS_FEATURE_INCOMPAT_*`): who does not know one cannot read the filesystem.
pub(super) mod incompat {
    pub const MIXED_BACKREF: u64 = 1 << 0;
    pub const DEFAULT_SUBVOL: u64 = 1 << 1;
    pub const MIXED_GROUPS: u64 = 1 << 2;
    pub const COMPRESS_LZO: u64 = 1 << 3;
    pub const COMPRESS_ZSTD: u64 = 1 << 4;
    pub const BIG_METADATA: u64 = 1 << 5;
    pub const EXTENDED_IREF: u64 = 1 << 6;
    pub const SKINNY_METADATA: u64 = 1 << 8;
    pub const NO_HOLES: u64 = 1 << 9;
    pub const METADATA_UUID: u64 = 1 << 10;
    pub const KNOWN: u64 = MIXED_BACKREF
        | DEFAULT_SUBVOL
        | MIXED_GROUPS
        | COMPRESS_LZO
        | COMPRESS_ZSTD
        | BIG_METADATA
        | EXTENDED_IREF
        | SKINNY_METADATA
        | NO_HOLES
        | METADATA_UUID;
    /// Names of bits that are refused, for errors.
    pub const REFUSED: [(u64, &str); 7] = [
        (1 << 7, "RAID5/6"),
        (1 << 11, "RAID1C3/C4"),
        (1 << 12, "zoned devices"),
        (1 << 13, "extent tree v2"),
        (1 << 14, "RAID stripe tree"),
        (1 << 15, "encryption"),
        (1 << 16, "simple quotas"),
    ];
}

/// Superblock flags that are refused, with what they mean (`BTRFS_SUPER_FLAG_*`).
const REFUSED_FLAGS: [(u64, &str); 8] = [
    (1 << 32, "a seed device"),
    (1 << 33, "a metadata dump"),
    (1 << 34, "a metadata dump"),
    (1 << 35, "an unfinished change of its UUID"),
    (1 << 36, "an unfinished change of its UUID"),
    (1 << 38, "an unfinished conversion to a block group tree"),
    (1 << 39, "an unfinished change of its checksums"),
    (1 << 40, "an unfinished change of its checksums"),
];

impl OnDisk<Vec<u8>> {
    /// Stores the checksum over all that follows it.
    pub(super) fn seal(&mut self, csum_type: ChecksumType) {
        let csum = csum_type.compute(&self.bytes()[CSUM_ROOM..]);
        self.set_csum(csum);
    }
}

/// What a superblock says; fields have the names of the kernel header.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub fsid: [u8; 16],
    pub flags: u64,
    pub generation: u64,
    /// Logical address of the root tree's root.
    pub root: u64,
    pub chunk_root: u64,
    pub log_root: u64,
    /// Size of the filesystem in bytes, on all its devices.
    pub total_bytes: u64,
    pub bytes_used: u64,
    pub num_devices: u64,
    pub sectorsize: u32,
    pub nodesize: u32,
    pub chunk_root_generation: u64,
    pub compat_ro_flags: u64,
    pub incompat_flags: u64,
    pub csum_type: ChecksumType,
    pub root_level: u8,
    pub chunk_root_level: u8,
    pub dev_item: DevItem,
    /// Without the zeroes behind it.
    pub label: Vec<u8>,
    pub cache_generation: u64,
    pub uuid_tree_generation: u64,
    /// The UUID in tree blocks; the same as `fsid` unless [`incompat::METADATA_UUID`] is set.
    pub metadata_uuid: [u8; 16],
    /// Keys and chunk items of the system chunks, one after another.
    pub sys_chunk_array: Vec<u8>,
    /// All of it, as it was read.
    pub on_disk: OnDisk<Vec<u8>>,
}

/// What is used of the device that a superblock is on.
#[derive(Debug, Clone)]
pub(super) struct DevItem {
    pub devid: u64,
    pub total_bytes: u64,
    pub uuid: [u8; 16],
}

impl DevItem {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let on_disk = DevItemOnDisk::over(bytes)?;
        Ok(Self {
            devid: on_disk.devid(),
            total_bytes: on_disk.total_bytes(),
            uuid: on_disk.uuid(),
        })
    }
}

impl Superblock {
    /// Parses and checks the superblock that was read at `offset` of the device.
    pub(super) fn parse(bytes: Vec<u8>, offset: u64) -> Result<Self> {
        let on_disk = OnDisk::over(bytes)?;
        if on_disk.magic() != *MAGIC {
            return Err(Error::corrupt("no btrfs superblock here (wrong magic)"));
        }
        let csum_type = ChecksumType::from_disk(on_disk.csum_type())?;
        if !csum_type.matches_block(on_disk.bytes()) {
            return Err(Error::corrupt(format!(
                "{csum_type} checksum of the superblock does not match"
            ))
            .because(Reason::Checksum));
        }
        if on_disk.bytenr() != offset {
            return Err(Error::corrupt(format!(
                "the superblock at {offset} says that it lies at {}",
                on_disk.bytenr()
            )));
        }
        let label = on_disk.label();
        let label_len = label
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(LABEL_LEN);
        let superblock = Self {
            fsid: on_disk.fsid(),
            flags: on_disk.flags(),
            generation: on_disk.generation(),
            root: on_disk.root(),
            chunk_root: on_disk.chunk_root(),
            log_root: on_disk.log_root(),
            total_bytes: on_disk.total_bytes(),
            bytes_used: on_disk.bytes_used(),
            num_devices: on_disk.num_devices(),
            sectorsize: on_disk.sectorsize(),
            nodesize: on_disk.nodesize(),
            chunk_root_generation: on_disk.chunk_root_generation(),
            compat_ro_flags: on_disk.compat_ro_flags(),
            incompat_flags: on_disk.incompat_flags(),
            csum_type,
            root_level: on_disk.root_level(),
            chunk_root_level: on_disk.chunk_root_level(),
            dev_item: DevItem::parse(&on_disk.dev_item())?,
            label: label[..label_len].to_vec(),
            cache_generation: on_disk.cache_generation(),
            uuid_tree_generation: on_disk.uuid_tree_generation(),
            metadata_uuid: on_disk.metadata_uuid(),
            sys_chunk_array: sys_chunk_array(&on_disk)?,
            on_disk,
        };
        superblock.check_sizes()?;
        Ok(superblock)
    }

    fn check_sizes(&self) -> Result<()> {
        for (name, size) in [("sectorsize", self.sectorsize), ("nodesize", self.nodesize)] {
            if !size.is_power_of_two() || !BLOCK_SIZES.contains(&size) {
                return Err(Error::corrupt(format!(
                    "{name} {size}: must be a power of two from 4096 to 65536"
                )));
            }
        }
        if self.nodesize < self.sectorsize {
            return Err(Error::corrupt(format!(
                "nodesize {} below sectorsize {}",
                self.nodesize, self.sectorsize
            )));
        }
        Ok(())
    }

    /// Refuses, by name, what cannot be read from this one device alone.
    fn check_supported(&self) -> Result<()> {
        for (bit, what) in REFUSED_FLAGS {
            if self.flags & bit != 0 {
                return Err(Error::unsupported(format!(
                    "a btrfs filesystem that is {what}"
                )));
            }
        }
        if let Some((_, what)) = incompat::REFUSED
            .iter()
            .find(|(bit, _)| self.incompat_flags & bit != 0)
        {
            return Err(Error::unsupported(format!(
                "a btrfs filesystem with {what}"
            )));
        }
        let unknown = self.incompat_flags & !incompat::KNOWN;
        if unknown != 0 {
            return Err(Error::unsupported(format!(
                "a btrfs filesystem with unknown incompatible features {unknown:#x}"
            ))
            .because(Reason::Feature));
        }
        if self.num_devices != 1 {
            return Err(Error::unsupported(format!(
                "a btrfs filesystem on {} devices, only one is possible",
                self.num_devices
            )));
        }
        if self.log_root != 0 {
            return Err(Error::unsupported(
                "a btrfs filesystem with a log tree that was not replayed (log_root is not 0)",
            )
            .with_hint("mount it read-write on Linux once and unmount it"));
        }
        Ok(())
    }

    /// Whether all of these incompatible features are set.
    pub(super) fn has(&self, features: u64) -> bool {
        self.incompat_flags & features == features
    }

    /// The UUID that every tree block carries.
    pub(super) fn block_uuid(&self) -> [u8; 16] {
        if self.has(incompat::METADATA_UUID) {
            self.metadata_uuid
        } else {
            self.fsid
        }
    }
}

/// The part of the array that is in use.
fn sys_chunk_array(on_disk: &OnDisk<Vec<u8>>) -> Result<Vec<u8>> {
    let len = on_disk.sys_chunk_array_size();
    let array = on_disk.sys_chunk_array();
    let used = usize::try_from(len).ok().and_then(|len| array.get(..len));
    let used = used.ok_or_else(|| {
        Error::corrupt(format!(
            "sys_chunk_array of {len} bytes, at most {SYS_CHUNK_ARRAY_LEN} are possible"
        ))
    })?;
    Ok(used.to_vec())
}

/// Whether `device` holds btrfs: the magic of the first superblock.
pub(super) fn probe(device: &dyn BlockDevice) -> Result<bool> {
    if device.size() < SUPER_OFFSETS[0] + to_u64(SUPER_LEN) {
        return Ok(false);
    }
    let at = SUPER_OFFSETS[0] + to_u64(OnDisk::<Place>::magic().start);
    let mut magic = [0; 8];
    device.read_at(at, &mut magic)?;
    Ok(&magic == MAGIC)
}

/// Reads the first superblock, or where that one is damaged the newest mirror.
///
/// Without the magic at its place this is not btrfs: mirrors outlive the filesystem they belong to.
pub(super) fn read(device: &dyn BlockDevice) -> Result<Superblock> {
    if !probe(device)? {
        return Err(Error::invalid(
            "not a btrfs filesystem (no superblock at 64 KiB)",
        ));
    }
    let first = read_at(device, SUPER_OFFSETS[0]);
    let superblock = match first {
        Ok(superblock) => superblock,
        Err(error) => SUPER_OFFSETS[1..]
            .iter()
            .filter_map(|&offset| read_at(device, offset).ok())
            .max_by_key(|superblock| superblock.generation)
            .ok_or(error)?,
    };
    superblock.check_supported()?;
    if superblock.total_bytes > device.size() || superblock.dev_item.total_bytes > device.size() {
        return Err(Error::corrupt(format!(
            "a btrfs filesystem of {} ({} bytes) on a device of {} bytes",
            ByteSize(superblock.total_bytes),
            superblock.total_bytes.max(superblock.dev_item.total_bytes),
            device.size()
        ))
        .with_hint("the image or partition is cut short"));
    }
    Ok(superblock)
}

fn read_at(device: &dyn BlockDevice, offset: u64) -> Result<Superblock> {
    let mut bytes = vec![0; SUPER_LEN];
    device.read_at(offset, &mut bytes)?;
    Superblock::parse(bytes, offset).at(|| format!("superblock at {offset}"))
}
