//! What decoders of all compressors share.

use std::io::Read;

use crate::error::{Error, Result};

/// Largest window or dictionary a stream may ask for: that of the largest data block.
pub(super) const WINDOW_MAX: u32 = 1 << 20;

/// Fills `output` from a stream that must end there or before.
pub(super) fn read_to_end(stream: &mut dyn Read, output: &mut [u8]) -> Result<usize> {
    let mut len = 0;
    while len < output.len() {
        match stream.read(&mut output[len..]).map_err(corrupt_stream)? {
            0 => return Ok(len),
            read => len += read,
        }
    }
    match stream.read(&mut [0]).map_err(corrupt_stream)? {
        0 => Ok(len),
        _ => Err(Error::corrupt("the stream holds more bytes than the block")),
    }
}

/// What a decoder over bytes in memory reports can only be damage.
pub(super) fn corrupt_stream(error: std::io::Error) -> Error {
    Error::corrupt(error.to_string())
}
