//! zstd files (RFC 8878): frames in a row, among them such to be skipped. Checksums and sizes of frames are verified.

use std::io::{self, BufRead, Read};
use std::num::NonZeroUsize;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::bzip2::Decoded;
use super::stream::{self, Sink, at_end, cut_short, explain, trailing};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

const FORMAT: &str = "zstd";
/// The largest window: what the `zstd` program accepts without `--long`, 128 MiB.
const WINDOW_MAX: u64 = 1 << 27;
/// Decoded at once.
const PIECE_BYTES: usize = 256 << 10;

/// Decodes all of `reader`, passes the bytes to `sink` piece by piece and returns how many there were.
///
/// Damaged, truncated or empty input and bytes behind the last frame are [`crate::ErrorKind::Corrupt`], windows above
/// 128 MiB and dictionaries [`crate::ErrorKind::Unsupported`]; the pieces before have then been passed on. An error of
/// `sink` ends the decoding and is returned.
pub fn decode_to(reader: impl Read, threads: NonZeroUsize, sink: impl FnMut(Decoded<'_>) -> Result<()>) -> Result<u64> {
    stream::decode_to(decode, reader, threads, sink)
}

/// The first `len` decoded bytes of `reader`, or all where there are fewer.
pub fn decode_start(reader: impl Read, len: u64) -> Result<Vec<u8>> {
    stream::decode_start(decode, reader, len)
}

fn decode(source: &mut dyn BufRead, _threads: NonZeroUsize, sink: &mut Sink) -> Result<()> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_MAX);
    let mut buf = vec![0; PIECE_BYTES];
    if at_end(FORMAT, source)? {
        return Err(cut_short(FORMAT));
    }
    let mut first = true;
    while !at_end(FORMAT, source)? {
        let next = source.fill_buf().map_err(|error| explain(FORMAT, error))?;
        if !first && !matches!(next, [0x28 | 0x50..=0x5f, ..]) {
            return Err(trailing(FORMAT));
        }
        match decoder.init(&mut *source) {
            Ok(()) => frame(&mut decoder, source, &mut buf, sink)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let skipped = io::copy(&mut (&mut *source).take(length.into()), &mut io::sink());
                if skipped.map_err(|error| explain(FORMAT, error))? != u64::from(length) {
                    return Err(cut_short(FORMAT));
                }
            }
            Err(error) => return Err(refused(error, first)),
        }
        first = false;
    }
    Ok(())
}

/// What it means that a frame does not begin.
fn refused(error: FrameDecoderError, first: bool) -> Error {
    match error {
        FrameDecoderError::WindowSizeTooBig { requested, max } => {
            Error::unsupported(format!("the zstd data needs a window of {requested} bytes, at most {max} are allowed"))
                .with_hint("decompress it first: zstd -d --long=31")
        }
        FrameDecoderError::DictNotProvided { dict_id } => {
            Error::unsupported(format!("the zstd data was made with a dictionary ({dict_id}), which is not at hand"))
        }
        FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::BadMagicNumber { .. }) if !first => {
            trailing(FORMAT)
        }
        error => explain(FORMAT, error),
    }
}

fn frame(decoder: &mut FrameDecoder, source: &mut dyn BufRead, buf: &mut [u8], sink: &mut Sink) -> Result<()> {
    let mut total = 0;
    loop {
        while decoder.can_collect() == 0 && !decoder.is_finished() {
            let blocks = decoder.decode_blocks(&mut *source, BlockDecodingStrategy::UptoBlocks(1));
            blocks.map_err(|error| explain(FORMAT, error))?;
        }
        let len = decoder.read(buf).map_err(|error| explain(FORMAT, error))?;
        if len == 0 {
            break;
        }
        total += to_u64(len);
        sink(&buf[..len])?;
    }
    let declared = decoder.content_size();
    if declared != 0 && declared != total {
        return Err(Error::corrupt(format!("a zstd frame holds {total} bytes, its header says {declared}")));
    }
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(stored), Some(actual)) if stored != actual => {
            Err(Error::corrupt(format!("a zstd frame has checksum {actual:08x}, {stored:08x} is stored")))
        }
        _ => Ok(()),
    }
}
