//! Makes a tree.
//!
//! ```text
//!   data, 128 blocks at once ──▶ a block of the lowest level, written where it belongs ──▶ its digest
//!                                                      digests, in memory ──▶ the levels above, one by one
//! ```
//!
//! A digest in memory stands for 512 KiB of data, so that 16 GiB take 1 MiB. Threads share nothing but those, and the bytes do
//! not depend on how many there are.

use rayon::prelude::*;

use super::{ALGORITHM, DIGEST, HASH_TYPE, SALT_MAX, SIGNATURE, Shape, Superblock, VERSION};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::progress::Progress;
use crate::{Error, Result};

/// Bytes of a block of data, and of the tree: what systemd-repart makes.
const BLOCK: u64 = 4096;
/// The same, as the superblock has it.
const BLOCK_SIZE: u32 = 4096;
/// Digests in a block.
const ROW: u64 = BLOCK / DIGEST;

/// What sets a tree apart from others over the same data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeOptions {
    /// Comes before each block that is digested; at most 256 bytes.
    pub salt: Vec<u8>,
    /// The tree's own identifier, in the order in which it is printed. Nothing depends on it.
    pub uuid: [u8; 16],
}

/// The length of a tree over `data_bytes` bytes of data, with its superblock.
///
/// # Errors
/// No data, or more than 16 GiB.
pub fn tree_bytes(data_bytes: u64) -> Result<u64> {
    Ok(shape(data_bytes, &[])?.hash_bytes())
}

/// Makes the tree over `data`, whose last block is filled up with zeroes, and returns the root hash.
///
/// `put` gets the bytes of the tree with their offsets, from any thread and in any order. All blocks of the tree are given to
/// it, and each of them once.
///
/// # Errors
/// No data, more than 16 GiB, or a salt of more than 256 bytes; those of `data`, and those of `put`.
pub fn write_tree<D: BlockDevice>(
    data: &D,
    options: &TreeOptions,
    progress: &dyn Progress,
    put: &(dyn Fn(u64, &[u8]) -> Result<()> + Sync),
) -> Result<[u8; 32]> {
    let shape = shape(data.size(), &options.salt)?;
    put(0, &superblock(&shape, options.uuid)?)?;
    let mut starts = Vec::new();
    let mut offset = BLOCK;
    for blocks in &shape.levels {
        starts.push(offset);
        offset += blocks * BLOCK;
    }
    let mut digests = match starts.pop() {
        None => of_data(data, &shape, progress, 0)?,
        Some(start) => {
            let rows = to_usize(shape.data_blocks.div_ceil(ROW))?;
            let row = |row: usize| {
                let row = to_u64(row);
                let digests = of_data(data, &shape, progress, row * ROW)?;
                put_row(&shape, put, start + row * BLOCK, &digests)
            };
            (0..rows)
                .into_par_iter()
                .map(row)
                .collect::<Result<Vec<_>>>()?
        }
    };
    while let Some(start) = starts.pop() {
        let row = |(row, digests): (usize, &[[u8; 32]])| {
            put_row(&shape, put, start + to_u64(row) * BLOCK, digests)
        };
        digests = digests
            .par_chunks(to_usize(ROW)?)
            .enumerate()
            .map(row)
            .collect::<Result<Vec<_>>>()?;
    }
    match digests.as_slice() {
        [root] => Ok(*root),
        _ => Err(Error::internal("a dm-verity tree without a root")),
    }
}

fn shape(data_bytes: u64, salt: &[u8]) -> Result<Shape> {
    if salt.len() > SALT_MAX {
        return Err(Error::invalid(format!(
            "a dm-verity salt of {} bytes: at most {SALT_MAX}",
            salt.len()
        )));
    }
    Shape::new(BLOCK, BLOCK, data_bytes.div_ceil(BLOCK), salt)
}

/// The first block of the tree.
fn superblock(shape: &Shape, uuid: [u8; 16]) -> Result<Vec<u8>> {
    let mut superblock = Superblock::over(vec![0; to_usize(BLOCK)?])?;
    let mut algorithm = [0; 32];
    algorithm[..ALGORITHM.len()].copy_from_slice(ALGORITHM);
    let mut salt = [0; SALT_MAX];
    salt[..shape.salt.len()].copy_from_slice(&shape.salt);
    let salt_size = u16::try_from(shape.salt.len())
        .map_err(|error| Error::internal("a salt that is too long").with_source(error))?;
    superblock.set_signature(SIGNATURE);
    superblock.set_version(VERSION);
    superblock.set_hash_type(HASH_TYPE);
    superblock.set_uuid(uuid);
    superblock.set_algorithm(algorithm);
    superblock.set_data_block_size(BLOCK_SIZE);
    superblock.set_hash_block_size(BLOCK_SIZE);
    superblock.set_data_blocks(shape.data_blocks);
    superblock.set_salt_size(salt_size);
    superblock.set_salt(salt);
    Ok(superblock.into_inner())
}

/// The digests of the blocks of data from `first` on that one block of the tree has room for.
fn of_data<D: BlockDevice>(
    data: &D,
    shape: &Shape,
    progress: &dyn Progress,
    first: u64,
) -> Result<Vec<[u8; 32]>> {
    let blocks = ROW.min(shape.data_blocks - first);
    let start = first * BLOCK;
    let len = (blocks * BLOCK).min(data.size() - start);
    let mut bytes = vec![0; to_usize(blocks * BLOCK)?];
    data.read_at(start, &mut bytes[..to_usize(len)?])?;
    progress.advance(len);
    let blocks = bytes.chunks_exact(to_usize(BLOCK)?);
    Ok(blocks.map(|block| shape.digest(block)).collect())
}

/// Writes a block of the tree with these digests, and returns its own.
fn put_row(
    shape: &Shape,
    put: &(dyn Fn(u64, &[u8]) -> Result<()> + Sync),
    offset: u64,
    digests: &[[u8; 32]],
) -> Result<[u8; 32]> {
    let mut block = digests.concat();
    block.resize(to_usize(BLOCK)?, 0);
    put(offset, &block)?;
    Ok(shape.digest(&block))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::Verity;
    use super::*;
    use crate::block::{BlockDeviceMut, MemoryDevice};
    use crate::bytes::random::Random;
    use crate::progress::NoProgress;
    use crate::{ErrorKind, Reason};

    fn made(data: &[u8], salt: &[u8]) -> (Vec<u8>, [u8; 32]) {
        let len = to_usize(tree_bytes(to_u64(data.len())).unwrap()).unwrap();
        // What is not written shows.
        let tree = MemoryDevice::new(vec![0xee; len]);
        let options = TreeOptions {
            salt: salt.to_vec(),
            uuid: [7; 16],
        };
        let offsets = Mutex::new(Vec::new());
        let put = |offset: u64, bytes: &[u8]| {
            offsets.lock().unwrap().push(offset);
            tree.write_at(offset, bytes)
        };
        let data = MemoryDevice::new(data.to_vec());
        let root = write_tree(&data, &options, &NoProgress, &put).unwrap();
        let mut offsets = offsets.into_inner().unwrap();
        offsets.sort_unstable();
        let all: Vec<u64> = (0..to_u64(len) / BLOCK)
            .map(|block| block * BLOCK)
            .collect();
        assert_eq!(offsets, all, "each block once");
        (tree.into_bytes(), root)
    }

    #[test]
    fn trees_of_all_shapes_are_those_that_the_reader_takes() {
        for (len, salt) in [
            (1, &b""[..]),
            (4096, b"salt"),
            (4097, b""),
            (128 * 4096, &[9; 256]),
            (128 * 4096 + 1, b"x"),
            (129 * 4096, b"salt"),
            (3 << 20, &[1; 32]),
        ] {
            let mut data = Random::new(to_u64(len)).bytes(len);
            let (tree, root) = made(&data, salt);
            data.resize(len.next_multiple_of(4096), 0);
            let open = |data: &[u8]| {
                let device = |bytes: &[u8]| MemoryDevice::new(bytes.to_vec());
                Verity::open(device(data), device(&tree)).unwrap()
            };
            open(&data).verify(&root).unwrap();
            assert_eq!(open(&data).data_bytes(), to_u64(data.len()));
            let last = data.len() - 1;
            data[last] ^= 1;
            assert!(open(&data).verify(&root).is_err());
        }
    }

    #[test]
    fn any_number_of_threads_makes_the_same_tree() {
        let data = Random::new(5).bytes((9 << 20) + 77);
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| made(&data, b"salt"))
        };
        let one = of(1);
        assert!([2, 7].into_iter().all(|threads| of(threads) == one));
    }

    #[test]
    fn what_no_tree_can_be_made_of_is_refused() {
        assert_eq!(tree_bytes(0).unwrap_err().reason(), Some(Reason::Limit));
        assert_eq!(
            tree_bytes((16 << 30) + 1).unwrap_err().reason(),
            Some(Reason::Limit)
        );
        let options = TreeOptions {
            salt: vec![0; 257],
            uuid: [0; 16],
        };
        let data = MemoryDevice::new(vec![0; 4096]);
        let error = write_tree(&data, &options, &NoProgress, &|_, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let fails = |offset: u64, _: &[u8]| match offset {
            0 => Ok(()),
            _ => Err(Error::no_space("full")),
        };
        let data = MemoryDevice::new(vec![0; 5000]);
        let options = TreeOptions {
            salt: Vec::new(),
            ..options
        };
        let error = write_tree(&data, &options, &NoProgress, &fails).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
    }
}
