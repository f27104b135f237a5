//! xz (specification: the .xz file format 1.2): one stream of independent blocks.
//!
//! ```text
//!   stream header │ block │ block │ … │ index: the size of every block │ stream footer
//!   block:  header (sizes, LZMA2, dictionary) │ LZMA2 data │ padding │ CRC-32
//! ```
//!
//! Block headers tell both sizes, which is what lets other programs decode in parallel.

use std::io::Write;

use lzma_rust2::{Lzma2Options, Lzma2Writer};

use super::pieces::{Packed, Packer, pack_all, put_only};
use super::{Sink, Source, check_level};
use crate::bytes::to_u64;
use crate::error::{Result, from_io};

/// One block. LZMA's match finder takes about 12 times the dictionary of memory on each thread, which is why neither is
/// larger.
const PIECE_BYTES: u32 = 4 << 20;

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";

/// Stream flags: blocks are checked with CRC-32.
const STREAM_FLAGS: [u8; 2] = [0, 1];

/// Block flags: one filter, both sizes are told.
const BLOCK_FLAGS: u8 = 0xc0;

/// The filter ID of LZMA2.
const LZMA2: u8 = 0x21;

struct Lzma(Lzma2Options);

/// The sizes of a block that the index tells: its own without padding, and that of its data.
struct Sizes {
    unpadded: u64,
}

impl Packer for Lzma {
    type Note = Sizes;

    fn pack(&mut self, data: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Sizes> {
        pack_block(&self.0, data, out)
    }
}

/// Appends `data` to `out`, which has a length divisible by 4, as a block of a stream.
fn pack_block(options: &Lzma2Options, data: &[u8], out: &mut Vec<u8>) -> Result<Sizes> {
    let mut writer = Lzma2Writer::new(Vec::new(), options.clone());
    let packed = writer.write_all(data).and_then(|()| writer.finish());
    let packed = packed.map_err(|error| from_io("compressing an xz block", error))?;
    let header = block_header(packed.len(), data.len(), options.lzma_options.dict_size);
    let unpadded = header.len() + packed.len() + 4;
    out.extend_from_slice(&header);
    out.extend_from_slice(&packed);
    pad4(out);
    out.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    Ok(Sizes {
        unpadded: to_u64(unpadded),
    })
}

/// What a stream begins with.
fn stream_header() -> Vec<u8> {
    let flags_crc = crc32fast::hash(&STREAM_FLAGS).to_le_bytes();
    [&MAGIC[..], &STREAM_FLAGS, &flags_crc].concat()
}

/// Replaces `out` with `data` at `level` 0 (fast) to 9 (small), as a stream of one block whose dictionary has `dict_bytes`
/// at most.
pub fn compress_xz(level: u8, dict_bytes: u32, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
    check_level("xz", level, 0, 9)?;
    let mut options = Lzma2Options::with_preset(level.into());
    options.lzma_options.dict_size = options.lzma_options.dict_size.min(dict_bytes);
    *out = stream_header();
    let sizes = pack_block(&options, data, out)?;
    let mut records = Vec::new();
    put_number(&mut records, sizes.unpadded);
    put_number(&mut records, to_u64(data.len()));
    out.extend_from_slice(&index_and_footer(1, &records));
    Ok(())
}

/// Compresses `source` at `level` 0 (fast) to 9 (small) into `sink`.
pub fn encode(source: &dyn Source, level: u8, sink: &mut dyn Sink) -> Result<()> {
    check_level("xz", level, 0, 9)?;
    let mut options = Lzma2Options::with_preset(level.into());
    options.lzma_options.dict_size = options.lzma_options.dict_size.min(PIECE_BYTES);
    put_only(sink, &stream_header())?;
    let mut records = Vec::new();
    let mut count = 0;
    let join = |packed: &Packed<Sizes>| {
        put_number(&mut records, packed.note.unpadded);
        put_number(&mut records, to_u64(packed.len));
        count += 1;
        sink.put(&packed.bytes, to_u64(packed.len))
    };
    let piece_bytes = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
    pack_all(source, piece_bytes, || Ok(Lzma(options.clone())), join)?;
    put_only(sink, &index_and_footer(count, &records))
}

fn block_header(packed: usize, data: usize, dict_size: u32) -> Vec<u8> {
    let mut header = vec![0, BLOCK_FLAGS];
    put_number(&mut header, to_u64(packed));
    put_number(&mut header, to_u64(data));
    header.extend_from_slice(&[LZMA2, 1, dictionary_code(dict_size)]);
    pad4(&mut header);
    header[0] = u8::try_from(header.len() / 4).unwrap_or(u8::MAX); // some 20 bytes
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

/// The code of the smallest dictionary of at least `size` bytes: sizes are 2^n and 2^n + 2^(n-1) from 4 KiB on.
fn dictionary_code(size: u32) -> u8 {
    let bytes = |code: u8| u64::from(2 | code & 1) << (code / 2 + 11);
    (0..40)
        .find(|&code| bytes(code) >= u64::from(size))
        .unwrap_or(40)
}

fn index_and_footer(count: u64, records: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    put_number(&mut bytes, count);
    bytes.extend_from_slice(records);
    pad4(&mut bytes);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    // The index ends within 16 GiB: it has some 8 bytes for each 4 MiB.
    let backward_size = u32::try_from(bytes.len() / 4 - 1).unwrap_or(u32::MAX);
    let fields = [&backward_size.to_le_bytes()[..], &STREAM_FLAGS].concat();
    bytes.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
    bytes.extend_from_slice(&fields);
    bytes.extend_from_slice(&FOOTER_MAGIC);
    bytes
}

/// Appends a multibyte integer: 7 bits in each byte, lowest first, the high bit set where more follow.
fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn pad4(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_codes_are_those_of_the_specification() {
        assert_eq!(dictionary_code(4096), 0);
        assert_eq!(dictionary_code(6144), 1);
        assert_eq!(dictionary_code(8192), 2);
        assert_eq!(dictionary_code(4 << 20), 20);
        assert_eq!(dictionary_code(u32::MAX), 40);
    }
}
