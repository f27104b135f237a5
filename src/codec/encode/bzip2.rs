//! bzip2: one stream of blocks.
//!
//! bzip2 shortens runs before it fills a block of up to 900 kB, so where a block ends depends on all bytes before.
//! Here pieces of a fixed size, a little smaller than a block, are made into blocks of their own; one that grows beyond
//! a block (runs of exactly four bytes do that) becomes two. So pieces need nothing of each other.

use pbz2::Level;
use pbz2::pbz2_core::{
    Backend, BlockSplitter, EncodedBlock, InputBlock, StreamAssembler, encode_block,
    encode_scratch_words, encoded_block_bytes, native,
};

use super::pieces::{Packed, Packer, pack_all, put_only};
use super::{Sink, Source, check_level};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// How much smaller a piece is than a block: ordinary data grow less than this when runs are shortened.
const SLACK_PER_LEVEL: usize = 2_000;

/// Room that joining blocks needs beyond their bytes.
const JOIN_ROOM: usize = 16;

/// Blocks of a piece, each with where it begins.
type Blocks = Vec<(usize, EncodedBlock)>;

struct Packing {
    level: Level,
    block: Vec<u8>,
    scratch: Vec<u32>,
}

impl Packing {
    fn new(level: Level) -> Self {
        Self {
            level,
            block: vec![0; level.block_bytes()],
            scratch: vec![0; encode_scratch_words(level)],
        }
    }

    fn pack_on<B: Backend>(
        &mut self,
        backend: B,
        mut data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Blocks> {
        let mut blocks = Vec::new();
        let mut splitter = BlockSplitter::new(self.level);
        while !data.is_empty() {
            let (taken, full) = splitter
                .fill(backend, data, &mut self.block)
                .map_err(refused)?;
            data = &data[taken..];
            if let Some(full) = full {
                blocks.push(self.encode(backend, full, out)?);
            }
        }
        while let Some(last) = splitter.finish(&mut self.block).map_err(refused)? {
            blocks.push(self.encode(backend, last, out)?);
        }
        Ok(blocks)
    }

    fn encode<B: Backend>(
        &mut self,
        backend: B,
        input: InputBlock,
        out: &mut Vec<u8>,
    ) -> Result<(usize, EncodedBlock)> {
        let start = out.len();
        out.resize(start + encoded_block_bytes(input.length()), 0);
        let encoded = encode_block(
            backend,
            &mut self.block,
            input,
            &mut self.scratch,
            &mut out[start..],
        );
        Ok((start, encoded.map_err(refused)?))
    }
}

impl Packer for Packing {
    type Note = Blocks;

    fn pack(&mut self, data: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Blocks> {
        #[cfg(all(target_arch = "x86_64", not(target_feature = "sse4.2")))]
        if let Some(token) = pbz2::pbz2_core::fearless_simd::Level::new().as_sse4_2() {
            return self.pack_on(pbz2::pbz2_core::Vectorized(token), data, out);
        }
        self.pack_on(native(), data, out)
    }
}

/// Compresses `source` at `level` 1 (blocks of 100 kB) to 9 (900 kB) into `sink`.
pub fn encode(source: &dyn Source, level: u8, sink: &mut dyn Sink) -> Result<()> {
    check_level("bzip2", level, 1, 9)?;
    let size = Level::new(level).ok_or_else(|| Error::internal("a checked level"))?;
    let piece_bytes = size.block_bytes() - SLACK_PER_LEVEL * usize::from(level);
    let mut assembler = StreamAssembler::new(size);
    let mut joined = Vec::new();
    let join = |packed: &Packed<Blocks>| {
        let mut len = 0;
        joined.resize(packed.bytes.len() + JOIN_ROOM * (packed.note.len() + 1), 0);
        for &(start, block) in &packed.note {
            len += assembler
                .append(&packed.bytes[start..], block, &mut joined[len..])
                .map_err(refused)?;
        }
        sink.put(&joined[..len], to_u64(packed.len))
    };
    pack_all(source, piece_bytes, || Ok(Packing::new(size)), join)?;
    let mut end = [0; JOIN_ROOM];
    let len = assembler.finish(&mut end).map_err(refused)?;
    put_only(sink, &end[..len])
}

fn refused(error: pbz2::pbz2_core::Error) -> Error {
    Error::internal("compressing a bzip2 block").with_source(error)
}
