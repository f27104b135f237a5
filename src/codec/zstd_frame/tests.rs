//! Frames, read by another crate and by the `zstd` program.

use std::io::{Read, Write};
use std::process::Stdio;

use proptest::prelude::*;
use ruzstd::decoding::StreamingDecoder;

use super::fse::{Distribution, log2};
use super::numbers::BIT;
use super::*;
use crate::bytes::judge::judge;
use crate::bytes::random::Random;

fn frame(depth: u32, data: &[u8]) -> Vec<u8> {
    let mut out = b"replaced".to_vec();
    FrameWriter::new(depth).write(data, &mut out);
    out
}

fn unpacked(mut frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut decoder = StreamingDecoder::new(&mut frame).unwrap();
    decoder.read_to_end(&mut bytes).unwrap();
    drop(decoder);
    assert!(frame.is_empty(), "{} bytes behind the frame", frame.len());
    bytes
}

fn noise(len: usize) -> Vec<u8> {
    Random::new(1).bytes(len)
}

/// Numbers in words: text whose parts come again at all distances.
fn text(len: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    let words: Vec<Vec<u8>> = (0..500)
        .map(|n| {
            random
                .bytes(3 + n % 9)
                .iter()
                .map(|byte| b'a' + byte % 26)
                .collect()
        })
        .collect();
    let mut text = Vec::new();
    while text.len() < len {
        let choice = random.bytes(2);
        let number = usize::from(choice[0]) * usize::from(choice[1]) % words.len();
        text.extend_from_slice(&words[number]);
        text.push(b' ');
    }
    text.truncate(len);
    text
}

/// Machine code, as far as a test has some: this program's own.
fn program(len: usize) -> Vec<u8> {
    let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let start = bytes.len() / 3;
    bytes.drain(..start);
    bytes.truncate(len);
    bytes
}

/// Data of all sorts, of which some need each kind of block, section and table.
fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples = Vec::new();
    let lengths = [
        0, 1, 2, 3, 4, 5, 8, 31, 33, 63, 255, 256, 257, 1023, 1025, 16_383, 16_385,
    ];
    for len in lengths
        .into_iter()
        .chain([65_791, 65_792, 131_071, 131_072, 131_073, 400_000])
    {
        samples.push((format!("{len} of text"), text(len)));
        samples.push((format!("{len} of noise"), noise(len)));
        samples.push((format!("{len} zeroes"), vec![0; len]));
    }
    samples.push(("a whole frame".to_owned(), text(FRAME_MAX)));
    samples.push(("a program".to_owned(), program(FRAME_MAX)));
    let mixed = [
        text(70_000),
        noise(90_000),
        vec![7; 150_000],
        text(30_000),
        noise(60_000),
    ];
    samples.push((
        "mixed".to_owned(),
        [&mixed.concat()[..], &mixed[1]].concat(),
    ));
    for period in [1, 2, 3, 5, 191, 192, 193, 4095, 100_000] {
        samples.push((
            format!("period {period}"),
            noise(period).repeat(300_000 / period),
        ));
    }
    // Only three bytes in a row come again, and only far away.
    let noise = noise(3000);
    let threes = noise
        .chunks(3)
        .flat_map(|three| [three, &[0xff, three[0]]].concat());
    let threes: Vec<u8> = threes.collect();
    samples.push(("threes".to_owned(), threes.repeat(2)));
    // All bytes equally often: there is no shorter code, and its description does not exist.
    samples.push(("even".to_owned(), (0..=255).cycle().take(4096).collect()));
    // Two literals only, one of them hardly ever.
    let rare = (0..100_000).map(|n: u32| u8::from(n.is_multiple_of(997) || n.trailing_zeros() > 9));
    samples.push(("rare".to_owned(), rare.collect()));
    samples
}

#[test]
fn every_sort_of_data_comes_back() {
    for (name, data) in samples() {
        for depth in [1, 16] {
            let frame = frame(depth, &data);
            assert!(unpacked(&frame) == data, "{name}, depth {depth}");
            // Stored blocks cost three bytes each.
            assert!(
                frame.len() <= data.len() + 9 + 3 * data.len().div_ceil(BLOCK_MAX).max(1),
                "{name}"
            );
        }
    }
}

#[test]
fn the_zstd_program_reads_them_too() {
    let Some(mut command) = judge("zstd") else {
        return;
    };
    let mut frames = Vec::new();
    let mut data = Vec::new();
    for (_, sample) in samples() {
        frames.extend(frame(16, &sample));
        data.extend(sample);
    }
    let mut unpack = |frames: Vec<u8>| {
        let mut child = command
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(&frames).is_ok());
            child.wait_with_output().unwrap()
        })
    };
    let output = unpack(frames.clone());
    assert!(output.status.success() && output.stdout == data);
    // Bits that are left over, and literals, are not checked without a checksum: a header is.
    frames[4] ^= 8;
    assert!(!unpack(frames).status.success());
}

#[test]
fn text_and_programs_are_as_small_as_the_reference_makes_them() {
    use structured_zstd::encoding::{CompressionLevel, FrameCompressor};
    let sources = [
        &include_bytes!("fse.rs")[..],
        include_bytes!("literals.rs"),
        include_bytes!("parse.rs"),
        include_bytes!("sequences.rs"),
        include_bytes!("tests.rs"),
    ];
    for (name, data) in [("text", sources.concat()), ("program", program(BLOCK_MAX))] {
        let mut reference: FrameCompressor = FrameCompressor::new(CompressionLevel::from_level(15));
        reference.set_content_checksum(false);
        let mut expected = Vec::new();
        reference.compress_independent_frame_into(&data, &mut expected);
        let len = frame(32, &data).len();
        assert!(
            len * 100 <= expected.len() * 101,
            "{name}: {len} bytes, {} by the other",
            expected.len()
        );
    }
}

#[test]
fn what_came_before_does_not_matter() {
    let data = text(200_000);
    let fresh = frame(8, &data);
    let mut writer = FrameWriter::new(8);
    let mut out = Vec::new();
    for before in [&noise(300_000)[..], &[0; 70_000], &data[500..], &[]] {
        writer.write(before, &mut out);
        writer.write(&data, &mut out);
        assert!(out == fresh, "after {} bytes", before.len());
    }
}

#[test]
fn logarithms_are_near_and_never_fall() {
    let mut before = 0;
    for number in 1..100_000 {
        let log = log2(number);
        let exact = f64::from(number).log2() * f64::from(BIT);
        assert!(
            (f64::from(log) - exact).abs() < 4.0,
            "{number}: {log} for {exact}"
        );
        assert!(log >= before, "{number}");
        before = log;
    }
}

#[test]
fn distances_have_names() {
    let mut recent = Recent::FIRST;
    // By hand, along 3.1.1.5 of the RFC.
    for (distance, literals, value, after) in [
        (8, 1, 3, [8, 1, 4]),
        (8, 1, 1, [8, 1, 4]),
        (1, 5, 2, [1, 8, 4]),
        (100, 1, 103, [100, 1, 8]),
        (1, 0, 1, [1, 100, 8]),
        (8, 0, 2, [8, 1, 100]),
        (7, 0, 3, [7, 8, 1]),
        (7, 0, 10, [7, 7, 8]),
    ] {
        assert_eq!(recent.value(distance, literals), value);
        assert_eq!(recent.0, after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_block_comes_back(
        pieces in prop::collection::vec((any::<u8>(), 0..3000usize, 0..4u8), 0..40),
        depth in 0..40u32,
    ) {
        let mut block: Vec<u8> = Vec::new();
        for (byte, len, kind) in pieces {
            match kind {
                0 => block.extend(noise(len)),
                1 => block.extend(vec![byte; len]),
                2 => block.extend(text(len)),
                _ => block.extend_from_within(block.len().saturating_sub(len * usize::from(byte))..),
            }
            block.truncate(FRAME_MAX);
        }
        prop_assert!(unpacked(&frame(depth, &block)) == block);
    }

    #[test]
    fn distributions_add_up(counts in prop::collection::vec(0..50_000u32, 2..53)) {
        prop_assume!(counts.iter().filter(|&&count| count > 0).count() > 1);
        let distribution = Distribution::of(&counts, 9);
        prop_assert!(distribution.is_whole());
        prop_assert!(distribution.cost(&counts).is_some());
    }
}
