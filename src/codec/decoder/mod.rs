//! Any compressed stream as a plain [`Read`], told apart by its first bytes.
//!
//! ```text
//!   reader ─▶ Source ─▶ gzip │ bzip2 │ xz │ zstd │ plain ─▶ Decoding ─▶ bytes
//!               │                                            │
//!               └── keeps an error of the reader ───────────▶┘ hands it out unchanged, explains all others
//! ```
//!
//! Every checksum is verified. Damaged and truncated input and bytes behind the end are [`ErrorKind::Corrupt`], so a
//! reader that was read to its end gave exactly what was packed. Members, streams and frames in a row are one.
//!
//! [`ErrorKind::Corrupt`]: crate::ErrorKind::Corrupt

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;

use super::stream::trailing;
use super::{gzip, xz, zstd};
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, from_io};

/// Bytes read at once from below.
const BUFFER: usize = 1 << 16;
/// Bytes looked at to tell formats apart: as many as the longest start, that of LZMA.
const START: usize = 13;

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Not packed, as far as the first bytes tell.
    Plain,
    /// gzip (RFC 1952).
    Gzip,
    /// bzip2.
    Bzip2,
    /// The .xz file format, 1.2.1.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Format {
    /// The format of a stream that begins with `start`; ten bytes are enough to tell.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // The digit is the block size, then comes a block or the end of an empty stream: text may begin with BZh.
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ]
            | [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x17,
                0x72,
                0x45,
                0x38,
                0x50,
                0x90,
                ..,
            ] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// The name of a packed format that is known but not read, for what begins with `start`.
pub(crate) fn packed_as(start: &[u8]) -> Option<&'static str> {
    Some(match start {
        [0x1f, 0x9d, ..] => "compress (.Z)",
        [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        // No magic: the usual properties, a dictionary of a usual size, and how long the content is, or that it is unknown.
        [
            0x5d,
            0,
            0,
            _,
            0..=8,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            ..,
        ]
        | [0x5d, 0, 0, _, 0..=8, _, _, _, _, _, 0, 0, 0, ..] => "lzma",
        [b'L', b'Z', b'I', b'P', 1, ..] => "lzip",
        [0x89, b'L', b'Z', b'O', 0, ..] => "lzop",
        [b'P', b'K', 3, 4, ..] => "zip",
        [b'7', b'z', 0xbc, 0xaf, ..] => "7z",
        _ => return None,
    })
}

/// Unpacks `reader` as it is read; plain input passes through.
///
/// The returned reader's errors carry an [`Error`] (see [`from_io`]); one that `reader` gave comes out unchanged.
/// Only reading to the end proves that the input was whole. Memory is bounded by the window of the stream (128 MiB).
pub fn decoder<'a>(mut reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut start = Vec::with_capacity(START);
    (&mut reader)
        .take(to_u64(START))
        .read_to_end(&mut start)
        .map_err(|error| from_io("reading the input", error))?;
    if let Some(name) = packed_as(&start) {
        return Err(Error::unsupported(format!("the input is packed as {name}"))
            .with_hint("unpack it first, or pack it with gzip, bzip2, xz or zstd"));
    }
    let format = Format::detect(&start);
    let whole = Cursor::new(start).chain(reader);
    if format == Format::Plain {
        return Ok(Box::new(whole));
    }
    let failure = Rc::default();
    let source = BufReader::with_capacity(
        BUFFER,
        Source {
            reader: whole,
            failure: Rc::clone(&failure),
        },
    );
    let inner: Box<dyn Read + 'a> = match format {
        Format::Gzip => Box::new(gzip::Members::new(source)),
        Format::Bzip2 => Box::new(Bzip2(pbz2::DecoderReader::new(source))),
        Format::Xz => Box::new(xz::Decoder::new(source)),
        Format::Zstd => Box::new(zstd::Decoder::new(source)),
        Format::Plain => Box::new(source),
    };
    Ok(Box::new(Decoding {
        inner,
        format,
        failure,
        decoded: 0,
    }))
}

/// Where a failed read of the input is kept: a decoder may wrap or drop it on the way.
type Failure = Rc<RefCell<Option<Error>>>;

struct Source<R> {
    reader: R,
    failure: Failure,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure
                        .replace(Some(from_io("reading packed input", error)));
                    return Err(io::Error::other("the input failed"));
                }
                Ok(len) => return Ok(len),
            }
        }
    }
}

/// Refuses what follows the last bzip2 stream.
struct Bzip2<R>(pbz2::DecoderReader<R>);

impl<R: Read> Read for Bzip2<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buf)?;
        if len == 0 && !buf.is_empty() && self.0.has_trailing_bytes() {
            return Err(trailing("bzip2").into());
        }
        Ok(len)
    }
}

/// Says of every failure what it means and where it was.
struct Decoding<'a> {
    inner: Box<dyn Read + 'a>,
    format: Format,
    failure: Failure,
    decoded: u64,
}

impl Decoding<'_> {
    fn explain(&self, error: io::Error) -> Error {
        if let Some(failure) = self.failure.take() {
            return failure;
        }
        let cut_short = error.kind() == io::ErrorKind::UnexpectedEof;
        let error = match error.downcast::<Error>() {
            Ok(known) => known,
            Err(_) if cut_short => {
                Error::corrupt("the packed data is cut short").because(Reason::CutShort)
            }
            Err(other) => Error::corrupt("the packed data is damaged").with_source(other),
        };
        error
            .with_hint("fetch or make the file again and compare its checksum with the original's")
            .at(format!(
                "{} stream after {} unpacked bytes",
                self.format, self.decoded
            ))
    }
}

impl Read for Decoding<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buf) {
            Ok(len) => {
                self.decoded = self.decoded.saturating_add(to_u64(len));
                Ok(len)
            }
            Err(error) => {
                let error = self.explain(error);
                // A decoder is in no defined state after a failure and may end as if all were well.
                self.inner = Box::new(Failed);
                Err(error.into())
            }
        }
    }
}

struct Failed;

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(Error::corrupt("reading went on after an error").into())
    }
}
