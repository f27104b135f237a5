//! Zstandard (RFC 8878): independent frames with their sizes and checksums.

use std::cell::RefCell;

use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

use super::pieces::{Packed, Packer, pack_all};
use super::{Sink, Source, check_level};
use crate::bytes::to_u64;
use crate::codec::zstd_frame::{FRAME_MAX, FrameWriter};
use crate::error::Result;

/// One frame: large against the window of the usual levels (2 MiB), small against memory.
const PIECE_BYTES: usize = 4 << 20;

/// The highest level that does not ask for large windows.
const MAX_LEVEL: u8 = 19;

thread_local! {
    /// The compressor of this thread, with its level and whether it writes checksums: it cannot go to another thread,
    /// and a new one for every block would take longer than small blocks do.
    static COMPRESSOR: RefCell<Option<(u8, bool, FrameCompressor)>> = const { RefCell::new(None) };
}

/// Replaces `out` with one frame that holds `data`.
fn compress_frame(level: u8, checksum: bool, data: &[u8], out: &mut Vec<u8>) {
    COMPRESSOR.with_borrow_mut(|kept| {
        let kept = match kept {
            Some(kept) if (kept.0, kept.1) == (level, checksum) => kept,
            _ => {
                let mut compressor =
                    FrameCompressor::new(CompressionLevel::from_level(level.into()));
                compressor.set_content_checksum(checksum);
                kept.insert((level, checksum, compressor))
            }
        };
        kept.2.compress_independent_frame_into(data, out);
    });
}

/// Packs every piece as a frame with a checksum.
struct Frames {
    level: u8,
}

impl Packer for Frames {
    type Note = ();

    fn pack(&mut self, data: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        compress_frame(self.level, true, data, out);
        Ok(())
    }
}

/// Compresses `source` at `level` 1 (fast) to 19 (small) into `sink`.
pub fn encode(source: &dyn Source, level: u8, sink: &mut dyn Sink) -> Result<()> {
    check_level("zstd", level, 1, MAX_LEVEL)?;
    if source.size() == 0 {
        // No frame at all would not be a zstd file.
        let mut out = Vec::new();
        compress_frame(level, true, &[], &mut out);
        return sink.put(&out, 0);
    }
    let join = |packed: &Packed<()>| sink.put(&packed.bytes, to_u64(packed.len));
    pack_all(source, PIECE_BYTES, || Ok(Frames { level }), join)
}

/// Compresses blocks that are independent of each other, each to one frame without a checksum.
#[derive(Debug)]
pub struct ZstdCompressor {
    level: u8,
    /// Our own, at levels where it is smaller and faster.
    writer: Option<Box<FrameWriter>>,
    frame: Vec<u8>,
}

/// At these levels blocks are written by [`FrameWriter`], which compares so many places. Measured: below, a parse of this
/// kind takes too long, and above, the sizes are not reached.
const DEPTHS: [(u8, u32); 4] = [(12, 4), (13, 8), (14, 16), (15, 32)];

impl ZstdCompressor {
    /// A compressor of `level` 1 (fast) to 19 (small).
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] for any other level.
    pub fn new(level: u8) -> Result<Self> {
        check_level("zstd", level, 1, MAX_LEVEL)?;
        let depth = DEPTHS.iter().find(|(of, _)| *of == level);
        Ok(Self {
            level,
            writer: depth.map(|&(_, depth)| Box::new(FrameWriter::new(depth))),
            frame: Vec::new(),
        })
    }

    /// Appends `data`, compressed, to `out` and returns `true`, or leaves `out` as it was and returns `false` where
    /// that would not make it smaller. The result depends on `data` and the level alone.
    pub fn compress_block(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        match &mut self.writer {
            Some(writer) if data.len() <= FRAME_MAX => writer.write(data, &mut self.frame),
            _ => compress_frame(self.level, false, data, &mut self.frame),
        }
        let shrinks = self.frame.len() < data.len();
        if shrinks {
            out.extend_from_slice(&self.frame);
        }
        shrinks
    }
}
