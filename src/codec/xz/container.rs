//! Streams: what stands around blocks, read and verified.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};

use super::check::CheckType;
use super::header::{BlockHeader, number};
use crate::bytes::{Fields, to_u64};
use crate::codec::WINDOW_MAX;
use crate::codec::stream::trailing;
use crate::error::Error;

/// The name of the format in messages.
pub(super) const FORMAT: &str = "xz";

pub(super) const MAGIC: &[u8; 6] = b"\xfd7zXZ\0";
const FOOTER_MAGIC: &[u8; 2] = b"YZ";

/// The input with a count of what was read.
#[derive(Debug)]
pub(super) struct Input<R> {
    pub reader: R,
    pub position: u64,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buf)?;
        self.position = self.position.saturating_add(to_u64(len));
        Ok(len)
    }
}

impl<R: Read> Input<R> {
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            position: 0,
        }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Sizes of blocks, kept as a digest: a stream may have any number of them.
#[derive(Debug, Default)]
struct Records {
    count: u64,
    digest: Sha256,
}

/// Where in a row of streams the input is.
#[derive(Debug)]
pub(super) struct Container {
    /// Of the current stream; `None` between streams.
    check: Option<CheckType>,
    first: bool,
    records: Records,
}

impl Container {
    pub fn new() -> Self {
        Self {
            check: None,
            first: true,
            records: Records::default(),
        }
    }

    /// The header of the next block, whose data follow; `None` at the end of the input.
    pub fn next<R: BufRead>(
        &mut self,
        input: &mut Input<R>,
    ) -> io::Result<Option<(BlockHeader, CheckType)>> {
        loop {
            let check = match self.check {
                Some(check) => check,
                None => self.stream_header(input)?,
            };
            let start = input.position;
            let [size] = input.array()?;
            if size != 0 {
                let mut header = vec![size; BlockHeader::len(size)];
                input.read_exact(&mut header[1..])?;
                return Ok(Some((BlockHeader::parse(&header, WINDOW_MAX)?, check)));
            }
            let backward_size = self.index(input, start)?;
            footer(input, check, backward_size)?;
            self.check = None;
            self.first = false;
            if stream_padding(input)? {
                return Ok(None);
            }
        }
    }

    /// Takes note of a block's unpadded and unpacked size.
    pub fn add(&mut self, (unpadded, uncompressed): (u64, u64)) {
        self.records.add(unpadded, uncompressed);
    }

    /// Section 2.1.1.
    fn stream_header<R: BufRead>(&mut self, input: &mut Input<R>) -> io::Result<CheckType> {
        // What is shorter than a header and no start of one is not a stream that was cut.
        if !self.first && !input.reader.fill_buf()?.starts_with(&MAGIC[..1]) {
            return Err(trailing(FORMAT).into());
        }
        let header: [u8; 12] = input.array()?;
        let fields = Fields::new("xz stream header", &header);
        if !header.starts_with(MAGIC) {
            return Err(if self.first {
                Error::corrupt("the data is not xz")
            } else {
                trailing(FORMAT)
            }
            .into());
        }
        if crc32fast::hash(&header[6..8]) != fields.le32(8)? {
            return Err(Error::corrupt("the xz stream header does not match its CRC32").into());
        }
        if header[6] != 0 {
            return Err(Error::unsupported(format!(
                "xz stream flags {:02x?} are not known",
                &header[6..8]
            ))
            .into());
        }
        let check = CheckType::new(header[7])?;
        self.check = Some(check);
        self.records = Records::default();
        Ok(check)
    }

    /// Section 4, its indicator byte already read. Returns its size as the footer stores it.
    fn index<R: Read>(&mut self, input: &mut Input<R>, start: u64) -> io::Result<u64> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[0]);
        let mut byte = |input: &mut Input<R>| {
            let byte: [u8; 1] = input.array()?;
            hasher.update(&byte);
            io::Result::Ok(byte[0])
        };
        let count = number(|| byte(input))?;
        let mut records = Records::default();
        if count != self.records.count {
            let blocks = self.records.count;
            return Err(Error::corrupt(format!(
                "the xz index names {count} blocks, {blocks} are there"
            ))
            .into());
        }
        for _ in 0..count {
            let unpadded = number(|| byte(input))?;
            records.add(unpadded, number(|| byte(input))?);
        }
        while !(input.position - start).is_multiple_of(4) {
            if byte(input)? != 0 {
                return Err(Error::corrupt("xz padding is not zero").into());
            }
        }
        if records.digest.finalize() != std::mem::take(&mut self.records).digest.finalize() {
            return Err(Error::corrupt("the xz index does not match its blocks").into());
        }
        if hasher.finalize() != u32::from_le_bytes(input.array()?) {
            return Err(Error::corrupt("the xz index does not match its CRC32").into());
        }
        Ok((input.position - start) / 4 - 1)
    }
}

impl Records {
    fn add(&mut self, unpadded: u64, uncompressed: u64) {
        self.count += 1;
        self.digest.update(unpadded.to_le_bytes());
        self.digest.update(uncompressed.to_le_bytes());
    }
}

/// Section 2.1.2.
fn footer<R: Read>(input: &mut Input<R>, check: CheckType, backward_size: u64) -> io::Result<()> {
    let footer: [u8; 12] = input.array()?;
    let fields = Fields::new("xz stream footer", &footer);
    let sound = fields.le32(0)? == crc32fast::hash(fields.slice(4, 6)?)
        && u64::from(fields.le32(4)?) == backward_size
        && fields.array(8)? == [0, check.id()]
        && fields.slice(10, 2)? == FOOTER_MAGIC;
    if sound {
        Ok(())
    } else {
        Err(Error::corrupt("the xz stream footer is damaged").into())
    }
}

/// Zeroes behind a stream, in groups of four (section 2.2); `true` where the input ends with them.
fn stream_padding<R: BufRead>(input: &mut Input<R>) -> io::Result<bool> {
    let mut padding = 0;
    loop {
        let bytes = input.reader.fill_buf()?;
        let zeroes = bytes.iter().take_while(|&&byte| byte == 0).count();
        let at_end = bytes.is_empty();
        let more = zeroes > 0 && zeroes == bytes.len();
        input.reader.consume(zeroes);
        padding += zeroes % 4;
        if !more {
            return if padding.is_multiple_of(4) {
                Ok(at_end)
            } else {
                Err(trailing(FORMAT).into())
            };
        }
    }
}
