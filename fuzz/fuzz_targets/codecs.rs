//! Compressed streams: whatever is unpacked in one go and on several threads is the same, within bounds.
#![no_main]

use std::io::Read;
use std::num::NonZeroUsize;

use flatbake::codec::{
    Decoded, bzip2, decoder, decompress_lzo1x, gzip, inflate, unpack_zstd, xz, zstd,
};
use flatbake::{Error, Result};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

/// Most bytes that are unpacked.
const LIMIT: usize = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((kind, packed)) = input.split_first() else {
        return;
    };
    match kind % 8 {
        0 => blames_the_input(&decompress_lzo1x(packed, 64 << 10)),
        1 => blames_the_input(&inflate(packed, 64 << 10, false)),
        2 => blames_the_input(&inflate(packed, 64 << 10, true)),
        3 => blames_the_input(&unpack_zstd(packed, 64 << 10)),
        kind => both_ways(kind, packed),
    }
});

fn both_ways(kind: u8, packed: &[u8]) {
    let threads = NonZeroUsize::new(2).expect("two");
    let mut pieces = Vec::new();
    let owned = std::io::Cursor::new(packed.to_vec());
    let sink = |piece: Decoded<'_>| -> Result<()> {
        pieces.extend_from_slice(piece.bytes);
        if pieces.len() > LIMIT {
            Err(Error::invalid("enough"))
        } else {
            Ok(())
        }
    };
    let decoded = match kind {
        4 => gzip::decode_to(owned, threads, sink),
        5 => bzip2::decode_to(owned, threads, sink),
        6 => xz::decode_to(owned, threads, sink),
        _ => zstd::decode_to(owned, threads, sink),
    };
    blames_the_input(&decoded);
    let mut whole = Vec::new();
    let streamed = decoder(packed).and_then(|reader| {
        reader
            .take(LIMIT as u64)
            .read_to_end(&mut whole)
            .map_err(|error| flatbake::from_io("reading", error))
    });
    blames_the_input(&streamed);
    // What begins as another format passes through the decoder as it is.
    if decoded.is_ok() && streamed.is_ok() && whole != packed {
        assert!(
            pieces == whole,
            "{} and {} bytes",
            pieces.len(),
            whole.len()
        );
    }
}
