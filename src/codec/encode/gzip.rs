//! gzip (RFC 1952): one member whose deflate stream is made of independent pieces.
//!
//! ```text
//!   header │ piece │ piece │ … │ empty final block │ CRC-32 │ size mod 2^32
//! ```
//!
//! The CRC of the whole is combined from those of the pieces.

use crc32fast::Hasher;

use super::pieces::{Packed, Packer, pack_all, put_only};
use super::{Sink, Source};
use crate::bytes::to_u64;
use crate::codec::WideDeflater;
use crate::error::Result;

/// A piece begins without history: the larger, the less that costs. It takes about 10 ms.
const PIECE_BYTES: usize = 1 << 20;

/// Magic, deflate, no flags, no time (so that the bytes depend on the content alone), Unix.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// A final block with fixed codes and nothing in it.
const FINAL_BLOCK: [u8; 2] = [3, 0];

struct Deflate(WideDeflater);

impl Packer for Deflate {
    type Note = u32;

    fn pack(&mut self, data: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<u32> {
        self.0.compress_piece(data, false, out);
        Ok(crc32fast::hash(data))
    }
}

/// Compresses `source` at `level` 1 (fast) to 9 (small) into `sink`.
pub fn encode(source: &dyn Source, level: u8, sink: &mut dyn Sink) -> Result<()> {
    WideDeflater::new(level)?;
    put_only(sink, &HEADER)?;
    let crc = deflate(source, level, sink)?;
    let size = source.size().to_le_bytes();
    put_only(sink, &[&crc.to_le_bytes()[..], &size[..4]].concat())
}

/// The deflate stream alone; returns the CRC-32 of `source`.
pub(super) fn deflate(source: &dyn Source, level: u8, sink: &mut dyn Sink) -> Result<u32> {
    let mut crc = Hasher::new();
    let join = |packed: &Packed<u32>| {
        crc.combine(&Hasher::new_with_initial_len(
            packed.note,
            to_u64(packed.len),
        ));
        sink.put(&packed.bytes, to_u64(packed.len))
    };
    pack_all(
        source,
        PIECE_BYTES,
        || WideDeflater::new(level).map(Deflate),
        join,
    )?;
    put_only(sink, &FINAL_BLOCK)?;
    Ok(crc.finalize())
}
