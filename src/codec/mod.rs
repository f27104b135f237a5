//! Compressed streams, read and written in parallel: the hot path.

pub mod bzip2;
