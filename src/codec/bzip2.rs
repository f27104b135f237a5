//! bzip2 streams, decoded on several cores.
//!
//! A bzip2 stream is a chain of blocks of up to 900 kB, each packed by itself, that begin at any bit. The decoder scans
//! for block markers, unpacks blocks on worker threads and hands them out in order, their checksums and that of the
//! whole stream verified. Several streams in a row are one; anything else after the last stream is an error here, since
//! a disk image with something behind it was damaged or is not what it seems.

use std::io::{self, BufRead, Read};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pbz2::{DecoderReader, ParallelDecoder, pbz2_core};

use super::stream::{Decoded, cut_short, trailing};
use crate::bytes::to_u64;
use crate::error::{Error, Result, from_io};

/// Decodes all of `reader` on `threads` threads (and one that reads), passes the bytes to `sink` piece by piece and
/// returns how many there were. Memory in use is bounded by some 12 blocks a thread, whatever the input.
///
/// Damaged, truncated or empty input and bytes behind the last stream are [`crate::ErrorKind::Corrupt`]; the pieces
/// before the damage have then been passed on. An error of `sink` ends the decoding and is returned.
pub fn decode_to(
    reader: impl Read + Send + 'static,
    threads: NonZeroUsize,
    mut sink: impl FnMut(Decoded<'_>) -> Result<()>,
) -> Result<u64> {
    let compressed = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        reader,
        count: Arc::clone(&compressed),
    };
    let mut decoder = ParallelDecoder::with_threads(counted, threads.get());
    let mut total = 0;
    loop {
        let read = || compressed.load(Ordering::Relaxed);
        let bytes = decoder
            .fill_buf()
            .map_err(|error| explain(error, total, read()))?;
        if bytes.is_empty() {
            break;
        }
        sink(Decoded {
            bytes,
            compressed: read(),
        })?;
        let len = bytes.len();
        total += to_u64(len);
        decoder.consume(len);
    }
    if decoder.has_trailing_bytes() {
        return Err(trailing("bzip2").at(format!("after {total} decoded bytes")));
    }
    Ok(total)
}

/// The first `len` decoded bytes of `reader`, or all where there are fewer, decoded on this thread.
pub fn decode_start(reader: impl Read, len: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = DecoderReader::new(reader).take(len).read_to_end(&mut bytes);
    result.map_err(|error| explain(error, to_u64(bytes.len()), 0))?;
    Ok(bytes)
}

/// What an error of the decoder means, after `decoded` good bytes and with `compressed` bytes read.
fn explain(error: io::Error, decoded: u64, compressed: u64) -> Error {
    let Some(&problem) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<pbz2_core::Error>())
    else {
        return from_io("reading bzip2 data", error);
    };
    let place = match compressed {
        0 => format!("after {decoded} decoded bytes"),
        _ => {
            format!("after {decoded} decoded bytes, within the first {compressed} compressed ones")
        }
    };
    let (message, hint) = match problem {
        pbz2_core::Error::Truncated => return cut_short("bzip2").at(place).with_source(problem),
        pbz2_core::Error::NotBzip2 => ("the data is not bzip2", "check that it is the right file"),
        _ => (
            "the bzip2 data is damaged",
            "fetch the file again and compare its checksum with the published one",
        ),
    };
    Error::corrupt(format!("{message} {place}"))
        .with_source(problem)
        .with_hint(hint)
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buf)?;
        self.count.fetch_add(to_u64(len), Ordering::Relaxed);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::ErrorKind;

    fn threads() -> NonZeroUsize {
        NonZeroUsize::new(2).unwrap()
    }

    fn decode(input: Vec<u8>) -> Result<Vec<u8>> {
        let mut output = Vec::new();
        let total = decode_to(Cursor::new(input), threads(), |piece| {
            output.extend_from_slice(piece.bytes);
            Ok(())
        })?;
        assert_eq!(total, to_u64(output.len()));
        Ok(output)
    }

    /// Lines that pack well, a long run of zeroes, and bytes that do not pack.
    fn sample() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..30_000)
            .flat_map(|line| format!("line {line}\n").into_bytes())
            .collect();
        bytes.resize(bytes.len() + 300_000, 0);
        let mut state = 1u32;
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push(state.to_be_bytes()[0]);
        }
        bytes
    }

    fn pack(bytes: &[u8]) -> Vec<u8> {
        pbz2::compress(bytes, pbz2::Level::new(1).unwrap())
    }

    #[test]
    fn streams_in_a_row_are_one() {
        let sample = sample();
        let packed = pack(&sample);
        assert!(decode(packed.clone()).unwrap() == sample);
        let twice = decode([packed.clone(), pack(b""), packed.clone()].concat()).unwrap();
        assert!(twice == [sample.clone(), sample.clone()].concat());
        assert!(decode(pack(b"")).unwrap().is_empty());
        assert_eq!(
            decode_start(Cursor::new(packed), 100).unwrap(),
            sample[..100]
        );
        assert_eq!(
            decode_start(Cursor::new(pack(b"short")), 100).unwrap(),
            b"short"
        );
    }

    #[test]
    fn every_damage_is_an_error() {
        let packed = pack(&sample());
        for len in [
            0,
            1,
            3,
            4,
            9,
            100,
            packed.len() / 2,
            packed.len() - 11,
            packed.len() - 1,
        ] {
            let error = decode(packed[..len].to_vec()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len} bytes: {error:?}");
            assert!(error.hint().is_some());
        }
        for junk in [&b"\0"[..], b"junk", b"BZ", &[0; 5000], &packed[1..]] {
            let error = decode([&packed, junk].concat()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert!(error.to_string().contains("follow"), "{error:?}");
        }
        assert!(
            decode(b"not bzip2 at all".to_vec())
                .unwrap_err()
                .to_string()
                .contains("not bzip2")
        );
    }

    /// Every bit of a bzip2 stream counts, except padding at its end: a change is an error or changes nothing.
    #[test]
    fn flipped_bits_are_never_silent() {
        let sample: Vec<u8> = sample().into_iter().step_by(9).collect();
        let packed = pack(&sample);
        let mut errors = 0;
        for round in 0..600 {
            let bit = round * 7919 % (packed.len() * 8);
            let mut damaged = packed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match decode(damaged) {
                Ok(bytes) => assert!(bytes == sample, "bit {bit} changed the output"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "bit {bit}: {error:?}");
                    errors += 1;
                }
            }
        }
        assert!(errors > 560, "{errors} of 600 were seen");
    }

    #[test]
    fn errors_of_reader_and_sink_come_through() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        assert_eq!(
            decode_to(Failing, threads(), |_| Ok(()))
                .unwrap_err()
                .kind(),
            ErrorKind::Environment
        );
        let packed = pack(&sample());
        let error = decode_to(Cursor::new(packed), threads(), |_| {
            Err(Error::no_space("full"))
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
    }
}
