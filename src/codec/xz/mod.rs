//! xz files (The .xz File Format, 1.2.1; section numbers in this folder are its).
//!
//! ```text
//!   stream    header 12 │ block │ block │ … │ index: sizes of all blocks │ footer 12 │ padding, more streams
//!   block     header: filters, maybe sizes │ LZMA2 data │ pad to 4 │ check of the content
//! ```
//!
//! Blocks whose header tells their sizes, as `xz -T` writes them, can be decoded side by side; others as they come. All
//! checks, sizes and the index are verified. The container is read here and not by the crate's own reader, because
//! that one allocates whatever dictionary a header asks for, and goes one level of recursion deeper with every empty
//! stream.

mod check;
mod container;
mod header;
mod read;

use std::io::{BufRead, Read};
use std::num::NonZeroUsize;

pub(super) use self::read::Decoder;
pub(crate) use self::{check::CheckType, header::BlockHeader};

use self::container::{Container, FORMAT, Input};
use super::pipeline::{Room, run_within};
use super::stream::{self, Decoded, Sink, cut_short, damage, pump};
use crate::bytes::{to_u64, to_usize};
use crate::error::Result;

/// The largest block that is decoded beside others, all in memory; those of `xz -6 -T0` have 24 MiB.
const PACKED_MAX: u64 = 64 << 20;

/// Memory for the blocks that are decoded side by side, whatever the number of threads; one more may wait, packed.
const MEMORY_MAX: u64 = 176 << 20;

/// Decodes all of `reader` on `threads` threads, passes the bytes to `sink` piece by piece and returns how many there
/// were.
///
/// Damaged, truncated or empty input and bytes behind the last stream are [`crate::ErrorKind::Corrupt`], dictionaries
/// above 128 MiB and unknown filters [`crate::ErrorKind::Unsupported`]; the pieces before have then been passed on. An
/// error of `sink` ends the decoding and is returned.
pub fn decode_to(
    reader: impl Read,
    threads: NonZeroUsize,
    sink: impl FnMut(Decoded<'_>) -> Result<()>,
) -> Result<u64> {
    stream::decode_to(decode, reader, threads, sink)
}

/// The first `len` decoded bytes of `reader`, or all where there are fewer.
pub fn decode_start(reader: impl Read, len: u64) -> Result<Vec<u8>> {
    stream::decode_start(decode, reader, len)
}

fn decode(source: &mut dyn BufRead, threads: NonZeroUsize, sink: &mut Sink) -> Result<()> {
    if threads.get() == 1 {
        return pump(FORMAT, &mut Decoder::new(source), sink);
    }
    let mut input = Input::new(source);
    let mut container = Container::new();
    loop {
        let mut then = None;
        let blocks = std::iter::from_fn(|| match next(&mut container, &mut input) {
            Ok(Next::Packed(block)) => Some(Ok(block)),
            Ok(other) => {
                then = Some(other);
                None
            }
            Err(error) => Some(Err(error)),
        });
        let room = Room {
            window: threads.get() + 1,
            budget: MEMORY_MAX,
            weigh: Packed::memory,
        };
        run_within(
            &room,
            blocks,
            |block| block.decode(),
            |bytes: Vec<u8>| sink(&bytes),
        )?;
        match then {
            Some(Next::Following(header, check)) => {
                container.add(unpack(&header, check, &mut input, sink)?)
            }
            _ => return Ok(()),
        }
    }
}

/// What comes next.
enum Next {
    /// A block of known size, all of it.
    Packed(Packed),
    /// A block, whose data follow.
    Following(BlockHeader, CheckType),
    End,
}

fn next(container: &mut Container, input: &mut Input<&mut dyn BufRead>) -> Result<Next> {
    let Some((header, check)) = container
        .next(input)
        .map_err(|error| damage(FORMAT, error))?
    else {
        return Ok(Next::End);
    };
    let (Some(compressed), Some(uncompressed)) = (header.compressed, header.uncompressed) else {
        return Ok(Next::Following(header, check));
    };
    if compressed.max(uncompressed) > PACKED_MAX {
        return Ok(Next::Following(header, check));
    }
    let whole = compressed.next_multiple_of(4) + to_u64(check.len());
    let mut bytes = Vec::new();
    // Read as far as there is something, not as far as the header claims.
    input
        .take(whole)
        .read_to_end(&mut bytes)
        .map_err(|error| damage(FORMAT, error))?;
    if to_u64(bytes.len()) < whole {
        return Err(cut_short(FORMAT));
    }
    // What the index will be compared with; decoding verifies that it is so.
    container.add(header.sizes(compressed, uncompressed, check));
    Ok(Next::Packed(Packed {
        header,
        check,
        bytes,
    }))
}

/// Unpacks the block whose data come next, and returns its unpadded and unpacked size.
fn unpack<R: Read>(
    header: &BlockHeader,
    check: CheckType,
    input: &mut Input<R>,
    sink: &mut Sink,
) -> Result<(u64, u64)> {
    let start = input.position;
    let mut unpacked = 0;
    let mut sum = check.start();
    pump(FORMAT, &mut header.reader(&mut *input)?, &mut |bytes| {
        unpacked += to_u64(bytes.len());
        sum.update(bytes);
        header.check_room(unpacked)?;
        sink(bytes)
    })?;
    let sizes = (input.position - start, unpacked);
    header
        .end(input, sum, sizes)
        .map_err(|error| damage(FORMAT, error))
}

/// A whole block in memory.
#[derive(Debug)]
struct Packed {
    header: BlockHeader,
    check: CheckType,
    /// Data, padding and check.
    bytes: Vec<u8>,
}

impl Packed {
    /// What it takes, packed and unpacked, with the decoder.
    fn memory(&self) -> u64 {
        to_u64(self.bytes.len())
            + self.header.uncompressed.unwrap_or(PACKED_MAX)
            + self.header.decoder_memory()
    }

    fn decode(&self) -> Result<Vec<u8>> {
        // No more than the largest block, and counted.
        let mut content = Vec::with_capacity(to_usize(
            self.header.uncompressed.unwrap_or(0).min(PACKED_MAX),
        )?);
        unpack(
            &self.header,
            self.check,
            &mut Input::new(&self.bytes[..]),
            &mut |bytes| {
                content.extend_from_slice(bytes);
                Ok(())
            },
        )?;
        Ok(content)
    }
}
