//! Compressed streams, read and written in parallel: the hot path.

mod lzo;

pub use lzo::decompress_lzo1x;
