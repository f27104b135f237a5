//! Compressed streams, read and written in parallel: the hot path.

mod bits;
pub mod bzip2;
mod compare;
mod decoder;
mod deflate;
mod encode;
pub mod gzip;
mod huffman;
mod lzo;
mod pipeline;
mod stream;
mod unpack;
pub mod xz;
pub mod zstd;
mod zstd_frame;

pub(crate) use decoder::packed_as;
pub use decoder::{Format, decoder};
pub use deflate::{Deflater, WideDeflater, Windowed};
pub use encode::{
    Sink, Source, ZstdCompressor, compress_xz, compress_zlib, encode_bzip2, encode_gzip, encode_xz,
    encode_zip, encode_zstd,
};
pub use lzo::decompress_lzo1x;
pub use pipeline::{Spares, run_ordered};
pub use stream::Decoded;
pub use unpack::{inflate, unpack_zstd};

/// A window or dictionary that a compressed file may ask for: what `zstd -d` accepts, twice what `xz -9` needs.
const WINDOW_MAX: u64 = 128 << 20;
