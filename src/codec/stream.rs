//! What the decoders of bzip2, gzip, xz and zstd files have in common: what they hand out, where bytes come from, and what
//! failures mean.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZeroUsize;

use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, ErrorKind, Reason, Result};

/// Read from the file at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Decoded at once.
const PIECE_BYTES: usize = 256 << 10;

/// A stretch of decoded bytes, in order.
#[derive(Debug, Clone, Copy)]
pub struct Decoded<'a> {
    /// The bytes, up to about 2 MiB of them.
    pub bytes: &'a [u8],
    /// How many compressed bytes have been read so far. Reading runs a little ahead.
    pub compressed: u64,
}

/// Receives decoded bytes in order.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// A decoder of one kind of file: all of the input, on so many threads, to the sink.
pub(super) type Decode = fn(&mut dyn BufRead, NonZeroUsize, &mut Sink) -> Result<()>;

/// Runs `decode` over `reader`, and tells the sink how much was read so far.
pub(super) fn decode_to(
    decode: Decode,
    reader: impl Read,
    threads: NonZeroUsize,
    mut sink: impl FnMut(Decoded<'_>) -> Result<()>,
) -> Result<u64> {
    let read = Cell::new(0);
    let fault = RefCell::new(None);
    let mut source = BufReader::with_capacity(
        BUFFER_BYTES,
        Source {
            reader,
            read: &read,
            fault: &fault,
        },
    );
    let mut total = 0;
    let mut refused = false;
    let result = decode(&mut source, threads, &mut |bytes| {
        let passed = sink(Decoded {
            bytes,
            compressed: read.get(),
        });
        refused = passed.is_err();
        total += to_u64(bytes.len());
        passed
    });
    match (result, fault.take()) {
        (Ok(()), _) => Ok(total),
        (Err(_), Some(fault)) => Err(fault),
        (Err(error), None) if error.kind() == ErrorKind::Corrupt && !refused => {
            let place = format!(
                "after {total} decoded bytes, within the first {} compressed ones",
                read.get()
            );
            Err(error
                .at(place)
                .with_hint("fetch the file again and compare its checksum with the published one"))
        }
        (Err(error), None) => Err(error),
    }
}

/// The first `len` decoded bytes, or all where there are fewer.
pub(super) fn decode_start(decode: Decode, reader: impl Read, len: u64) -> Result<Vec<u8>> {
    let len = to_usize(len)?;
    let mut start = Vec::new();
    let mut enough = false;
    let result = decode_to(decode, reader, NonZeroUsize::MIN, |piece| {
        start.extend_from_slice(&piece.bytes[..piece.bytes.len().min(len - start.len())]);
        enough = start.len() == len;
        // Ends the decoding: nobody sees this error.
        if enough {
            Err(Error::internal("enough is decoded"))
        } else {
            Ok(())
        }
    });
    match result {
        Err(error) if !enough => Err(error),
        _ => Ok(start),
    }
}

/// Counts what is read, and keeps an error of the file apart from those of the data.
struct Source<'a, R> {
    reader: R,
    read: &'a Cell<u64>,
    fault: &'a RefCell<Option<Error>>,
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buf) {
            Ok(len) => {
                self.read.set(self.read.get() + to_u64(len));
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                *self.fault.borrow_mut() = Some(Error::io("reading the compressed file", error));
                Err(kind.into())
            }
        }
    }
}

/// Passes all that `reader` unpacks to `sink`.
pub(super) fn pump(format: &str, reader: &mut dyn Read, sink: &mut Sink) -> Result<()> {
    let mut buf = vec![0; PIECE_BYTES];
    loop {
        match reader
            .read(&mut buf)
            .map_err(|error| damage(format, error))?
        {
            0 => return Ok(()),
            len => sink(&buf[..len])?,
        }
    }
}

/// What an error of a decoder means that may carry one of ours.
pub(super) fn damage(format: &str, error: io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| explain(format, error))
}

/// What a decoder's error means: an end of the data where there should be more, or damage.
fn explain(format: &str, error: io::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut cut = false;
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        cut |= io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        cause = error.source();
    }
    if cut {
        cut_short(format)
    } else {
        Error::corrupt(format!("the {format} data is damaged")).with_source(error)
    }
}

pub(super) fn cut_short(format: &str) -> Error {
    Error::corrupt(format!("the {format} data is cut short"))
        .because(Reason::CutShort)
        .with_hint("the download is incomplete: fetch the file again")
}

/// Bytes that belong to nothing follow the end.
pub(super) fn trailing(format: &str) -> Error {
    Error::corrupt(format!(
        "bytes that are not {format} follow the end of the {format} data"
    ))
    .with_hint(
        "the file was changed after it was made: compare its size and checksum with the original's",
    )
}

/// Whether all of the input was read.
pub(super) fn at_end(format: &str, source: &mut dyn BufRead) -> Result<bool> {
    Ok(source
        .fill_buf()
        .map_err(|error| damage(format, error))?
        .is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::codec::{gzip, xz, zstd};

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("testdata/images")
                .join(name),
        )
        .unwrap()
    }

    fn decode_named(
        name: &str,
        reader: impl Read,
        threads: usize,
        sink: impl FnMut(Decoded<'_>) -> Result<()>,
    ) -> Result<u64> {
        let threads = NonZeroUsize::new(threads).unwrap();
        match name {
            "disk.raw.gz" => gzip::decode_to(reader, threads, sink),
            "disk.raw.xz" => xz::decode_to(reader, threads, sink),
            _ => zstd::decode_to(reader, threads, sink),
        }
    }

    fn decoded(name: &str, bytes: &[u8], threads: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let sink = |piece: Decoded<'_>| {
            out.extend_from_slice(piece.bytes);
            // What a changed file of 14 kB unpacks to is not bounded here: the caller's sink does that.
            if out.len() > 64 << 20 {
                Err(Error::unsupported("too much"))
            } else {
                Ok(())
            }
        };
        let total = decode_named(name, bytes, threads, sink)?;
        assert_eq!(total, to_u64(out.len()));
        Ok(out)
    }

    /// Makes the checksums of the xz stream header and of the first block header good again.
    fn repair(bytes: &mut [u8]) {
        let sum = crc32fast::hash(&bytes[6..8]).to_le_bytes();
        bytes[8..12].copy_from_slice(&sum);
        let end = 12 + usize::from(bytes[12]) * 4;
        if end + 4 <= bytes.len() {
            let sum = crc32fast::hash(&bytes[12..end]).to_le_bytes();
            bytes[end..end + 4].copy_from_slice(&sum);
        }
    }

    #[test]
    fn changed_files_are_never_read_as_something_else() {
        let disk = decoded("disk.raw.zst", &fixture("disk.raw.zst"), 1).unwrap();
        assert_eq!(disk.len(), 700 << 10);
        let mut state = 11u32;
        let mut roll = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            usize::try_from(state >> 8).unwrap() % below
        };
        for name in ["disk.raw.gz", "disk.raw.xz", "disk.raw.zst"] {
            let packed = fixture(name);
            for threads in [1, 2] {
                assert!(decoded(name, &packed, threads).unwrap() == disk, "{name}");
            }
            let mut errors = 0;
            for round in 0..1000 {
                let mut changed = packed.clone();
                for _ in 0..=roll(2) {
                    let near = [40, packed.len(), packed.len()][roll(3)];
                    changed[roll(near)] = [0, 0xff, 1 << roll(8)][roll(3)];
                }
                if name.ends_with("xz") && round % 2 == 0 {
                    repair(&mut changed);
                }
                match decoded(name, &changed, 1 + round % 2) {
                    Ok(bytes) => assert!(bytes == disk, "{name}: round {round} was silent"),
                    Err(error) => {
                        assert!(
                            matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                            "{error:?}"
                        );
                        errors += 1;
                    }
                }
            }
            assert!(errors > 500, "{name}: {errors} of 1000 were seen");
        }
    }

    #[test]
    fn errors_of_reader_and_sink_come_through() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        for name in ["disk.raw.gz", "disk.raw.xz", "disk.raw.zst"] {
            let error = decode_named(name, Failing, 1, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Environment, "{error:?}");
            let error = decode_named(name, &fixture(name)[..], 2, |_| {
                Err(Error::no_space("full"))
            })
            .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
        }
        assert_eq!(
            xz::decode_start(&fixture("disk.raw.xz")[..], 100)
                .unwrap()
                .len(),
            100
        );
    }
}
