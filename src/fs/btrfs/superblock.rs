//! The superblock: 4 KiB at 64 KiB, with mirrors at 64 MiB and 256 GiB (`struct btrfs_super_block`).
//!
//! ```text
//!   superblock ── sys_chunk_array ──▶ where the chunk tree lies
//!       ├─ chunk_root ──▶ chunk tree: logical addresses → bytes of the device
//!       └─ root ──▶ root tree: the roots of all other trees
//! ```

use super::checksum::ChecksumType;
use crate::block::BlockDevice;
use crate::bytes::{ByteSize, Fields};
use crate::error::{Error, Reason, Result, ResultExt};

/// Bytes of a superblock (`BTRFS_SUPER_INFO_SIZE`).
pub(super) const SUPER_LEN: usize = 4096;
/// Where superblocks lie (`btrfs_sb_offset`), as far as the device reaches.
pub(super) const SUPER_OFFSETS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
/// `BTRFS_MAGIC`.
pub(super) const MAGIC: &[u8; 8] = b"_BHRfS_M";
/// Room for the chunk items of system chunks (`BTRFS_SYSTEM_CHUNK_ARRAY_SIZE`).
pub(super) const SYS_CHUNK_ARRAY_LEN: usize = 2048;
/// Room for the label (`BTRFS_LABEL_SIZE`).
pub(super) const LABEL_LEN: usize = 256;
/// Bytes of a device item (`struct btrfs_dev_item`).
pub(super) const DEV_ITEM_LEN: usize = 98;
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
    pub bytes: Vec<u8>,
}

/// The device that a superblock is on (`struct btrfs_dev_item`).
#[derive(Debug, Clone)]
pub(super) struct DevItem {
    pub devid: u64,
    pub total_bytes: u64,
    pub uuid: [u8; 16],
}

impl DevItem {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new("btrfs device item", bytes);
        Ok(Self {
            devid: fields.le64(0)?,
            total_bytes: fields.le64(8)?,
            uuid: fields.array(66)?,
        })
    }
}

impl Superblock {
    /// Parses and checks the superblock that was read at `offset` of the device.
    pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Self> {
        let fields = Fields::new("btrfs superblock", bytes);
        if fields.slice(0x40, 8)? != MAGIC {
            return Err(Error::corrupt("no btrfs superblock here (wrong magic)"));
        }
        let csum_type = ChecksumType::from_disk(fields.le16(0xc4)?)?;
        if !csum_type.matches_block(fields.slice(0, SUPER_LEN)?) {
            return Err(Error::corrupt(format!(
                "{csum_type} checksum of the superblock does not match"
            ))
            .because(Reason::Checksum));
        }
        if fields.le64(0x30)? != offset {
            return Err(Error::corrupt(format!(
                "the superblock at {offset} says that it lies at {}",
                fields.le64(0x30)?
            )));
        }
        let label = fields.slice(0x12b, LABEL_LEN)?;
        let label_len = label
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(LABEL_LEN);
        let array_len = fields.le32(0xa0)?;
        let array_len = usize::try_from(array_len).ok().filter(|&len| len <= SYS_CHUNK_ARRAY_LEN).ok_or_else(|| {
            Error::corrupt(format!("sys_chunk_array of {array_len} bytes, at most {SYS_CHUNK_ARRAY_LEN} are possible"))
        })?;
        let superblock = Self {
            fsid: fields.array(0x20)?,
            flags: fields.le64(0x38)?,
            generation: fields.le64(0x48)?,
            root: fields.le64(0x50)?,
            chunk_root: fields.le64(0x58)?,
            log_root: fields.le64(0x60)?,
            total_bytes: fields.le64(0x70)?,
            bytes_used: fields.le64(0x78)?,
            num_devices: fields.le64(0x88)?,
            sectorsize: fields.le32(0x90)?,
            nodesize: fields.le32(0x94)?,
            chunk_root_generation: fields.le64(0xa4)?,
            compat_ro_flags: fields.le64(0xb4)?,
            incompat_flags: fields.le64(0xbc)?,
            csum_type,
            root_level: fields.u8(0xc6)?,
            chunk_root_level: fields.u8(0xc7)?,
            dev_item: DevItem::parse(fields.slice(0xc9, DEV_ITEM_LEN)?)?,
            label: label[..label_len].to_vec(),
            cache_generation: fields.le64(0x22b)?,
            uuid_tree_generation: fields.le64(0x233)?,
            metadata_uuid: fields.array(0x23b)?,
            sys_chunk_array: fields.slice(0x32b, array_len)?.to_vec(),
            bytes: fields.slice(0, SUPER_LEN)?.to_vec(),
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

    /// The device item as it was read.
    pub(super) fn dev_item_bytes(&self) -> Result<&[u8]> {
        Fields::new("btrfs superblock", &self.bytes).slice(0xc9, DEV_ITEM_LEN)
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

/// Whether `device` holds btrfs: the magic of the first superblock.
pub(super) fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let at = SUPER_OFFSETS[0] + 0x40;
    if device.size() < SUPER_OFFSETS[0] + SUPER_LEN as u64 {
        return Ok(false);
    }
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
    let mut bytes = [0; SUPER_LEN];
    device.read_at(offset, &mut bytes)?;
    Superblock::parse(&bytes, offset).at(|| format!("superblock at {offset}"))
}
