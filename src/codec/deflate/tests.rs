//! What is compressed, judged by the inflate of zlib-rs with the window that QEMU uses.

use proptest::prelude::*;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::*;

/// Inflates piece by piece with the window that QEMU uses: what reaches beyond it is an error.
fn inflate(compressed: &[u8], len: usize) -> Vec<u8> {
    let mut block = vec![0; len];
    let mut state = Inflate::new(false, WINDOW_BITS_QCOW2);
    let mut status = Status::Ok;
    for piece in block.chunks_mut(1000) {
        let rest = &compressed[usize::try_from(state.total_in()).unwrap()..];
        status = state
            .decompress(rest, piece, InflateFlush::NoFlush)
            .unwrap();
    }
    while status != Status::StreamEnd {
        // Nothing but the end of the last block may be left.
        let rest = &compressed[usize::try_from(state.total_in()).unwrap()..];
        assert!(
            !rest.is_empty(),
            "no end after {} of {len} bytes",
            state.total_out()
        );
        status = state
            .decompress(rest, &mut [], InflateFlush::NoFlush)
            .unwrap();
    }
    assert_eq!(usize::try_from(state.total_in()).unwrap(), compressed.len());
    assert_eq!(usize::try_from(state.total_out()).unwrap(), len);
    block
}

fn noise(len: usize) -> Vec<u8> {
    crate::bytes::random::Random::new(1).bytes(len)
}

#[test]
fn every_level_comes_back_after_incompressible_and_empty_blocks() {
    let text = include_bytes!("block.rs");
    let mut mixed = noise(40_000);
    mixed.extend_from_slice(text);
    mixed.resize(65_536, 7);
    let long = [text.repeat(20), noise(66_000), text.repeat(20)].concat(); // positions beyond 16 bits
    for level in 1..=9 {
        let mut deflater = Deflater::new(level).unwrap();
        let mut out = b"kept".to_vec();
        for len in [0, 1, 3, 512, 65_536, 2 << 20] {
            assert!(
                !deflater.compress_block(&noise(len), &mut out),
                "{len} bytes of noise, level {level}"
            );
            assert_eq!(out, b"kept");
        }
        for block in [&text[..], &mixed, &[0; 65_536], &long] {
            assert!(deflater.compress_block(block, &mut out), "level {level}");
            assert!(inflate(&out[4..], block.len()) == block, "level {level}");
            out.truncate(4);
        }
    }
}

#[test]
fn matches_reach_back_as_far_as_the_window_and_no_further() {
    for (period, shrinks) in [(4095, true), (4096, true), (4097, false), (8192, false)] {
        let data = noise(period).repeat(3);
        let mut out = Vec::new();
        assert_eq!(
            Deflater::new(6).unwrap().compress_block(&data, &mut out),
            shrinks,
            "period {period}"
        );
        assert!(!shrinks || (out.len() < period + 200 && inflate(&out, data.len()) == data));
    }
}

#[test]
fn what_came_before_does_not_matter() {
    let text = include_bytes!("block.rs");
    let mut fresh = Vec::new();
    Deflater::new(6).unwrap().compress_block(text, &mut fresh);
    let mut used = Deflater::new(6).unwrap();
    for before in [&noise(100_000)[..], &[0; 70_000], &text[500..], &[]] {
        used.compress_block(before, &mut Vec::new());
        let mut again = Vec::new();
        used.compress_block(text, &mut again);
        assert!(again == fresh, "after {} bytes", before.len());
    }
}

#[test]
fn levels_are_checked() {
    for level in [0, 10, 255] {
        assert_eq!(
            Deflater::new(level).unwrap_err().kind(),
            crate::ErrorKind::InvalidInput
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_block_comes_back(pieces in prop::collection::vec((any::<u8>(), 0..2000usize, any::<bool>()), 0..40), level in 1..=9u8) {
        let mut block = Vec::new();
        for (byte, len, random) in pieces {
            if random { block.extend(noise(len)) } else { block.extend(vec![byte; len]) }
        }
        let mut out = Vec::new();
        let mut deflater = Deflater::new(level).unwrap();
        if deflater.compress_block(&block, &mut out) {
            prop_assert!(out.len() < block.len());
            prop_assert!(inflate(&out, block.len()) == block);
        } else {
            prop_assert!(out.is_empty());
        }
    }
}
