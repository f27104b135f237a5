//! The superblock, 1024 bytes into the device, and what follows it: how the compressors are configured.

use super::decode::Algorithm;
use super::features::{
    self, COMPAT_PLAIN_XATTR_PFX, COMPAT_SB_CHKSUM, COMPR_CFGS, DEVICE_TABLE, FRAGMENTS,
    ZERO_PADDING,
};
use crate::block::BlockDevice;
use crate::bytes::{Fields, structure, to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};

/// Where the superblock begins (`EROFS_SUPER_OFFSET`).
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
/// `EROFS_SUPER_MAGIC_V1`
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Block sizes of the kernel: 512 bytes to 64 KiB.
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=16;
/// What `sb_extslots` counts (`EROFS_SB_EXTSLOT_SIZE`).
const EXTSLOT_BYTES: u64 = 16;
/// Largest LZMA dictionary (`Z_EROFS_LZMA_MAX_DICT_SIZE`).
const LZMA_DICTIONARY_MAX: u32 = 8 << 20;
/// Largest `windowlog` of zstd, which counts from 2^10 (`Z_EROFS_ZSTD_MAX_DICT_SIZE` is 2^20).
const ZSTD_WINDOWLOG_MAX: u8 = 10;

structure! {
    /// `struct erofs_super_block`
    pub(super) struct OnDisk: "EROFS superblock", Little, 128 {
        /// [`MAGIC`].
        0 => magic / set_magic: u32,
        /// CRC32C over the rest of the block, itself as zero.
        4 => checksum / set_checksum: u32,
        /// What may be passed over.
        8 => feature_compat / set_feature_compat: u32,
        /// Base-2 logarithm of the block size.
        12 => blkszbits / set_blkszbits: u8,
        /// Units of 16 bytes that follow the superblock.
        13 => sb_extslots: u8,
        /// The root directory.
        14 => root_nid / set_root_nid: u16,
        /// Number of inodes.
        16 => inos / set_inos: u64,
        /// Seconds since 1970 that compact inodes count from.
        24 => epoch / set_epoch: u64,
        /// Nanoseconds of all compact inodes.
        32 => fixed_nsec / set_fixed_nsec: u32,
        /// Blocks of the filesystem.
        36 => blocks / set_blocks: u32,
        /// First block of the inodes: nid 0 lies at its start.
        40 => meta_blkaddr / set_meta_blkaddr: u32,
        /// First block of shared attributes.
        44 => xattr_blkaddr / set_xattr_blkaddr: u32,
        /// Identifies the filesystem.
        48 => uuid / set_uuid: [u8; 16],
        /// The label, filled up with zeroes.
        64 => volume_name / set_volume_name: [u8; 16],
        /// What must be known.
        80 => feature_incompat / set_feature_incompat: u32,
        /// A bit for each compressor, or without `COMPR_CFGS` the window of LZ4.
        84 => available_compr_algs / set_available_compr_algs: u16,
        /// Devices besides this one.
        86 => extra_devices: u16,
        /// Base-2 logarithm of how many blocks make a block of a directory.
        90 => dirblkbits: u8,
        /// Number of long prefixes of attribute names.
        91 => xattr_prefix_count: u8,
        /// Where they begin, in units of 4 bytes.
        92 => xattr_prefix_start: u32,
        /// The hidden file that holds ends of files.
        96 => packed_nid: u64,
    }
}

/// What a superblock says, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// Base-2 logarithm of the block size.
    pub block_bits: u8,
    pub root_nid: u64,
    pub inodes: u64,
    /// Seconds and nanoseconds that compact inodes count from.
    pub epoch: i64,
    pub fixed_nsec: u32,
    pub blocks: u64,
    pub meta_block: u64,
    pub xattr_block: u64,
    pub volume_name: [u8; 16],
    features: u32,
    compat: u32,
    /// Bits of the compressors that files may have.
    algorithms: u16,
    packed_nid: u64,
    /// Number of long prefixes of attribute names, and the byte where they begin.
    pub prefixes: (u8, u64),
    pub lzma_dictionary: u32,
}

impl Superblock {
    /// Reads and checks the superblock of a device.
    pub fn read(device: &dyn BlockDevice) -> Result<Self> {
        let on_disk = read_raw(device)?;
        let block_bits = on_disk.blkszbits();
        if !BLOCK_BITS.contains(&block_bits) {
            return Err(Error::unsupported(format!(
                "block size 2^{block_bits}, 2^9 to 2^16 bytes are known"
            ))
            .because(Reason::Feature));
        }
        if on_disk.feature_compat() & COMPAT_SB_CHKSUM != 0 {
            check_checksum(device, &on_disk)?;
        }
        let features = on_disk.feature_incompat();
        features::check_incompat(features)?;
        if features & DEVICE_TABLE != 0 && on_disk.extra_devices() > 0 {
            return Err(Error::unsupported(format!(
                "EROFS whose data lie on {} further devices",
                on_disk.extra_devices()
            ))
            .because(Reason::Feature)
            .with_hint("pack it into one image, without --blobdev"));
        }
        if on_disk.dirblkbits() != 0 {
            return Err(Error::unsupported(format!(
                "directory blocks of 2^{} blocks, only single ones are known",
                on_disk.dirblkbits()
            ))
            .because(Reason::Feature));
        }
        let epoch = i64::try_from(on_disk.epoch())
            .map_err(|_| Error::corrupt(format!("made {} seconds after 1970", on_disk.epoch())))?;
        let mut superblock = Self {
            block_bits,
            root_nid: on_disk.root_nid().into(),
            inodes: on_disk.inos(),
            epoch,
            fixed_nsec: on_disk.fixed_nsec(),
            blocks: on_disk.blocks().into(),
            meta_block: on_disk.meta_blkaddr().into(),
            xattr_block: on_disk.xattr_blkaddr().into(),
            volume_name: on_disk.volume_name(),
            features,
            compat: on_disk.feature_compat(),
            algorithms: Algorithm::Lz4.bit(),
            packed_nid: on_disk.packed_nid(),
            prefixes: (
                on_disk.xattr_prefix_count(),
                u64::from(on_disk.xattr_prefix_start()) << 2,
            ),
            lzma_dictionary: LZMA_DICTIONARY_MAX,
        };
        if features & COMPR_CFGS != 0 {
            superblock.algorithms = on_disk.available_compr_algs();
            let behind = SUPERBLOCK_OFFSET + to_u64(OnDisk::<Vec<u8>>::SIZE);
            superblock.read_configurations(
                device,
                behind + u64::from(on_disk.sb_extslots()) * EXTSLOT_BYTES,
            )?;
        }
        Ok(superblock)
    }

    pub fn block_bytes(&self) -> u64 {
        1 << self.block_bits
    }

    /// Whether packed data has zeroes before it.
    pub fn has_zero_padding(&self) -> bool {
        self.features & ZERO_PADDING != 0
    }

    /// Whether packed data may be longer than a block.
    pub fn has_big_pclusters(&self) -> bool {
        self.features & COMPR_CFGS != 0
    }

    /// The hidden file that holds ends of files; `None` where there is none.
    pub fn packed_nid(&self) -> Option<u64> {
        (self.features & FRAGMENTS != 0 && self.packed_nid != 0).then_some(self.packed_nid)
    }

    /// Whether long prefixes of attribute names lie in the packed inode.
    pub fn has_packed_prefixes(&self) -> bool {
        self.compat & COMPAT_PLAIN_XATTR_PFX == 0 && self.packed_nid().is_some()
    }

    /// An error where files may not have this compressor.
    pub fn check_algorithm(&self, algorithm: Algorithm) -> Result<()> {
        if self.algorithms & algorithm.bit() != 0 {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "a file is packed with {algorithm}, which the superblock does not name"
        )))
    }

    /// The configurations behind the superblock: for each compressor a length of 16 bits and as many bytes.
    fn read_configurations(&mut self, device: &dyn BlockDevice, mut at: u64) -> Result<()> {
        let unknown = self.algorithms
            & !Algorithm::ALL
                .iter()
                .fold(0, |bits, algorithm| bits | algorithm.bit());
        if unknown != 0 {
            return Err(Error::unsupported(format!(
                "EROFS with the compressors {unknown:#x}, only 0xf are known"
            ))
            .because(Reason::Feature));
        }
        let named = self.algorithms;
        for algorithm in Algorithm::ALL
            .into_iter()
            .filter(|algorithm| named & algorithm.bit() != 0)
        {
            at = at.next_multiple_of(4);
            let configuration =
                read_configuration(device, at).at(|| format!("how {algorithm} is configured"))?;
            self.configure(algorithm, &configuration)
                .at(|| format!("how {algorithm} is configured"))?;
            at += 2 + to_u64(configuration.len());
        }
        Ok(())
    }

    fn configure(&mut self, algorithm: Algorithm, configuration: &[u8]) -> Result<()> {
        let fields = Fields::new("configuration", configuration);
        match algorithm {
            Algorithm::Lz4 => {}
            Algorithm::Lzma => {
                let dictionary = fields.le32(0)?;
                if fields.le16(4)? != 0 || !(4096..=LZMA_DICTIONARY_MAX).contains(&dictionary) {
                    return Err(Error::unsupported(format!(
                        "a dictionary of {dictionary} bytes in format {}: 4096 to {LZMA_DICTIONARY_MAX} in format 0 are known",
                        fields.le16(4)?
                    )).because(Reason::Feature));
                }
                self.lzma_dictionary = dictionary;
            }
            Algorithm::Deflate => {
                let bits = fields.u8(0)?;
                if bits > 15 {
                    return Err(Error::unsupported(format!(
                        "a window of 2^{bits} bytes, at most 2^15 are known"
                    ))
                    .because(Reason::Feature));
                }
            }
            Algorithm::Zstd => {
                let format = fields.u8(0)?;
                let log = fields.u8(1)?;
                if format != 0 || log > ZSTD_WINDOWLOG_MAX {
                    return Err(Error::unsupported(format!(
                        "a window of 2^{} bytes in format {format}, at most 2^20 in format 0 are known",
                        u16::from(log) + 10
                    ))
                    .because(Reason::Feature));
                }
            }
        }
        Ok(())
    }
}

/// The superblock of a device, which has its magic number and nothing else for certain.
pub(super) fn read_raw(device: &dyn BlockDevice) -> Result<OnDisk<Vec<u8>>> {
    let mut on_disk = OnDisk::zeroed();
    device.read_at(SUPERBLOCK_OFFSET, on_disk.bytes_mut())?;
    if on_disk.magic() != MAGIC {
        return Err(Error::corrupt("no EROFS: the magic number is missing"));
    }
    Ok(on_disk)
}

/// Bytes that the checksum covers: from the superblock to the end of the block that holds it.
fn covered_bytes(block_bits: u8) -> u64 {
    let block = 1 << block_bits;
    if block > SUPERBLOCK_OFFSET {
        block - SUPERBLOCK_OFFSET
    } else {
        block
    }
}

/// The checksum of a superblock whose block begins with `covered`.
pub(super) fn checksum(covered: &mut [u8], block_bits: u8) -> Result<u32> {
    let covered = &mut covered[..to_usize(covered_bytes(block_bits))?];
    OnDisk::over(&mut *covered)?.set_checksum(0);
    Ok(!crc32c::crc32c(covered))
}

fn check_checksum(device: &dyn BlockDevice, on_disk: &OnDisk<Vec<u8>>) -> Result<()> {
    let mut covered = vec![0; to_usize(covered_bytes(on_disk.blkszbits()))?];
    device.read_at(SUPERBLOCK_OFFSET, &mut covered)?;
    let stored = on_disk.checksum();
    let actual = checksum(&mut covered, on_disk.blkszbits())?;
    if stored != actual {
        return Err(
            Error::corrupt(format!("checksum is {actual:08x}, {stored:08x} is stored"))
                .because(Reason::Checksum),
        );
    }
    Ok(())
}

fn read_configuration(device: &dyn BlockDevice, at: u64) -> Result<Vec<u8>> {
    let mut len = [0; 2];
    device.read_at(at, &mut len)?;
    let mut configuration = vec![0; u16::from_le_bytes(len).into()];
    device.read_at(at + 2, &mut configuration)?;
    Ok(configuration)
}
