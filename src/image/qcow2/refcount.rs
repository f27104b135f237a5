//! Clusters of the host file: which are taken, by how many users, and the refcount structures that say so on disk.

use std::fs::File;

use super::header::REFCOUNT_ORDER;
use crate::bytes::{Order, row_of, to_u64};
use crate::error::{Error, Result};
use crate::image::write_out;

/// QEMU refuses refcount tables above 8 MiB (`QCOW_MAX_REFTABLE_SIZE`).
const MAX_TABLE_BYTES: u64 = 8 << 20;

/// Hands out space in the host file, front to back, and counts the users of every cluster.
#[derive(Debug)]
pub(super) struct HostClusters {
    cluster_bits: u32,
    /// One count for each cluster handed out so far: 32 MiB for each TiB of file at the default cluster size.
    counts: Vec<u16>,
    /// Host offset behind the last compressed cluster: the rest of its host cluster is free for the next one.
    packed_end: u64,
}

/// Where [`HostClusters::write`] put the refcount table.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefcountTable {
    /// Host offset in bytes.
    pub offset: u64,
    pub clusters: u32,
    /// Where the last cluster of the file ends.
    pub file_size: u64,
}

impl HostClusters {
    /// An empty file in which cluster 0 is taken by the header.
    pub fn new(cluster_bits: u32) -> Self {
        Self {
            cluster_bits,
            counts: vec![1],
            packed_end: 0,
        }
    }

    /// The host offset of `count` new clusters in a row, with one user each.
    pub fn allocate(&mut self, count: usize) -> u64 {
        let offset = self.end();
        self.counts.resize(self.counts.len() + count, 1);
        offset
    }

    /// The host offset of `len` bytes (1 to a cluster) for one compressed cluster, right behind the one before it
    /// where that is possible.
    pub fn allocate_packed(&mut self, len: usize) -> Result<u64> {
        let cluster_end = self.packed_end.next_multiple_of(1 << self.cluster_bits);
        // It may run over into the next cluster only where that one is new and follows directly.
        if to_u64(len) > cluster_end - self.packed_end && cluster_end != self.end() {
            self.packed_end = self.end();
        }
        let offset = self.packed_end;
        self.packed_end += to_u64(len);
        for cluster in offset >> self.cluster_bits..=(self.packed_end - 1) >> self.cluster_bits {
            if cluster << self.cluster_bits == self.end() {
                self.counts.push(0);
            }
            self.add_user(cluster)?;
        }
        Ok(offset)
    }

    /// Writes the refcount table and blocks behind everything else; nothing can be allocated afterwards.
    pub fn write(mut self, out: &File) -> Result<RefcountTable> {
        let cluster_size = 1 << self.cluster_bits;
        let counts_per_block = (cluster_size * 8) >> REFCOUNT_ORDER;
        // Table and blocks are counted themselves: add clusters until the blocks cover these, too.
        let used = self.counts.len();
        let mut blocks = 0;
        let mut table_clusters = 0;
        while blocks * counts_per_block < used + table_clusters + blocks {
            blocks = (used + table_clusters + blocks).div_ceil(counts_per_block);
            table_clusters = (blocks * 8).div_ceil(cluster_size);
        }
        if to_u64(table_clusters * cluster_size) > MAX_TABLE_BYTES {
            return Err(Error::unsupported(format!(
                "the qcow2 image would need a refcount table of {} bytes: {MAX_TABLE_BYTES} are allowed",
                table_clusters * cluster_size
            ))
            .with_hint("choose a larger cluster size"));
        }
        let offset = self.allocate(table_clusters);
        let first_block = self.allocate(blocks);
        let block_offset = |block: usize| first_block + to_u64(block * cluster_size);
        let table: Vec<u64> = (0..blocks).map(block_offset).collect();
        write_out(out, offset, &row_of(&table, Order::Big))?;
        for (block, counts) in self.counts.chunks(counts_per_block).enumerate() {
            write_out(out, block_offset(block), &row_of(counts, Order::Big))?;
        }
        let clusters =
            u32::try_from(table_clusters).map_err(|_| Error::internal("a bounded table"))?;
        Ok(RefcountTable {
            offset,
            clusters,
            file_size: self.end(),
        })
    }

    /// Where the clusters handed out so far end.
    fn end(&self) -> u64 {
        to_u64(self.counts.len()) << self.cluster_bits
    }

    fn add_user(&mut self, cluster: u64) -> Result<()> {
        // At least 1/1030 of a cluster's size goes into one compressed cluster, so about 1030 users are the most.
        let count = usize::try_from(cluster)
            .ok()
            .and_then(|index| self.counts.get_mut(index));
        let more = count.as_ref().and_then(|count| count.checked_add(1));
        match (count, more) {
            (Some(count), Some(more)) => *count = more,
            _ => {
                return Err(Error::internal(format!(
                    "qcow2 host cluster {cluster} cannot have one more user"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_clusters_share_host_clusters() {
        let mut host = HostClusters::new(9);
        assert_eq!(host.allocate_packed(200).unwrap(), 512);
        assert_eq!(host.allocate_packed(200).unwrap(), 712);
        assert_eq!(
            host.allocate_packed(200).unwrap(),
            912,
            "runs over into the next cluster"
        );
        assert_eq!(host.allocate(1), 1536);
        assert_eq!(host.allocate_packed(400).unwrap(), 1112, "fills the rest");
        assert_eq!(
            host.allocate_packed(100).unwrap(),
            2048,
            "no rest is left that is large enough"
        );
        assert_eq!(
            host.allocate_packed(412).unwrap(),
            2148,
            "ends with the cluster"
        );
        assert_eq!(host.allocate_packed(511).unwrap(), 2560);
        assert_eq!(host.counts, [1, 3, 2, 1, 2, 1]);
    }

    #[test]
    fn refcount_blocks_count_themselves() {
        // 256 counts fit into a block of 512 bytes, and 64 blocks into a cluster of the table.
        for used in (1..600).chain(16_000..16_400) {
            let mut host = HostClusters::new(9);
            host.allocate(used - 1);
            let out = tempfile::tempfile().unwrap();
            let table = host.write(&out).unwrap();
            let total = usize::try_from(table.file_size / 512).unwrap();
            let blocks = total - used - usize::try_from(table.clusters).unwrap();
            assert!(
                blocks * 256 >= total && (blocks - 1) * 256 < total,
                "{used} clusters, {blocks} blocks"
            );
            assert_eq!(
                usize::try_from(table.clusters).unwrap(),
                blocks.div_ceil(64)
            );
            assert_eq!(table.offset, to_u64(used) * 512);
        }
    }
}
