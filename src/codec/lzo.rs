//! Decompression of LZO1X blocks, the `lzo` of btrfs and squashfs.
//!
//! The format is the one described in the Linux documentation (`lzo.rst`, bitstream version 0): instructions that copy
//! literals from the input or a block from what has been written already.
//!
//! ```text
//!   0000LLLL            literals, when none came before; else a block of 2 or 3 bytes
//!   0001HLLL D..DSS     block from 16 to 48 KiB back; distance 16 KiB ends the stream
//!   001LLLLL D..DSS     block from up to 16 KiB back
//!   01LDDDSS H          block of 3 or 4 bytes from up to 2 KiB back
//!   1LLDDDSS H          block of 5 to 8 bytes from up to 2 KiB back
//! ```
//!
//! `SS` literals follow each block.

use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// Decompresses one LZO1X block of at most `limit` bytes and returns what it holds.
///
/// Damage, an output beyond `limit` and input left over after the end marker are [`crate::ErrorKind::Corrupt`].
pub fn decompress_lzo1x(input: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut decoder = Decoder {
        input,
        at: 0,
        output: Vec::new(),
        limit,
    };
    decoder.run().map_err(|fault| {
        Error::corrupt(format!(
            "LZO data {fault} at byte {} of {}, {} bytes written",
            decoder.at,
            input.len(),
            to_u64(decoder.output.len())
        ))
    })?;
    Ok(decoder.output)
}

type Step<T> = Result<T, &'static str>;

struct Decoder<'a> {
    input: &'a [u8],
    at: usize,
    output: Vec<u8>,
    limit: usize,
}

impl Decoder<'_> {
    fn run(&mut self) -> Step<()> {
        // How many literals the last instruction ended with; 4 stands for 4 or more.
        let mut state = 0;
        if let Some(&first @ 18..) = self.input.first() {
            self.at = 1;
            let count = usize::from(first) - 17;
            self.literals(count)?;
            state = count.min(4);
        }
        loop {
            let code = usize::from(self.byte()?);
            let (distance, length, tail) = match code {
                0..=15 if state == 0 => {
                    let count = 3 + self.length(code, 15)?;
                    self.literals(count)?;
                    state = 4;
                    continue;
                }
                0..=15 => {
                    let near = (usize::from(self.byte()?) << 2) + (code >> 2);
                    if state == 4 {
                        (near + 2049, 3, code)
                    } else {
                        (near + 1, 2, code)
                    }
                }
                16..=31 => {
                    let length = 2 + self.length(code & 7, 7)?;
                    let word = self.word()?;
                    let distance = 16384 + ((code & 8) << 11) + (word >> 2);
                    if distance == 16384 {
                        return if self.at == self.input.len() {
                            Ok(())
                        } else {
                            Err("goes on after its end marker")
                        };
                    }
                    (distance, length, word)
                }
                32..=63 => {
                    let length = 2 + self.length(code & 31, 31)?;
                    let word = self.word()?;
                    ((word >> 2) + 1, length, word)
                }
                _ => {
                    let distance = (usize::from(self.byte()?) << 3) + (code >> 2 & 7) + 1;
                    let length = if code < 128 {
                        3 + (code >> 5 & 1)
                    } else {
                        5 + (code >> 5 & 3)
                    };
                    (distance, length, code)
                }
            };
            self.block(distance, length)?;
            state = tail & 3;
            self.literals(state)?;
        }
    }

    fn byte(&mut self) -> Step<u8> {
        let byte = *self.input.get(self.at).ok_or("is cut short")?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Step<usize> {
        Ok(usize::from(u16::from_le_bytes([
            self.byte()?,
            self.byte()?,
        ])))
    }

    /// A length field: `bits` itself, or where it is 0 the sum of the bytes that follow, on top of `most`.
    fn length(&mut self, bits: usize, most: usize) -> Step<usize> {
        if bits != 0 {
            return Ok(bits);
        }
        let mut length = most;
        loop {
            let byte = self.byte()?;
            if byte != 0 {
                return Ok(length + usize::from(byte));
            }
            length += 255;
            if length > self.limit {
                return Err("holds more than expected");
            }
        }
    }

    fn room(&self, length: usize) -> Step<()> {
        if length > self.limit - self.output.len() {
            Err("holds more than expected")
        } else {
            Ok(())
        }
    }

    fn literals(&mut self, count: usize) -> Step<()> {
        self.room(count)?;
        let literals = self
            .input
            .get(self.at..self.at + count)
            .ok_or("is cut short")?;
        self.output.extend_from_slice(literals);
        self.at += count;
        Ok(())
    }

    fn block(&mut self, distance: usize, length: usize) -> Step<()> {
        self.room(length)?;
        let start = self
            .output
            .len()
            .checked_sub(distance)
            .ok_or("points before its beginning")?;
        // A block may overlap what it writes: it then repeats the last `distance` bytes.
        let mut left = length;
        while left > 0 {
            let step = left.min(self.output.len() - start);
            self.output.extend_from_within(start..start + step);
            left -= step;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_blocks_and_end() {
        // 4 literals, then a block of 8 from distance 2 that overlaps itself, 1 literal, end marker.
        let input = [21, b'a', b'b', b'c', b'd', 0b1110_0101, 0, b'!', 17, 0, 0];
        assert_eq!(decompress_lzo1x(&input, 64).unwrap(), b"abcdcdcdcdcd!");
        assert!(
            decompress_lzo1x(&input, 12)
                .unwrap_err()
                .to_string()
                .contains("more than expected")
        );
        assert!(
            decompress_lzo1x(&input[..9], 64)
                .unwrap_err()
                .to_string()
                .contains("cut short")
        );
        assert!(
            decompress_lzo1x(&[&input[..], &[0]].concat(), 64)
                .unwrap_err()
                .to_string()
                .contains("end marker")
        );
        assert!(
            decompress_lzo1x(&[16, 1, 4, 0, 17, 0, 0], 64)
                .unwrap_err()
                .to_string()
                .contains("beginning")
        );
        assert!(decompress_lzo1x(&[0; 5000], 4096).is_err());
    }

    #[test]
    fn long_literal_runs() {
        let mut input = vec![0, 10];
        input.extend([7; 28]);
        input.extend([17, 0, 0]);
        assert_eq!(decompress_lzo1x(&input, 28).unwrap(), [7; 28]);
    }
}
