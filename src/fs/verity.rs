//! dm-verity: a tree of digests by which a device proves that none of its blocks was changed.
//!
//! ```text
//!   hash device:   superblock │ top level │ … │ level 0          level 0 has the digests of the data's blocks, each
//!                                  ▲              │               level above those of the blocks of the one below
//!   root hash ── digest of ────────┘              ▼
//!   data device:                              block 0 │ block 1 │ …
//! ```
//!
//! A digest is SHA-256 over the salt and the block. Digests stand side by side in blocks that zeroes fill up; data of one
//! block has no levels, and its digest is the root hash. Blocks of the data device behind those that the superblock counts
//! are not covered.
//!
//! Format: Linux, `Documentation/admin-guide/device-mapper/verity.rst`, hash type 1; the superblock is that of cryptsetup.

mod write;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::block::BlockDevice;
use crate::bytes::{structure, to_u64, to_usize};
use crate::{Error, ErrorKind, Reason, Result};

pub use write::{TreeOptions, tree_bytes, write_tree};

/// Bytes of a digest.
const DIGEST: u64 = 32;
/// Sizes of blocks, in bytes: a power of two.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65_536;
/// The most data that is verified, as its digests are kept in memory: 32 bytes for each block.
const DATA_MAX: u64 = 16 << 30;
/// What a superblock begins with.
const SIGNATURE: [u8; 8] = *b"verity\0\0";
/// The only version of the superblock.
const VERSION: u32 = 1;
/// The salt comes before the block.
const HASH_TYPE: u32 = 1;
/// The name of the only digest that is handled.
const ALGORITHM: &[u8] = b"sha256";
/// The longest salt, in bytes.
const SALT_MAX: usize = 256;
/// Data that one thread reads at once, in bytes.
const CHUNK: u64 = 1 << 20;

structure! {
    /// The superblock (cryptsetup, `lib/verity/verity.c`).
    struct Superblock: "dm-verity superblock", Little, 512 {
        /// `verity` and two zeroes.
        0 => signature / set_signature: [u8; 8],
        8 => version / set_version: u32,
        /// 1: the salt comes before the block.
        12 => hash_type / set_hash_type: u32,
        /// In the order in which it is printed.
        16 => uuid / set_uuid: [u8; 16],
        32 => algorithm / set_algorithm: [u8; 32],
        /// In bytes.
        64 => data_block_size / set_data_block_size: u32,
        68 => hash_block_size / set_hash_block_size: u32,
        72 => data_blocks / set_data_blocks: u64,
        /// In bytes, at most 256.
        80 => salt_size / set_salt_size: u16,
        88 => salt / set_salt: [u8; SALT_MAX],
    }
}

/// A data device beside its tree of digests.
#[derive(Debug)]
pub struct Verity<D> {
    data: D,
    hashes: D,
    shape: Shape,
}

/// What the superblock says.
#[derive(Debug)]
struct Shape {
    data_block: u64,
    hash_block: u64,
    data_blocks: u64,
    salt: Vec<u8>,
    /// Blocks of each level, the top one first.
    levels: Vec<u64>,
}

impl Shape {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let superblock = Superblock::over(bytes)?;
        if superblock.signature() != SIGNATURE {
            return Err(Error::corrupt("there is no dm-verity superblock"));
        }
        let (version, hash_type) = (superblock.version(), superblock.hash_type());
        if (version, hash_type) != (VERSION, HASH_TYPE) {
            return Err(Error::unsupported(format!(
                "dm-verity version {version} with hash type {hash_type}: only 1 and 1 are handled"
            ))
            .because(Reason::Version));
        }
        let algorithm = superblock.algorithm();
        let name = algorithm
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        if name != ALGORITHM {
            return Err(Error::unsupported(format!(
                "a dm-verity tree of '{}': only sha256 is handled",
                String::from_utf8_lossy(name).escape_debug()
            ))
            .because(Reason::Feature));
        }
        let salt_size = usize::from(superblock.salt_size());
        let salt = superblock.salt();
        let salt = salt.get(..salt_size).ok_or_else(|| {
            Error::corrupt(format!(
                "a dm-verity salt of {salt_size} bytes: at most {SALT_MAX}"
            ))
        })?;
        let data_block = block_size("data", superblock.data_block_size())?;
        let hash_block = block_size("hash", superblock.hash_block_size())?;
        Self::new(data_block, hash_block, superblock.data_blocks(), salt)
    }

    fn new(data_block: u64, hash_block: u64, data_blocks: u64, salt: &[u8]) -> Result<Self> {
        let is_small = data_blocks
            .checked_mul(data_block)
            .is_some_and(|all| all <= DATA_MAX);
        if data_blocks == 0 || !is_small {
            return Err(Error::unsupported(format!(
                "dm-verity over {data_blocks} blocks of {data_block} bytes: 1 block to {DATA_MAX} bytes are handled"
            ))
            .because(Reason::Limit));
        }
        Ok(Self {
            data_block,
            hash_block,
            data_blocks,
            salt: salt.to_vec(),
            levels: levels(data_blocks, hash_block / DIGEST),
        })
    }

    fn data_bytes(&self) -> u64 {
        self.data_blocks * self.data_block
    }

    /// Superblock and levels.
    fn hash_bytes(&self) -> u64 {
        (1 + self.levels.iter().sum::<u64>()) * self.hash_block
    }

    fn digest(&self, block: &[u8]) -> [u8; 32] {
        let hasher = Sha256::new().chain_update(&self.salt);
        hasher.chain_update(block).finalize().into()
    }
}

fn block_size(of: &str, size: u32) -> Result<u64> {
    if size.is_power_of_two() && BLOCK_SIZES.contains(&size) {
        return Ok(size.into());
    }
    Err(Error::corrupt(format!(
        "a dm-verity {of} block size of {size} is invalid: must be a power of two from {} to {}",
        BLOCK_SIZES.start(),
        BLOCK_SIZES.end()
    )))
}

/// Blocks of each level, the top one first, where a block has room for so many digests.
fn levels(data_blocks: u64, digests: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(digests);
        levels.insert(0, blocks);
    }
    levels
}

impl<D: BlockDevice> Verity<D> {
    /// Reads the superblock, with which `hashes` begins.
    ///
    /// # Errors
    /// There is none, it is of another form, or a device is shorter than it says.
    pub fn open(data: D, hashes: D) -> Result<Self> {
        let mut superblock = [0; 512];
        if hashes.size() < 512 {
            return Err(Error::corrupt("there is no dm-verity superblock"));
        }
        hashes.read_at(0, &mut superblock)?;
        let shape = Shape::parse(&superblock)?;
        for (what, size, needs) in [
            ("data", data.size(), shape.data_bytes()),
            ("tree of digests", hashes.size(), shape.hash_bytes()),
        ] {
            if size < needs {
                return Err(Error::corrupt(format!(
                    "the {what} has {size} bytes, but the dm-verity superblock says that it has {needs}"
                ))
                .because(Reason::CutShort));
            }
        }
        Ok(Self {
            data,
            hashes,
            shape,
        })
    }

    /// How many bytes at the start of the data device the tree covers.
    pub fn data_bytes(&self) -> u64 {
        self.shape.data_bytes()
    }

    /// The root hash of the tree as it is, which says nothing of whether the data is what it stands for.
    ///
    /// # Errors
    /// Those of reading.
    pub fn root_hash(&self) -> Result<[u8; 32]> {
        let shape = &self.shape;
        if shape.levels.is_empty() {
            return self.digest_at(&self.data, 0, shape.data_block);
        }
        self.digest_at(&self.hashes, shape.hash_block, shape.hash_block)
    }

    fn digest_at(&self, device: &D, offset: u64, size: u64) -> Result<[u8; 32]> {
        let mut block = vec![0; to_usize(size)?];
        device.read_at(offset, &mut block)?;
        Ok(self.shape.digest(&block))
    }

    /// Reads everything and compares it with the root hash.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] with the reason [`Checksum`](Reason::Checksum) for the first block that does not match, from
    /// the root hash down.
    pub fn verify(&self, root_hash: &[u8; 32]) -> Result<()> {
        let mut digests = root_hash.to_vec();
        let mut offset = self.shape.hash_block;
        for (number, &blocks) in self.shape.levels.iter().enumerate() {
            let level = Blocks {
                device: &self.hashes,
                start: offset,
                size: self.shape.hash_block,
                count: blocks,
                digests: &digests,
                shape: &self.shape,
            };
            level.verify(|block| {
                format!("block {block} of level {number} of the tree of digests")
            })?;
            let below = self.shape.levels.get(number + 1);
            let entries = below.copied().unwrap_or(self.shape.data_blocks);
            digests = level.read(0, to_usize(entries * DIGEST)?)?;
            offset += blocks * self.shape.hash_block;
        }
        let data = Blocks {
            device: &self.data,
            start: 0,
            size: self.shape.data_block,
            count: self.shape.data_blocks,
            digests: &digests,
            shape: &self.shape,
        };
        data.verify(|block| format!("block {block} of the data"))
    }
}

/// Blocks in a row, and what their digests should be.
struct Blocks<'a, D> {
    device: &'a D,
    start: u64,
    /// Of each, in bytes.
    size: u64,
    count: u64,
    digests: &'a [u8],
    shape: &'a Shape,
}

impl<D: BlockDevice> Blocks<'_, D> {
    /// `len` bytes of them from the block `first` on.
    fn read(&self, first: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.device
            .read_at(self.start + first * self.size, &mut bytes)?;
        Ok(bytes)
    }

    /// An error for the first block whose digest is another; `name` says what it is.
    fn verify(&self, name: impl Fn(u64) -> String) -> Result<()> {
        let at_once = CHUNK / self.size;
        let chunks = self.count.div_ceil(at_once);
        let wrong = (0..chunks).into_par_iter().find_map_first(|chunk| {
            let first = chunk * at_once;
            let count = at_once.min(self.count - first);
            self.wrong_of(first, count).transpose()
        });
        match wrong.transpose()? {
            None => Ok(()),
            Some(block) => Err(Error::new(
                ErrorKind::Untrusted,
                format!("{} does not match its digest", name(block)),
            )
            .because(Reason::Checksum)
            .with_hint("get the file again")),
        }
    }

    /// The first of `count` blocks from `first` on whose digest is another.
    fn wrong_of(&self, first: u64, count: u64) -> Result<Option<u64>> {
        let bytes = self.read(first, to_usize(count * self.size)?)?;
        let from = to_usize(first * DIGEST)?;
        let digests = self.digests[from..].chunks_exact(to_usize(DIGEST)?);
        let blocks = bytes.chunks_exact(to_usize(self.size)?);
        let mut pairs = blocks.zip(digests);
        let wrong = pairs.position(|(block, digest)| self.shape.digest(block)[..] != *digest);
        Ok(wrong.map(|index| first + to_u64(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    const SALT: &[u8] = b"salt";

    /// A hash device for `data`, made level by level from below, and its root hash.
    fn tree(data: &[u8], data_block: usize, hash_block: usize) -> (Vec<u8>, [u8; 32]) {
        let digest = |block: &[u8]| -> Vec<u8> {
            let hasher = Sha256::new().chain_update(SALT);
            hasher.chain_update(block).finalize().to_vec()
        };
        let mut digests: Vec<Vec<u8>> = data.chunks(data_block).map(digest).collect();
        let blocks = digests.len();
        let mut levels: Vec<u8> = Vec::new();
        while digests.len() > 1 {
            let mut level = Vec::new();
            for row in digests.chunks(hash_block / 32) {
                let mut block = row.concat();
                block.resize(hash_block, 0);
                level.extend(block);
            }
            digests = level.chunks(hash_block).map(digest).collect();
            levels = [level, levels].concat();
        }
        let mut superblock = vec![0; hash_block];
        superblock[..8].copy_from_slice(b"verity\0\0");
        superblock[8] = 1;
        superblock[12] = 1;
        superblock[32..38].copy_from_slice(b"sha256");
        let size = |size: usize| u32::try_from(size).unwrap().to_le_bytes();
        superblock[64..68].copy_from_slice(&size(data_block));
        superblock[68..72].copy_from_slice(&size(hash_block));
        superblock[72..80].copy_from_slice(&to_u64(blocks).to_le_bytes());
        superblock[80] = 4;
        superblock[88..92].copy_from_slice(SALT);
        let root = digests[0][..].try_into().unwrap();
        ([superblock, levels].concat(), root)
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| u8::try_from(at * 7 % 251).unwrap())
            .collect()
    }

    fn open(data: &[u8], hashes: &[u8]) -> Result<Verity<MemoryDevice>> {
        Verity::open(
            MemoryDevice::new(data.to_vec()),
            MemoryDevice::new(hashes.to_vec()),
        )
    }

    #[test]
    fn trees_of_all_shapes_hold_and_a_changed_bit_anywhere_does_not() {
        for (blocks, data_block, hash_block) in [
            (1, 512, 512),
            (2, 512, 512),
            (16, 512, 512),
            (17, 512, 512),
            (300, 512, 512),
            (40, 4096, 512),
            (129, 512, 4096),
            (3, 1024, 4096),
        ] {
            let data = content(blocks * data_block);
            let (hashes, root) = tree(&data, data_block, hash_block);
            let verity = open(&data, &hashes).unwrap();
            assert_eq!(verity.root_hash().unwrap(), root);
            verity.verify(&root).unwrap();
            let step = data.len() / 5 + 1;
            for at in (0..data.len()).step_by(step) {
                let mut changed = data.clone();
                changed[at] ^= 1;
                let error = open(&changed, &hashes).unwrap().verify(&root).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Untrusted);
                let block = format!("block {} of the data", at / data_block);
                assert!(error.to_string().starts_with(&block), "{error}");
            }
            // Zeroes that fill up a block count, too.
            for at in (hash_block..hashes.len()).step_by(97) {
                let mut changed = hashes.clone();
                changed[at] ^= 0x80;
                let error = open(&data, &changed).unwrap().verify(&root).unwrap_err();
                assert_eq!(error.reason(), Some(Reason::Checksum));
            }
            let mut other = root;
            other[31] ^= 1;
            assert!(open(&data, &hashes).unwrap().verify(&other).is_err());
        }
    }

    #[test]
    fn a_changed_superblock_is_refused_or_has_another_root() {
        let data = content(20 * 512);
        let (hashes, root) = tree(&data, 512, 512);
        for at in 0..512 {
            for bit in [0, 3, 7] {
                let mut changed = hashes.clone();
                changed[at] ^= 1 << bit;
                let verdict = open(&data, &changed).and_then(|verity| verity.verify(&root));
                // The UUID, and what no field uses.
                let is_free = (16..32).contains(&at) || (82..88).contains(&at) || at >= 92;
                // A name of an algorithm ends with its first zero.
                let is_free = is_free || (39..64).contains(&at);
                assert_eq!(verdict.is_ok(), is_free, "byte {at}: {verdict:?}");
            }
        }
    }

    #[test]
    fn devices_that_are_too_short_or_too_large_are_refused() {
        let data = content(20 * 512);
        let (hashes, _) = tree(&data, 512, 512);
        for (data, hashes) in [
            (&data[..data.len() - 1], &hashes[..]),
            (&data[..], &hashes[..hashes.len() - 1]),
        ] {
            let error = open(data, hashes).unwrap_err();
            assert_eq!(error.reason(), Some(Reason::CutShort));
        }
        assert!(open(&data, &hashes[..100]).is_err());
        let mut huge = hashes;
        huge[79] = 0x7f;
        assert_eq!(
            open(&data, &huge).unwrap_err().reason(),
            Some(Reason::Limit)
        );
    }
}
