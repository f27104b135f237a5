//! gzip files (RFC 1952): one member or several in a row, each with the CRC-32 and length of its content.

use std::io::{BufRead, Read};
use std::num::NonZeroUsize;

use flate2::bufread::GzDecoder;

use super::stream::{self, Decoded, Sink, at_end, cut_short, damage, pump, trailing};
use crate::error::Result;

const FORMAT: &str = "gzip";

/// Decodes all of `reader`, passes the bytes to `sink` piece by piece and returns how many there were.
///
/// Damaged, truncated or empty input and bytes behind the last member are [`crate::ErrorKind::Corrupt`]; the pieces
/// before the damage have then been passed on. An error of `sink` ends the decoding and is returned.
pub fn decode_to(reader: impl Read, threads: NonZeroUsize, sink: impl FnMut(Decoded<'_>) -> Result<()>) -> Result<u64> {
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
    loop {
        pump(FORMAT, &mut GzDecoder::new(&mut *source), sink)?;
        if at_end(FORMAT, source)? {
            return Ok(());
        }
        let next = source.fill_buf().map_err(|error| damage(FORMAT, error))?;
        if !next.starts_with(&[0x1f]) || next.get(1).is_some_and(|&byte| byte != 0x8b) {
            return Err(trailing(FORMAT));
        }
    }
}
