//! The superblock: 1,024 bytes at byte 1,024 (`struct ext4_super_block`, kernel `fs/ext4/ext4.h`).
//!
//! Parsed once and checked against the device, so that nothing behind it needs to doubt a count:
//!
//! ```text
//!   device │ group 0            │ group 1          │ … s_blocks_count blocks, all on the device
//!          │ superblock, descriptors, bitmaps, inode table, data
//! ```

use super::halves::{high32, join32, low32};
use super::{checksum, features};
use crate::block::BlockDevice;
use crate::bytes::{Place, structure};
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
/// `EXT2_FLAGS_SIGNED_HASH` and `EXT2_FLAGS_UNSIGNED_HASH` of `s_flags`.
pub(super) const SIGNED_HASH: u32 = 1;
pub(super) const UNSIGNED_HASH: u32 = 2;
/// Largest `s_log_block_size`: blocks of 64 KiB.
const LOG_BLOCK_SIZE_MAX: u32 = 6;
/// Largest `s_log_cluster_size` taken over the block size: clusters of 2^16 blocks, far above what mke2fs makes.
const LOG_CLUSTER_MAX: u32 = 16;
/// Fewest blocks of a group (`mke2fs -g`); fewer would only make the descriptor table huge.
const BLOCKS_PER_GROUP_MIN: u32 = 256;
/// Blocks of the largest filesystem taken (16 TiB of 4 KiB blocks), so that block numbers and products stay small.
pub(super) const BLOCKS_COUNT_MAX: u64 = 1 << 32;

structure! {
    /// `struct ext4_super_block`: what is read or written of it.
    pub(super) struct OnDisk: "ext4 superblock", Little, 1024 {
        /// Number of inodes.
        0x0 => s_inodes_count / set_inodes_count: u32,
        /// Number of blocks, its low half.
        0x4 => s_blocks_count_lo / set_blocks_count_lo: u32,
        /// Blocks kept for root, low half.
        0x8 => s_r_blocks_count_lo / set_r_blocks_count_lo: u32,
        /// Free blocks, low half.
        0xC => s_free_blocks_count_lo / set_free_blocks_count_lo: u32,
        /// Free inodes.
        0x10 => s_free_inodes_count / set_free_inodes_count: u32,
        /// Block of the superblock.
        0x14 => s_first_data_block: u32,
        /// Base-2 logarithm of the block size, less 10.
        0x18 => s_log_block_size / set_log_block_size: u32,
        /// Base-2 logarithm of the cluster size, less 10.
        0x1C => s_log_cluster_size / set_log_cluster_size: u32,
        /// Blocks of a group.
        0x20 => s_blocks_per_group / set_blocks_per_group: u32,
        /// Clusters of a group.
        0x24 => s_clusters_per_group / set_clusters_per_group: u32,
        /// Inodes of a group.
        0x28 => s_inodes_per_group / set_inodes_per_group: u32,
        /// When it was last written, in seconds.
        0x30 => s_wtime / set_wtime: u32,
        /// Mounts until it is checked.
        0x36 => s_max_mnt_count / set_max_mnt_count: u16,
        /// [`MAGIC`].
        0x38 => s_magic / set_magic: u16,
        /// [`STATE_VALID`] and [`STATE_ERROR`].
        0x3A => s_state / set_state: u16,
        /// What the kernel does about errors.
        0x3C => s_errors / set_errors: u16,
        /// When it was last checked, in seconds.
        0x40 => s_lastcheck / set_lastcheck: u32,
        /// Revision of the format.
        0x4C => s_rev_level / set_rev_level: u32,
        /// First inode that is not reserved.
        0x54 => s_first_ino / set_first_ino: u32,
        /// Bytes of an inode.
        0x58 => s_inode_size / set_inode_size: u16,
        /// Group that this copy lies in.
        0x5A => s_block_group_nr / set_block_group_nr: u16,
        /// What may be passed over.
        0x5C => s_feature_compat / set_feature_compat: u32,
        /// What must be known.
        0x60 => s_feature_incompat / set_feature_incompat: u32,
        /// What must be known to write.
        0x64 => s_feature_ro_compat / set_feature_ro_compat: u32,
        /// Identifies the filesystem.
        0x68 => s_uuid / set_uuid: [u8; 16],
        /// The label, filled up with zeroes.
        0x78 => s_volume_name / set_volume_name: [u8; 16],
        /// Where it was last mounted, filled up with zeroes.
        0x88 => s_last_mounted: [u8; 64],
        /// Descriptor blocks kept for growing.
        0xCE => s_reserved_gdt_blocks / set_reserved_gdt_blocks: u16,
        /// Inode of the journal.
        0xE0 => s_journal_inum: u32,
        /// First inode of those deleted while open.
        0xE8 => s_last_orphan / set_last_orphan: u32,
        /// Seed of the hashes of names.
        0xEC => s_hash_seed / set_hash_seed: [u32; 4],
        /// How names are hashed in new trees.
        0xFC => s_def_hash_version / set_def_hash_version: u8,
        /// Bytes of a group descriptor, with 64bit.
        0xFE => s_desc_size / set_desc_size: u16,
        /// First descriptor block in its own meta group.
        0x104 => s_first_meta_bg / set_first_meta_bg: u32,
        /// When it was made, in seconds.
        0x108 => s_mkfs_time / set_mkfs_time: u32,
        /// Number of blocks, high half, with 64bit.
        0x150 => s_blocks_count_hi / set_blocks_count_hi: u32,
        /// Blocks kept for root, high half, with 64bit.
        0x154 => s_r_blocks_count_hi / set_r_blocks_count_hi: u32,
        /// Free blocks, high half, with 64bit.
        0x158 => s_free_blocks_count_hi / set_free_blocks_count_hi: u32,
        /// Bytes behind the old 128 that all inodes have.
        0x15C => s_min_extra_isize / set_min_extra_isize: u16,
        /// Bytes behind the old 128 that new inodes use.
        0x15E => s_want_extra_isize / set_want_extra_isize: u16,
        /// Among others [`SIGNED_HASH`] and [`UNSIGNED_HASH`].
        0x160 => s_flags / set_flags: u32,
        /// Base-2 logarithm of the groups of a flexible group.
        0x174 => s_log_groups_per_flex: u8,
        /// How metadata is checksummed.
        0x175 => s_checksum_type / set_checksum_type: u8,
        /// Clusters of metadata; 0 has the kernel count for itself.
        0x248 => s_overhead_clusters / set_overhead_clusters: u32,
        /// The groups with backups, with sparse_super2.
        0x24C => s_backup_bgs / set_backup_bgs: [u32; 2],
        /// Seed of the checksums, with metadata_csum_seed.
        0x270 => s_checksum_seed: u32,
        /// Inode of the orphan file.
        0x280 => s_orphan_file_inum: u32,
        /// CRC32C of what is before it.
        0x3FC => s_checksum / set_checksum: u32,
    }
}

impl<B: AsRef<[u8]>> OnDisk<B> {
    /// Whether counts of blocks have high halves, and descriptors a size.
    fn is_64bit(&self) -> bool {
        self.s_feature_incompat() & features::INCOMPAT_64BIT != 0
    }

    fn wide(&self, low: u32, high: u32) -> u64 {
        join32(low, if self.is_64bit() { high } else { 0 })
    }

    /// `s_blocks_count`
    fn blocks_count(&self) -> u64 {
        self.wide(self.s_blocks_count_lo(), self.s_blocks_count_hi())
    }

    /// `s_r_blocks_count`
    fn r_blocks_count(&self) -> u64 {
        self.wide(self.s_r_blocks_count_lo(), self.s_r_blocks_count_hi())
    }

    /// `s_free_blocks_count`
    fn free_blocks_count(&self) -> u64 {
        self.wide(self.s_free_blocks_count_lo(), self.s_free_blocks_count_hi())
    }

    /// What `s_checksum` should be.
    fn computed_checksum(&self) -> u32 {
        let checked = &self.bytes()[..OnDisk::<Place>::s_checksum().start];
        checksum::crc32c(checksum::CRC_START, checked)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> OnDisk<B> {
    /// Stores `s_blocks_count`.
    fn set_blocks_count(&mut self, count: u64) {
        self.set_blocks_count_lo(low32(count));
        if self.is_64bit() {
            self.set_blocks_count_hi(high32(count));
        }
    }

    /// Stores `s_r_blocks_count`.
    fn set_r_blocks_count(&mut self, count: u64) {
        self.set_r_blocks_count_lo(low32(count));
        if self.is_64bit() {
            self.set_r_blocks_count_hi(high32(count));
        }
    }

    /// Stores `s_free_blocks_count`.
    fn set_free_blocks_count(&mut self, count: u64) {
        self.set_free_blocks_count_lo(low32(count));
        if self.is_64bit() {
            self.set_free_blocks_count_hi(high32(count));
        }
    }

    /// Stores the checksum, where the filesystem has checksums.
    pub(super) fn seal(&mut self) {
        if self.s_feature_ro_compat() & features::RO_COMPAT_METADATA_CSUM != 0 {
            let checksum = self.computed_checksum();
            self.set_checksum(checksum);
        }
    }
}

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
    /// `s_last_mounted` without its padding.
    pub last_mounted: Vec<u8>,
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
    /// All 1,024 bytes, as they were read or last stored.
    pub on_disk: OnDisk<Box<[u8]>>,
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

/// A text up to the zeroes that it is filled up with.
fn unpadded(text: &[u8]) -> Vec<u8> {
    let text = text.split(|&byte| byte == 0).next();
    text.unwrap_or_default().to_vec()
}

impl Superblock {
    /// Reads and checks the superblock of `device`.
    pub(super) fn read(device: &dyn BlockDevice) -> Result<Self> {
        Self::parse(&read_raw(device)?, device.size())
    }

    /// Checks the superblock in `raw` (1,024 bytes) of a device of `device_size` bytes.
    pub(super) fn parse(raw: &[u8], device_size: u64) -> Result<Self> {
        let on_disk = OnDisk::over(raw)?;
        let magic = on_disk.s_magic();
        if magic != MAGIC {
            return Err(Error::corrupt(format!(
                "no ext4 filesystem: the magic is {magic:#06x}, not {MAGIC:#06x}"
            )));
        }
        let feature_incompat = on_disk.s_feature_incompat();
        let feature_ro_compat = on_disk.s_feature_ro_compat();
        features::check_readable(feature_incompat)?;
        let checksummed = feature_ro_compat & features::RO_COMPAT_METADATA_CSUM != 0;
        if checksummed && on_disk.s_checksum() != on_disk.computed_checksum() {
            return Err(
                Error::corrupt("the checksum of the superblock does not match")
                    .because(Reason::Checksum)
                    .with_hint(
                        "compare the image with the original's checksum; e2fsck can repair it",
                    ),
            );
        }
        let revision = on_disk.s_rev_level();
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
        let log_block_size = on_disk.s_log_block_size();
        ensure(log_block_size <= LOG_BLOCK_SIZE_MAX, || {
            format!("s_log_block_size {log_block_size} is out of range 0 to {LOG_BLOCK_SIZE_MAX}")
        })?;
        let uuid = on_disk.s_uuid();
        let seed = match feature_incompat & features::INCOMPAT_CSUM_SEED {
            0 => checksum::crc32c(checksum::CRC_START, &uuid),
            _ => on_disk.s_checksum_seed(),
        };
        let mut superblock = Self {
            inodes_count: on_disk.s_inodes_count(),
            blocks_count: on_disk.blocks_count(),
            first_data_block: on_disk.s_first_data_block(),
            block_size: 1024 << log_block_size,
            blocks_per_group: on_disk.s_blocks_per_group(),
            inodes_per_group: on_disk.s_inodes_per_group(),
            state: on_disk.s_state(),
            first_ino: on_disk.s_first_ino(),
            inode_size: on_disk.s_inode_size(),
            desc_size: if on_disk.is_64bit() {
                on_disk.s_desc_size()
            } else {
                32
            },
            feature_compat: on_disk.s_feature_compat(),
            feature_incompat,
            feature_ro_compat,
            volume_name: unpadded(&on_disk.s_volume_name()),
            last_mounted: unpadded(&on_disk.s_last_mounted()),
            uuid,
            journal_inum: on_disk.s_journal_inum(),
            last_orphan: on_disk.s_last_orphan(),
            hash_version: on_disk.s_def_hash_version(),
            hash_seed: on_disk.s_hash_seed(),
            flags: on_disk.s_flags(),
            want_extra_isize: on_disk.s_want_extra_isize(),
            reserved_gdt_blocks: on_disk.s_reserved_gdt_blocks(),
            first_meta_bg: on_disk.s_first_meta_bg(),
            backup_bgs: on_disk.s_backup_bgs(),
            log_groups_per_flex: on_disk.s_log_groups_per_flex(),
            orphan_file_inum: on_disk.s_orphan_file_inum(),
            checksum_seed: seed,
            group_count: 0,
            free: FreeCounts {
                blocks: on_disk.free_blocks_count(),
                reserved_blocks: on_disk.r_blocks_count(),
                inodes: on_disk.s_free_inodes_count(),
            },
            on_disk: OnDisk::over(raw[..SUPERBLOCK_SIZE].into())?,
        };
        superblock.check_geometry(
            on_disk.s_log_cluster_size(),
            on_disk.s_clusters_per_group(),
            device_size,
        )?;
        superblock.check_counts()?;
        Ok(superblock)
    }

    /// Puts what edits and growing change into [`on_disk`](Self::on_disk) and seals it; all other bytes stay as they are.
    pub(super) fn store(&mut self) {
        let on_disk = &mut self.on_disk;
        on_disk.set_feature_compat(self.feature_compat);
        on_disk.set_feature_incompat(self.feature_incompat);
        on_disk.set_feature_ro_compat(self.feature_ro_compat);
        on_disk.set_inodes_count(self.inodes_count);
        on_disk.set_blocks_count(self.blocks_count);
        on_disk.set_r_blocks_count(self.free.reserved_blocks);
        on_disk.set_free_blocks_count(self.free.blocks);
        on_disk.set_free_inodes_count(self.free.inodes);
        on_disk.set_reserved_gdt_blocks(self.reserved_gdt_blocks);
        on_disk.set_last_orphan(self.last_orphan);
        on_disk.set_first_meta_bg(self.first_meta_bg);
        on_disk.set_flags(self.flags);
        on_disk.set_backup_bgs(self.backup_bgs);
        on_disk.seal();
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
