//! zlib streams (RFC 1950) of one block, as the grains of a VMDK hold them.

use crate::codec::WideDeflater;

/// Deflate with a window of 32 KiB, the usual effort, no dictionary.
const HEADER: [u8; 2] = [0x78, 0x9c];

/// The largest prime below 2^16.
const BASE: u32 = 65_521;

/// Appends `data` to `out` as a zlib stream. Data that do not shrink grow by a few bytes.
pub fn compress_zlib(deflater: &mut WideDeflater, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&HEADER);
    deflater.compress_piece(data, true, out);
    out.extend_from_slice(&adler32(data).to_be_bytes());
}

/// The checksum of RFC 1950: the sum of the bytes plus one, and the sum of those sums, modulo 65,521.
fn adler32(data: &[u8]) -> u32 {
    /// Sums of this many bytes are taken side by side.
    const LANES: usize = 16;
    /// So many bytes, no more, keep the sums of sums below 2^32 (5,552 at most).
    const RUN: usize = 5552 - 5552 % LANES;
    let mut a = 1;
    let mut b = 0;
    for run in data.chunks(RUN) {
        let (rows, rest) = run.as_chunks::<LANES>();
        // A byte in row r (of n) and lane l adds to b once for every byte from it on.
        let mut sums = [0u32; LANES];
        let mut sums_of_sums = [0u32; LANES];
        for row in rows {
            for lane in 0..LANES {
                sums_of_sums[lane] += sums[lane];
                sums[lane] += u32::from(row[lane]);
            }
        }
        b += a * u32::try_from(rows.len() * LANES).unwrap_or(0);
        for (lane, weight) in (0..LANES).zip((1..=16).rev()) {
            b += 16 * sums_of_sums[lane] + weight * sums[lane];
            a += sums[lane];
        }
        for &byte in rest {
            a += u32::from(byte);
            b += a;
        }
        (a, b) = (a % BASE, b % BASE);
    }
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn streams_are_read_by_zlib_and_the_checksum_is_right_at_every_length() {
        let mut deflater = WideDeflater::new(6).unwrap();
        for len in (0..200).chain([5535, 5536, 5537, 65_535, 65_536, 300_000]) {
            for data in [vec![255; len], super::super::tests::noise(len, 3)] {
                let mut out = Vec::new();
                compress_zlib(&mut deflater, &data, &mut out);
                let mut back = Vec::new();
                flate2::read::ZlibDecoder::new(&out[..])
                    .read_to_end(&mut back)
                    .unwrap();
                assert!(back == data, "{len} bytes");
                assert!(
                    out.len() <= len + 11 + 5 * (len / 65_535),
                    "{len} bytes became {}",
                    out.len()
                );
                let last = out.len() - 1;
                out[last] ^= 1;
                assert!(
                    flate2::read::ZlibDecoder::new(&out[..])
                        .read_to_end(&mut back)
                        .is_err()
                );
            }
        }
    }
}
