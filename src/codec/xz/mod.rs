//! xz files (The .xz File Format, 1.2.1).
//!
//! ```text
//!   stream    header 12 │ block │ block │ … │ index: sizes of all blocks │ footer 12 │ padding, more streams
//!   block     header: filters, maybe sizes │ LZMA2 data │ pad to 4 │ check of the content
//! ```
//!
//! Blocks whose header tells their sizes, as `xz -T` writes them, are decoded side by side; others as they come. All
//! checks, sizes and the index are verified. The container is read here and not by the crate's own reader, because
//! that one allocates whatever dictionary a header asks for.

mod block;
mod check;

use std::io::{BufRead, Read};
use std::num::NonZeroUsize;

use sha2::{Digest, Sha256};

use self::block::{BlockHeader, Packed};
use self::check::CheckType;
use super::bzip2::Decoded;
use super::pipeline::run_ordered;
use super::stream::{self, Sink, at_end, cut_short, explain, trailing};
use crate::bytes::{Fields, to_u64};
use crate::error::{Error, Result};

const FORMAT: &str = "xz";
const MAGIC: &[u8; 6] = b"\xfd7zXZ\0";
const FOOTER_MAGIC: &[u8; 2] = b"YZ";

/// Decodes all of `reader` on `threads` threads, passes the bytes to `sink` piece by piece and returns how many there
/// were.
///
/// Damaged, truncated or empty input and bytes behind the last stream are [`crate::ErrorKind::Corrupt`], dictionaries
/// above 256 MiB and unknown filters [`crate::ErrorKind::Unsupported`]; the pieces before have then been passed on. An
/// error of `sink` ends the decoding and is returned.
pub fn decode_to(reader: impl Read, threads: NonZeroUsize, sink: impl FnMut(Decoded<'_>) -> Result<()>) -> Result<u64> {
    stream::decode_to(decode, reader, threads, sink)
}

/// The first `len` decoded bytes of `reader`, or all where there are fewer.
pub fn decode_start(reader: impl Read, len: u64) -> Result<Vec<u8>> {
    stream::decode_start(decode, reader, len)
}

fn decode(source: &mut dyn BufRead, threads: NonZeroUsize, sink: &mut Sink) -> Result<()> {
    let mut first = true;
    loop {
        let padding = skip_padding(source)?;
        if at_end(FORMAT, source)? {
            return if first { Err(cut_short(FORMAT)) } else { check_padding(padding) };
        }
        let mut header = [0; 12];
        if !source.fill_buf().map_err(|error| explain(FORMAT, error))?.starts_with(&MAGIC[..1]) && !first {
            return Err(trailing(FORMAT));
        }
        fill(source, &mut header)?;
        if !header.starts_with(MAGIC) {
            return Err(if first { Error::corrupt("the data is not xz") } else { trailing(FORMAT) });
        }
        check_padding(padding)?;
        let fields = Fields::new("xz stream header", &header);
        if crc32fast::hash(&header[6..8]) != fields.le32(8)? || header[6] != 0 {
            return Err(Error::corrupt("an xz stream header is damaged"));
        }
        Stream { source: &mut *source, check: CheckType::new(header[7])?, blocks: 0, sizes: Sha256::new() }
            .decode(threads, sink)?;
        first = false;
    }
}

fn fill(source: &mut dyn BufRead, buf: &mut [u8]) -> Result<()> {
    source.read_exact(buf).map_err(|error| explain(FORMAT, error))
}

/// Zeroes between streams, in groups of four.
fn skip_padding(source: &mut dyn BufRead) -> Result<u64> {
    let mut padding = 0;
    loop {
        let bytes = source.fill_buf().map_err(|error| explain(FORMAT, error))?;
        let zeroes = bytes.iter().take_while(|&&byte| byte == 0).count();
        let more = zeroes > 0 && zeroes == bytes.len();
        source.consume(zeroes);
        padding += to_u64(zeroes);
        if !more {
            return Ok(padding);
        }
    }
}

fn check_padding(padding: u64) -> Result<()> {
    if padding.is_multiple_of(4) { Ok(()) } else { Err(trailing(FORMAT)) }
}

/// What comes next in a stream.
enum Next {
    /// A block of known size, all of it.
    Packed(Packed),
    /// A block, whose data follow.
    Following(BlockHeader),
    Index,
}

/// A stream that is being read, behind its header.
struct Stream<'a> {
    source: &'a mut dyn BufRead,
    check: CheckType,
    blocks: u64,
    /// Of the sizes of all blocks, to be compared with those in the index.
    sizes: Sha256,
}

impl Stream<'_> {
    fn decode(mut self, threads: NonZeroUsize, sink: &mut Sink) -> Result<()> {
        loop {
            let mut then = Next::Index;
            let blocks = std::iter::from_fn(|| match self.next(threads) {
                Ok(Next::Packed(block)) => Some(Ok(block)),
                Ok(other) => {
                    then = other;
                    None
                }
                Err(error) => Some(Err(error)),
            });
            run_ordered(blocks, threads.get() + 1, |block: Packed| block.decode(), |bytes: Vec<u8>| sink(&bytes))?;
            match then {
                Next::Following(header) => {
                    let sizes = header.decode(self.source, self.check, sink)?;
                    self.count(sizes);
                }
                _ => return self.finish(),
            }
        }
    }

    fn next(&mut self, threads: NonZeroUsize) -> Result<Next> {
        let mut size = [0];
        fill(self.source, &mut size)?;
        if size == [0] {
            return Ok(Next::Index);
        }
        let header = BlockHeader::read(self.source, size[0])?;
        if threads.get() == 1 {
            return Ok(Next::Following(header));
        }
        match header.packed(self.source, self.check)? {
            Ok(packed) => {
                self.count(packed.sizes());
                Ok(Next::Packed(packed))
            }
            Err(header) => Ok(Next::Following(header)),
        }
    }

    /// Takes note of a block's unpadded and uncompressed size.
    fn count(&mut self, sizes: (u64, u64)) {
        self.blocks += 1;
        self.sizes.update(sizes.0.to_le_bytes());
        self.sizes.update(sizes.1.to_le_bytes());
    }

    /// Index and footer.
    fn finish(self) -> Result<()> {
        let mut index = Summed { source: self.source, hasher: crc32fast::Hasher::new(), len: 1 };
        index.hasher.update(&[0]);
        let count = index.number()?;
        let mut sizes = Sha256::new();
        if count != self.blocks {
            return Err(Error::corrupt(format!("the xz index names {count} blocks, {} are there", self.blocks)));
        }
        for _ in 0..count * 2 {
            sizes.update(index.number()?.to_le_bytes());
        }
        while !index.len.is_multiple_of(4) {
            index.byte()?;
        }
        let (sum, index_len) = (index.hasher.finalize(), index.len + 4);
        let mut tail = [0; 16];
        fill(self.source, &mut tail)?;
        let fields = Fields::new("xz index and footer", &tail);
        if fields.le32(0)? != sum || sizes.finalize() != self.sizes.finalize() {
            return Err(Error::corrupt("an xz index does not fit its blocks"));
        }
        let flags = [0, self.check.id()];
        let backward = (u64::from(fields.le32(8)?) + 1) * 4;
        let magic = fields.array::<2>(14)? == *FOOTER_MAGIC;
        if fields.le32(4)? != crc32fast::hash(&tail[8..14])
            || fields.array(12)? != flags
            || !magic
            || backward != index_len
        {
            return Err(Error::corrupt("an xz stream footer is damaged"));
        }
        Ok(())
    }
}

/// Reads bytes one by one and sums them up.
struct Summed<'a> {
    source: &'a mut dyn BufRead,
    hasher: crc32fast::Hasher,
    len: u64,
}

impl Summed<'_> {
    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        fill(self.source, &mut byte)?;
        self.hasher.update(&byte);
        self.len += 1;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64> {
        number(|| self.byte())
    }
}

/// A variable-length number: seven bits a byte, least significant first, at most nine bytes (section 1.2).
fn number(mut next: impl FnMut() -> Result<u8>) -> Result<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::corrupt("an xz number has more than nine bytes"))
}
