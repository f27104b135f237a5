//! The superblock: 1,024 bytes at byte 1,024 (`struct ext4_super_block`, kernel `fs/ext4/ext4.h`).
//!
//! Parsed once and checked against the device, so that nothing behind it needs to doubt a count:
//!
//! ```text
//!   device │ group 0            │ group 1          │ … s_blocks_count blocks, all on the device
//!          │ superblock, descriptors, bitmaps, inode table, data
//! ```

use super::{checksum, features};
use crate::block::BlockDevice;
use crate::bytes::Fields;
use crate::error::{Error, Reason, Result};

/// Where it lies on the device.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
/// Its length in bytes.
pub(super) const SUPERBLOCK_SIZE: usize = 1024;
/// `EXT4_SUPER_MAGIC`
pub(super) const MAGIC: u16 = 0xEF53;
/// `EXT4_VALID_FS` of `s_state`: cleanly unmounted.
pub(super) const STATE_VALID: u16 = 0x1;
/// `EXT4_ERROR_FS` of `s_state`: errors were found.
pub(super) const STATE_ERROR: u16 = 0x2;
/// Offset of `s_state`.
pub(super) const S_STATE: usize = 0x3A;
/// Offset of `s_feature_compat`.
pub(super) const S_FEATURE_COMPAT: usize = 0x5C;
/// Offset of `s_feature_incompat`.
pub(super) const S_FEATURE_INCOMPAT: usize = 0x60;
/// Offset of `s_feature_ro_compat`.
pub(super) const S_FEATURE_RO_COMPAT: usize = 0x64;
/// Offset of `s_flags`.
pub(super) const S_FLAGS: usize = 0x160;
/// `EXT2_FLAGS_SIGNED_HASH` and `EXT2_FLAGS_UNSIGNED_HASH` of `s_flags`.
const SIGNED_HASH: u32 = 1;
pub(super) const UNSIGNED_HASH: u32 = 2;
/// Offset of `s_last_orphan`.
pub(super) const S_LAST_ORPHAN: usize = 0xE8;
/// Largest `s_log_block_size`: blocks of 64 KiB.
const LOG_BLOCK_SIZE_MAX: u32 = 6;
/// Largest `s_log_cluster_size` taken over the block size: clusters of 2^16 blocks, far above what mke2fs makes.
const LOG_CLUSTER_MAX: u32 = 16;
/// Fewest blocks of a group (`mke2fs -g`); fewer would only make the descriptor table huge.
const BLOCKS_PER_GROUP_MIN: u32 = 256;
/// Blocks of the largest filesystem taken (16 TiB of 4 KiB blocks), so that block numbers and products stay small.
pub(super) const BLOCKS_COUNT_MAX: u64 = 1 << 32;

/// What the superblock says, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// `s_inodes_count`
    pub inodes_count: u32,
    /// `s_blocks_count`
    pub blocks_count: u64,
    /// `s_first_data_block`: 1 with blocks of 1 KiB, else 0.
    pub first_data_block: u32,
    /// Bytes of a block: a power of two from 1,024 to 65,536.
    pub block_size: u32,
    /// `s_blocks_per_group`
    pub blocks_per_group: u32,
    /// `s_inodes_per_group`
    pub inodes_per_group: u32,
    /// `s_state`
    pub state: u16,
    /// `s_first_ino`: the first inode that is not reserved.
    pub first_ino: u32,
    /// `s_inode_size` in bytes, a power of two from 128 to the block size.
    pub inode_size: u16,
    /// `s_desc_size` in bytes, 32 or 64.
    pub desc_size: u16,
    /// `s_feature_compat`
    pub feature_compat: u32,
    /// `s_feature_incompat`
    pub feature_incompat: u32,
    /// `s_feature_ro_compat`
    pub feature_ro_compat: u32,
    /// `s_volume_name` without its padding.
    pub volume_name: Vec<u8>,
    /// `s_uuid`
    pub uuid: [u8; 16],
    /// `s_journal_inum`, 0 without a journal inside.
    pub journal_inum: u32,
    /// `s_last_orphan`: head of the list of inodes deleted while open.
    pub last_orphan: u32,
    /// `s_def_hash_version`
    pub hash_version: u8,
    /// `s_hash_seed`
    pub hash_seed: [u32; 4],
    /// `s_flags`
    pub flags: u32,
    /// `s_want_extra_isize`
    pub want_extra_isize: u16,
    /// `s_reserved_gdt_blocks`: descriptor blocks kept for growing.
    pub reserved_gdt_blocks: u16,
    /// `s_first_meta_bg`, where meta_bg is set: the first descriptor block that lies in its own meta group.
    pub first_meta_bg: u32,
    /// `s_backup_bgs`: the groups with backups, with sparse_super2.
    pub backup_bgs: [u32; 2],
    /// `s_log_groups_per_flex`
    pub log_groups_per_flex: u8,
    /// `s_orphan_file_inum`, 0 without.
    pub orphan_file_inum: u32,
    /// Seed of the checksums (`s_checksum_seed`, or made from the UUID).
    pub checksum_seed: u32,
    /// Number of block groups.
    pub group_count: u32,
    /// What is free, as the superblock says.
    pub free: FreeCounts,
    /// All 1,024 bytes.
    pub raw: Box<[u8; SUPERBLOCK_SIZE]>,
}

/// What is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FreeCounts {
    /// `s_free_blocks_count`
    pub blocks: u64,
    /// `s_r_blocks_count`: kept for root on the running system.
    pub reserved_blocks: u64,
    /// `s_free_inodes_count`
    pub inodes: u32,
}

/// The raw superblock of `device`.
pub(super) fn read_raw(device: &dyn BlockDevice) -> Result<[u8; SUPERBLOCK_SIZE]> {
    let mut raw = [0; SUPERBLOCK_SIZE];
    device.read_at(SUPERBLOCK_OFFSET, &mut raw)?;
    Ok(raw)
}

impl Superblock {
    /// Reads and checks the superblock of `device`.
    pub(super) fn read(device: &dyn BlockDevice) -> Result<Self> {
        Self::parse(&read_raw(device)?, device.size())
    }

    /// Checks the superblock in `raw` (1,024 bytes) of a device of `device_size` bytes.
    pub(super) fn parse(raw: &[u8], device_size: u64) -> Result<Self> {
        let f = Fields::new("ext4 superblock", raw);
        let magic = f.le16(0x38)?;
        if magic != MAGIC {
            return Err(Error::corrupt(format!(
                "no ext4 filesystem: the magic is {magic:#06x}, not {MAGIC:#06x}"
            )));
        }
        let feature_incompat = f.le32(0x60)?;
        let feature_ro_compat = f.le32(0x64)?;
        features::check_readable(feature_incompat)?;
        let checksummed = feature_ro_compat & features::RO_COMPAT_METADATA_CSUM != 0;
        if checksummed && f.le32(0x3FC)? != checksum::superblock(raw) {
            return Err(
                Error::corrupt("the checksum of the superblock does not match")
                    .because(Reason::Checksum)
                    .with_hint(
                        "compare the image with the original's checksum; e2fsck can repair it",
                    ),
            );
        }
        let revision = f.le32(0x4C)?;
        if revision == 0 {
            return Err(Error::unsupported(
                "ext2 of revision 0, without features and with inodes of 128 bytes, is not read",
            )
            .because(Reason::Feature)
            .with_hint("tune2fs -O dir_index makes it revision 1"));
        }
        ensure(revision == 1, || {
            format!("revision {revision} of the superblock is not 1")
        })?;
        let is_64bit = feature_incompat & features::INCOMPAT_64BIT != 0;
        let wide = |low: usize, high: usize| -> Result<u64> {
            let high = if is_64bit { f.le32(high)? } else { 0 };
            Ok(u64::from(f.le32(low)?) | u64::from(high) << 32)
        };
        let log_block_size = f.le32(0x18)?;
        ensure(log_block_size <= LOG_BLOCK_SIZE_MAX, || {
            format!("s_log_block_size {log_block_size} is out of range 0 to {LOG_BLOCK_SIZE_MAX}")
        })?;
        let uuid = f.array(0x68)?;
        let seed = match feature_incompat & features::INCOMPAT_CSUM_SEED {
            0 => checksum::crc32c(checksum::CRC_START, &uuid),
            _ => f.le32(0x270)?,
        };
        let label = f.slice(0x78, 16)?;
        let mut superblock = Self {
            inodes_count: f.le32(0x0)?,
            blocks_count: wide(0x4, 0x150)?,
            first_data_block: f.le32(0x14)?,
            block_size: 1024 << log_block_size,
            blocks_per_group: f.le32(0x20)?,
            inodes_per_group: f.le32(0x28)?,
            state: f.le16(S_STATE)?,
            first_ino: f.le32(0x54)?,
            inode_size: f.le16(0x58)?,
            desc_size: if is_64bit { f.le16(0xFE)? } else { 32 },
            feature_compat: f.le32(S_FEATURE_COMPAT)?,
            feature_incompat,
            feature_ro_compat,
            volume_name: label
                .split(|&byte| byte == 0)
                .next()
                .unwrap_or_default()
                .to_vec(),
            uuid,
            journal_inum: f.le32(0xE0)?,
            last_orphan: f.le32(S_LAST_ORPHAN)?,
            hash_version: f.u8(0xFC)?,
            hash_seed: [f.le32(0xEC)?, f.le32(0xF0)?, f.le32(0xF4)?, f.le32(0xF8)?],
            flags: f.le32(S_FLAGS)?,
            want_extra_isize: f.le16(0x15E)?,
            reserved_gdt_blocks: f.le16(0xCE)?,
            first_meta_bg: f.le32(0x104)?,
            backup_bgs: [f.le32(0x24C)?, f.le32(0x250)?],
            log_groups_per_flex: f.u8(0x174)?,
            orphan_file_inum: f.le32(0x280)?,
            checksum_seed: seed,
            group_count: 0,
            free: FreeCounts {
                blocks: wide(0xC, 0x158)?,
                reserved_blocks: wide(0x8, 0x154)?,
                inodes: f.le32(0x10)?,
            },
            raw: Box::new(f.array(0)?),
        };
        superblock.check_geometry(f.le32(0x1C)?, f.le32(0x24)?, device_size)?;
        superblock.check_counts()?;
        Ok(superblock)
    }

    /// Whether metadata carries checksums.
    pub(super) fn has_checksums(&self) -> bool {
        self.has_ro(features::RO_COMPAT_METADATA_CSUM)
    }

    /// Whether a bit of `s_feature_compat` is set.
    pub(super) fn has_compat(&self, bit: u32) -> bool {
        self.feature_compat & bit != 0
    }

    /// Whether a bit of `s_feature_incompat` is set.
    pub(super) fn has_incompat(&self, bit: u32) -> bool {
        self.feature_incompat & bit != 0
    }

    /// Whether a bit of `s_feature_ro_compat` is set.
    pub(super) fn has_ro(&self, bit: u32) -> bool {
        self.feature_ro_compat & bit != 0
    }

    /// Says how names are hashed where nothing does yet: else machines with another sign of `char` would not find them.
    pub(super) fn settle_hash_sign(&mut self) {
        if self.flags & (SIGNED_HASH | UNSIGNED_HASH) == 0 {
            self.flags |= SIGNED_HASH;
        }
    }

    /// Bytes of a block, as a length in memory.
    pub(super) fn block_bytes(&self) -> usize {
        self.block_size as usize
    }

    /// The checksum seed, where metadata carries checksums.
    pub(super) fn seed(&self) -> Option<u32> {
        self.has_checksums().then_some(self.checksum_seed)
    }

    /// Whether `len` blocks from `first` lie in the filesystem, behind the superblock.
    pub(super) fn contains(&self, first: u64, len: u64) -> bool {
        first > u64::from(self.first_data_block)
            && first
                .checked_add(len)
                .is_some_and(|end| end <= self.blocks_count)
    }

    /// Whether the inode is not to be named by any directory: the root, the reserved ones, the orphan
    /// file.
    pub(super) fn is_special(&self, ino: u32) -> bool {
        ino < self.first_ino
            || (self.has_compat(features::COMPAT_ORPHAN_FILE) && ino == self.orphan_file_inum)
    }

    /// Blocks of the inode table of one group.
    pub(super) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * u64::from(self.inode_size))
            .div_ceil(u64::from(self.block_size))
    }

    /// Sizes, and blocks against the device; sets `group_count`.
    fn check_geometry(
        &mut self,
        log_cluster_size: u32,
        clusters_per_group: u32,
        device_size: u64,
    ) -> Result<()> {
        let block_size = self.block_size;
        let ratio = log_cluster_size.wrapping_sub(block_size.ilog2() - 10);
        let most = if self.has_ro(features::RO_COMPAT_BIGALLOC) {
            LOG_CLUSTER_MAX
        } else {
            0
        };
        ensure(ratio <= most, || {
            format!("s_log_cluster_size {log_cluster_size} does not fit the block size")
        })?;
        let bits = (block_size * 8) << ratio.min(11);
        let groups_ok =
            |value: u32| (BLOCKS_PER_GROUP_MIN..=bits).contains(&value) && value.is_multiple_of(8);
        ensure(
            groups_ok(self.blocks_per_group)
                && clusters_per_group == self.blocks_per_group >> ratio,
            || {
                format!(
                    "{} blocks per group is not a multiple of 8 from {BLOCKS_PER_GROUP_MIN} to {bits}",
                    self.blocks_per_group
                )
            },
        )?;
        let first = u32::from(block_size == 1024 && ratio == 0);
        ensure(self.first_data_block == first, || {
            format!(
                "s_first_data_block {} does not fit blocks of {block_size} bytes",
                self.first_data_block
            )
        })?;
        let size = self.inode_size;
        ensure(
            size.is_power_of_two() && (128..=block_size).contains(&u32::from(size)),
            || format!("s_inode_size {size} is not a power of two from 128 to {block_size}"),
        )?;
        let expected = if self.feature_incompat & features::INCOMPAT_64BIT == 0 {
            32
        } else {
            64
        };
        let size = self.desc_size;
        if expected == 64 && (128..=1024).contains(&size) && size.is_power_of_two() {
            return Err(Error::unsupported(format!(
                "group descriptors of {size} bytes: 32 and 64 are known"
            )));
        }
        ensure(size == expected, || {
            format!("s_desc_size {size} is not {expected}")
        })?;
        let count = self.blocks_count;
        let on_device = device_size / u64::from(block_size);
        let first = u64::from(self.first_data_block);
        ensure(
            count > first + 1 && count <= on_device.min(BLOCKS_COUNT_MAX),
            || {
                format!(
                    "s_blocks_count {count} is out of range: the device holds {on_device} blocks of {block_size} bytes"
                )
            },
        )?;
        let groups = (count - first).div_ceil(u64::from(self.blocks_per_group));
        self.group_count =
            u32::try_from(groups).map_err(|_| Error::unsupported("too many block groups"))?;
        let table = groups * u64::from(self.desc_size);
        ensure(
            table.div_ceil(u64::from(block_size)) + first + 1 < count,
            || format!("{groups} group descriptors do not fit the filesystem"),
        )?;
        ensure(
            u64::from(self.reserved_gdt_blocks) <= u64::from(block_size) / 4,
            || {
                format!(
                    "s_reserved_gdt_blocks {} is more than {}",
                    self.reserved_gdt_blocks,
                    block_size / 4
                )
            },
        )
    }

    /// Inode counts, free counts and special inodes.
    fn check_counts(&self) -> Result<()> {
        let per_group = self.inodes_per_group;
        ensure(
            (8..=self.block_size * 8).contains(&per_group) && per_group.is_multiple_of(8),
            || {
                format!(
                    "s_inodes_per_group {per_group} is not a multiple of 8 from 8 to {}",
                    self.block_size * 8
                )
            },
        )?;
        let inodes = u64::from(per_group) * u64::from(self.group_count);
        ensure(inodes == u64::from(self.inodes_count), || {
            format!(
                "s_inodes_count {} is not {} groups of {per_group}",
                self.inodes_count, self.group_count
            )
        })?;
        ensure(
            self.inode_table_blocks() < u64::from(self.blocks_per_group),
            || format!("the inode table of {per_group} inodes does not fit a group"),
        )?;
        ensure((11..self.inodes_count).contains(&self.first_ino), || {
            format!(
                "s_first_ino {} is out of range 11 to {}",
                self.first_ino, self.inodes_count
            )
        })?;
        let free = self.free;
        ensure(
            free.blocks <= self.blocks_count && free.inodes <= self.inodes_count,
            || {
                format!(
                    "more is free than there is: {} blocks, {} inodes",
                    free.blocks, free.inodes
                )
            },
        )?;
        ensure(free.reserved_blocks <= self.blocks_count / 2, || {
            format!(
                "s_r_blocks_count {} is more than half the filesystem",
                free.reserved_blocks
            )
        })?;
        ensure(self.journal_inum < self.inodes_count, || {
            format!(
                "s_journal_inum {} is beyond the last inode {}",
                self.journal_inum, self.inodes_count
            )
        })
    }
}

/// [`Error::corrupt`] with `message` unless `ok`.
pub(super) fn ensure(ok: bool, message: impl FnOnce() -> String) -> Result<()> {
    if ok {
        Ok(())
    } else {
        Err(Error::corrupt(message()))
    }
}
