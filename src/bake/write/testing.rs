//! What the tests of this module share.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::block::{MemoryDevice, Overlay, OverlayOptions};
use crate::lock::lock;
use crate::progress::{Cancel, Progress};

/// Adds up what it is told, and raises a flag once so much is done.
#[derive(Default)]
pub(super) struct Told {
    sums: Mutex<Sums>,
    cancel: Option<(u64, Cancel)>,
}

#[derive(Debug, Default)]
struct Sums {
    steps: u64,
    total: u64,
    done: u64,
    finished: u64,
}

impl Told {
    /// Raises `cancel` once `bytes` are done.
    pub(super) fn cancelling(bytes: u64, cancel: &Cancel) -> Self {
        Self {
            sums: Mutex::default(),
            cancel: Some((bytes, cancel.clone())),
        }
    }

    /// Bytes that are done.
    pub(super) fn done(&self) -> u64 {
        lock(&self.sums).done
    }

    /// Bytes that are to be done.
    pub(super) fn total(&self) -> u64 {
        lock(&self.sums).total
    }

    /// One step was told, it is over, and nothing is left of it.
    pub(super) fn is_exact(&self) -> bool {
        let sums = lock(&self.sums);
        (sums.steps, sums.finished) == (1, 1) && sums.done == sums.total
    }
}

impl Progress for Told {
    fn start(&self, _step: &str, total_bytes: u64) {
        let mut sums = lock(&self.sums);
        sums.steps += 1;
        sums.total += total_bytes;
    }

    fn advance(&self, bytes: u64) {
        let mut sums = lock(&self.sums);
        sums.done += bytes;
        assert!(
            sums.steps == 0 || sums.done <= sums.total,
            "more than there is: {sums:?}"
        );
        if let Some((limit, cancel)) = &self.cancel
            && sums.done >= *limit
        {
            cancel.cancel();
        }
    }

    fn finish(&self) {
        lock(&self.sums).finished += 1;
    }

    fn found(&self, _finding: &crate::finding::Finding) {}
}

/// An overlay over some data, a long hole and more data.
pub(super) fn disk(dir: &Path) -> Overlay {
    let mut bytes: Vec<u8> = (0..400_000u32)
        .flat_map(|n| (n / 3).wrapping_mul(n).to_le_bytes())
        .collect();
    bytes.resize(9 << 20, 0);
    bytes[(9 << 20) - 70_000..].fill(3);
    Overlay::new(Arc::new(MemoryDevice::new(bytes)), OverlayOptions::new(dir)).unwrap()
}
