//! Files of equal content: only those of equal size are read for it.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::BLOCK_BYTES;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Result, ResultExt};
use crate::fs::FileSystem;
use crate::fs::source::{Node, Part, Reading};

/// Bytes that are read at a time.
const STEP_BYTES: u64 = 1 << 20;

/// For each node the first one with the same content, whose end goes behind its inode as well (`fits_inline`) or does not:
/// itself, if there is none before it.
///
/// Files of less than a block are left alone: they lie behind their inodes.
pub(super) fn find(
    source: &dyn FileSystem,
    nodes: &[Node],
    fits_inline: &dyn Fn(usize, u64) -> bool,
) -> Result<Vec<usize>> {
    let size_of = |node: &Node| match node.part {
        Part::File(_, size) if node.nlink > 0 && size >= BLOCK_BYTES => Some(size),
        _ => None,
    };
    let mut sizes: HashMap<u64, u32> = HashMap::new();
    for size in nodes.iter().filter_map(size_of) {
        *sizes.entry(size).or_default() += 1;
    }
    let mut known: HashMap<(u64, bool, [u8; 32]), usize> = HashMap::new();
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    for (id, node) in nodes.iter().enumerate() {
        let Some(size) = size_of(node).filter(|size| sizes[size] > 1) else {
            continue;
        };
        let digest = digest(source, node, size).at(|| node.name())?;
        first[id] = *known
            .entry((size, fits_inline(id, size % BLOCK_BYTES), digest))
            .or_insert(id);
    }
    Ok(first)
}

fn digest(source: &dyn FileSystem, node: &Node, size: u64) -> Result<[u8; 32]> {
    let content = Reading::open(source, node)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; to_usize(size.min(STEP_BYTES))?];
    let mut offset = 0;
    while offset < size {
        let len = to_usize((size - offset).min(STEP_BYTES))?;
        content.read(offset, &mut buffer[..len])?;
        hash.update(&buffer[..len]);
        offset += to_u64(len);
    }
    Ok(hash.finalize().into())
}
