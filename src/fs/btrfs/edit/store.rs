//! Where contents are while a filesystem is edited: in the source filesystem or in an unlinked temporary file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use flate2::{Compress, FlushCompress, Status};
use rayon::prelude::*;

use super::super::compress::decompress;
use super::super::extent::{COMPRESSED_MAX, Compression};
use super::super::tree::TreeRoot;
use super::super::volume::Volume;
use super::model::{Span, SpanBody};
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Result};
use crate::fs::FileContent;

/// Uncompressed extents are at most this long, so that they fit between what lies in a block group already.
pub(super) const PLAIN_MAX: u64 = 1 << 20;
/// Largest content that goes into the tree itself (`max_inline`, the default of Linux).
const INLINE_MAX: usize = 2048;
/// Pieces compressed side by side: enough to keep many cores busy, 4 MiB of content and as much again compressed.
const BATCH: usize = 32;
/// The zlib level. Contents are written once and read at every boot, and the OEM partition is small.
const LEVEL: u32 = 6;

/// An extent of the new filesystem.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    pub origin: Origin,
    /// Bytes on disk: whole sectors.
    pub disk_bytes: u64,
    /// Bytes once decompressed: whole sectors.
    pub ram_bytes: u64,
    pub compression: Compression,
    /// Whether its sectors have checksums.
    pub checksums: bool,
    pub generation: u64,
}

/// Where the bytes of an extent are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// At this logical address of the source.
    Source(u64),
    /// At this byte of the spool.
    Spool(u64),
    /// Nowhere: the space is preallocated and reads as zeroes.
    Nothing,
}

/// The source, the spool, and all extents known.
#[derive(Debug)]
pub(super) struct Store {
    pub volume: Volume,
    pub csum_root: TreeRoot,
    pub extents: Vec<Extent>,
    spool: File,
    spool_len: u64,
}

impl Store {
    /// A store with an empty spool in the folder `temp_dir`.
    pub(super) fn new(
        volume: Volume,
        csum_root: TreeRoot,
        extents: Vec<Extent>,
        temp_dir: &Path,
    ) -> Result<Self> {
        let spool = tempfile::tempfile_in(temp_dir).map_err(|error| {
            Error::io(
                format!("creating a temporary file in {}", temp_dir.display()),
                error,
            )
        })?;
        Ok(Self {
            volume,
            csum_root,
            extents,
            spool,
            spool_len: 0,
        })
    }

    pub(super) fn sectorsize(&self) -> u32 {
        self.volume.superblock.sectorsize
    }

    /// Fills `buf`, whole sectors, from byte `from` of what extent `number` has on disk. Returns the checksums of these
    /// sectors where the source has them.
    pub(super) fn read_disk(
        &self,
        extent: &Extent,
        from: u64,
        buf: &mut [u8],
    ) -> Result<Option<Vec<u8>>> {
        match extent.origin {
            Origin::Source(logical) => self
                .volume
                .read_data(&self.csum_root, logical + from, buf, extent.checksums)
                .map(Some),
            Origin::Spool(start) => {
                self.spool
                    .read_exact_at(buf, start + from)
                    .map_err(|error| Error::io("reading the temporary file", error))?;
                Ok(None)
            }
            Origin::Nothing => {
                buf.fill(0);
                Ok(None)
            }
        }
    }

    /// What a compressed extent holds.
    fn decompressed(&self, extent: &Extent) -> Result<Vec<u8>> {
        let mut packed = vec![0; to_usize(extent.disk_bytes)?];
        self.read_disk(extent, 0, &mut packed)?;
        decompress(
            extent.compression,
            &packed,
            extent.ram_bytes,
            self.sectorsize(),
        )
    }

    /// Fills `out` from byte `skip` of a span; `last` keeps the compressed extent used last.
    pub(super) fn read_span(
        &self,
        span: &Span,
        skip: u64,
        out: &mut [u8],
        last: &mut Last,
    ) -> Result<()> {
        match &span.body {
            SpanBody::Inline {
                compression, data, ..
            } => copy(
                &decompress(*compression, data, span.len, self.sectorsize())?,
                skip,
                out,
            ),
            SpanBody::Extent {
                number,
                skip: inside,
            } => {
                let extent = self.extent(*number)?;
                let from = inside + skip;
                if extent.compression == Compression::None {
                    return self.read_plain(extent, from, out);
                }
                if last.as_ref().is_none_or(|(held, _)| held != number) {
                    *last = Some((*number, Arc::new(self.decompressed(extent)?)));
                }
                last.as_ref()
                    .map_or(Ok(()), |(_, held)| copy(held, from, out))
            }
        }
    }

    fn read_plain(&self, extent: &Extent, mut from: u64, mut out: &mut [u8]) -> Result<()> {
        let sectorsize = u64::from(self.sectorsize());
        while !out.is_empty() {
            let start = from - from % sectorsize;
            let wanted = to_u64(out.len()).min(COMPRESSED_MAX - (from - start));
            let mut sectors =
                vec![0; to_usize((from - start + wanted).next_multiple_of(sectorsize))?];
            self.read_disk(extent, start, &mut sectors)?;
            let (piece, rest) = out.split_at_mut(to_usize(wanted)?);
            copy(&sectors, from - start, piece)?;
            from += wanted;
            out = rest;
        }
        Ok(())
    }

    pub(super) fn extent(&self, number: usize) -> Result<&Extent> {
        self.extents
            .get(number)
            .ok_or_else(|| Error::internal(format!("extent {number} is gone")))
    }

    /// Takes in all of `content` and returns the spans of the file it makes.
    pub(super) fn add(&mut self, mut content: FileContent<'_>, how: How) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        let size = content.size();
        if size <= to_u64(INLINE_MAX).max(self.sectorsize().into()) {
            let whole = content.rest()?;
            match self.inline(&whole, how)? {
                Some(span) => spans.extend(span),
                None => self.add_pieces(&whole, 0, how, &mut spans)?,
            }
        }
        let mut batch = Vec::new();
        loop {
            content.skip(COMPRESSED_MAX);
            let offset = content.position();
            let len = (size - offset).min(to_u64(BATCH).saturating_mul(COMPRESSED_MAX));
            if len == 0 {
                break;
            }
            batch.resize(to_usize(len)?, 0);
            content.fill(&mut batch)?;
            self.add_pieces(&batch, offset, how, &mut spans)?;
        }
        content.finish()?;
        Ok(spans)
    }

    /// The span of content that is small enough for the tree: nothing for an empty file, `None` where it is too large.
    fn inline(&self, content: &[u8], how: How) -> Result<Option<Option<Span>>> {
        if content.is_empty() {
            return Ok(Some(None));
        }
        let packed = if how.compress {
            zlib(
                &mut Compress::new(flate2::Compression::new(LEVEL), true),
                content,
            )?
        } else {
            None
        };
        let (compression, data) = match packed {
            Some(packed) => (Compression::Zlib, packed),
            None => (Compression::None, content.to_vec()),
        };
        // As Linux: the content fits a sector, and what is stored fits the limit.
        if data.len() > INLINE_MAX.min(how.inline_max)
            || to_u64(content.len()) > self.sectorsize().into()
        {
            return Ok(None);
        }
        let body = SpanBody::Inline {
            generation: how.generation,
            compression,
            data,
        };
        Ok(Some(Some(Span {
            offset: 0,
            len: to_u64(content.len()),
            body,
        })))
    }

    /// Cuts content into extents, compresses them side by side and appends them to the spool in order. Pieces of zeroes
    /// become holes.
    fn add_pieces(
        &mut self,
        content: &[u8],
        mut offset: u64,
        how: How,
        spans: &mut Vec<Span>,
    ) -> Result<()> {
        let sectorsize = to_usize(self.sectorsize().into())?;
        let piece = to_usize(COMPRESSED_MAX)?;
        let packed: Vec<Option<Vec<u8>>> = content
            .par_chunks(piece)
            .map_init(
                || Compress::new(flate2::Compression::new(LEVEL), true),
                |stream, raw| {
                    if how.compress && !is_zero(raw) {
                        zlib(stream, raw)
                    } else {
                        Ok(None)
                    }
                },
            )
            .collect::<Result<_>>()?;
        for (raw, packed) in content.chunks(piece).zip(packed) {
            let at = offset;
            offset += to_u64(raw.len());
            if is_zero(raw) {
                continue;
            }
            let ram_bytes = raw.len().next_multiple_of(sectorsize);
            // Only what saves at least one sector is worth it.
            let packed =
                packed.filter(|packed| packed.len().next_multiple_of(sectorsize) < ram_bytes);
            let (compression, bytes) = match &packed {
                Some(packed) => (Compression::Zlib, &packed[..]),
                None => (Compression::None, raw),
            };
            let disk_bytes = to_u64(bytes.len().next_multiple_of(sectorsize));
            let start = self.append(bytes, disk_bytes)?;
            let extent = Extent {
                origin: Origin::Spool(start),
                disk_bytes,
                ram_bytes: to_u64(ram_bytes),
                compression,
                checksums: how.checksums,
                generation: how.generation,
            };
            self.add_span(extent, at, spans);
        }
        Ok(())
    }

    /// Adds an extent with its span; an uncompressed one grows the one before it where it can.
    fn add_span(&mut self, extent: Extent, offset: u64, spans: &mut Vec<Span>) {
        if let (Compression::None, Origin::Spool(start)) = (extent.compression, extent.origin)
            && let Some(span) = spans.last_mut()
            && let Some(last) = self.extents.last_mut()
            && last.compression == Compression::None
            && span.offset + span.len == offset
            && last.origin == Origin::Spool(start - last.disk_bytes.min(start))
            && last.disk_bytes + extent.disk_bytes <= PLAIN_MAX
        {
            last.disk_bytes += extent.disk_bytes;
            last.ram_bytes += extent.ram_bytes;
            span.len += extent.ram_bytes;
            return;
        }
        let body = SpanBody::Extent {
            number: self.extents.len(),
            skip: 0,
        };
        spans.push(Span {
            offset,
            len: extent.ram_bytes,
            body,
        });
        self.extents.push(extent);
    }

    /// Appends `bytes` to the spool, padded with zeroes to `len`.
    fn append(&mut self, bytes: &[u8], len: u64) -> Result<u64> {
        let start = self.spool_len;
        let total = self.volume.superblock.total_bytes;
        if start + len > SPOOL_FACTOR.saturating_mul(total) {
            return Err(Error::no_space(format!(
                "more than {start} bytes of new content for a filesystem of {total} bytes"
            ))
            .with_hint("put system extensions on the ROOT partition"));
        }
        self.spool
            .write_all_at(bytes, start)
            .map_err(|error| Error::io("writing the temporary file", error))?;
        self.spool_len = start + len;
        self.spool
            .set_len(self.spool_len)
            .map_err(|error| Error::io("writing the temporary file", error))?;
        Ok(start)
    }
}

/// New content may be this many times as large as the filesystem, for files that are replaced again and again.
const SPOOL_FACTOR: u64 = 4;

/// The compressed extent that was read last: its number and what it holds.
pub(super) type Last = Option<(usize, Arc<Vec<u8>>)>;

/// How new content is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub compress: bool,
    pub checksums: bool,
    pub generation: u64,
    /// Bytes of inline data that fit a leaf.
    pub inline_max: usize,
}

/// `raw` as a zlib stream, `None` where that is not shorter.
fn zlib(stream: &mut Compress, raw: &[u8]) -> Result<Option<Vec<u8>>> {
    stream.reset();
    // Room for any outcome: a stream that is broken off cannot be used again.
    let mut packed = vec![0; raw.len() + raw.len() / 64 + 1024];
    let status = stream
        .compress(raw, &mut packed, FlushCompress::Finish)
        .map_err(|error| Error::internal("compressing with zlib").with_source(error))?;
    if status != Status::StreamEnd {
        return Err(Error::internal("zlib needs more room than it ever should"));
    }
    let len = to_usize(stream.total_out())?;
    packed.truncate(len);
    Ok((len < raw.len()).then_some(packed))
}

fn copy(held: &[u8], skip: u64, out: &mut [u8]) -> Result<()> {
    let skip = to_usize(skip)?;
    let held = skip
        .checked_add(out.len())
        .and_then(|end| held.get(skip..end));
    out.copy_from_slice(
        held.ok_or_else(|| Error::corrupt("an extent holds less than the file uses of it"))?,
    );
    Ok(())
}
