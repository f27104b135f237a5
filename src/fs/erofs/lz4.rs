//! LZ4 blocks of which only the beginning is wanted: another file's data goes on in them, or they have no end of their own.

use crate::bytes::Fields;
use crate::error::{Error, Result};

/// A length of 15 goes on in further bytes, each of 255 too.
const LONG: usize = 15;
/// The shortest match.
const MATCH_MIN: usize = 4;

/// Fills `output` with the beginning of what the block `input` holds (lz4's "LZ4 Block Format Description").
pub(super) fn decode_beginning(input: &[u8], output: &mut [u8]) -> Result<()> {
    let fields = Fields::new("LZ4 block", input);
    let mut at = 0;
    let mut filled = 0;
    while filled < output.len() {
        let token = fields.u8(at)?;
        at += 1;
        let literals = length(&fields, &mut at, token >> 4)?.min(output.len() - filled);
        output[filled..filled + literals].copy_from_slice(fields.slice(at, literals)?);
        at += literals;
        filled += literals;
        if filled == output.len() {
            break;
        }
        let distance = usize::from(fields.le16(at)?);
        at += 2;
        let len = (length(&fields, &mut at, token & 15)? + MATCH_MIN).min(output.len() - filled);
        if distance == 0 || distance > filled {
            return Err(Error::corrupt(format!(
                "a match {distance} bytes back, {filled} bytes into an LZ4 block"
            )));
        }
        repeat(output, filled, distance, len);
        filled += len;
    }
    Ok(())
}

/// A length that begins with four bits of a token and goes on at `at`.
fn length(fields: &Fields<'_>, at: &mut usize, begin: u8) -> Result<usize> {
    let mut len = usize::from(begin);
    if len < LONG {
        return Ok(len);
    }
    loop {
        let more = fields.u8(*at)?;
        *at += 1;
        len += usize::from(more);
        if more != u8::MAX {
            return Ok(len);
        }
    }
}

/// Copies `len` bytes that begin `distance` before `at` to `at`; they may overlap.
fn repeat(output: &mut [u8], at: usize, distance: usize, len: usize) {
    let start = at - distance;
    let mut copied = 0;
    while copied < len {
        // What was copied is part of the pattern from then on.
        let step = (len - copied).min(distance + copied);
        output.copy_within(start..start + step, at + copied);
        copied += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;

    #[test]
    fn every_beginning_comes_back() {
        let mut random = Random::new(1);
        let mut content = b"abcabcabcabcabcabcabcabcabcabc".repeat(9);
        content.extend(random.bytes(300));
        content.extend(vec![b'x'; 700]);
        content.extend_from_slice(&content.clone());
        let packed = lz4_flex::block::compress(&content);
        for len in 0..=content.len() {
            let mut output = vec![0; len];
            decode_beginning(&packed, &mut output).unwrap();
            assert!(output == content[..len], "{len}");
        }
        assert!(decode_beginning(&packed, &mut vec![0; content.len() + 1]).is_err());
    }

    #[test]
    fn any_bytes_give_a_result_or_an_error() {
        let mut random = Random::new(2);
        for _ in 0..20_000 {
            let len = random.below(60);
            let input = random.bytes(len);
            let _ = decode_beginning(&input, &mut [0; 200]);
        }
        assert!(
            decode_beginning(&[0x0f, 0, 0], &mut [0; 9]).is_err(),
            "a match of nothing"
        );
        assert!(
            decode_beginning(&[0x1f, 7, 2, 0], &mut [0; 9]).is_err(),
            "a match before the beginning"
        );
        assert!(decode_beginning(&[0xff; 40], &mut [0; 9]).is_err());
    }
}
