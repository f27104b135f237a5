//! Keeps those who read the same disk front to back near each other, so that what one has read is still in memory for
//! the others: unpacked clusters of a compressed image, and pages of the host.
//!
//! ```text
//!   disk   │   behind: not waited for   │◀───────── WINDOW ────────────────────────────────┐
//!          │        ▲                   │         ▲ the last one          ▲ the first one waits here for the last
//!                   │                             └──────── AHEAD ────────┘
//!                   began later, or is far slower
//! ```
//!
//! A reader is known from its first [`extent_at`](BlockDevice::extent_at) to the end of that pass: the end of the disk, a
//! jump back, or its drop. It waits where it asks for the next extent, which writers do on a thread of their own; pieces
//! of work on rayon's threads never wait. Nobody waits for one that is far behind, nor for one that has not moved for a
//! while, and the last one waits for nobody, so there is always one that goes on. Waiting changes when something is read,
//! never what.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::block::{BlockDevice, Extent, ExtentKind};
use crate::error::Result;
use crate::lock::{even_if_poisoned, lock};
use crate::progress::Cancel;

/// How far the first reader may be ahead of the last one, in bytes. Readers of images keep 16 MiB unpacked.
const AHEAD: u64 = 4 << 20;
/// Whoever is farther behind than this, in bytes, would not find what the first one has read anyway.
const WINDOW: u64 = 64 << 20;
/// Whoever has not moved for so long does something else.
const PATIENCE: Duration = Duration::from_millis(200);
/// Holes are given out in parts of so many bytes, so that those who go through one notice when a run is cancelled.
const HOLE_PART: u64 = 64 << 20;
/// Data is given out in parts of so many bytes, so that readers move in small steps.
const PART: u64 = AHEAD / 4;

/// Where the readers are that go through a disk, or forks of one.
#[derive(Debug)]
pub(super) struct Pace {
    readers: Mutex<Readers>,
    moved: Condvar,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Readers {
    known: BTreeMap<u64, Place>,
    /// The name of the next reader.
    next: u64,
}

/// Where a reader is, and since when.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    since: Instant,
}

impl Place {
    /// For how much longer a reader at `offset` waits for this one; `None`: it does not.
    fn holds_back(self, offset: u64, now: Instant, patience: Duration) -> Option<Duration> {
        let behind = offset.saturating_sub(self.offset);
        if !(AHEAD..=WINDOW).contains(&behind) {
            return None;
        }
        patience
            .checked_sub(now.saturating_duration_since(self.since))
            .filter(|left| !left.is_zero())
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            readers: Mutex::default(),
            moved: Condvar::new(),
            patience: PATIENCE,
        }
    }
}

impl Pace {
    /// `disk` for one more reader.
    pub(super) fn read<'a>(&'a self, disk: &'a dyn BlockDevice, cancel: &'a Cancel) -> Paced<'a> {
        let mut readers = lock(&self.readers);
        let reader = readers.next;
        readers.next += 1;
        drop(readers);
        Paced {
            disk,
            pace: self,
            cancel,
            reader,
            pass: Mutex::default(),
        }
    }

    /// Puts `reader` at `offset`.
    fn put(&self, reader: u64, offset: u64) -> MutexGuard<'_, Readers> {
        let mut readers = lock(&self.readers);
        readers.known.insert(
            reader,
            Place {
                offset,
                since: Instant::now(),
            },
        );
        self.moved.notify_all();
        readers
    }

    /// Puts `reader` at `offset` and waits until the others are near.
    fn wait(&self, reader: u64, offset: u64, cancel: &Cancel) {
        let mut readers = self.put(reader, offset);
        while !cancel.is_cancelled() {
            let now = Instant::now();
            let waits = readers
                .known
                .values()
                .filter_map(|other| other.holds_back(offset, now, self.patience));
            let Some(longest) = waits.max() else { return };
            (readers, _) = even_if_poisoned(self.moved.wait_timeout(readers, longest));
        }
    }

    fn leave(&self, reader: u64) {
        if lock(&self.readers).known.remove(&reader).is_some() {
            self.moved.notify_all();
        }
    }
}

/// A disk that is read near the other readers of a run, until the run is cancelled.
#[derive(Debug)]
pub(in crate::bake) struct Paced<'a> {
    disk: &'a dyn BlockDevice,
    pace: &'a Pace,
    cancel: &'a Cancel,
    reader: u64,
    pass: Mutex<Pass>,
}

/// How far a reader is.
#[derive(Debug, Default)]
struct Pass {
    /// The extent asked for last.
    last: u64,
    /// Start and end of the data seen last.
    data: (u64, u64),
    /// The first pass is over: others keep no pace with this reader any more, nor it with them.
    over: bool,
}

impl Paced<'_> {
    /// Whether a question for the extent at `offset` belongs to the first pass.
    fn is_first_pass(&self, offset: u64) -> bool {
        let mut pass = lock(&self.pass);
        if offset < pass.last {
            pass.over = true;
        }
        pass.last = offset;
        !pass.over
    }

    /// The extent at `offset`, whose end is remembered where it is data.
    fn extent(&self, offset: u64) -> Result<Extent> {
        let mut pass = lock(&self.pass);
        if (pass.data.0..pass.data.1).contains(&offset) {
            return Ok(Extent {
                kind: ExtentKind::Data,
                len: pass.data.1 - offset,
            });
        }
        let extent = self.disk.extent_at(offset)?;
        if extent.kind == ExtentKind::Data {
            pass.data = (offset, offset.saturating_add(extent.len));
        }
        Ok(extent)
    }

    fn end_pass(&self) {
        lock(&self.pass).over = true;
        self.pace.leave(self.reader);
    }
}

impl BlockDevice for Paced<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.cancel.check()?;
        self.disk.read_at(offset, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.cancel.check()?;
        let paced = self.is_first_pass(offset);
        if paced {
            self.pace.wait(self.reader, offset, self.cancel);
            self.cancel.check()?;
        } else {
            self.pace.leave(self.reader);
        }
        let extent = self.extent(offset)?;
        let len = match extent.kind {
            ExtentKind::Data => extent.len.min(PART),
            ExtentKind::Zero => extent.len.min(HOLE_PART),
        };
        let end = offset.saturating_add(len);
        if paced && end >= self.size() {
            self.end_pass();
        } else if paced && extent.kind == ExtentKind::Zero {
            drop(self.pace.put(self.reader, end));
        }
        Ok(Extent {
            kind: extent.kind,
            len,
        })
    }
}

impl Drop for Paced<'_> {
    fn drop(&mut self) {
        self.pace.leave(self.reader);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::ErrorKind;
    use crate::block::MemoryDevice;

    /// Longer than any test takes: whoever waits so long waits for somebody who will not move.
    const FOR_EVER: Duration = Duration::from_secs(600);

    fn patient(patience: Duration) -> Pace {
        Pace {
            patience,
            ..Pace::default()
        }
    }

    fn disk(mib: usize) -> MemoryDevice {
        let mut bytes = vec![1; mib << 20];
        bytes[10 << 20..13 << 20].fill(0);
        MemoryDevice::new(bytes)
    }

    /// Goes through a disk, at most `step` bytes at a time.
    fn go_through(disk: &dyn BlockDevice, step: u64, mut at: impl FnMut(u64)) {
        let mut offset = 0;
        while offset < disk.size() {
            let extent = disk.extent_at(offset).unwrap();
            at(offset);
            offset += extent.len.min(step);
        }
    }

    fn known(pace: &Pace) -> usize {
        lock(&pace.readers).known.len()
    }

    #[test]
    fn the_first_waits_for_the_last_and_nobody_for_those_who_have_not_begun_or_left() {
        let disk = disk(24);
        let pace = patient(FOR_EVER);
        let cancel = Cancel::new();
        let places = [const { AtomicU64::new(0) }; 3];
        let idle = pace.read(&disk, &cancel);
        let gone = pace.read(&disk, &cancel);
        gone.extent_at(0).unwrap();
        std::thread::scope(|scope| {
            let readers: Vec<_> = places.iter().map(|_| pace.read(&disk, &cancel)).collect();
            for reader in &readers {
                reader.extent_at(0).unwrap();
            }
            for ((paced, step), number) in readers
                .into_iter()
                .zip([1u64 << 20, 7 << 20, 300_000])
                .zip(0..)
            {
                let places = &places;
                scope.spawn(move || {
                    go_through(&paced, step, |offset| {
                        places[number].store(offset, Ordering::SeqCst);
                        // Others may be at most one step beyond what they last asked for.
                        for other in places {
                            let ahead = offset.saturating_sub(other.load(Ordering::SeqCst));
                            assert!(ahead <= AHEAD + (7 << 20), "{ahead}");
                        }
                    });
                    places[number].store(u64::MAX, Ordering::SeqCst);
                });
            }
            drop(gone);
        });
        drop(idle);
        assert_eq!(known(&pace), 0);
    }

    #[test]
    fn one_that_stops_holds_nobody_up_for_ever() {
        let disk = disk(24);
        let pace = patient(Duration::from_millis(20));
        let cancel = Cancel::new();
        let stops = pace.read(&disk, &cancel);
        stops.extent_at(1 << 20).unwrap();
        let waits = pace.read(&disk, &cancel);
        let began = Instant::now();
        waits.extent_at(5 << 20).unwrap();
        assert!(
            began.elapsed() >= Duration::from_millis(10),
            "it waited for a while"
        );
        go_through(&pace.read(&disk, &cancel), u64::MAX, |_| {});
    }

    #[test]
    fn one_that_is_far_behind_is_not_waited_for() {
        let disk = disk(100);
        let pace = patient(FOR_EVER);
        let cancel = Cancel::new();
        let far = pace.read(&disk, &cancel);
        far.extent_at(0).unwrap();
        for offset in [0, AHEAD - 1, WINDOW + 1, 99 << 20] {
            pace.read(&disk, &cancel).extent_at(offset).unwrap();
        }
    }

    #[test]
    fn a_second_pass_neither_waits_nor_is_waited_for() {
        let disk = disk(24);
        let pace = patient(FOR_EVER);
        let cancel = Cancel::new();
        let twice = pace.read(&disk, &cancel);
        go_through(&twice, u64::MAX, |_| {});
        assert_eq!(known(&pace), 0, "the end of the disk");
        let behind = pace.read(&disk, &cancel);
        behind.extent_at(0).unwrap();
        go_through(&twice, u64::MAX, |_| {});
        assert_eq!(known(&pace), 1);
        let jumps = pace.read(&disk, &cancel);
        jumps.extent_at(2 << 20).unwrap();
        assert_eq!(known(&pace), 2);
        jumps.extent_at(1 << 20).unwrap();
        jumps.extent_at(20 << 20).unwrap();
        assert_eq!(known(&pace), 1, "a jump back");
    }

    #[test]
    fn extents_are_those_of_the_disk() {
        let disk = disk(24);
        let pace = Pace::default();
        let cancel = Cancel::new();
        let paced = pace.read(&disk, &cancel);
        for _pass in 0..2 {
            let mut data = 0;
            go_through(&paced, u64::MAX, |offset| {
                let kind = paced.extent_at(offset).unwrap().kind;
                let wanted = disk.extent_at(offset).unwrap().kind;
                assert_eq!(kind, wanted, "{offset}");
                data += u64::from(kind == ExtentKind::Data);
            });
            assert!(data >= 21, "{data}");
        }
    }

    #[test]
    fn whoever_waits_ends_when_the_run_is_cancelled() {
        let disk = disk(24);
        let pace = patient(Duration::from_secs(2));
        let cancel = Cancel::new();
        let behind = pace.read(&disk, &cancel);
        let paced = pace.read(&disk, &cancel);
        behind.extent_at(0).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| paced.extent_at(20 << 20));
            cancel.cancel();
            assert_eq!(
                waiting.join().unwrap().unwrap_err().kind(),
                ErrorKind::Cancelled
            );
        });
        assert_eq!(
            paced.read_at(0, &mut [0]).unwrap_err().kind(),
            ErrorKind::Cancelled
        );
    }
}
