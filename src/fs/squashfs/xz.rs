//! One xz stream of one block, as `mksquashfs -comp xz` writes them (The .xz File Format, 1.2.1).
//!
//! ```text
//!  stream header 12 │ block header: filters, crc32 │ LZMA2 data │ pad to 4 │ crc32 of the content │ index │ footer
//! ```
//!
//! The container is read here and not by the crate's own reader because the dictionary size must be bounded
//! before the decoder allocates it. Index and footer repeat what is known and are not looked at.

use super::stream::{WINDOW_MAX, read_to_end};
use crate::bytes::Fields;
use crate::codec::xz::BlockHeader;
use crate::error::{Error, Result};

const MAGIC: &[u8] = b"\xfd7zXZ\0";
const STREAM_HEADER_BYTES: usize = 12;
/// Check types of the stream flags: none, or CRC32 of the unpacked content.
const CHECK_NONE: u8 = 0;
const CHECK_CRC32: u8 = 1;

/// Unpacks a stream into `output` and returns how many bytes it holds.
pub(super) fn decode(input: &[u8], output: &mut [u8]) -> Result<usize> {
    let fields = Fields::new("xz stream", input);
    if fields.slice(0, 6)? != MAGIC {
        return Err(Error::corrupt("no xz stream: the magic number is missing"));
    }
    let check = fields.u8(7)?;
    if fields.u8(6)? != 0 || !matches!(check, CHECK_NONE | CHECK_CRC32) {
        return Err(Error::unsupported(format!(
            "xz check type {check}, only none (0) and CRC32 (1) are known"
        )));
    }
    let size = fields.u8(STREAM_HEADER_BYTES)?;
    if size == 0 {
        return Err(Error::corrupt("xz stream without a block"));
    }
    let header_bytes = BlockHeader::len(size);
    let header = BlockHeader::parse(
        fields.slice(STREAM_HEADER_BYTES, header_bytes)?,
        WINDOW_MAX.into(),
    )?;
    let start = STREAM_HEADER_BYTES + header_bytes;
    let mut rest = fields.slice(start, input.len() - start)?;
    let len = read_to_end(&mut header.reader(&mut rest)?, output)?;
    if check == CHECK_CRC32 {
        let stored = fields.le32((input.len() - rest.len()).next_multiple_of(4))?;
        let actual = crc32fast::hash(&output[..len]);
        if stored != actual {
            return Err(Error::corrupt(format!(
                "xz content has CRC32 {actual:08x}, {stored:08x} is stored"
            )));
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// A stream whose block header holds `filters` (flags and filter list) and whose content is stored.
    fn stream(filters: &[u8], content: &[u8]) -> Vec<u8> {
        let mut header = [&[0][..], filters].concat();
        header.resize((header.len() + 4).next_multiple_of(4) - 4, 0);
        header[0] = u8::try_from((header.len() + 4) / 4 - 1).unwrap();
        let mut stream = [MAGIC, &[0, CHECK_CRC32, 0, 0, 0, 0], &header].concat();
        stream.extend(crc32fast::hash(&header).to_le_bytes());
        if !content.is_empty() {
            stream.push(1);
            stream.extend(u16::try_from(content.len() - 1).unwrap().to_be_bytes());
            stream.extend(content);
        }
        stream.push(0);
        stream.resize(stream.len().next_multiple_of(4), 0);
        stream.extend(crc32fast::hash(content).to_le_bytes());
        stream
    }

    /// One filter, LZMA2, with a dictionary of 8 KiB.
    const LZMA2: &[u8] = &[0, 0x21, 1, 2];

    #[test]
    fn stored_content_comes_back() {
        for content in [&b""[..], b"x", b"hello world"] {
            let mut output = [0; 32];
            let len = decode(&stream(LZMA2, content), &mut output).unwrap();
            assert_eq!(&output[..len], content);
        }
        assert!(decode(&stream(LZMA2, b"too long"), &mut [0; 7]).is_err());
        assert_eq!(decode(&stream(LZMA2, b"just fit"), &mut [0; 8]).unwrap(), 8);
        // Sizes in the header are passed over; a BCJ filter leaves text alone.
        for filters in [
            &[0xc0, 0x80, 0x01, 5, 0x21, 1, 2][..],
            &[1, 4, 0, 0x21, 1, 2],
            &[1, 10, 4, 0, 0, 0, 0, 0x21, 1, 2],
        ] {
            let mut output = [0; 32];
            assert_eq!(
                decode(&stream(filters, b"some"), &mut output).unwrap(),
                4,
                "{filters:?}"
            );
            assert_eq!(&output[..4], b"some");
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let kind = |filters: &[u8]| {
            decode(&stream(filters, b"x"), &mut [0; 8])
                .unwrap_err()
                .kind()
        };
        for dictionary in [19, 40, 41, 63, 255] {
            assert_eq!(
                kind(&[0, 0x21, 1, dictionary]),
                ErrorKind::Unsupported,
                "{dictionary}"
            );
        }
        for chain in [
            &[1, 4, 0, 4, 0][..],
            &[1, 4, 1, 0, 0x21, 1, 2],
            &[1, 99, 0, 0x21, 1, 2],
        ] {
            assert_eq!(kind(chain), ErrorKind::Unsupported, "{chain:?}");
        }
        for cut in [
            &[][..],
            &[0],
            &[0, 0x21],
            &[0, 0x21, 9, 2],
            &[0x40, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert!(decode(&stream(cut, b"x"), &mut [0; 8]).is_err(), "{cut:?}");
        }
        let good = stream(LZMA2, b"content");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            // The stream header's own CRC32 and the padding are not looked at.
            let is_ignored = (8..12).contains(&at) || (35..36).contains(&at);
            assert_eq!(decode(&bad, &mut [0; 8]).is_ok(), is_ignored, "byte {at}");
            assert!(decode(&good[..at], &mut [0; 8]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn any_block_header_gives_a_result_or_an_error() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let filters: Vec<u8> = (0..12)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let byte = state.to_le_bytes()[7];
                    // Small numbers make sense more often.
                    if state >> 40 & 3 == 0 {
                        byte
                    } else {
                        [0, 1, 2, 4, 0x21, 0x80, 0x40, 5][usize::from(byte & 7)]
                    }
                })
                .collect();
            let _ = decode(&stream(&filters, b"content"), &mut [0; 64]);
        }
    }
}
