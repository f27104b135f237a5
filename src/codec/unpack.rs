//! Single compressed units of disk images: clusters and grains, whose unpacked size is known.

use flate2::{Decompress, FlushDecompress, Status};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::Read;

use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};

/// The largest window of a zstd stream in bytes: what decoders are asked to support at least (RFC 8878, 3.1.1.1.2).
const ZSTD_WINDOW_MAX: u64 = 8 << 20;

/// The first `len` bytes of a deflate stream, with a zlib header and checksum where `zlib` is set; fewer where it ends
/// before. What follows in `input` is not looked at, and no more than `len` bytes are ever held.
pub fn inflate(input: &[u8], len: usize, zlib: bool) -> Result<Vec<u8>> {
    let mut stream = Decompress::new(zlib);
    let mut out = vec![0; len];
    match stream.decompress(input, &mut out, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => {}
        // The room is used up: what the stream holds beyond is nobody's, as with QEMU.
        Ok(Status::Ok | Status::BufError) if stream.total_out() == to_u64(len) => {}
        Ok(_) => {
            return Err(Error::corrupt("the deflate data is cut short").because(Reason::CutShort));
        }
        Err(error) => return Err(Error::corrupt("the deflate data is damaged").with_source(error)),
    }
    out.truncate(to_usize(stream.total_out())?);
    Ok(out)
}

/// The first `len` bytes of a zstd frame; fewer where it ends before.
pub fn unpack_zstd(input: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW_MAX);
    let stream = StreamingDecoder::new_with_decoder(input, decoder)
        .map_err(|error| Error::corrupt("the zstd data is damaged").with_source(error))?;
    let mut out = Vec::with_capacity(len);
    let result = stream.take(to_u64(len)).read_to_end(&mut out);
    result.map_err(|error| Error::corrupt("the zstd data is damaged").with_source(error))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Deflater;

    #[test]
    fn a_bomb_stays_within_its_room_and_a_cut_is_an_error() {
        let mut packed = Vec::new();
        assert!(
            Deflater::new(6)
                .unwrap()
                .compress_block(&[7; 60_000], &mut packed)
        );
        assert_eq!(inflate(&packed, 60_000, false).unwrap(), [7; 60_000]);
        assert_eq!(inflate(&packed, 100, false).unwrap(), [7; 100]);
        assert_eq!(inflate(&packed, 70_000, false).unwrap().len(), 60_000);
        assert!(inflate(&packed[..packed.len() / 2], 60_000, false).is_err());
        assert!(
            inflate(&packed, 60_000, true).is_err(),
            "there is no zlib header"
        );
        let zstd = ruzstd::encoding::compress_to_vec(
            &[7; 60_000][..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        assert_eq!(unpack_zstd(&zstd, 60_000).unwrap(), [7; 60_000]);
        assert_eq!(unpack_zstd(&zstd, 100).unwrap(), [7; 100]);
        assert!(unpack_zstd(&zstd[..zstd.len() / 2], 60_000).is_err());
        assert!(unpack_zstd(b"not zstd", 10).is_err());
    }
}
