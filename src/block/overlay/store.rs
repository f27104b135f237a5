//! Where changed blocks lie: in memory while the budget lasts, then in slots of one unlinked temporary file.
//!
//! ```text
//!   Overlay ──┐                    ┌─ memory: Blocks (packed, counted against the budget)
//!             ├─ Arc<Store> ◀──────┤
//!   fork    ──┘                    └─ file:   | slot 0 | slot 1 | slot 2 | …   CHUNK bytes each, sparse
//! ```
//!
//! Both kinds of place are shared between forks by reference count and give themselves back when the last user drops
//! them. A place is changed only by its sole owner, which the borrow rules show: `Arc::get_mut`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{BLOCK_LEN, CHUNK, block_bytes};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::lock::lock;

/// The budget and the temporary file of an overlay and all its forks.
#[derive(Debug)]
pub(super) struct Store {
    temp_dir: PathBuf,
    /// Bytes of the memory budget that are not in use.
    pub(super) memory_left: AtomicU64,
    pub(super) slots: Mutex<Slots>,
}

/// The temporary file, made when the first slot is asked for.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) file: Option<Arc<File>>,
    /// Where the next slot begins when none is free.
    pub(super) next: u64,
    free: Vec<u64>,
}

impl Store {
    pub(super) fn new(memory_budget: u64, temp_dir: PathBuf) -> Self {
        Self {
            temp_dir,
            memory_left: AtomicU64::new(memory_budget),
            slots: Mutex::default(),
        }
    }

    /// Takes `bytes` of the budget, or nothing where less is left.
    fn reserve(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.memory_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn release(&self, bytes: u64) {
        self.memory_left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Room for the blocks of `mask` in memory, or `None` where the budget does not allow it.
    pub(super) fn memory(self: &Arc<Self>, mask: u32) -> Option<Blocks> {
        let len = block_bytes(mask);
        self.reserve(to_u64(len)).then(|| Blocks {
            mask,
            bytes: vec![0; len],
            store: Arc::clone(self),
        })
    }

    /// A slot for one chunk in the temporary file.
    pub(super) fn slot(self: &Arc<Self>) -> Result<Slot> {
        let mut slots = lock(&self.slots);
        let file = match &slots.file {
            Some(file) => Arc::clone(file),
            None => {
                let file = tempfile::tempfile_in(&self.temp_dir)
                    .map_err(|error| self.fails("creating a temporary file", error))?;
                Arc::clone(slots.file.insert(Arc::new(file)))
            }
        };
        let offset = match slots.free.pop() {
            Some(offset) => offset,
            None => {
                slots.next += CHUNK;
                slots.next - CHUNK
            }
        };
        Ok(Slot {
            offset,
            file,
            store: Arc::clone(self),
        })
    }

    fn fails(&self, what: &str, error: std::io::Error) -> Error {
        let dir = self.temp_dir.display();
        Error::io(format!("{what} for changed data in {dir}"), error).with_hint(format!(
            "free space in {dir}, or choose another temporary folder or a larger memory budget"
        ))
    }
}

/// Blocks of one chunk in memory, packed: the block at bit `n` of the mask comes after those at lower bits.
#[derive(Debug)]
pub(super) struct Blocks {
    mask: u32,
    bytes: Vec<u8>,
    store: Arc<Store>,
}

impl Blocks {
    /// Where the block at bit `block` begins, or would begin.
    fn position(&self, block: u32) -> usize {
        block_bytes(self.mask & ((1 << block) - 1))
    }

    /// `len` bytes from byte `skip` of `block`; all blocks they touch are in the mask.
    pub(super) fn get(&self, block: u32, skip: usize, len: usize) -> &[u8] {
        let start = self.position(block) + skip;
        &self.bytes[start..start + len]
    }

    /// Replaces the neighbouring blocks `new`, from `first`, which are all in the mask.
    pub(super) fn set(&mut self, first: u32, bytes: &[u8]) {
        let start = self.position(first);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Replaces or adds the neighbouring blocks `new`, from `first`; `false`, and nothing done, where the budget is used up.
    pub(super) fn put(&mut self, first: u32, new: u32, bytes: &[u8]) -> bool {
        let growth = block_bytes(new & !self.mask);
        if !self.store.reserve(to_u64(growth)) {
            return false;
        }
        let start = self.position(first);
        let tail = start + block_bytes(new & self.mask)..self.bytes.len();
        self.bytes.reserve_exact(growth);
        self.bytes.resize(tail.end + growth, 0);
        self.bytes.copy_within(tail.clone(), tail.start + growth);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.mask |= new;
        true
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.store.release(to_u64(self.bytes.len()));
    }
}

/// Room for one chunk in the temporary file, each block at its own place.
#[derive(Debug)]
pub(super) struct Slot {
    offset: u64,
    file: Arc<File>,
    store: Arc<Store>,
}

impl Slot {
    /// Fills `buf` from byte `within` of the chunk.
    pub(super) fn read(&self, within: u64, buf: &mut [u8]) -> Result<()> {
        let result = self.file.read_exact_at(buf, self.offset + within);
        result.map_err(|error| self.store.fails("reading the temporary file", error))
    }

    /// Writes whole blocks from block `first`. Only a sole owner may: readers of a fork must not see it.
    pub(super) fn write(&mut self, first: u32, bytes: &[u8]) -> Result<()> {
        let result = self
            .file
            .write_all_at(bytes, self.offset + u64::from(first) * to_u64(BLOCK_LEN));
        result.map_err(|error| self.store.fails("writing the temporary file", error))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = lock(&self.store.slots);
        slots.free.push(self.offset);
    }
}

/// An offset within a chunk as block number and offset within that block.
pub(super) fn split(within: u64) -> Result<(u32, usize)> {
    let within = to_usize(within)?;
    let block = u32::try_from(within / BLOCK_LEN)
        .map_err(|_| Error::internal("offset beyond its chunk"))?;
    Ok((block, within % BLOCK_LEN))
}
