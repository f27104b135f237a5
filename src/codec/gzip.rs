//! gzip files (RFC 1952): one member or several in a row, each with the CRC-32 and length of its content. As with gzip
//! itself, zeroes may fill up the end: tapes and some uploads need whole blocks.

use std::io::{self, BufRead, Read};
use std::num::NonZeroUsize;

use flate2::bufread::GzDecoder;

use super::stream::{self, Decoded, Sink, at_end, cut_short, pump, trailing};
use crate::bytes::is_zero;
use crate::error::Result;

const FORMAT: &str = "gzip";
/// How a member begins.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Decodes all of `reader`, passes the bytes to `sink` piece by piece and returns how many there were.
///
/// Damaged, truncated or empty input and bytes behind the last member are [`crate::ErrorKind::Corrupt`]; the pieces
/// before the damage have then been passed on. An error of `sink` ends the decoding and is returned.
pub fn decode_to(
    reader: impl Read,
    threads: NonZeroUsize,
    sink: impl FnMut(Decoded<'_>) -> Result<()>,
) -> Result<u64> {
    stream::decode_to(decode, reader, threads, sink)
}

/// The first `len` decoded bytes of `reader`, or all where there are fewer.
pub fn decode_start(reader: impl Read, len: u64) -> Result<Vec<u8>> {
    stream::decode_start(decode, reader, len)
}

/// A deflate stream can only be decoded from its start, so one thread it is.
fn decode(source: &mut dyn BufRead, _threads: NonZeroUsize, sink: &mut Sink) -> Result<()> {
    if at_end(FORMAT, source)? {
        return Err(cut_short(FORMAT));
    }
    pump(FORMAT, &mut Members::new(source), sink)
}

/// All members of a file as one reader.
pub(super) struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    /// Reads `source`, which begins with a member.
    pub fn new(source: R) -> Self {
        Self(Some(GzDecoder::new(source)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let len = member.read(buf)?;
            if len > 0 || buf.is_empty() {
                return Ok(len);
            }
            let Some(mut source) = self.0.take().map(GzDecoder::into_inner) else {
                break;
            };
            if is_followed(&mut source)? {
                self.0 = Some(GzDecoder::new(source));
            }
        }
        Ok(0)
    }
}

/// Whether another member comes behind the end of one: else there is nothing, or zeroes up to the end of the file.
fn is_followed(source: &mut impl BufRead) -> io::Result<bool> {
    let start = source.fill_buf()?;
    if start.first() == Some(&MAGIC[0]) {
        return if start.get(1).is_none_or(|byte| *byte == MAGIC[1]) {
            Ok(true)
        } else {
            Err(trailing(FORMAT).into())
        };
    }
    loop {
        let padding = source.fill_buf()?;
        let len = padding.len();
        if len == 0 {
            return Ok(false);
        }
        if !is_zero(padding) {
            return Err(trailing(FORMAT).into());
        }
        source.consume(len);
    }
}
