//! Disk image formats: what is detected, opened and written.

mod cache;
mod detect;
mod open;
mod scratch;

pub use detect::{Compression, Content, Format, detect, detect_start};
pub use open::{CacheMode, Image, OpenOptions, open};
