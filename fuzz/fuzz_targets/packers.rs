//! Blocks that are packed by the project's own encoders: whatever they hold, they come back, and never grow.
#![no_main]

use flatbake::codec::{Deflater, ZstdCompressor, inflate, unpack_zstd};
use libfuzzer_sys::fuzz_target;

/// Levels of zstd from which on blocks are parsed here.
const ZSTD_LEVELS: [u8; 4] = [12, 13, 14, 15];

fuzz_target!(|input: &[u8]| {
    let [kind, times, piece @ ..] = input else {
        return;
    };
    // Matches are far apart, too, and frames have several blocks.
    let block = piece.repeat(usize::from(*times) + 1);
    let mut packed = Vec::new();
    let (shrinks, unpacked) = if kind & 1 == 0 {
        let level = ZSTD_LEVELS[usize::from(kind >> 1) % ZSTD_LEVELS.len()];
        let mut compressor = ZstdCompressor::new(level).expect("a level");
        let shrinks = compressor.compress_block(&block, &mut packed);
        (shrinks, shrinks.then(|| unpack_zstd(&packed, block.len())))
    } else {
        let mut deflater = Deflater::new((kind >> 1) % 9 + 1).expect("a level");
        let shrinks = deflater.compress_block(&block, &mut packed);
        (shrinks, shrinks.then(|| inflate(&packed, block.len(), false)))
    };
    assert_eq!(shrinks, !packed.is_empty());
    if let Some(unpacked) = unpacked {
        assert!(packed.len() < block.len());
        assert!(unpacked.expect("what was packed can be read") == block);
    }
});
