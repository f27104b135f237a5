//! One scheduler for all outputs of a run.
//!
//! ```text
//!   jobs ──▶ the next one, as soon as there is room in memory for it
//!              ├─▶ worker: reads its disk, writes in order ──▶ OUT.qcow2
//!              ├─▶ worker                                  ──▶ OUT.vmdk     pieces of work of all of them wait in
//!              └─▶ worker (the calling thread)             ──▶ OUT.bin.bz2  one queue: rayon's
//! ```
//!
//! A worker hands pieces of work to rayon's threads and waits for them, so no piece ever waits for another one, and a pool
//! of one thread is enough. Readers of one disk go through it side by side: see [`Pace`].

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread;

use super::pace::{Pace, Paced};
use super::room::{Room, Taken};
use super::share::{Share, Steps};
use crate::block::{BlockDevice, Watched};
use crate::error::Result;
use crate::lock::{even_if_poisoned, lock};
use crate::progress::{Cancel, Progress};

/// What a job does, with the threads and the permits it is given.
type Run<'a, T> = dyn FnOnce(&Desk<'_>) -> Result<T> + Send + 'a;

/// Something to be written. What it needs it makes when it runs: a job that waits takes as much memory as its closure.
pub(in crate::bake) struct Job<'a, T> {
    /// What its progress is counted in: bytes that go through its steps, all passes together.
    pub work_bytes: u64,
    /// Memory for its pieces in flight, in bytes.
    pub memory: u64,
    /// Does it.
    pub run: Box<Run<'a, T>>,
}

impl<'a, T> Job<'a, T> {
    /// A job that does `run`.
    pub(in crate::bake) fn new(
        work_bytes: u64,
        memory: u64,
        run: impl FnOnce(&Desk<'_>) -> Result<T> + Send + 'a,
    ) -> Self {
        Self {
            work_bytes,
            memory,
            run: Box::new(run),
        }
    }
}

/// How much goes on at a time.
#[derive(Debug, Clone, Copy)]
pub(in crate::bake) struct Limits {
    /// Most jobs at a time, each on a thread of its own; 1 at least.
    pub workers: usize,
    /// Memory for the pieces in flight of all of them, in bytes. A job that wants more runs alone.
    pub memory: u64,
}

impl Default for Limits {
    /// Six workers, so that the process has at most eight threads besides those of the pool, and 128 MiB: with what compressors keep on every thread and what disks keep unpacked, the process
    /// stays below 256 MiB on few cores.
    fn default() -> Self {
        Self {
            workers: 6,
            memory: 128 << 20,
        }
    }
}

/// Who watches what is written.
#[derive(Clone, Copy)]
pub struct Oversight<'a> {
    /// Told how far it is.
    pub progress: &'a dyn Progress,
    /// Ends it.
    pub cancel: &'a Cancel,
    /// Asked before an output gets its name; where it fails there is no such output.
    pub before_naming: &'a (dyn Fn() -> Result<()> + Sync),
}

impl<'a> Oversight<'a> {
    /// Without any check before outputs get their names.
    pub fn new(progress: &'a dyn Progress, cancel: &'a Cancel) -> Self {
        Self {
            progress,
            cancel,
            before_naming: &|| Ok(()),
        }
    }
}

/// Where a job is done: what it reads through, reports to and asks.
pub(in crate::bake) struct Desk<'a> {
    pace: &'a Pace,
    oversight: &'a Oversight<'a>,
    share: &'a Share<'a>,
    steps: Steps<'a>,
    /// No other job is in the run.
    is_alone: bool,
}

impl Desk<'_> {
    /// `disk`, read near the others who read it, or forks of it, in this run. Its reads fail once the run is cancelled.
    pub(in crate::bake) fn read<'d>(&'d self, disk: &'d dyn BlockDevice) -> Paced<'d> {
        self.pace.read(disk, self.oversight.cancel)
    }

    /// A device that nobody else reads, or that is not read front to back. Its reads fail once the run is cancelled.
    pub(in crate::bake) fn watch<D: BlockDevice>(&self, device: D) -> Watched<D> {
        Watched::new(device, self.oversight.cancel)
    }

    /// Progress of steps that stand for as many bytes of the declared work as they report.
    pub(in crate::bake) fn progress(&self) -> &dyn Progress {
        &self.steps
    }

    /// Whether no other job is in the run, so that there is time to do two things at once.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Progress of one step that stands for `bytes` of the declared work, whatever its own size.
    pub(in crate::bake) fn step(&self, bytes: u64) -> Steps<'_> {
        self.steps(&[bytes])
    }

    /// Progress of several steps in a row; see [`step`](Self::step).
    pub(in crate::bake) fn steps(&self, parts: &[u64]) -> Steps<'_> {
        Steps::planned(self.share, parts)
    }

    /// The flag that ends the run.
    pub(in crate::bake) fn cancel(&self) -> &Cancel {
        self.oversight.cancel
    }

    /// An error where an output must not get its name.
    pub(in crate::bake) fn before_naming(&self) -> Result<()> {
        self.cancel().check()?;
        (self.oversight.before_naming)()
    }
}

/// Runs all `jobs`, several at a time, as one step called `step`, and returns what they give in their order. A failure
/// spoils no other job.
///
/// Where the calling thread belongs to a rayon pool, the jobs run on it one after the other. Once the run is cancelled
/// no job begins any more, and those that run fail when they next read; what they have not named is gone.
///
/// # Panics
///
/// A panic of a job goes on in the caller once all jobs are done.
pub(in crate::bake) fn run<T: Send>(
    step: &str,
    jobs: Vec<Job<'_, T>>,
    limits: &Limits,
    oversight: &Oversight<'_>,
) -> Vec<Result<T>> {
    let count = jobs.len();
    let total = jobs
        .iter()
        .fold(0u64, |total, job| total.saturating_add(job.work_bytes));
    oversight.progress.start(step, total);
    let queue = Queue::new(jobs, limits.memory);
    let pace = Pace::default();
    let ended: Mutex<Vec<(usize, thread::Result<Result<T>>)>> =
        Mutex::new(Vec::with_capacity(count));
    let work = || {
        while let Some((number, job, _room)) = queue.next() {
            // What a panic may leave half done is the job's own: what jobs share is changed in one step.
            let result = catch_unwind(AssertUnwindSafe(|| {
                at_desk(job.work_bytes, count == 1, &pace, oversight, job.run)
            }));
            lock(&ended).push((number, result));
        }
    };
    let in_a_pool = rayon::current_thread_index().is_some();
    let workers = if in_a_pool {
        1
    } else {
        limits.workers.clamp(1, count.max(1))
    };
    thread::scope(|scope| {
        for _ in 1..workers {
            // Where the host gives no more threads, fewer workers do the same.
            if thread::Builder::new()
                .name("output".to_owned())
                .spawn_scoped(scope, work)
                .is_err()
            {
                break;
            }
        }
        work();
    });
    oversight.progress.finish();
    let mut ended = even_if_poisoned(ended.into_inner());
    ended.sort_by_key(|(number, _)| *number);
    ended
        .into_iter()
        .map(|(_, result)| result.unwrap_or_else(|panic| resume_unwind(panic)))
        .collect()
}

/// Does a job that is the only one, as one step called `step`, on the calling thread.
///
/// # Errors
///
/// Those of `job`.
pub(in crate::bake) fn alone<T>(
    step: &str,
    work_bytes: u64,
    oversight: &Oversight<'_>,
    job: impl FnOnce(&Desk<'_>) -> Result<T>,
) -> Result<T> {
    oversight.progress.start(step, work_bytes);
    let result = at_desk(work_bytes, true, &Pace::default(), oversight, job);
    oversight.progress.finish();
    result
}

fn at_desk<T>(
    work_bytes: u64,
    is_alone: bool,
    pace: &Pace,
    oversight: &Oversight<'_>,
    job: impl FnOnce(&Desk<'_>) -> Result<T>,
) -> Result<T> {
    let share = Share::new(oversight.progress, work_bytes);
    oversight.cancel.check()?;
    job(&Desk {
        pace,
        oversight,
        share: &share,
        steps: Steps::as_reported(&share),
        is_alone,
    })
}

/// Jobs that have not begun.
struct Queue<'a, T> {
    jobs: Mutex<std::iter::Enumerate<std::vec::IntoIter<Job<'a, T>>>>,
    room: Room,
}

impl<'a, T> Queue<'a, T> {
    fn new(jobs: Vec<Job<'a, T>>, memory: u64) -> Self {
        Self {
            jobs: Mutex::new(jobs.into_iter().enumerate()),
            room: Room::new(memory),
        }
    }

    /// The next job with its number, once there is room for it. Nobody overtakes one that waits.
    fn next(&self) -> Option<(usize, Job<'a, T>, Taken<'_>)> {
        let mut jobs = lock(&self.jobs);
        let (number, job) = jobs.next()?;
        let room = self.room.take(job.memory);
        Some((number, job, room))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::testing::Told;
    use super::*;
    use crate::ErrorKind;
    use crate::error::Error;
    use crate::progress::NoProgress;

    fn run_all<T: Send>(jobs: Vec<Job<'_, T>>, limits: Limits) -> Vec<Result<T>> {
        run(
            "jobs",
            jobs,
            &limits,
            &Oversight::new(&NoProgress, &Cancel::new()),
        )
    }

    /// Counts how much there is at a time, and the most there was.
    #[derive(Default)]
    struct Gauge(AtomicU64, AtomicU64);

    impl Gauge {
        fn hold(&self, amount: u64) {
            let now = self.0.fetch_add(amount, Ordering::SeqCst) + amount;
            self.1.fetch_max(now, Ordering::SeqCst);
            thread::sleep(Duration::from_micros(200));
            self.0.fetch_sub(amount, Ordering::SeqCst);
        }

        fn most(&self) -> u64 {
            self.1.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn three_hundred_jobs_take_eight_threads_and_give_their_results_in_order() {
        let threads = Mutex::new(HashSet::new());
        let at_a_time = Gauge::default();
        let jobs = (0..300usize).map(|number| {
            let threads = &threads;
            let at_a_time = &at_a_time;
            Job::new(1, 1, move |_| {
                lock(threads).insert(thread::current().id());
                at_a_time.hold(1);
                if number % 7 == 3 {
                    Err(Error::not_found(number.to_string()))
                } else {
                    Ok(number)
                }
            })
        });
        let results = run_all(jobs.collect(), Limits::default());
        for (number, result) in results.iter().enumerate() {
            match result {
                Ok(given) => assert!(*given == number && number % 7 != 3),
                Err(error) => assert!(error.to_string() == number.to_string() && number % 7 == 3),
            }
        }
        assert_eq!(results.len(), 300);
        assert!(
            lock(&threads).len() <= 8 && at_a_time.most() <= 8,
            "{}",
            at_a_time.most()
        );
    }

    #[test]
    fn there_are_no_more_threads_than_jobs_or_workers() {
        for (workers, count, most) in [(8, 3, 3), (2, 20, 2), (0, 5, 1), (4, 0, 0)] {
            let threads = Mutex::new(HashSet::new());
            let jobs = (0..count).map(|_| {
                Job::new(0, 0, |_| {
                    lock(&threads).insert(thread::current().id());
                    thread::sleep(Duration::from_millis(2));
                    Ok(())
                })
            });
            assert_eq!(
                run_all(
                    jobs.collect(),
                    Limits {
                        workers,
                        ..Limits::default()
                    }
                )
                .len(),
                count
            );
            assert!(
                lock(&threads).len() <= most,
                "{workers} workers, {count} jobs"
            );
        }
    }

    #[test]
    fn memory_stays_within_its_budget_and_a_large_job_runs_alone() {
        let memory = Gauge::default();
        let large = AtomicUsize::new(0);
        let jobs = (0..60u64).map(|number| {
            let memory = &memory;
            let large = &large;
            let wanted = [10, 30, 55, 1000][usize::try_from(number % 4).unwrap()];
            Job::new(0, wanted, move |_| {
                memory.hold(wanted.min(100));
                large.fetch_add(usize::from(wanted == 1000), Ordering::SeqCst);
                Ok(())
            })
        });
        let results = run_all(
            jobs.collect(),
            Limits {
                workers: 6,
                memory: 100,
            },
        );
        assert!(results.iter().all(Result::is_ok));
        assert!(memory.most() <= 100, "{}", memory.most());
        assert_eq!(large.into_inner(), 15);
    }

    #[test]
    fn a_panic_comes_out_when_all_others_are_done() {
        let done = AtomicUsize::new(0);
        let jobs = (0..20).map(|number| {
            let done = &done;
            Job::new(5, 0, move |_| {
                assert!(number != 2, "job two");
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            })
        });
        let jobs = jobs.collect();
        let told = Told::default();
        let cancel = Cancel::new();
        let all = || {
            run(
                "jobs",
                jobs,
                &Limits::default(),
                &Oversight::new(&told, &cancel),
            )
        };
        let panic = catch_unwind(AssertUnwindSafe(all)).unwrap_err();
        assert!(
            panic
                .downcast_ref::<&str>()
                .is_some_and(|said| said.contains("job two"))
        );
        assert_eq!(done.into_inner(), 19);
        assert!(told.is_exact());
    }

    #[test]
    fn in_a_pool_jobs_run_one_after_the_other_on_the_thread_that_calls() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .unwrap();
        pool.install(|| {
            let here = thread::current().id();
            let jobs = (0..10).map(|_| Job::new(0, 0, move |_| Ok(thread::current().id() == here)));
            let results = run_all(jobs.collect(), Limits::default());
            assert!(results.into_iter().all(Result::unwrap));
        });
    }

    #[test]
    fn progress_ends_at_exactly_what_was_declared() {
        let told = Told::default();
        let cancel = Cancel::new();
        let jobs = (0..50u64).map(|number| {
            Job::new(1000 + number, 0, move |desk| {
                let step = desk.step(600);
                step.start("scaled down", 1 << 20);
                (0..number).for_each(|_| step.advance(1 << 15));
                drop(step);
                desk.progress().start("a small file", 10);
                desk.progress().advance(10);
                desk.progress().finish();
                if number % 3 == 0 {
                    Err(Error::not_found("in between"))
                } else {
                    Ok(())
                }
            })
        });
        run(
            "jobs",
            jobs.collect(),
            &Limits::default(),
            &Oversight::new(&told, &cancel),
        );
        assert_eq!(told.total(), 50 * 1000 + 49 * 50 / 2);
        assert!(told.is_exact());
    }

    #[test]
    fn nothing_begins_once_the_run_is_cancelled() {
        let told = Told::default();
        let cancel = Cancel::new();
        let begun = AtomicUsize::new(0);
        let jobs = (0..100).map(|number| {
            let cancel = &cancel;
            let begun = &begun;
            Job::new(10, 0, move |desk| {
                begun.fetch_add(1, Ordering::SeqCst);
                if number == 5 {
                    cancel.cancel();
                }
                desk.before_naming()
            })
        });
        let results = run(
            "jobs",
            jobs.collect(),
            &Limits {
                workers: 3,
                memory: 0,
            },
            &Oversight::new(&told, &cancel),
        );
        assert!(begun.into_inner() <= 5 + 3);
        let kind = |result: &Result<()>| result.as_ref().err().map(Error::kind);
        assert!(
            results[8..]
                .iter()
                .all(|result| kind(result) == Some(ErrorKind::Cancelled))
        );
        assert!(told.is_exact());
    }
}
