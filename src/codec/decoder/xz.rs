//! xz streams in a row (The .xz File Format, 1.2.1; section numbers below are its).
//!
//! ```text
//!   stream:  header 12 │ block … │ index │ footer 12 │ padding of zeroes, n * 4
//!   block:   header │ LZMA2 data │ zeroes to 4 │ check          index:  a record (sizes) for every block
//! ```
//!
//! The container is read here and not by the crate, which takes any dictionary size that a file asks for and goes one
//! level of recursion deeper with every empty stream.

use std::io::{self, BufRead, Read};

use lzma_rust2::Lzma2Reader;
use lzma_rust2::filter::bcj::BcjReader;
use sha2::{Digest, Sha256};

use super::crc64::Crc64;
use super::{WINDOW_MAX, trailing};
use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Result};

const HEADER_MAGIC: &[u8] = b"\xfd7zXZ\0";
const FOOTER_MAGIC: &[u8] = b"YZ";
const FILTER_LZMA2: u64 = 0x21;
/// The smallest dictionary there is (section 5.3.1).
const DICTIONARY_MIN: u32 = 4096;

/// The input with a count of what was read.
struct Input<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buf)?;
        self.position = self.position.saturating_add(to_u64(len));
        Ok(len)
    }
}

impl<R: Read> Input<R> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Zeroes up to the next multiple of four, counted from `start`.
    fn padding(&mut self, start: u64) -> io::Result<()> {
        while !(self.position - start).is_multiple_of(4) {
            if self.array::<1>()? != [0] {
                return Err(Error::corrupt("xz padding is not zero").into());
            }
        }
        Ok(())
    }
}

/// The filters of a block over the input.
enum Chain<R: Read> {
    Lzma2(Box<Lzma2Reader<Input<R>>>),
    Bcj(Box<BcjReader<Lzma2Reader<Input<R>>>>),
}

impl<R: Read> Chain<R> {
    fn new(header: &BlockHeader, input: Input<R>) -> Result<Self> {
        // A block cannot refer to more than it holds, and many small blocks should not each clear a large dictionary.
        let needed = header.uncompressed.and_then(|size| u32::try_from(size).ok()).unwrap_or(u32::MAX);
        let lzma2 = Lzma2Reader::new(input, header.dictionary.min(needed.max(DICTIONARY_MIN)), None);
        let Some((filter, start)) = header.bcj else { return Ok(Self::Lzma2(Box::new(lzma2))) };
        Ok(Self::Bcj(Box::new(match filter {
            4 => BcjReader::new_x86(lzma2, start),
            5 => BcjReader::new_ppc(lzma2, start),
            6 => BcjReader::new_ia64(lzma2, start),
            7 => BcjReader::new_arm(lzma2, start),
            8 => BcjReader::new_arm_thumb(lzma2, start),
            9 => BcjReader::new_sparc(lzma2, start),
            10 => BcjReader::new_arm64(lzma2, start),
            11 => BcjReader::new_riscv(lzma2, start),
            _ => return Err(Error::unsupported(format!("xz filter {filter:#x} is not known"))),
        })))
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Lzma2(reader) => reader.read(buf),
            Self::Bcj(reader) => reader.read(buf),
        }
    }

    fn into_input(self) -> Input<R> {
        match self {
            Self::Lzma2(reader) => reader.into_inner(),
            Self::Bcj(reader) => reader.into_inner().into_inner(),
        }
    }
}

/// What a block header says (section 3.1).
struct BlockHeader {
    /// BCJ filter id and its start offset.
    bcj: Option<(u64, usize)>,
    dictionary: u32,
    compressed: Option<u64>,
    uncompressed: Option<u64>,
}

/// The check of a block's content, by the id in the stream flags (section 2.1.1.2).
enum Check {
    None,
    Crc32(crc32fast::Hasher),
    Crc64(Crc64),
    Sha256(Box<Sha256>),
}

impl Check {
    fn new(id: u8) -> Result<Self> {
        Ok(match id {
            0 => Self::None,
            1 => Self::Crc32(crc32fast::Hasher::new()),
            4 => Self::Crc64(Crc64::new()),
            10 => Self::Sha256(Box::default()),
            _ => return Err(Error::unsupported(format!("xz check {id} is not known (0, 1, 4 and 10 are)"))),
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32(crc) => crc.update(bytes),
            Self::Crc64(crc) => crc.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32(crc) => crc.finalize().to_le_bytes().to_vec(),
            Self::Crc64(crc) => crc.value().to_le_bytes().to_vec(),
            Self::Sha256(sha) => sha.finalize().to_vec(),
        }
    }
}

/// A block being read.
struct Block<R: Read> {
    chain: Chain<R>,
    header: BlockHeader,
    check: Check,
    /// Where its header and its data begin.
    start: u64,
    data_start: u64,
    uncompressed: u64,
}

/// Sizes of blocks, kept as a digest: a stream may have any number of them.
#[derive(Default)]
struct Records {
    count: u64,
    digest: Sha256,
}

impl Records {
    fn add(&mut self, unpadded: u64, uncompressed: u64) {
        self.count += 1;
        self.digest.update(unpadded.to_le_bytes());
        self.digest.update(uncompressed.to_le_bytes());
    }
}

enum State<R: Read> {
    /// At the start of a stream; the input must not end here.
    Stream(Input<R>),
    /// At a block or the index.
    Between(Input<R>),
    Block(Box<Block<R>>),
    /// At the end, or after a failure.
    Ended,
}

pub(super) struct Decoder<R: Read> {
    state: State<R>,
    /// Stream flags of the current stream.
    flags: [u8; 2],
    records: Records,
}

impl<R: BufRead> Decoder<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { state: State::Stream(Input { reader, position: 0 }), flags: [0; 2], records: Records::default() }
    }

    /// Section 2.1.1.
    fn stream_header(&mut self, mut input: Input<R>) -> io::Result<State<R>> {
        let header: [u8; 12] = input.array()?;
        let fields = Fields::new("xz stream header", &header);
        if fields.slice(0, 6)? != HEADER_MAGIC {
            return Err(trailing().into());
        }
        self.flags = fields.array(6)?;
        if crc32fast::hash(&self.flags) != fields.le32(8)? {
            return Err(Error::corrupt("the xz stream header does not match its CRC32").into());
        }
        if self.flags[0] != 0 {
            return Err(Error::unsupported(format!("xz stream flags {:02x?} are not known", self.flags)).into());
        }
        Check::new(self.flags[1])?;
        self.records = Records::default();
        Ok(State::Between(input))
    }

    /// A block header, or the index and all that follows it.
    fn block_or_index(&mut self, mut input: Input<R>) -> io::Result<State<R>> {
        let start = input.position;
        let [size] = input.array()?;
        if size == 0 {
            let backward_size = self.index(&mut input, start)?;
            return self.footer(input, backward_size);
        }
        let mut bytes = vec![0; (usize::from(size) + 1) * 4];
        bytes[0] = size;
        input.read_exact(&mut bytes[1..])?;
        let header = block_header(&bytes)?;
        let data_start = input.position;
        let chain = Chain::new(&header, input)?;
        let check = Check::new(self.flags[1])?;
        Ok(State::Block(Box::new(Block { chain, header, check, start, data_start, uncompressed: 0 })))
    }

    /// Sections 3.3 and 3.4: padding and check.
    fn end_block(&mut self, block: Block<R>) -> io::Result<State<R>> {
        let Block { chain, header, check, start, data_start, uncompressed } = block;
        let mut input = chain.into_input();
        let compressed = input.position - data_start;
        for (what, announced, found) in
            [("packed", header.compressed, compressed), ("unpacked", header.uncompressed, uncompressed)]
        {
            if let Some(announced) = announced.filter(|&announced| announced != found) {
                return Err(Error::corrupt(format!(
                    "an xz block has {found} {what} bytes, its header says {announced}"
                ))
                .into());
            }
        }
        let unpadded = input.position - start;
        input.padding(start)?;
        let actual = check.finish();
        let mut stored = vec![0; actual.len()];
        input.read_exact(&mut stored)?;
        if stored != actual {
            return Err(Error::corrupt("the content of an xz block does not match its check").into());
        }
        self.records.add(unpadded + to_u64(stored.len()), uncompressed);
        Ok(State::Between(input))
    }

    /// Section 4, its indicator byte already read. Returns its size as the footer stores it.
    fn index(&mut self, input: &mut Input<R>, start: u64) -> io::Result<u64> {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[0]);
        let count = number_of(input, &mut hasher)?;
        let mut records = Records::default();
        if count != self.records.count {
            return Err(
                Error::corrupt(format!("an xz index of {count} blocks, there are {}", self.records.count)).into()
            );
        }
        for _ in 0..count {
            let unpadded = number_of(input, &mut hasher)?;
            records.add(unpadded, number_of(input, &mut hasher)?);
        }
        if records.digest.finalize() != std::mem::take(&mut self.records).digest.finalize() {
            return Err(Error::corrupt("the xz index does not match its blocks").into());
        }
        let unpadded = input.position;
        input.padding(start)?;
        hasher.update(&[0; 3][..to_usize(input.position - unpadded)?]);
        if hasher.finalize() != u32::from_le_bytes(input.array()?) {
            return Err(Error::corrupt("the xz index does not match its CRC32").into());
        }
        Ok((input.position - start) / 4 - 1)
    }

    /// Section 2.1.2 and the padding behind it (2.2).
    fn footer(&mut self, mut input: Input<R>, backward_size: u64) -> io::Result<State<R>> {
        let footer: [u8; 12] = input.array()?;
        let fields = Fields::new("xz stream footer", &footer);
        let sound = fields.le32(0)? == crc32fast::hash(fields.slice(4, 6)?)
            && u64::from(fields.le32(4)?) == backward_size
            && fields.array(8)? == self.flags
            && fields.slice(10, 2)? == FOOTER_MAGIC;
        if !sound {
            return Err(Error::corrupt("the xz stream footer is damaged").into());
        }
        loop {
            match input.reader.fill_buf()? {
                [] => return Ok(State::Ended),
                [0, ..] => {
                    if input.array()? != [0; 4] {
                        return Err(trailing().into());
                    }
                }
                _ => return Ok(State::Stream(input)),
            }
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Stream(input) => self.stream_header(input)?,
                State::Between(input) => self.block_or_index(input)?,
                State::Block(mut block) => {
                    let len = block.chain.read(buf).map_err(corrupt)?;
                    if len > 0 {
                        block.check.update(&buf[..len]);
                        block.uncompressed = block.uncompressed.saturating_add(to_u64(len));
                        self.state = State::Block(block);
                        return Ok(len);
                    }
                    self.end_block(*block)?
                }
                State::Ended => return Ok(0),
            };
        }
    }
}

/// The crate calls damage "invalid input"; only an early end has a meaning of its own.
fn corrupt(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => error,
        _ => Error::corrupt("the LZMA2 data is damaged").with_source(error).into(),
    }
}

fn block_header(bytes: &[u8]) -> Result<BlockHeader> {
    let len = bytes.len() - 4;
    if crc32fast::hash(&bytes[..len]) != Fields::new("xz block header", bytes).le32(len)? {
        return Err(Error::corrupt("an xz block header does not match its CRC32"));
    }
    let fields = Fields::new("xz block header", &bytes[..len]);
    let flags = fields.u8(1)?;
    if flags & 0x3c != 0 {
        return Err(Error::unsupported(format!("xz block flags {flags:#04x} are not known")));
    }
    let mut at = 2;
    let mut size = |flag| if flags & flag == 0 { Ok(None) } else { number(&fields, &mut at).map(Some) };
    let (compressed, uncompressed) = (size(0x40)?, size(0x80)?);
    let mut bcj = None;
    for left in (0..=flags & 3).rev() {
        let id = number(&fields, &mut at)?;
        let property_bytes = to_usize(number(&fields, &mut at)?)?;
        let properties = fields.slice(at, property_bytes)?;
        at += property_bytes;
        match (id, properties, left, bcj) {
            (FILTER_LZMA2, &[bits], 0, _) => {
                return Ok(BlockHeader { bcj, dictionary: dictionary(bits)?, compressed, uncompressed });
            }
            (4..=11, [], 1.., None) => bcj = Some((id, 0)),
            (4..=11, &[a, b, c, d], 1.., None) => bcj = Some((id, to_usize(u32::from_le_bytes([a, b, c, d]).into())?)),
            _ => break,
        }
    }
    Err(Error::unsupported("an xz filter chain other than LZMA2 with at most one BCJ filter")
        .with_hint("pack the file again with xz and its default filters"))
}

/// The dictionary size of the one-byte LZMA2 property (section 5.3.1).
fn dictionary(bits: u8) -> Result<u32> {
    let size = (2 | u64::from(bits & 1)) << (u32::from(bits & 63) / 2 + 11);
    u32::try_from(size).ok().filter(|_| bits <= 40 && size <= WINDOW_MAX).ok_or_else(|| {
        Error::unsupported(format!("needs a dictionary of {size} bytes, at most {WINDOW_MAX} are allowed"))
            .with_hint("pack the file again with xz -9 or less")
    })
}

/// A variable-length number: seven bits a byte, least significant first, at most nine bytes (section 1.2).
fn number(fields: &Fields, at: &mut usize) -> Result<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = fields.u8(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::corrupt("a number of an xz header is longer than nine bytes"))
}

/// The same in the index, added to its checksum.
fn number_of<R: Read>(input: &mut Input<R>, hasher: &mut crc32fast::Hasher) -> io::Result<u64> {
    let mut bytes = Vec::new();
    while bytes.len() < 9 {
        let byte: [u8; 1] = input.array()?;
        hasher.update(&byte);
        bytes.extend(byte);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    Ok(number(&Fields::new("xz index", &bytes), &mut 0)?)
}
