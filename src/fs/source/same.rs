//! Files of equal content: only those of equal size are read for it.

use std::collections::HashMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Node, Part, Reading};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Result, ResultExt};
use crate::fs::FileSystem;

/// Bytes that are read at a time.
const STEP_BYTES: u64 = 1 << 20;

/// For each node the first one with the same content: itself, if there is none before it.
///
/// Files of less than `least` bytes are left alone. Of files with equal content those share that are of one `kind`, which is
/// told from number and size.
pub(in crate::fs) fn same_files(
    source: &dyn FileSystem,
    nodes: &[Node],
    least: u64,
    kind: &(dyn Fn(usize, u64) -> bool + Sync),
) -> Result<Vec<usize>> {
    let size_of = |node: &Node| match node.part {
        Part::File(_, size) if node.nlink > 0 && size >= least => Some(size),
        _ => None,
    };
    let mut sizes: HashMap<u64, u32> = HashMap::new();
    for size in nodes.iter().filter_map(size_of) {
        *sizes.entry(size).or_default() += 1;
    }
    let candidates: Vec<(usize, u64)> = nodes
        .iter()
        .enumerate()
        .filter_map(|(id, node)| Some((id, size_of(node)?)))
        .filter(|(_, size)| sizes[size] > 1)
        .collect();
    let digests: Vec<Result<[u8; 32]>> = candidates
        .par_iter()
        .map(|&(id, size)| digest(source, &nodes[id], size).at(|| nodes[id].name()))
        .collect();

    let mut known: HashMap<(u64, bool, [u8; 32]), usize> = HashMap::new();
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    for ((id, size), digest) in candidates.into_iter().zip(digests) {
        first[id] = *known.entry((size, kind(id, size), digest?)).or_insert(id);
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
