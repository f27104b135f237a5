//! Block headers: sizes, and the filters that a block went through (sections 3.1 and 5).

use std::io::{self, Read};

use lzma_rust2::Lzma2Reader;
use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::filter::delta::DeltaReader;

use super::check::{Check, CheckType};
use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Reason, Result};

/// The smallest dictionary that a header can ask for.
const DICTIONARY_MIN: u64 = 4096;
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
pub(crate) struct BlockHeader {
    header_bytes: u64,
    pub(super) compressed: Option<u64>,
    pub(super) uncompressed: Option<u64>,
    /// In the order of encoding, LZMA2 left out.
    filters: Vec<Filter>,
    dictionary: u32,
}

impl BlockHeader {
    /// The length in bytes of a header that begins with `size` (not 0).
    pub(crate) fn len(size: u8) -> usize {
        (usize::from(size) + 1) * 4
    }

    /// Parses a whole header, with its size byte and checksum. A dictionary above `dictionary_max` is refused: the
    /// decoder takes so much memory for it.
    pub(crate) fn parse(header: &[u8], dictionary_max: u64) -> Result<Self> {
        let fields = Fields::new("xz block header", header);
        let end = header.len().saturating_sub(4);
        if fields.le32(end)? != crc32fast::hash(&header[..end]) {
            return Err(Error::corrupt(
                "an xz block header does not match its CRC32",
            ));
        }
        let fields = Fields::new("xz block header", &header[..end]);
        let flags = fields.u8(1)?;
        if flags & 0x3c != 0 {
            return Err(Error::unsupported(format!(
                "xz block flags {flags:#04x} are not known"
            )));
        }
        let mut at = 2;
        let mut next = || number(|| next_byte(&fields, &mut at));
        let compressed = if flags & 0x40 != 0 {
            Some(next()?)
        } else {
            None
        };
        let uncompressed = if flags & 0x80 != 0 {
            Some(next()?)
        } else {
            None
        };
        let mut filters = Vec::new();
        let mut dictionary = None;
        for _ in 0..=flags & 3 {
            let id = number(|| next_byte(&fields, &mut at))?;
            let len = to_usize(number(|| next_byte(&fields, &mut at))?)?;
            let properties = fields.slice(at, len)?;
            at += len;
            match (id, properties) {
                _ if dictionary.is_some() => {
                    return Err(Error::corrupt("an xz filter stands behind LZMA2"));
                }
                (FILTER_LZMA2, &[bits]) => {
                    dictionary = Some(dictionary_size(bits, dictionary_max)?)
                }
                (FILTER_DELTA, &[distance]) => filters.push(Filter::Delta {
                    distance: usize::from(distance) + 1,
                }),
                (4..=11, []) => filters.push(Filter::Branch { id, start: 0 }),
                (4..=11, &[a, b, c, d]) => {
                    let start = to_usize(u32::from_le_bytes([a, b, c, d]).into())?;
                    filters.push(Filter::Branch { id, start });
                }
                _ => {
                    return Err(Error::unsupported(format!(
                        "xz filter {id:#x} with {len} bytes of properties"
                    )));
                }
            }
        }
        let dictionary =
            dictionary.ok_or_else(|| Error::unsupported("an xz block without LZMA2"))?;
        if header[at..end].iter().any(|&byte| byte != 0) {
            return Err(Error::unsupported(
                "an xz block header has more fields than are known",
            ));
        }
        Ok(Self {
            header_bytes: to_u64(header.len()),
            compressed,
            uncompressed,
            filters,
            dictionary,
        })
    }

    /// The dictionary in use: no distance reaches beyond what there is, and the decoder clears all of its dictionary.
    fn window(&self) -> u32 {
        let needed = self.uncompressed.unwrap_or(u64::MAX).max(DICTIONARY_MIN);
        u32::try_from(needed)
            .unwrap_or(u32::MAX)
            .min(self.dictionary)
    }

    /// Bytes that the decoder takes, its tables of probabilities left out.
    pub(super) fn decoder_memory(&self) -> u64 {
        self.window().into()
    }

    /// Unpacks the data that `source` gives next: LZMA2 and then the other filters, last one first. No more is read
    /// than belongs to the data.
    pub(crate) fn reader<'a>(&self, source: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
        let mut reader: Box<dyn Read> = Box::new(Lzma2Reader::new(source, self.window(), None));
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

    /// Reads and verifies what stands behind data of these sizes, packed and unpacked: padding and check.
    /// Returns the block's unpadded and unpacked size, as the index has them.
    pub(super) fn end(
        &self,
        source: &mut impl Read,
        check: Check,
        sizes: (u64, u64),
    ) -> io::Result<(u64, u64)> {
        let (compressed, uncompressed) = sizes;
        let told = [
            ("packed", self.compressed, compressed),
            ("unpacked", self.uncompressed, uncompressed),
        ];
        for (what, told, found) in told {
            if let Some(told) = told.filter(|&told| told != found) {
                let message =
                    format!("an xz block has {found} {what} bytes, its header says {told}");
                return Err(Error::corrupt(message).into());
            }
        }
        let actual = check.finish();
        let mut tail =
            vec![0; to_usize(compressed.next_multiple_of(4) - compressed)? + actual.len()];
        source.read_exact(&mut tail)?;
        let (padding, stored) = tail.split_at(tail.len() - actual.len());
        if padding.iter().any(|&byte| byte != 0) {
            return Err(Error::corrupt("xz padding is not zero").into());
        }
        if stored != actual {
            return Err(
                Error::corrupt("the content of an xz block does not match its check").into(),
            );
        }
        Ok((
            self.header_bytes + compressed + to_u64(stored.len()),
            uncompressed,
        ))
    }

    /// The block's unpadded and unpacked size, with data of these sizes.
    pub(super) fn sizes(&self, compressed: u64, uncompressed: u64, check: CheckType) -> (u64, u64) {
        (
            self.header_bytes + compressed + to_u64(check.len()),
            uncompressed,
        )
    }

    /// Refuses more unpacked bytes than the header tells.
    pub(super) fn check_room(&self, unpacked: u64) -> Result<()> {
        match self.uncompressed {
            Some(told) if unpacked > told => Err(Error::corrupt(format!(
                "an xz block holds more than the {told} bytes that its header says"
            ))),
            _ => Ok(()),
        }
    }
}

fn next_byte(fields: &Fields, at: &mut usize) -> Result<u8> {
    let byte = fields.u8(*at)?;
    *at += 1;
    Ok(byte)
}

/// A variable-length number: seven bits a byte, least significant first, at most nine bytes (section 1.2).
pub(super) fn number<E: From<Error>>(mut next: impl FnMut() -> Result<u8, E>) -> Result<u64, E> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte == 0 && shift > 0 {
            return Err(
                Error::corrupt("an xz number is written with more bytes than it needs").into(),
            );
        }
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::corrupt("an xz number has more than nine bytes").into())
}

/// The dictionary size of the one-byte LZMA2 property (section 5.3.1).
fn dictionary_size(bits: u8, max: u64) -> Result<u32> {
    let mantissa = 2 | u64::from(bits & 1);
    let size = mantissa << (u32::from(bits & 63) / 2 + 11);
    u32::try_from(size)
        .ok()
        .filter(|_| bits <= 40 && size <= max)
        .ok_or_else(|| {
            Error::unsupported(format!(
                "an xz dictionary of {size} bytes, at most {max} are allowed"
            ))
            .because(Reason::Limit)
            .with_hint("pack the file again with xz -9 or less")
        })
}
