//! Copy-on-write edits over a read-only device, with cheap forks.
//!
//! ```text
//!               chunk 0 (64 KiB)          chunk 1               chunk 2                 beyond the base
//!   overlay   | s s . . z . . . . … |  (no entry: base)  | z z z z z z z z … |        (no entry: zeroes)
//!               │ │     └ zero: no bytes kept
//!               └─┴ stored: in memory, above the budget in an unlinked temporary file
//!   base      | b b b b b b b b b … | b b b b b b b b …  | b b b b b b b b … |
//! ```
//!
//! A change is kept in blocks of 4 KiB, the unit in which filesystems write their metadata, so a scattered small write
//! costs 4 KiB and no more. Blocks are grouped in chunks so that long writes need few entries and few system calls.
//! A fork copies the table of chunks and shares their bytes until one side writes to them.

mod chunk;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::chunk::{Chunk, Origin, runs};
use self::store::{Store, split};
use super::{BlockDevice, BlockDeviceMut, Extent, ExtentKind, check_range};
use crate::bytes::{ByteSize, is_zero, to_u64, to_usize};
use crate::error::{Error, Result};
use crate::lock::even_if_poisoned;

/// The unit of change in bytes.
const BLOCK_LEN: usize = 4096;
const BLOCK: u64 = 4096;
/// Blocks in a chunk: bits of a mask in use.
const BLOCKS: u32 = 16;
/// Bytes in a chunk.
const CHUNK: u64 = BLOCK * 16;
/// How far [`Overlay::extent_at`] looks for more of the same kind: far enough that walking a disk takes few calls,
/// near enough that one call stays cheap on a disk with scattered changes.
const EXTENT_CAP: u64 = 16 << 20;
/// The largest device: beyond it there is no file offset, and sums of offsets could overflow.
const MAX_SIZE: u64 = i64::MAX.unsigned_abs();

/// Bytes taken by the blocks of `mask`.
fn block_bytes(mask: u32) -> usize {
    mask.count_ones() as usize * BLOCK_LEN
}

/// The mask of the blocks that `len` bytes (whole blocks, all in one chunk) from block `first` take.
fn mask_of(first: u32, len: usize) -> u32 {
    ((1 << (len / BLOCK_LEN)) - 1) << first
}

/// How an [`Overlay`] keeps what is changed.
#[derive(Debug, Clone)]
pub struct OverlayOptions {
    /// Bytes of changed data held in memory, shared with all forks. What exceeds it goes to a temporary file.
    pub memory_budget: u64,
    /// The folder of the temporary file. The file never has a name there and is gone with the overlay and its forks.
    pub temp_dir: PathBuf,
}

impl OverlayOptions {
    /// A memory budget of 32 MiB, and `temp_dir` for what exceeds it.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            memory_budget: 32 << 20,
            temp_dir: temp_dir.into(),
        }
    }
}

/// A writable device over a read-only one, which is never changed.
///
/// Writes come through `&self` and may come from any thread; readers do not wait for each other.
pub struct Overlay {
    base: Arc<dyn BlockDevice>,
    base_size: u64,
    store: Arc<Store>,
    state: RwLock<State>,
}

/// What is private to one fork.
#[derive(Clone)]
struct State {
    size: u64,
    /// Something was written, or could have been, since the overlay was made.
    touched: bool,
    /// Changed chunks by their number.
    chunks: BTreeMap<u64, Chunk>,
}

/// A stretch of one origin, up to `end`.
struct Run<'a> {
    origin: Origin,
    /// The chunk of a stored run.
    chunk: Option<&'a Chunk>,
    end: u64,
}

impl State {
    /// The run that begins at `offset`, cut at `end`. What lies beyond the base reads as zeroes.
    fn run_at(&self, offset: u64, end: u64, base_size: u64) -> Result<Run<'_>> {
        let index = offset / CHUNK;
        let (origin, chunk, run_end) = match self.chunks.range(index..).next() {
            Some((&at, chunk)) if at == index => {
                let (origin, last) = chunk.run(split(offset % CHUNK)?.0);
                (
                    origin,
                    Some(chunk),
                    (index * CHUNK).saturating_add(u64::from(last) * BLOCK),
                )
            }
            Some((&at, _)) => (Origin::Base, None, at * CHUNK),
            None => (Origin::Base, None, end),
        };
        Ok(match origin {
            Origin::Base if offset >= base_size => Run {
                origin: Origin::Zero,
                chunk,
                end: run_end.min(end),
            },
            Origin::Base => Run {
                origin,
                chunk,
                end: run_end.min(end).min(base_size),
            },
            _ => Run {
                origin,
                chunk,
                end: run_end.min(end),
            },
        })
    }
}

impl Overlay {
    /// An overlay without changes over `base`; `options.temp_dir` must be a folder.
    pub fn new(base: Arc<dyn BlockDevice>, options: OverlayOptions) -> Result<Self> {
        if !options.temp_dir.is_dir() {
            let message = format!(
                "the temporary folder {} is not a folder",
                options.temp_dir.display()
            );
            return Err(
                Error::not_found(message).with_hint("create it, or name another temporary folder")
            );
        }
        let base_size = base.size();
        check_size(base_size)?;
        let store = Arc::new(Store::new(options.memory_budget, options.temp_dir));
        Ok(Self {
            base,
            base_size,
            store,
            state: RwLock::new(State {
                size: base_size,
                touched: false,
                chunks: BTreeMap::new(),
            }),
        })
    }

    /// A second overlay that has all changes made so far. Later changes are private to each; base, budget and
    /// temporary file are shared.
    pub fn fork(&self) -> Self {
        let state = State {
            touched: false,
            ..self.read().clone()
        };
        Self {
            base: Arc::clone(&self.base),
            base_size: self.base_size,
            store: Arc::clone(&self.store),
            state: RwLock::new(state),
        }
    }

    /// Makes the device longer; the new bytes read as zeroes. A smaller size than the present one is refused.
    pub fn grow(&self, new_size: u64) -> Result<()> {
        let mut state = self.write();
        if new_size < state.size {
            return Err(Error::invalid(format!(
                "cannot shrink a disk from {} to {} bytes ({} to {})",
                state.size,
                new_size,
                ByteSize(state.size),
                ByteSize(new_size)
            ))
            .with_hint("ask for at least the present size"));
        }
        check_size(new_size)?;
        state.size = new_size;
        Ok(())
    }

    /// Whether it still is what it was forked from: nothing was written, not even what was there already.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.read().touched
    }

    /// What was changed, as (offset, length) in bytes, in order, neighbours merged. Granularity is 4 KiB; zeroes
    /// written where zeroes already were known to be do not count.
    pub fn changed_ranges(&self) -> Vec<(u64, u64)> {
        let state = self.read();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (&index, chunk) in &state.chunks {
            for (first, count) in runs(chunk.changed()) {
                let start = index * CHUNK + u64::from(first) * BLOCK;
                let len = (u64::from(count) * BLOCK).min(state.size - start);
                match ranges.last_mut() {
                    Some(last) if last.0 + last.1 == start => last.1 += len,
                    _ => ranges.push((start, len)),
                }
            }
        }
        ranges
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        even_if_poisoned(self.state.read())
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        let mut state = even_if_poisoned(self.state.write());
        state.touched = true;
        state
    }

    /// Fills `buf` from `offset`; the range is on the device.
    fn fill(&self, state: &State, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset + to_u64(buf.len());
        let mut at = offset;
        let mut rest = buf;
        while at < end {
            let run = state.run_at(at, end, self.base_size)?;
            let (piece, tail) = rest.split_at_mut(to_usize(run.end - at)?);
            match (run.origin, run.chunk) {
                (Origin::Base, _) => self.base.read_at(at, piece)?,
                (Origin::Stored, Some(chunk)) => chunk.read(at % CHUNK, piece)?,
                _ => piece.fill(0),
            }
            at = run.end;
            rest = tail;
        }
        Ok(())
    }

    /// The kind at `offset` and how far it goes at least, at most to `end`.
    fn kind_at(&self, state: &State, offset: u64, end: u64) -> Result<(ExtentKind, u64)> {
        let run = state.run_at(offset, end, self.base_size)?;
        Ok(match run.origin {
            Origin::Stored => (ExtentKind::Data, run.end),
            Origin::Zero => (ExtentKind::Zero, run.end),
            Origin::Base => {
                let extent = self.base.extent_at(offset)?;
                (extent.kind, offset.saturating_add(extent.len).min(run.end))
            }
        })
    }

    fn extent(&self, state: &State, offset: u64) -> Result<Extent> {
        // The end is that of a chunk so that zeroing extent by extent does not split blocks.
        let end = (offset.saturating_add(EXTENT_CAP) / CHUNK * CHUNK).min(state.size);
        let (kind, mut at) = self.kind_at(state, offset, end)?;
        while at < end {
            let (next_kind, next_at) = self.kind_at(state, at, end)?;
            if next_kind != kind {
                break;
            }
            at = next_at;
        }
        Ok(Extent {
            kind,
            len: at - offset,
        })
    }

    /// Changes part of one block.
    fn patch(&self, state: &mut State, at: u64, bytes: &[u8]) -> Result<()> {
        let start = at / BLOCK * BLOCK;
        let skip = to_usize(at - start)?;
        let mut block = [0; BLOCK_LEN];
        // A block that ends with the device is whole when written up to there; the rest stays zero for a later growth.
        let present = to_usize((state.size - start).min(BLOCK))?;
        if skip > 0 || bytes.len() < present {
            self.fill(state, start, &mut block[..present])?;
        }
        block[skip..skip + bytes.len()].copy_from_slice(bytes);
        if is_zero(&block) {
            zero_blocks(state, start, BLOCK)
        } else {
            self.put(state, start, &block)
        }
    }

    /// Stores whole blocks that lie in one chunk.
    fn put(&self, state: &mut State, at: u64, bytes: &[u8]) -> Result<()> {
        let chunk = state.chunks.entry(at / CHUNK).or_default();
        chunk.put(split(at % CHUNK)?.0, bytes, &self.store)
    }
}

fn check_size(size: u64) -> Result<()> {
    if size > MAX_SIZE {
        return Err(Error::invalid(format!(
            "a disk of {size} bytes is too large: at most {MAX_SIZE} bytes"
        )));
    }
    Ok(())
}

/// Marks whole blocks in one chunk as zero.
fn zero_blocks(state: &mut State, at: u64, len: u64) -> Result<()> {
    let mask = mask_of(split(at % CHUNK)?.0, to_usize(len)?);
    state.chunks.entry(at / CHUNK).or_default().zero(mask);
    Ok(())
}

/// How many of the bytes from `at` to `end` to change at once, and whether they are whole blocks of one chunk.
fn step(at: u64, end: u64) -> (u64, bool) {
    let left = end - at;
    let skip = at % BLOCK;
    if skip > 0 || left < BLOCK {
        return (left.min(BLOCK - skip), false);
    }
    ((left / BLOCK * BLOCK).min(CHUNK - at % CHUNK), true)
}

impl BlockDevice for Overlay {
    fn size(&self) -> u64 {
        self.read().size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let state = self.read();
        check_range(offset, to_u64(buf.len()), state.size)?;
        self.fill(&state, offset, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        let state = self.read();
        check_range(offset, 1, state.size)?;
        self.extent(&state, offset)
    }
}

impl BlockDeviceMut for Overlay {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut state = self.write();
        let end = check_range(offset, to_u64(buf.len()), state.size)?;
        let mut at = offset;
        let mut rest = buf;
        while at < end {
            let (len, whole) = step(at, end);
            let (bytes, tail) = rest.split_at(to_usize(len)?);
            if whole {
                self.put(&mut state, at, bytes)?
            } else {
                self.patch(&mut state, at, bytes)?
            }
            at += len;
            rest = tail;
        }
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        const ZEROES: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        let mut state = self.write();
        let end = check_range(offset, len, state.size)?;
        let mut at = offset;
        while at < end {
            let extent = self.extent(&state, at)?;
            let stop = at.saturating_add(extent.len).min(end);
            while extent.kind == ExtentKind::Data && at < stop {
                let (len, whole) = step(at, stop);
                if whole {
                    zero_blocks(&mut state, at, len)?;
                } else {
                    self.patch(&mut state, at, &ZEROES[..to_usize(len)?])?;
                }
                at += len;
            }
            at = stop;
        }
        Ok(())
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.read();
        f.debug_struct("Overlay")
            .field("base", &self.base)
            .field("size", &state.size)
            .field("changed_chunks", &state.chunks.len())
            .finish()
    }
}
