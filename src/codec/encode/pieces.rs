//! Cuts a source into pieces and packs them in parallel.

use std::sync::{Arc, OnceLock};

use super::{Sink, Source};
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::codec::{Spares, run_ordered};
use crate::error::Result;

/// Pieces in flight for each thread: one is worked on, the others wait for their turn or for the sink.
const WINDOW_PER_THREAD: usize = 3;

/// A packed piece: its bytes, and what the format keeps of it (a checksum, where blocks end).
#[derive(Debug)]
pub(super) struct Packed<N> {
    pub bytes: Vec<u8>,
    /// How many bytes of the source it stands for.
    pub len: usize,
    pub note: N,
}

/// How one format packs a piece.
pub(super) trait Packer: Sized + Send {
    /// What is kept of a piece beside its bytes.
    type Note: Send + Sync;

    /// Appends `data` (not empty), packed, to `out`. `data` is scratch space afterwards.
    fn pack(&mut self, data: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Self::Note>;
}

/// Where a piece lies, and whether it is known to be zero.
#[derive(Debug, Clone, Copy)]
struct Piece {
    offset: u64,
    len: usize,
    zero: bool,
}

/// Packs all of `source` in pieces of `piece_len` bytes and gives them to `join` in order.
pub(super) fn pack_all<P: Packer>(
    source: &dyn Source,
    piece_len: usize,
    new_packer: impl Fn() -> Result<P> + Sync,
    mut join: impl FnMut(&Packed<P::Note>) -> Result<()>,
) -> Result<()> {
    let workers: Spares<(P, Vec<u8>)> = Spares::default();
    let outputs: Spares<Vec<u8>> = Spares::default();
    let zeroes: OnceLock<Arc<Packed<P::Note>>> = OnceLock::new();
    let pack = |piece: Piece| {
        let whole = piece.len == piece_len;
        if let (true, true, Some(known)) = (piece.zero, whole, zeroes.get()) {
            return Ok(Arc::clone(known));
        }
        let (mut packer, mut data) = workers
            .take()
            .map_or_else(|| new_packer().map(|new| (new, Vec::new())), Ok)?;
        data.clear();
        data.resize(piece.len, 0);
        if !piece.zero {
            source.read_at(piece.offset, &mut data)?;
        }
        let zero = whole && (piece.zero || is_zero(&data));
        let packed = match zeroes.get() {
            Some(known) if zero => Arc::clone(known),
            _ => {
                let mut bytes = outputs.take().unwrap_or_default();
                bytes.clear();
                let note = packer.pack(&mut data, &mut bytes)?;
                let packed = Arc::new(Packed {
                    bytes,
                    len: piece.len,
                    note,
                });
                if zero {
                    Arc::clone(zeroes.get_or_init(|| packed))
                } else {
                    packed
                }
            }
        };
        workers.give((packer, data));
        Ok(packed)
    };
    let window = WINDOW_PER_THREAD * rayon::current_num_threads();
    run_ordered(pieces(source, piece_len), window, pack, |packed| {
        join(&packed)?;
        if let Some(packed) = Arc::into_inner(packed) {
            outputs.give(packed.bytes);
        }
        Ok(())
    })
}

/// All pieces in order; what is known to be zero is asked for once for each hole.
fn pieces(source: &dyn Source, piece_len: usize) -> impl Iterator<Item = Result<Piece>> {
    let size = source.size();
    let mut offset = 0;
    let mut zero_until = 0;
    std::iter::from_fn(move || {
        if offset >= size {
            return None;
        }
        let end = offset.saturating_add(to_u64(piece_len)).min(size);
        // Extents of one kind may follow each other.
        while zero_until < end {
            let from = zero_until.max(offset);
            match source.zeroes_at(from) {
                Ok(0) => break,
                Ok(len) => zero_until = from.saturating_add(len),
                Err(error) => return Some(Err(error)),
            }
        }
        let piece = to_usize(end - offset).map(|len| Piece {
            offset,
            len,
            zero: zero_until >= end,
        });
        offset = end;
        Some(piece)
    })
}

/// Passes bytes that stand for nothing of the source, such as a header, on.
pub(super) fn put_only(sink: &mut dyn Sink, bytes: &[u8]) -> Result<()> {
    sink.put(bytes, 0)
}
