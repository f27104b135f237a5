//! Writing: one pass over the device, compressed in parallel, one pass over the file.
//!
//! ```text
//!   cluster 0   1 …                                                                            end
//!   header    │ data … │ L2 table │ data … │ L2 table │ … │ L1 table │ refcount table │ blocks │
//!   (written                ▲ when the guest's clusters that it maps are all written
//!    last)
//! ```
//!
//! Only the L1 table, one L2 table and the refcounts stay in memory. A file whose writing was broken off has no
//! header and opens nowhere.

use std::fs::File;

use super::header::Header;
use super::refcount::HostClusters;
use super::{Compressor, Qcow2Compression, Qcow2Options, Qcow2Summary};
use crate::block::BlockDevice;
use crate::bytes::{Order, is_zero, row_of, to_u64, to_usize};
use crate::codec::{Spares, run_ordered};
use crate::error::{Error, Reason, Result};
use crate::image::ranges::{DataRange, data_ranges};
use crate::image::{check_empty, set_size, write_out};
use crate::progress::Progress;

/// One chunk of work, at least a cluster: a few milliseconds of compression, so that scheduling costs nothing, and
/// small enough that two or three for each thread stay in the caches and below a few MiB.
const CHUNK_BYTES: u64 = 256 << 10;

/// Chunks in flight for each thread: one is worked on, the others wait for their turn or for the sink.
const WINDOW_PER_THREAD: usize = 3;

/// QEMU refuses L1 tables above 32 MiB (`QCOW_MAX_L1_SIZE`).
const MAX_L1_BYTES: u64 = 32 << 20;

/// Bit 63 of L1 and L2 entries: the cluster has exactly one user.
pub(super) const OFLAG_COPIED: u64 = 1 << 63;

/// Bit 62 of L2 entries: the cluster is compressed.
pub(super) const OFLAG_COMPRESSED: u64 = 1 << 62;

/// The unit in which a compressed cluster's length is told, and of the guest's disk size.
pub(super) const SECTOR: u64 = 512;

/// Writes `device` as a qcow2 image into `out`, an empty file.
///
/// Holes of the device and clusters of zeroes take no space; a cluster that does not shrink is stored as it is. The
/// guest's disk has the device's size, rounded up with zeroes to a multiple of 512. The bytes written depend on the
/// device's content and the options alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] for options out of range and where `out` is not empty;
/// [`crate::ErrorKind::Unsupported`] for a device that is too large for the cluster size.
pub fn write(
    device: &dyn BlockDevice,
    out: &File,
    options: &Qcow2Options,
    progress: &dyn Progress,
) -> Result<Qcow2Summary> {
    progress.start("writing the qcow2 image", device.size());
    let result =
        Writer::new(device, out, options).and_then(|writer| writer.run(device, options, progress));
    progress.finish();
    result
}

/// How a cluster of the guest is stored; its bytes, if any, follow those of the cluster before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Unallocated,
    Compressed(usize),
    Normal,
}

/// A chunk of the guest's clusters, ready to be written.
#[derive(Debug, Default)]
struct Chunk {
    clusters: Vec<Stored>,
    bytes: Vec<u8>,
}

/// What a thread needs for a chunk; goes from chunk to chunk.
#[derive(Debug)]
struct Worker {
    input: Vec<u8>,
    compressor: Compressor,
}

impl Worker {
    fn new(compression: Qcow2Compression) -> Result<Self> {
        Ok(Self {
            input: Vec::new(),
            compressor: Compressor::new(compression)?,
        })
    }

    /// Reads `range` and fills `chunk` with its clusters; the last one is padded with zeroes.
    fn pack(
        &mut self,
        device: &dyn BlockDevice,
        range: DataRange,
        cluster_size: usize,
        chunk: &mut Chunk,
    ) -> Result<()> {
        self.input
            .resize(range.len.next_multiple_of(cluster_size), 0);
        self.input[range.len..].fill(0);
        device.read_at(range.offset, &mut self.input[..range.len])?;
        chunk.clusters.clear();
        chunk.bytes.clear();
        for cluster in self.input.chunks_exact(cluster_size) {
            let stored = store(cluster, &mut self.compressor, &mut chunk.bytes);
            chunk.clusters.push(stored);
        }
        Ok(())
    }
}

/// Appends what a cluster is stored as to `bytes`.
fn store(cluster: &[u8], compressor: &mut Compressor, bytes: &mut Vec<u8>) -> Stored {
    if is_zero(cluster) {
        return Stored::Unallocated;
    }
    let start = bytes.len();
    if compressor.compress(cluster, bytes) {
        return Stored::Compressed(bytes.len() - start);
    }
    bytes.extend_from_slice(cluster);
    Stored::Normal
}

/// The sequential part: gives every cluster its place and writes tables and data.
struct Writer<'a> {
    out: &'a File,
    header: Header,
    cluster_size: usize,
    host: HostClusters,
    l1: Vec<u64>,
    /// The L2 table of `l1[l2_index]`; only zeroes when nothing in it is allocated yet.
    l2: Vec<u64>,
    l2_index: usize,
    compressed_clusters: u64,
    normal_clusters: u64,
}

impl<'a> Writer<'a> {
    fn new(device: &dyn BlockDevice, out: &'a File, options: &Qcow2Options) -> Result<Self> {
        let cluster_bits = options.cluster_bits()?;
        check_empty(out)?;
        let size = device
            .size()
            .checked_next_multiple_of(SECTOR)
            .ok_or_else(|| too_large(device))?;
        let l2_entries = to_usize(1 << (cluster_bits - 3))?;
        // An empty disk has a table all the same: readers need not cope with a table of no size.
        let l1_size = size.div_ceil(1 << (2 * cluster_bits - 3)).max(1);
        if l1_size * 8 > MAX_L1_BYTES {
            return Err(too_large(device));
        }
        let header = Header {
            version: options.version,
            zstd: matches!(options.compression, Qcow2Compression::Zstd(_)),
            cluster_bits,
            size,
            l1_size: u32::try_from(l1_size).map_err(|_| too_large(device))?,
            l1_table_offset: 0,
            refcount_table_offset: 0,
            refcount_table_clusters: 0,
        };
        Ok(Self {
            out,
            header,
            cluster_size: to_usize(1 << cluster_bits)?,
            host: HostClusters::new(cluster_bits),
            l1: vec![0; to_usize(l1_size)?],
            l2: vec![0; l2_entries],
            l2_index: 0,
            compressed_clusters: 0,
            normal_clusters: 0,
        })
    }

    fn run(
        mut self,
        device: &dyn BlockDevice,
        options: &Qcow2Options,
        progress: &dyn Progress,
    ) -> Result<Qcow2Summary> {
        let cluster_size = self.cluster_size;
        let ranges = data_ranges(
            device,
            to_u64(cluster_size),
            CHUNK_BYTES / to_u64(cluster_size),
        );
        let workers = Spares::default();
        let chunks = Spares::default();
        let mut done = 0;
        run_ordered(
            ranges,
            WINDOW_PER_THREAD * rayon::current_num_threads(),
            |range: DataRange| {
                let mut worker = workers
                    .take()
                    .map_or_else(|| Worker::new(options.compression), Ok)?;
                let mut chunk: Chunk = chunks.take().unwrap_or_default();
                worker.pack(device, range, cluster_size, &mut chunk)?;
                workers.give(worker);
                Ok((range, chunk))
            },
            |(range, chunk)| {
                self.put_chunk(range.offset, &chunk)?;
                chunks.give(chunk);
                progress.advance(range.end() - done);
                done = range.end();
                Ok(())
            },
        )?;
        progress.advance(device.size() - done);
        self.finish()
    }

    /// Writes the clusters of a chunk that begins at `guest_offset`, with one system call for all that lie in a row.
    fn put_chunk(&mut self, guest_offset: u64, chunk: &Chunk) -> Result<()> {
        let mut run_offset = 0;
        let mut run_start = 0;
        let mut end = 0;
        for (guest_cluster, &stored) in
            (guest_offset >> self.header.cluster_bits..).zip(&chunk.clusters)
        {
            self.select_l2(guest_cluster)?;
            let (host_offset, len) = self.place(guest_cluster, stored)?;
            if len > 0 {
                if host_offset != run_offset + to_u64(end - run_start) {
                    write_out(self.out, run_offset, &chunk.bytes[run_start..end])?;
                    run_offset = host_offset;
                    run_start = end;
                }
                end += len;
            }
        }
        write_out(self.out, run_offset, &chunk.bytes[run_start..end])
    }

    /// Allocates space for a cluster and maps it in the current L2 table; returns where its bytes go and how many.
    fn place(&mut self, guest_cluster: u64, stored: Stored) -> Result<(u64, usize)> {
        let (entry, offset, len) = match stored {
            Stored::Unallocated => return Ok((0, 0)),
            Stored::Normal => {
                self.normal_clusters += 1;
                let offset = self.host.allocate(1);
                (offset | OFLAG_COPIED, offset, self.cluster_size)
            }
            Stored::Compressed(len) => {
                self.compressed_clusters += 1;
                let offset = self.host.allocate_packed(len)?;
                (
                    compressed_entry(offset, len, self.header.cluster_bits)?,
                    offset,
                    len,
                )
            }
        };
        let index = to_usize(guest_cluster % to_u64(self.l2.len()))?;
        self.l2[index] = entry;
        Ok((offset, len))
    }

    /// Makes the L2 table of `guest_cluster` the current one. Clusters come in ascending order, so the one before it
    /// is complete.
    fn select_l2(&mut self, guest_cluster: u64) -> Result<()> {
        let index = to_usize(guest_cluster / to_u64(self.l2.len()))?;
        if index != self.l2_index {
            self.flush_l2()?;
            self.l2_index = index;
        }
        Ok(())
    }

    /// Writes the current L2 table, where it maps anything, and empties it.
    fn flush_l2(&mut self) -> Result<()> {
        if self.l2.iter().any(|&entry| entry != 0) {
            let offset = self.host.allocate(1);
            write_out(self.out, offset, &table_bytes(&self.l2))?;
            self.l1[self.l2_index] = offset | OFLAG_COPIED;
            self.l2.fill(0);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Qcow2Summary> {
        self.flush_l2()?;
        let l1 = table_bytes(&self.l1);
        let l1_table_offset = self.host.allocate(l1.len().div_ceil(self.cluster_size));
        write_out(self.out, l1_table_offset, &l1)?;
        let refcounts = self.host.write(self.out)?;
        set_size(self.out, refcounts.file_size)?;
        let header = Header {
            l1_table_offset,
            refcount_table_offset: refcounts.offset,
            refcount_table_clusters: refcounts.clusters,
            ..self.header
        };
        write_out(self.out, 0, &header.to_bytes()?)?;
        Ok(Qcow2Summary {
            virtual_size: header.size,
            file_size: refcounts.file_size,
            compressed_clusters: self.compressed_clusters,
            normal_clusters: self.normal_clusters,
        })
    }
}

/// The L2 entry of a compressed cluster of `len` bytes: its host offset in the low `x` = 70 - `cluster_bits` bits,
/// above them how many sectors of 512 bytes it touches beyond the first.
fn compressed_entry(offset: u64, len: usize, cluster_bits: u32) -> Result<u64> {
    let x = 62 - (cluster_bits - 8);
    if offset >> x != 0 {
        return Err(Error::unsupported(format!(
            "a compressed qcow2 cluster cannot lie at {offset}"
        )));
    }
    let more_sectors = (offset + to_u64(len) - 1) / SECTOR - offset / SECTOR;
    Ok(OFLAG_COMPRESSED | more_sectors << x | offset)
}

fn table_bytes(entries: &[u64]) -> Vec<u8> {
    row_of(entries, Order::Big)
}

fn too_large(device: &dyn BlockDevice) -> Error {
    Error::unsupported(format!(
        "a disk of {} bytes is too large for qcow2 with this cluster size",
        device.size()
    ))
    .because(Reason::Limit)
    .with_hint("choose a larger cluster size")
}
