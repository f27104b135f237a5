//! Blocks: a header that names filters, and data.

use std::io::{BufRead, Read};

use lzma_rust2::Lzma2Reader;
use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::filter::delta::DeltaReader;

use super::check::CheckType;
use super::{FORMAT, fill, number};
use crate::bytes::{Fields, to_u64, to_usize};
use crate::codec::stream::{Sink, explain};
use crate::error::{Error, Result};

/// The largest dictionary: four times that of `xz -9`. The decoder takes so much memory for it.
const DICTIONARY_MAX: u64 = 256 << 20;
/// The smallest dictionary that a header can ask for.
const DICTIONARY_MIN: u64 = 4096;
/// The largest block that is decoded beside others, all in memory; those of `xz -6 -T0` have 24 MiB.
const PACKED_MAX: u64 = 64 << 20;
/// Decoded at once.
const PIECE_BYTES: usize = 256 << 10;
const FILTER_DELTA: u64 = 3;
const FILTER_LZMA2: u64 = 0x21;

/// A filter that is undone after LZMA2.
#[derive(Debug, Clone, Copy)]
enum Filter {
    Delta {
        distance: usize,
    },
    /// Branches of a processor, by the filter's ID.
    Branch {
        id: u64,
        start: usize,
    },
}

/// What a block header says.
#[derive(Debug)]
pub(super) struct BlockHeader {
    header_bytes: u64,
    compressed: Option<u64>,
    uncompressed: Option<u64>,
    /// In the order of encoding, LZMA2 left out.
    filters: Vec<Filter>,
    dictionary: u32,
}

impl BlockHeader {
    /// Reads the header that begins with `size`, which has been read.
    pub fn read(source: &mut dyn BufRead, size: u8) -> Result<Self> {
        let mut header = vec![size; (usize::from(size) + 1) * 4];
        fill(source, &mut header[1..])?;
        let end = header.len() - 4;
        let fields = Fields::new("xz block header", &header);
        if fields.le32(end)? != crc32fast::hash(&header[..end]) {
            return Err(Error::corrupt("an xz block header does not match its CRC32"));
        }
        let fields = Fields::new("xz block header", &header[..end]);
        let mut at = 1;
        let mut byte = || {
            at += 1;
            fields.u8(at - 1)
        };
        let flags = byte()?;
        let compressed = if flags & 0x40 != 0 { Some(number(&mut byte)?) } else { None };
        let uncompressed = if flags & 0x80 != 0 { Some(number(&mut byte)?) } else { None };
        let (mut filters, mut dictionary) = (Vec::new(), None);
        for _ in 0..=flags & 3 {
            let id = number(&mut byte)?;
            let len = to_usize(number(&mut byte)?.min(to_u64(header.len())))?;
            let properties: Vec<u8> = (0..len).map(|_| byte()).collect::<Result<_>>()?;
            match (id, &properties[..]) {
                _ if dictionary.is_some() => return Err(Error::corrupt("an xz filter stands behind LZMA2")),
                (FILTER_LZMA2, &[bits]) => dictionary = Some(dictionary_size(bits)?),
                (FILTER_DELTA, &[distance]) => filters.push(Filter::Delta { distance: usize::from(distance) + 1 }),
                (4..=11, []) => filters.push(Filter::Branch { id, start: 0 }),
                (4..=11, &[a, b, c, d]) => {
                    let start = to_usize(u32::from_le_bytes([a, b, c, d]).into())?;
                    filters.push(Filter::Branch { id, start });
                }
                _ => return Err(Error::unsupported(format!("xz filter {id:#x} with {len} bytes of properties"))),
            }
        }
        let dictionary = dictionary.ok_or_else(|| Error::unsupported("an xz block without LZMA2"))?;
        Ok(Self { header_bytes: to_u64(header.len()), compressed, uncompressed, filters, dictionary })
    }

    /// All of the block, where the header tells its sizes and they are small enough.
    pub fn packed(self, source: &mut dyn BufRead, check: CheckType) -> Result<Result<Packed, Self>> {
        let (Some(compressed), Some(uncompressed)) = (self.compressed, self.uncompressed) else { return Ok(Err(self)) };
        if compressed.max(uncompressed) > PACKED_MAX {
            return Ok(Err(self));
        }
        let padded = compressed.next_multiple_of(4) + to_u64(check.len());
        let mut bytes = Vec::new();
        // Read as far as there is something, not as far as the header claims.
        let result = source.take(padded).read_to_end(&mut bytes);
        result.map_err(|error| explain(FORMAT, error))?;
        if to_u64(bytes.len()) < padded {
            return Err(super::cut_short(FORMAT));
        }
        Ok(Ok(Packed { header: self, check, bytes, compressed, uncompressed }))
    }

    /// Decodes the block, whose data come next, and returns its unpadded and uncompressed size.
    pub fn decode(&self, mut source: &mut dyn BufRead, check: CheckType, sink: &mut Sink) -> Result<(u64, u64)> {
        let mut counted = Counted { source: &mut source, count: 0 };
        let mut sum = check.start();
        let mut uncompressed = 0;
        {
            let mut reader = self.reader(&mut counted)?;
            let mut buf = vec![0; PIECE_BYTES];
            loop {
                let len = reader.read(&mut buf).map_err(|error| explain(FORMAT, error))?;
                if len == 0 {
                    break;
                }
                uncompressed += to_u64(len);
                if self.uncompressed.is_some_and(|declared| uncompressed > declared) {
                    break;
                }
                sum.update(&buf[..len]);
                sink(&buf[..len])?;
            }
        }
        let compressed = counted.count;
        if self.uncompressed.is_some_and(|declared| declared != uncompressed)
            || self.compressed.is_some_and(|declared| declared != compressed)
        {
            return Err(Error::corrupt("an xz block has another size than its header says"));
        }
        let mut tail = vec![0; to_usize(compressed.next_multiple_of(4) - compressed)? + check.len()];
        fill(source, &mut tail)?;
        let (padding, stored) = tail.split_at(tail.len() - check.len());
        if padding.iter().any(|&byte| byte != 0) || stored != sum.finish() {
            return Err(Error::corrupt("the content of an xz block does not match its checksum"));
        }
        Ok((self.header_bytes + compressed + to_u64(check.len()), uncompressed))
    }

    /// LZMA2 and then the other filters, last one first.
    fn reader<'a>(&self, source: &'a mut dyn Read) -> Result<Box<dyn Read + 'a>> {
        // No distance reaches beyond what there is, and the decoder clears all of its dictionary.
        let needed = self.uncompressed.unwrap_or(u64::MAX).max(DICTIONARY_MIN);
        let dictionary = u32::try_from(needed).unwrap_or(u32::MAX).min(self.dictionary);
        let mut reader: Box<dyn Read> = Box::new(Lzma2Reader::new(source, dictionary, None));
        for filter in self.filters.iter().rev() {
            reader = match *filter {
                Filter::Delta { distance } => Box::new(DeltaReader::new(reader, distance)),
                Filter::Branch { id, start } => Box::new(match id {
                    4 => BcjReader::new_x86(reader, start),
                    5 => BcjReader::new_ppc(reader, start),
                    6 => BcjReader::new_ia64(reader, start),
                    7 => BcjReader::new_arm(reader, start),
                    8 => BcjReader::new_arm_thumb(reader, start),
                    9 => BcjReader::new_sparc(reader, start),
                    10 => BcjReader::new_arm64(reader, start),
                    11 => BcjReader::new_riscv(reader, start),
                    _ => return Err(Error::internal("only known filters are kept")),
                }),
            };
        }
        Ok(reader)
    }
}

/// The dictionary size of the one-byte LZMA2 property (section 5.3.1).
fn dictionary_size(bits: u8) -> Result<u32> {
    let mantissa = 2 | u64::from(bits & 1);
    let size = mantissa << (u32::from(bits & 63) / 2 + 11);
    u32::try_from(size).ok().filter(|_| bits <= 40 && size <= DICTIONARY_MAX).ok_or_else(|| {
        Error::unsupported(format!("an xz dictionary of {size} bytes, at most {DICTIONARY_MAX} are allowed"))
            .with_hint("decompress it first: xz -d")
    })
}

/// A whole block in memory.
#[derive(Debug)]
pub(super) struct Packed {
    header: BlockHeader,
    check: CheckType,
    /// Data, padding and check.
    bytes: Vec<u8>,
    compressed: u64,
    uncompressed: u64,
}

impl Packed {
    /// Unpadded and uncompressed size, as the header says and [`decode`](Self::decode) verifies.
    pub fn sizes(&self) -> (u64, u64) {
        (self.header.header_bytes + self.compressed + to_u64(self.check.len()), self.uncompressed)
    }

    pub fn decode(&self) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.header.decode(&mut &self.bytes[..], self.check, &mut |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(content)
    }
}

/// Counts what is read.
struct Counted<'a> {
    source: &'a mut dyn BufRead,
    count: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = self.source.read(buf)?;
        self.count += to_u64(len);
        Ok(len)
    }
}
