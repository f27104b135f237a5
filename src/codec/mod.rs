//! Compressed streams, read and written in parallel: the hot path.

mod decoder;

pub use decoder::{Format, decoder};
