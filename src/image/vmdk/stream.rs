//! Writing streamOptimized, the form inside of OVA files: compressed in parallel, grain after grain.
//!
//! Everything but grains is announced by a marker of one sector, every table follows its grains, and the footer, a
//! second header, knows where the directory is, as the header itself does once all is written.

use std::fs::File;

use super::VmdkTold;
use super::header::{
    AT_END, DESCRIPTOR_OFFSET, FLAG_COMPRESSED, FLAG_MARKERS, FLAG_NEWLINE_TEST, GRAIN_BYTES,
    GRAIN_SECTORS, Header, TABLE_ENTRIES, TABLE_SECTORS, table_entry,
};
use super::on_disk::{GrainMarker, MetadataMarker};
use super::write_descriptor::{Descriptor, check_name};
use crate::block::BlockDevice;
use crate::bytes::{Order, is_zero, row_of, to_u64, to_usize};
use crate::codec::{Spares, WideDeflater, compress_zlib, run_ordered};
use crate::error::{Error, Result};
use crate::image::block_writer::{SECTOR, disk_size};
use crate::image::identity::Fingerprint;
use crate::image::ranges::{DataRange, data_ranges};
use crate::image::{check_empty, write_out};
use crate::progress::Progress;

/// Grains in one piece of work: a few milliseconds of compression.
const GRAINS_PER_CHUNK: u64 = 4;

/// Chunks in flight for each thread: one is worked on, the others wait for their turn or for the sink.
const WINDOW_PER_THREAD: usize = 3;

/// VMware's largest disk, 62 TiB; what is in it must fit into 2 TiB.
const MAX_DISK: u64 = 62 << 40;

/// Kinds of markers.
const MARKER_END: u32 = 0;
const MARKER_TABLE: u32 = 1;
const MARKER_DIRECTORY: u32 = 2;
const MARKER_FOOTER: u32 = 3;

/// A grain's marker: where it lies on the disk (8 bytes) and the length of its data, which follow at once.
const GRAIN_MARKER_BYTES: usize = GrainMarker::<&[u8]>::SIZE;

/// Writes `device` as a streamOptimized VMDK into `out`, an empty file. `level` is that of deflate, 1 (fast) to 9 (small).
///
/// The disk has the device's size, rounded up to whole sectors; grains of zeroes take no space. The bytes depend on the
/// content, the level and on what it tells alone. `out` is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] for another level, where `out` is not empty and for a name that a descriptor
/// cannot hold; [`crate::ErrorKind::Unsupported`] for more than 2 TiB of compressed data.
pub fn write_stream(
    device: &dyn BlockDevice,
    out: &File,
    told: &VmdkTold<'_>,
    level: u8,
    progress: &dyn Progress,
) -> Result<()> {
    check_name(told.name)?;
    WideDeflater::new(level)?;
    check_empty(out)?;
    let size = disk_size(device, "vmdk", MAX_DISK)?;
    let mut stream = Stream::new(out, size)?;
    progress.start("writing the vmdk image", device.size());
    let fingerprint = write_grains(device, &mut stream, level, progress);
    progress.finish();
    let descriptor = Descriptor {
        create_type: "streamOptimized",
        sectors: size / SECTOR,
        extent_type: "SPARSE",
        extent_name: told.name,
        adapter: told.adapter,
    };
    let text = descriptor.text(fingerprint?, told.identity);
    stream.finish(&text)
}

/// Grains of a range that hold anything: their markers and data, padded to whole sectors.
#[derive(Debug, Default)]
struct Chunk {
    /// The grain's number on the disk and its length in `bytes`.
    grains: Vec<(u64, usize)>,
    bytes: Vec<u8>,
    fingerprint: Fingerprint,
}

/// What a thread needs for a chunk; goes from chunk to chunk.
struct Worker {
    input: Vec<u8>,
    deflater: WideDeflater,
}

impl Worker {
    fn pack(
        &mut self,
        device: &dyn BlockDevice,
        range: DataRange,
        chunk: &mut Chunk,
    ) -> Result<()> {
        // The disk ends with a whole sector, and the last grain ends with the disk.
        let len = range.len.next_multiple_of(to_usize(SECTOR)?);
        self.input.resize(len, 0);
        device.read_at(range.offset, &mut self.input[..range.len])?;
        self.input[range.len..].fill(0);
        chunk.grains.clear();
        chunk.bytes.clear();
        chunk.fingerprint = Fingerprint::of(range.offset, &self.input);
        for (number, grain) in
            (range.offset / GRAIN_BYTES..).zip(self.input.chunks(to_usize(GRAIN_BYTES)?))
        {
            if !is_zero(grain) {
                let start = chunk.bytes.len();
                put_grain(number, grain, &mut self.deflater, &mut chunk.bytes)?;
                chunk.grains.push((number, chunk.bytes.len() - start));
            }
        }
        Ok(())
    }
}

fn put_grain(
    number: u64,
    grain: &[u8],
    deflater: &mut WideDeflater,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let start = bytes.len();
    bytes.resize(start + GRAIN_MARKER_BYTES, 0);
    compress_zlib(deflater, grain, bytes);
    let len = u32::try_from(bytes.len() - start - GRAIN_MARKER_BYTES)
        .map_err(|_| Error::internal("a large grain"))?;
    let mut marker = GrainMarker::over(&mut bytes[start..])?;
    marker.set_lba(number * GRAIN_SECTORS);
    marker.set_size(len);
    // A chunk begins at a sector, and so does every grain in it.
    bytes.resize(bytes.len().next_multiple_of(to_usize(SECTOR)?), 0);
    Ok(())
}

fn write_grains(
    device: &dyn BlockDevice,
    stream: &mut Stream<'_>,
    level: u8,
    progress: &dyn Progress,
) -> Result<Fingerprint> {
    let workers = Spares::default();
    let chunks = Spares::default();
    let mut fingerprint = Fingerprint::default();
    let mut done = 0;
    run_ordered(
        data_ranges(device, GRAIN_BYTES, GRAINS_PER_CHUNK),
        WINDOW_PER_THREAD * rayon::current_num_threads(),
        |range: DataRange| {
            let new = || {
                WideDeflater::new(level).map(|deflater| Worker {
                    input: Vec::new(),
                    deflater,
                })
            };
            let mut worker = workers.take().map_or_else(new, Ok)?;
            let mut chunk: Chunk = chunks.take().unwrap_or_default();
            worker.pack(device, range, &mut chunk)?;
            workers.give(worker);
            Ok((range, chunk))
        },
        |(range, chunk)| {
            stream.put_chunk(&chunk)?;
            fingerprint = fingerprint.and(chunk.fingerprint);
            chunks.give(chunk);
            progress.advance(range.end() - done);
            done = range.end();
            Ok(())
        },
    )?;
    progress.advance(device.size() - done);
    Ok(fingerprint)
}

/// The sequential part: places and tables.
struct Stream<'a> {
    out: &'a File,
    header: Header,
    /// Where the next thing goes, in sectors.
    next: u64,
    directory: Vec<u32>,
    /// The table of `directory[index]`; only zeroes when nothing in it is there yet.
    table: Vec<u32>,
    index: usize,
}

impl<'a> Stream<'a> {
    fn new(out: &'a File, size: u64) -> Result<Self> {
        let tables = size
            .div_ceil(GRAIN_BYTES)
            .div_ceil(u64::from(TABLE_ENTRIES));
        let header = Header {
            version: 3,
            flags: FLAG_NEWLINE_TEST | FLAG_COMPRESSED | FLAG_MARKERS,
            capacity: size / SECTOR,
            rgd_offset: 0,
            gd_offset: AT_END,
            overhead: GRAIN_SECTORS,
            compression: 1,
        };
        Ok(Self {
            out,
            header,
            next: header.overhead,
            directory: vec![0; to_usize(tables)?],
            table: vec![0; to_usize(TABLE_ENTRIES.into())?],
            index: 0,
        })
    }

    /// Writes grains, and tables between them where they are complete, with one system call where there is none.
    fn put_chunk(&mut self, chunk: &Chunk) -> Result<()> {
        let mut written = 0;
        let mut end = 0;
        for &(number, len) in &chunk.grains {
            let index = number / to_u64(self.table.len());
            let entry = number % to_u64(self.table.len());
            if to_usize(index)? != self.index {
                self.append(&chunk.bytes[written..end])?;
                written = end;
                self.flush_table()?;
                self.index = to_usize(index)?;
            }
            let place = self.next + to_u64(end - written) / SECTOR;
            self.table[to_usize(entry)?] = table_entry(place)?;
            end += len;
        }
        self.append(&chunk.bytes[written..end])
    }

    /// Writes the current table, where it holds anything, and empties it.
    fn flush_table(&mut self) -> Result<()> {
        if self.table.iter().any(|&entry| entry != 0) {
            self.put_marker(TABLE_SECTORS, MARKER_TABLE)?;
            self.directory[self.index] = table_entry(self.next)?;
            let table = std::mem::take(&mut self.table);
            self.append(&le32(&table))?;
            self.table = table;
            self.table.fill(0);
        }
        Ok(())
    }

    fn finish(mut self, descriptor: &str) -> Result<()> {
        self.flush_table()?;
        let mut directory = le32(&self.directory);
        directory.resize(
            directory.len().max(1).next_multiple_of(to_usize(SECTOR)?),
            0,
        );
        self.put_marker(to_u64(directory.len()) / SECTOR, MARKER_DIRECTORY)?;
        let footer = Header {
            gd_offset: self.next,
            ..self.header
        };
        self.append(&directory)?;
        self.put_marker(1, MARKER_FOOTER)?;
        self.append(&footer.to_bytes())?;
        self.put_marker(0, MARKER_END)?;
        write_out(self.out, DESCRIPTOR_OFFSET * SECTOR, descriptor.as_bytes())?;
        // It could say that the directory is named by the footer only; but some readers, open-vmdk up to 0.3.12 among them,
        // look for no footer.
        write_out(self.out, 0, &footer.to_bytes())
    }

    /// A sector that says what follows and how many sectors it has.
    fn put_marker(&mut self, sectors: u64, kind: u32) -> Result<()> {
        let mut marker = MetadataMarker::zeroed();
        marker.set_num_sectors(sectors);
        marker.set_kind(kind);
        self.append(marker.bytes())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        write_out(self.out, self.next * SECTOR, bytes)?;
        self.next += to_u64(bytes.len()) / SECTOR;
        Ok(())
    }
}

fn le32(numbers: &[u32]) -> Vec<u8> {
    row_of(numbers, Order::Little)
}
