//! Compressed streams, read and written in parallel: the hot path.

mod deflate;
mod pipeline;

pub use deflate::Deflater;
pub use pipeline::{Spares, run_ordered};
