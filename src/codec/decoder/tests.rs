//! Streams made by the real programs, whole, damaged and joined.

use std::io::Write;
use std::process::Stdio;

use super::*;
use crate::ErrorKind;
use crate::bytes::judge::judge;
use crate::bytes::random::Random;

/// `input` through a program of the host; `None` (said on stderr) where it is missing and judges are not required.
fn pack(command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut packer = judge(command[0])?;
    let mut child = packer
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{command:?}");
    Some(output.stdout)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    decoder(packed)?
        .read_to_end(&mut output)
        .map_err(|error| from_io("unpacking", error))?;
    Ok(output)
}

/// Text, zeroes and bytes that do not pack.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let bytes = (0..len).map(|at| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match at / 1000 % 3 {
            0 => b"the quick brown fox "[at % 20],
            1 => 0,
            _ => state.to_be_bytes()[0],
        }
    });
    bytes.collect()
}

const PACKERS: &[&[&str]] = &[
    &["gzip", "-c"],
    &["gzip", "-c1"],
    &["bzip2", "-c"],
    &["xz", "-c"],
    &["xz", "-c9e", "--check=crc32"],
    &["xz", "-c0", "--check=sha256", "--block-size=50000"],
    &["xz", "-c0", "--check=none"],
    &["xz", "-c", "--x86", "--lzma2"],
    &["xz", "-c", "--arm64=start=4096", "--lzma2=preset=1"],
    &["zstd", "-c"],
    &["zstd", "-c19", "--no-check"],
    &["zstd", "-c", "--long=27"],
];

#[test]
fn what_the_programs_packed_comes_out() {
    for command in PACKERS {
        for sample in [sample(300_000), sample(1), Vec::new()] {
            let Some(packed) = pack(command, &sample) else {
                continue;
            };
            assert_ne!(Format::detect(&packed), Format::Plain, "{command:?}");
            assert!(
                unpack(&packed).unwrap() == sample,
                "{command:?}: {} bytes",
                sample.len()
            );
            let joined = [packed.clone(), packed].concat();
            assert!(
                unpack(&joined).unwrap() == [sample.clone(), sample].concat(),
                "{command:?} joined"
            );
        }
    }
    assert_eq!(unpack(b"").unwrap(), b"");
    assert_eq!(
        unpack(b"BZh is how this text begins").unwrap(),
        b"BZh is how this text begins"
    );
}

#[test]
fn frames_and_streams_may_have_padding_between_them() {
    if let Some(packed) = pack(&["zstd", "-c"], b"frame") {
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        assert_eq!(
            unpack(&[&skippable[..], &packed, &skippable, &packed].concat()).unwrap(),
            b"frameframe"
        );
        let error = unpack(&[&packed[..], &skippable[..9]].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    if let Some(packed) = pack(&["gzip", "-c"], b"member") {
        assert_eq!(
            unpack(&[&packed[..], &packed, &[0; 70_000]].concat()).unwrap(),
            b"membermember"
        );
        for more in [&b"\0\0\x01"[..], &[&[0; 8], &packed[..]].concat()] {
            assert_eq!(
                unpack(&[&packed[..], more].concat()).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }
    if let Some(packed) = pack(&["xz", "-c"], b"stream") {
        assert_eq!(
            unpack(&[&packed[..], &[0; 8], &packed, &[0; 4]].concat()).unwrap(),
            b"streamstream"
        );
        assert_eq!(
            unpack(&[&packed[..], &[0; 7], &packed].concat())
                .unwrap_err()
                .kind(),
            ErrorKind::Corrupt
        );
    }
}

#[test]
fn early_ends_and_late_bytes_are_errors() {
    for command in PACKERS {
        let Some(packed) = pack(command, &sample(100_000)) else {
            continue;
        };
        for len in [
            12,
            packed.len() / 2,
            packed.len() - 9,
            packed.len() - 4,
            packed.len() - 1,
        ] {
            let error = unpack(&packed[..len]).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Corrupt,
                "{command:?}, {len} bytes: {error:?}"
            );
            assert!(
                error.hint().is_some() && error.to_string().contains("stream after"),
                "{error:?}"
            );
        }
        for junk in [&b"\x01"[..], b"junk", b"BZh91AY&SY", &packed[1..]] {
            let error = unpack(&[&packed[..], junk].concat()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{command:?}: {error:?}");
        }
    }
}

/// A stream of ours that asks for as much memory as the format can name.
#[test]
fn windows_are_bounded() {
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0];
    assert_eq!(unpack(&zstd).unwrap_err().kind(), ErrorKind::Unsupported);
    let mut header = vec![2, 0, 0x21, 1, 40, 0, 0, 0];
    header.extend(crc32fast::hash(&header).to_le_bytes());
    let flags = [0, 1];
    let start = [
        &b"\xfd7zXZ\0"[..],
        &flags,
        &crc32fast::hash(&flags).to_le_bytes(),
    ]
    .concat();
    let error = unpack(&[&start[..], &header, &[0; 40]].concat()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert!(error.to_string().contains("dictionary"), "{error:?}");
    assert_eq!(
        unpack(b"LZIP\x01abc").unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

/// Streams without anything in them, far more than a stack has room for.
#[test]
fn many_empty_streams_do_not_nest() {
    for command in [
        &["gzip", "-c"][..],
        &["bzip2", "-c"],
        &["xz", "-c"],
        &["zstd", "-c"],
    ] {
        let Some(packed) = pack(command, b"") else {
            continue;
        };
        assert_eq!(
            unpack(&packed.repeat(200_000 / packed.len() * 8)).unwrap(),
            b"",
            "{command:?}"
        );
    }
}

/// A flipped bit is an error or (in a name, a time, padding) changes nothing.
#[test]
fn flipped_bits_are_never_silent() {
    let sample = sample(9_000);
    for command in PACKERS {
        // Without checksums a change can go unseen by design; large windows take their time to clear.
        if command
            .iter()
            .any(|argument| ["--no-check", "--check=none", "--long=27", "-c9e"].contains(argument))
        {
            continue;
        }
        let Some(packed) = pack(command, &sample) else {
            continue;
        };
        let mut errors = 0;
        for round in 0..100 {
            let bit = round * 7919 % (packed.len() * 8);
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match unpack(&damaged) {
                Ok(bytes) => assert!(
                    bytes == sample || bytes == damaged,
                    "{command:?}: bit {bit} changed the output"
                ),
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                        "{error:?}"
                    );
                    errors += 1;
                }
            }
        }
        assert!(errors > 80, "{command:?}: {errors} of 100 were seen");
    }
}

/// Changes in headers with their checksums repaired reach the code behind them.
#[test]
fn changed_xz_headers_with_good_checksums() {
    let sample = sample(3_000);
    let Some(packed) = pack(&["xz", "-c0", "--block-size=1000", "--check=none"], &sample) else {
        return;
    };
    let header_len = (usize::from(packed[12]) + 1) * 4;
    for round in 0..1_500u32 {
        let mut damaged = packed.clone();
        let at = 12 + usize::try_from(round).unwrap() * 31 % (header_len - 4);
        damaged[at] = round.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        let header_len = (usize::from(damaged[12]) + 1) * 4;
        let Some(header) = damaged.get(12..12 + header_len - 4) else {
            continue;
        };
        let crc = crc32fast::hash(header).to_le_bytes();
        if let Some(place) = damaged.get_mut(12 + header_len - 4..12 + header_len) {
            place.copy_from_slice(&crc);
        }
        match unpack(&damaged) {
            Ok(bytes) => assert!(bytes.len() <= sample.len()),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                "{error:?}"
            ),
        }
    }
}

#[test]
fn an_error_of_the_reader_comes_out_unchanged() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    for command in PACKERS {
        let Some(packed) = pack(command, &sample(100_000)) else {
            continue;
        };
        let mut reader = decoder(packed[..packed.len() / 2].chain(Failing)).unwrap();
        let error = from_io(
            "unpacking",
            reader.read_to_end(&mut Vec::new()).unwrap_err(),
        );
        assert_eq!(
            error.kind(),
            ErrorKind::Environment,
            "{command:?}: {error:?}"
        );
        let again = from_io("unpacking", reader.read(&mut [0; 10]).unwrap_err());
        assert_eq!(again.kind(), ErrorKind::Corrupt, "{command:?}: {again:?}");
    }
}

/// Whether the tool that a file is usually unpacked with takes it.
fn tool_takes(program: &str, packed: &[u8]) -> Option<bool> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut command = judge(program)?;
    let mut child = command
        .arg("-t")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It may stop reading before the end.
    let _ = child.stdin.take().unwrap().write_all(packed);
    Some(child.wait().unwrap().success())
}

/// Every bit of the headers and of what follows them, flipped, with xz's checksum made right: what the usual tool refuses is
/// refused here.
#[test]
fn nothing_is_taken_that_the_usual_tools_refuse() {
    let sample = sample(300);
    let mut refused = 0;
    for (command, head) in [
        (&["gzip", "-c"][..], 10),
        (&["bzip2", "-c"], 24),
        (&["zstd", "-c"], 12),
        (&["xz", "-c", "--check=crc32"], 12),
        (&["xz", "-c", "--check=crc32", "--block-size=100"], 12),
    ] {
        let Some(packed) = pack(command, &sample) else {
            continue;
        };
        let xz_header = (command[0] == "xz").then(|| 12..12 + (usize::from(packed[12]) + 1) * 4);
        let end = xz_header.as_ref().map_or(head, |header| header.end);
        for bit in 0..end * 8 {
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Some(header) = xz_header
                .clone()
                .filter(|header| (header.start + 1..header.end - 4).contains(&(bit / 8)))
            {
                let crc = crc32fast::hash(&damaged[header.start..header.end - 4]).to_le_bytes();
                damaged[header.end - 4..header.end].copy_from_slice(&crc);
            }
            if Format::detect(&damaged) == Format::Plain {
                continue;
            }
            let ours = unpack(&damaged);
            let Some(theirs) = tool_takes(command[0], &damaged) else {
                return;
            };
            assert!(
                theirs || ours.is_err(),
                "{command:?}: bit {bit} is refused by {}",
                command[0]
            );
            refused += u32::from(!theirs);
        }
    }
    assert!(refused > 100, "{refused}");
}

/// Numbers with more bytes than they need, and fields that are not known, where xz has them.
#[test]
fn xz_headers_are_written_in_one_way_only() {
    // Header of a block whose sizes (3 and 5 bytes) are told, with a filter LZMA2 of 4 KiB.
    let header = |sizes: &[u8], rest: &[u8]| {
        let mut header = vec![0, 0xc0];
        header.extend_from_slice(sizes);
        header.extend_from_slice(&[0x21, 1, 0]);
        header.extend_from_slice(rest);
        header.resize(header.len().next_multiple_of(4), 0);
        header[0] = u8::try_from(header.len() / 4).unwrap();
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        crate::codec::xz::BlockHeader::parse(&header, 1 << 20)
    };
    header(&[3, 5], &[]).unwrap();
    header(&[0x83, 1, 5], &[]).unwrap();
    assert_eq!(
        header(&[0x83, 0, 5], &[]).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        header(&[3, 0x85, 0x80, 0], &[]).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        header(&[3, 5], &[0, 1]).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

/// What a tool that usually unpacks a file makes of it: its output, or `None` where it does not take it.
fn taken_by(program: &str, packed: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut command = judge(program)?;
    command
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let packed = packed.to_vec();
    // It may stop reading before the end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&packed)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Some(output.status.success().then_some(output.stdout))
}

/// One change of a file that holds `streams` streams of `stream`.
fn changed(stream: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = stream.to_vec();
    let at = random.below(bytes.len());
    match random.below(10) {
        0..=3 => bytes[at] ^= 1 << random.below(8),
        4 => bytes[at] = random.bytes(1)[0],
        5 => bytes.truncate(at),
        6 => bytes.extend(vec![0; random.below(20)]),
        7 => bytes.extend(random.bytes(1 + at % 20)),
        8 => {
            bytes.extend(vec![0; random.below(3) * 4]);
            bytes.extend_from_slice(stream);
        }
        _ => drop(bytes.splice(at..at, random.bytes(1 + at % 3))),
    }
    bytes
}

/// Thousands of changed files, padding and second streams among them.
#[test]
fn verdicts_are_those_of_the_usual_tools() {
    let sample = sample(700);
    let mut random = Random::new(21);
    let mut taken = 0;
    let mut refused = 0;
    for command in [
        &["gzip", "-c"][..],
        &["gzip", "-cn1"],
        &["bzip2", "-c"],
        &["zstd", "-c"],
        &["zstd", "-c", "--no-check"],
        &["xz", "-c"],
        &["xz", "-c", "--check=crc32", "--block-size=100"],
    ] {
        let Some(packed) = pack(command, &sample) else {
            continue;
        };
        for _ in 0..500 {
            let damaged = changed(&packed, &mut random);
            if Format::detect(&damaged) == Format::Plain {
                continue;
            }
            let Some(theirs) = taken_by(command[0], &damaged) else {
                return;
            };
            match (unpack(&damaged), theirs) {
                (Ok(ours), Some(theirs)) => {
                    assert!(ours == theirs, "{command:?}: both take {damaged:?}");
                    taken += 1;
                }
                (Err(_), None) => refused += 1,
                (Ok(_), None) => panic!("{command:?}: {} refuses {damaged:?}", command[0]),
                // zstd gives out what was damaged, where no checksum tells; the size in the frame does.
                (Err(_), Some(theirs)) if theirs != sample && theirs != sample.repeat(2) => {}
                // bzip2 passes over what follows with a warning: it would be lost.
                (Err(_), Some(_)) if command[0] == "bzip2" && damaged.starts_with(&packed) => {}
                (Err(error), Some(_)) => {
                    panic!("{command:?}: {} takes {damaged:?}: {error}", command[0])
                }
            }
        }
    }
    assert!(taken > 500 && refused > 1500, "{taken} {refused}");
}
