//! Keeps writers that read the same disk near each other, so that what one has read is still in memory for the others:
//! unpacked clusters of a compressed image, and pages of the host.
//!
//! ```text
//!   disk   │ done by all          │▲ the last one                    ▲ the first one waits here for the last │
//!                                  └──────────── AHEAD ──────────────┘
//! ```
//!
//! A writer waits where it asks for the next extent, which it does on its own thread and in ascending order; pieces of
//! work on rayon's threads never wait. The last one never waits, so there is always one that goes on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::block::{BlockDevice, Extent, ExtentKind};
use crate::error::Result;

/// How far the first writer may be ahead of the last one, in bytes. Readers of images keep 16 MiB unpacked.
const AHEAD: u64 = 4 << 20;

/// Where each writer is, or was when it was done; `u64::MAX` for one that does not read.
#[derive(Debug)]
pub(super) struct Pace {
    places: Mutex<Vec<u64>>,
    moved: Condvar,
}

/// A disk as one of the writers reads it.
#[derive(Debug)]
pub(super) struct Paced<'a> {
    disk: &'a dyn BlockDevice,
    pace: &'a Pace,
    writer: usize,
    /// Start and end of the data seen last, which are given out in parts.
    data: Mutex<(u64, u64)>,
}

/// A poisoned lock only means that another thread panicked: what it guards is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pace {
    pub(super) fn new(writers: usize) -> Self {
        Self { places: Mutex::new(vec![u64::MAX; writers]), moved: Condvar::new() }
    }

    /// `disk` for `writer`, who begins now, and with whom the others keep pace until it is dropped.
    pub(super) fn follow<'a>(&'a self, disk: &'a dyn BlockDevice, writer: usize) -> Paced<'a> {
        lock(&self.places)[writer] = 0;
        Paced { disk, pace: self, writer, data: Mutex::default() }
    }

    /// Puts `writer` at `place`.
    fn put(&self, writer: usize, place: u64) -> MutexGuard<'_, Vec<u64>> {
        let mut places = lock(&self.places);
        places[writer] = place;
        self.moved.notify_all();
        places
    }

    /// Puts `writer` at `place` and waits until the others are near.
    fn wait(&self, writer: usize, place: u64) {
        let places = self.put(writer, place);
        let far = |places: &mut Vec<u64>| places.iter().any(|&other| place > other.saturating_add(AHEAD));
        drop(self.moved.wait_while(places, far).unwrap_or_else(PoisonError::into_inner));
    }
}

impl BlockDevice for Paced<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read_at(offset, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.pace.wait(self.writer, offset);
        let mut data = lock(&self.data);
        if !(data.0..data.1).contains(&offset) {
            let extent = self.disk.extent_at(offset)?;
            let end = offset.saturating_add(extent.len);
            if extent.kind == ExtentKind::Zero {
                drop(self.pace.put(self.writer, end));
                return Ok(extent);
            }
            *data = (offset, end);
        }
        Ok(Extent { kind: ExtentKind::Data, len: (data.1 - offset).min(AHEAD / 4) })
    }
}

impl Drop for Paced<'_> {
    fn drop(&mut self) {
        drop(self.pace.put(self.writer, u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::block::MemoryDevice;

    #[test]
    fn the_first_waits_for_the_last_and_nobody_for_those_who_left() {
        let mut bytes = vec![1; 24 << 20];
        bytes[10 << 20..13 << 20].fill(0);
        let (disk, pace) = (MemoryDevice::new(bytes), Pace::new(4));
        let places = [const { AtomicU64::new(0) }; 3];
        let gone = pace.follow(&disk, 3);
        std::thread::scope(|scope| {
            for (writer, step) in [(0, 1u64 << 20), (1, 7 << 20), (2, 300_000)] {
                let (paced, places) = (pace.follow(&disk, writer), &places);
                scope.spawn(move || {
                    let mut offset = 0;
                    while offset < paced.size() {
                        let extent = paced.extent_at(offset).unwrap();
                        places[writer].store(offset, Ordering::SeqCst);
                        // Others may be at most one step beyond what they last asked for.
                        for other in places {
                            let other = other.load(Ordering::SeqCst);
                            assert!(offset <= other + AHEAD + (7 << 20), "{offset} and {other}");
                        }
                        offset += if writer == 0 { extent.len } else { step };
                    }
                    places[writer].store(u64::MAX / 2, Ordering::SeqCst);
                });
            }
            drop(gone);
        });
        assert_eq!(*lock(&pace.places), [u64::MAX; 4]);
    }
}
