//! Compressed streams, read and written in parallel: the hot path.

pub mod bzip2;
mod decoder;
mod deflate;
mod lzo;
mod pipeline;

pub use decoder::{Format, decoder};
pub use deflate::Deflater;
pub use lzo::decompress_lzo1x;
pub use pipeline::{Spares, run_ordered};
