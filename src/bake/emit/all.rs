//! Several outputs at a time.
//!
//! ```text
//!   disk, or forks of one ──┬─▶ thread: reads ahead, writes in order ──▶ OUT.qcow2
//!                           ├─▶ thread                               ──▶ OUT.vmdk     pieces of work of all of them
//!                           └─▶ thread                               ──▶ OUT.bin.bz2  wait in one queue: rayon's
//! ```
//!
//! Every output has a thread of its own that hands pieces of work to rayon's threads and waits for them, so no piece
//! ever waits for another one and a pool of one thread is enough. They go through the disk side by side: see [`Pace`].

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::pace::Pace;
use super::room::Room;
use super::{Artifact, Output, emit};
use crate::block::BlockDevice;
use crate::bytes::to_u64;
use crate::error::{Error, Result};
use crate::image::{Compression, OutputFormat};
use crate::progress::Progress;

/// Memory for the pieces in flight of all outputs. What does not fit waits until another output is done.
const MEMORY: u64 = 384 << 20;

/// Writes several outputs at a time, each of its disk: one that they share, forks of one, or others. Every output has
/// the bytes that [`emit`] gives it; what it gives comes in the order of `jobs`. A failure spoils no other output.
///
/// All work is done on rayon's global pool. Where the calling thread belongs to a pool already, the outputs are written
/// one after the other on that one. Memory is bounded by some 400 MiB whatever the number of outputs, except for high
/// levels of xz and zstd, which need more for each thread.
///
/// # Errors
///
/// Those of [`emit`], for each output; [`crate::ErrorKind::InvalidInput`] for one that would replace another's file.
pub fn emit_all<'a>(jobs: &[(&'a dyn BlockDevice, Output)], progress: &dyn Progress) -> Vec<Result<Artifact>> {
    let load = |(disk, output): &(&'a dyn BlockDevice, Output)| Load::new(*disk, output);
    let loads: Vec<Load<'_>> = jobs.iter().map(load).collect();
    side_by_side("outputs", &loads, progress, |index, disk, progress| {
        let output = &jobs[index].1;
        refuse_twice(&jobs[..index], output)?;
        emit(disk, output, progress)
    })
}

/// What it takes to write something.
pub(in crate::bake) struct Load<'a> {
    /// The disk that is gone through.
    pub disk: &'a dyn BlockDevice,
    /// How often.
    pub passes: u64,
    /// Memory for the pieces in flight, in bytes.
    pub memory: u64,
}

impl<'a> Load<'a> {
    /// That of writing `disk` to `output`.
    pub fn new(disk: &'a dyn BlockDevice, output: &Output) -> Self {
        Self { disk, passes: passes(output), memory: memory(output) }
    }
}

/// Runs `one` for every load, each in a thread of its own, and returns what they give in the order of `loads`. They must
/// read their disk through the device that they are given, which keeps them near each other.
pub(in crate::bake) fn side_by_side<T: Send>(
    what: &str,
    loads: &[Load<'_>],
    progress: &dyn Progress,
    one: impl Fn(usize, &dyn BlockDevice, &dyn Progress) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let total = loads.iter().map(|load| load.disk.size().saturating_mul(load.passes));
    progress.start(&format!("writing {} {what}", loads.len()), total.fold(0, u64::saturating_add));
    let (room, pace) = (Room::new(MEMORY), Pace::new(loads.len()));
    let one = |index: usize| {
        let load = &loads[index];
        let _taken = room.take(load.memory);
        let share = Share { all: progress, bytes: load.disk.size(), step: Mutex::default() };
        one(index, &pace.follow(load.disk, index), &share)
    };
    let results = if rayon::current_thread_index().is_some() {
        (0..loads.len()).map(one).collect()
    } else {
        thread::scope(|scope| {
            let one = &one;
            let start = |index| thread::Builder::new().spawn_scoped(scope, move || one(index));
            let threads: Vec<_> = (0..loads.len()).map(start).collect();
            threads.into_iter().map(end).collect()
        })
    };
    progress.finish();
    results
}

/// The result of an output's thread. A panic goes on in this one, once all outputs are done.
fn end<T>(thread: std::io::Result<thread::ScopedJoinHandle<'_, Result<T>>>) -> Result<T> {
    let thread = thread.map_err(|error| Error::io("starting a thread", error))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How often the bytes of a disk are gone through for `output`.
fn passes(output: &Output) -> u64 {
    let through_a_file = output.compress.is_some() && output.format != OutputFormat::Raw;
    let read_again = output.digest && output.compress.is_none();
    1 + u64::from(through_a_file) + u64::from(read_again)
}

/// Bytes of memory that writing `output` takes: pieces in flight, as they are and compressed.
fn memory(output: &Output) -> u64 {
    const IN_FLIGHT_PER_THREAD: u64 = 3;
    let piece: u64 = match output.compress.map(|options| options.compression) {
        None => 512 << 10,
        Some(Compression::Gzip | Compression::Bzip2) => 1 << 20,
        Some(Compression::Xz | Compression::Zstd) => 4 << 20,
    };
    2 * piece * IN_FLIGHT_PER_THREAD * to_u64(rayon::current_num_threads())
}

fn refuse_twice(before: &[(&dyn BlockDevice, Output)], output: &Output) -> Result<()> {
    let taken: Vec<PathBuf> = before.iter().flat_map(|(_, output)| output.files()).collect();
    match output.files().into_iter().find(|file| taken.contains(file)) {
        None => Ok(()),
        Some(file) => Err(Error::invalid(format!("{} is the name of two outputs", file.display()))
            .with_hint("give every output a name of its own")),
    }
}

/// Makes one step of the steps of several outputs: each pass over a disk counts as much as the disk has bytes.
struct Share<'a> {
    all: &'a dyn Progress,
    bytes: u64,
    step: Mutex<Step>,
}

#[derive(Debug, Default)]
struct Step {
    done: u64,
    total: u64,
}

impl Progress for Share<'_> {
    fn start(&self, _step: &str, total_bytes: u64) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Step { done: 0, total: total_bytes };
    }

    fn advance(&self, bytes: u64) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let scaled = |step: &Step| {
            let share = u128::from(step.done) * u128::from(self.bytes) / u128::from(step.total.max(1));
            u64::try_from(share).unwrap_or(self.bytes)
        };
        let before = scaled(&step);
        step.done = step.done.saturating_add(bytes).min(step.total);
        self.all.advance(scaled(&step) - before);
    }

    fn finish(&self) {}

    fn warn(&self, message: &str) {
        self.all.warn(message);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ErrorKind;
    use crate::block::{BlockDeviceMut, MemoryDevice, Overlay, OverlayOptions};
    use crate::progress::NoProgress;
    use std::sync::Arc;

    const NAMES: [&str; 12] = [
        "a.img",
        "a.qcow2",
        "a.vmdk",
        "a.vhd",
        "a.vhdx",
        "a.vdi",
        "a.hdd",
        "a.gz",
        "a.bz2",
        "a.xz",
        "a.vdi.zst",
        "b.zst",
    ];

    /// An overlay over some data, a long hole and more data.
    fn disk(dir: &Path) -> Overlay {
        let mut bytes: Vec<u8> = (0..400_000u32).flat_map(|n| (n / 3).wrapping_mul(n).to_le_bytes()).collect();
        bytes.resize(9 << 20, 0);
        bytes[(9 << 20) - 70_000..].fill(3);
        Overlay::new(Arc::new(MemoryDevice::new(bytes)), OverlayOptions::new(dir)).unwrap()
    }

    fn outputs(dir: &Path) -> Vec<Output> {
        std::fs::create_dir(dir).unwrap();
        NAMES.map(|name| Output { digest: true, ..Output::new(dir.join(name)) }).into()
    }

    /// Digests of all files, and what failed.
    fn said(results: &[Result<Artifact>]) -> Vec<Result<Vec<String>, ErrorKind>> {
        let digests = |artifact: &Artifact| artifact.files.iter().map(|file| file.sha256.clone().unwrap()).collect();
        results.iter().map(|result| result.as_ref().map(digests).map_err(Error::kind)).collect()
    }

    #[test]
    fn together_as_one_by_one_in_any_pool_and_a_failure_stays_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (base, fork) = (disk(dir.path()), disk(dir.path()).fork());
        fork.write_at(5 << 20, b"changed").unwrap();
        let disk_of = |index: usize| -> &dyn BlockDevice { if index.is_multiple_of(2) { &base } else { &fork } };
        let alone = outputs(&dir.path().join("alone"));
        let alone: Vec<_> = alone.iter().enumerate().map(|(n, output)| emit(disk_of(n), output, &NoProgress)).collect();
        let mut wanted = said(&alone);
        assert!(wanted.iter().all(Result::is_ok), "{wanted:?}");
        wanted.insert(1, Err(ErrorKind::NotFound));
        wanted.push(Err(ErrorKind::InvalidInput));
        for threads in [0, 1, 3] {
            let folder = dir.path().join(format!("together{threads}"));
            let mut jobs: Vec<_> = outputs(&folder).into_iter().enumerate().map(|(n, o)| (disk_of(n), o)).collect();
            jobs.insert(1, (&base, Output::new(folder.join("missing/a.img"))));
            jobs.push((&base, Output::new(folder.join("a.qcow2"))));
            let all = || emit_all(&jobs, &NoProgress);
            let results = match threads {
                0 => all(),
                _ => rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(all),
            };
            assert_eq!(said(&results), wanted, "{threads} threads");
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), NAMES.len());
        }
        assert!(emit_all(&[], &NoProgress).is_empty());
    }

    #[test]
    fn progress_of_all_adds_up() {
        #[derive(Default)]
        struct Sums(Mutex<(u64, u64)>);
        impl Progress for Sums {
            fn start(&self, _step: &str, total_bytes: u64) {
                self.0.lock().unwrap().0 += total_bytes;
            }
            fn advance(&self, bytes: u64) {
                self.0.lock().unwrap().1 += bytes;
            }
            fn finish(&self) {}
            fn warn(&self, _message: &str) {}
        }
        let dir = tempfile::tempdir().unwrap();
        let (disk, sums) = (disk(dir.path()), Sums::default());
        let jobs: Vec<_> = ["a.img", "a.qcow2", "a.gz", "a.vdi.zst"]
            .map(|name| (&disk as &dyn BlockDevice, Output { digest: true, ..Output::new(dir.path().join(name)) }))
            .into();
        assert!(emit_all(&jobs, &sums).iter().all(Result::is_ok));
        assert_eq!(*sums.0.lock().unwrap(), (disk.size() * 7, disk.size() * 7));
    }
}
