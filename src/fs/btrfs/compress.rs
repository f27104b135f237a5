//! Taking compressed extents apart.
//!
//! zlib and zstd extents are one stream each. An lzo extent is cut into sectors' worth of data:
//!
//! ```text
//!   total length │ length, LZO1X block │ length, LZO1X block │ … │ (a length never crosses a sector)
//! ```

use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::extent::{COMPRESSED_MAX, Compression};
use crate::bytes::{Fields, to_u64, to_usize};
use crate::codec::decompress_lzo1x;
use crate::error::{Error, Result};

/// Decompresses `data` into exactly `len` bytes (at most [`COMPRESSED_MAX`]).
///
/// Linux compresses the end of a file only as far as the file goes; the rest of the last sector reads as zeroes.
/// Zeroes may follow the compressed data, up to the end of its sector.
pub(super) fn decompress(
    compression: Compression,
    data: &[u8],
    len: u64,
    sectorsize: u32,
) -> Result<Vec<u8>> {
    if len > COMPRESSED_MAX {
        return Err(Error::corrupt(format!(
            "{len} bytes in a compressed extent, at most {COMPRESSED_MAX} are possible"
        )));
    }
    let len = to_usize(len)?;
    let mut out = match compression {
        Compression::None => data.to_vec(),
        Compression::Zlib => zlib(data, len)?,
        Compression::Lzo => lzo(data, len, to_usize(sectorsize.into())?)?,
        Compression::Zstd => zstd(data, len)?,
    };
    out.resize(len, 0);
    Ok(out)
}

fn zlib(data: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    let mut stream = Decompress::new(true);
    match stream.decompress(data, &mut out, FlushDecompress::Finish) {
        // An output buffer that is full while the stream goes on is fine: more may be stored than the file uses.
        Ok(Status::Ok | Status::BufError | Status::StreamEnd) => {}
        Err(error) => return Err(Error::corrupt("damaged zlib data").with_source(error)),
    }
    out.truncate(to_usize(stream.total_out())?);
    Ok(out)
}

fn zstd(data: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut decoder = FrameDecoder::new();
    // Linux accepts no larger window in btrfs (ZSTD_BTRFS_MAX_WINDOWLOG is 17).
    decoder.set_max_window_size(COMPRESSED_MAX);
    let stream = StreamingDecoder::new_with_decoder(data, decoder)
        .map_err(|error| Error::corrupt("damaged zstd data").with_source(error))?;
    let mut out = Vec::with_capacity(len);
    stream
        .take(to_u64(len))
        .read_to_end(&mut out)
        .map_err(|error| Error::corrupt("damaged zstd data").with_source(error))?;
    Ok(out)
}

fn lzo(data: &[u8], len: usize, sectorsize: usize) -> Result<Vec<u8>> {
    let fields = Fields::new("btrfs lzo extent", data);
    let total = to_usize(fields.le32(0)?.into())?;
    let fields = Fields::new("btrfs lzo extent", fields.slice(0, total)?);
    let mut out = Vec::with_capacity(len);
    let mut at = 4;
    while out.len() < len && at < total {
        if sectorsize - at % sectorsize < 4 {
            at = at.next_multiple_of(sectorsize);
        }
        let size = to_usize(fields.le32(at)?.into())?;
        out.extend(decompress_lzo1x(fields.slice(at + 4, size)?, sectorsize)?);
        at += 4 + size;
    }
    Ok(out)
}
