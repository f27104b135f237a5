//! The ordered parallel pipeline: work on many chunks at once, results strictly in order, memory bounded.
//!
//! ```text
//!   jobs ──▶ [ 7 ][ 6 ][ 5 ][ 4 ][ 3 ] ──▶ sink        at most `window` chunks between the two ends
//!              │    │    │    │    └ done: consumed, the window slides, job 8 is started
//!              └────┴────┴────┴── on rayon's threads
//! ```
//!
//! There is no barrier: as soon as the oldest result is consumed the next job starts, so all cores stay busy
//! however unequal the chunks are. The calling thread pulls the jobs and runs the sink; when it is itself one of
//! rayon's threads it works on chunks while it waits, so even a pool of one thread makes progress.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use rayon::Yield;

use crate::error::{Error, Result};
use crate::lock::lock;

/// Runs `work` on every job in parallel and gives the results to `sink` in the order of the jobs.
///
/// At most `window` jobs (at least 1) are queued, running or waiting for the sink; 2 to 4 for each thread keep all
/// cores busy. `jobs` and `sink` run on the calling thread, `work` on the current rayon pool. `work` must not use
/// rayon itself: two such pipelines could then wait for each other.
///
/// # Errors
///
/// The first error in order, whether it comes from `jobs`, `work` or `sink`. Every result before it has reached the
/// sink, none after it does, and jobs that have not begun by then never run.
///
/// # Panics
///
/// A panic in `work` comes out of this function once the jobs that already run are over.
pub fn run_ordered<T, R, J, W, S>(jobs: J, window: usize, work: W, sink: S) -> Result<()>
where
    T: Send,
    R: Send,
    J: IntoIterator<Item = Result<T>>,
    W: Fn(T) -> Result<R> + Sync,
    S: FnMut(R) -> Result<()>,
{
    run_within(
        &Room {
            window,
            budget: u64::MAX,
            weigh: |_: &T| 0,
        },
        jobs,
        work,
        sink,
    )
}

/// How many jobs are in flight at once.
pub struct Room<F> {
    /// So many at most.
    pub window: usize,
    /// Together they weigh at most this; one that weighs more goes alone.
    pub budget: u64,
    /// What a job weighs, in bytes of memory.
    pub weigh: F,
}

/// [`run_ordered`] with jobs of different weight.
pub fn run_within<T, R, F, J, W, S>(room: &Room<F>, jobs: J, work: W, mut sink: S) -> Result<()>
where
    T: Send,
    R: Send,
    F: Fn(&T) -> u64,
    J: IntoIterator<Item = Result<T>>,
    W: Fn(T) -> Result<R> + Sync,
    S: FnMut(R) -> Result<()>,
{
    let stop = AtomicBool::new(false);
    let work = &work;
    let stop = &stop;
    // First in, first out: the result that the sink waits for is the one that is worked on first.
    rayon::in_place_scope_fifo(|scope| {
        let _abandon = SetOnDrop(stop);
        let mut jobs = jobs.into_iter().fuse().peekable();
        let mut in_flight = VecDeque::new();
        let mut weight = 0u64;
        let mut failed = false;
        loop {
            while !failed && in_flight.len() < room.window.max(1) {
                let Some(job) = jobs.peek() else { break };
                let own = job.as_ref().map_or(0, &room.weigh);
                if !in_flight.is_empty() && weight.saturating_add(own) > room.budget {
                    break;
                }
                let Some(job) = jobs.next() else { break };
                let (sender, receiver) = channel();
                in_flight.push_back((receiver, own));
                weight = weight.saturating_add(own);
                match job {
                    Ok(job) => scope.spawn_fifo(move |_| {
                        if !stop.load(Ordering::Relaxed) {
                            // Nobody receives after an earlier error; the result is then not wanted.
                            let _ = sender.send(work(job));
                        }
                    }),
                    Err(error) => {
                        failed = true;
                        let _ = sender.send(Err(error));
                    }
                }
            }
            let Some((oldest, own)) = in_flight.pop_front() else {
                return Ok(());
            };
            sink(wait(&oldest)?)?;
            weight -= own;
        }
    })
}

/// Waits for a result; one of rayon's threads works on queued chunks meanwhile.
fn wait<R>(receiver: &Receiver<Result<R>>) -> Result<R> {
    // The job panicked: the scope raises its panic again as soon as the other running jobs are over.
    let panicked = || Error::internal("a worker thread panicked");
    loop {
        match receiver.try_recv() {
            Ok(result) => return result,
            Err(TryRecvError::Disconnected) => return Err(panicked()),
            Err(TryRecvError::Empty) => {}
        }
        // Nothing left to work on means that another thread has taken this job, so blocking is safe.
        if rayon::yield_now() != Some(Yield::Executed) {
            return receiver.recv().unwrap_or_else(|_| Err(panicked()));
        }
    }
}

/// Tells queued jobs not to begin, however the pipeline is left: an error, a panic of the sink, the end.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Buffers and compressor states that go round between the threads instead of being made for every chunk.
#[derive(Debug)]
pub struct Spares<T>(Mutex<Vec<T>>);

impl<T> Spares<T> {
    /// A spare, where there is one.
    pub fn take(&self) -> Option<T> {
        lock(&self.0).pop()
    }

    /// Gives one back.
    pub fn give(&self, spare: T) {
        lock(&self.0).push(spare);
    }
}

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicUsize;
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    #[test]
    fn weights_in_flight_stay_within_the_budget() {
        let weight = |heavy: usize| move |n: usize| if n == 150 { heavy } else { n * 37 % 50 };
        for heavy in [0, 500] {
            let weights: Vec<usize> = (0..300).map(weight(heavy)).collect();
            let now = AtomicUsize::new(0);
            let most = AtomicUsize::new(0);
            let room = Room {
                window: 16,
                budget: 100,
                weigh: |weight: &usize| crate::bytes::to_u64(*weight),
            };
            let mut seen = Vec::new();
            // Jobs weigh from when they are taken to when the sink is done with them.
            let jobs = weights.iter().map(|&weight| {
                let all = now.fetch_add(weight, Ordering::SeqCst) + weight;
                most.fetch_max(all, Ordering::SeqCst);
                Ok(weight)
            });
            let sink = |weight| {
                now.fetch_sub(weight, Ordering::SeqCst);
                seen.push(weight);
                Ok(())
            };
            pool(4)
                .install(|| run_within(&room, jobs, Ok, sink))
                .unwrap();
            assert_eq!(seen, weights);
            // One job more waits until there is room for it.
            let most = most.into_inner();
            let limit = if heavy == 0 { 150 } else { 100 + heavy };
            assert!((90..=limit).contains(&most), "{most} of {limit}");
        }
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    }

    /// Squares `0..count` with late early jobs, and returns what the sink saw.
    fn squares(count: u64, window: usize) -> Vec<u64> {
        let mut seen = Vec::new();
        let slow = |n: u64| {
            sleep(Duration::from_micros((n * 7919) % 300));
            Ok(n * n)
        };
        let sink = |n| {
            seen.push(n);
            Ok(())
        };
        run_ordered((0..count).map(Ok), window, slow, sink).unwrap();
        seen
    }

    #[test]
    fn results_come_in_order_inside_and_outside_of_any_pool() {
        let wanted: Vec<u64> = (0..200).map(|n| n * n).collect();
        for window in [0, 1, 3, 1000] {
            assert_eq!(squares(200, window), wanted, "window {window}");
            for threads in [1, 2, 5] {
                assert_eq!(
                    pool(threads).install(|| squares(200, window)),
                    wanted,
                    "{threads} threads"
                );
            }
        }
        assert_eq!(squares(0, 4), [0; 0]);
    }

    #[test]
    fn pipelines_inside_one_small_pool_do_not_wait_for_each_other() {
        for threads in [1, 2] {
            let counts = pool(threads).install(|| {
                use rayon::prelude::*;
                (0..8u64)
                    .into_par_iter()
                    .map(|n| squares(n * 10, 4).len())
                    .collect::<Vec<_>>()
            });
            assert_eq!(counts, [0, 10, 20, 30, 40, 50, 60, 70]);
        }
    }

    #[test]
    fn never_more_than_the_window_is_in_flight() {
        let pulled = AtomicUsize::new(0);
        let sunk = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let jobs = (0..300).map(|n| {
            let in_flight = pulled.fetch_add(1, Ordering::SeqCst) + 1 - sunk.load(Ordering::SeqCst);
            most.fetch_max(in_flight, Ordering::SeqCst);
            Ok(n)
        });
        let sink = |_: i32| {
            sunk.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        run_ordered(jobs, 6, Ok, sink).unwrap();
        assert_eq!(most.into_inner(), 6);
    }

    #[test]
    fn both_threads_work_at_the_same_time() {
        // Each job waits until another one runs beside it: only overlap lets this end.
        let barrier = std::sync::Barrier::new(2);
        let work = |n| {
            barrier.wait();
            Ok(n)
        };
        pool(2)
            .install(|| run_ordered((0..20).map(Ok), 4, work, |_: i32| Ok(())))
            .unwrap();
    }

    #[test]
    fn the_first_error_in_order_wins_and_the_rest_is_abandoned() {
        for threads in [1, 3] {
            let mut seen = Vec::new();
            let ran = AtomicUsize::new(0);
            let work = |n: usize| {
                ran.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(if n == 5 { 5 } else { 0 }));
                if n == 5 || n == 7 {
                    Err(Error::corrupt(format!("job {n}")))
                } else {
                    Ok(n)
                }
            };
            let sink = |n| {
                seen.push(n);
                Ok(())
            };
            let error = pool(threads)
                .install(|| run_ordered((0..100_000).map(Ok), 8, work, sink))
                .unwrap_err();
            assert_eq!(error.to_string(), "job 5");
            assert_eq!(seen, [0, 1, 2, 3, 4]);
            assert!(ran.into_inner() <= 13, "no more than what was in flight");
        }
    }

    #[test]
    fn errors_of_the_source_and_of_the_sink_come_out_in_order() {
        let mut seen = 0;
        let jobs = (0..).map(|n| {
            if n < 10 {
                Ok(n)
            } else {
                Err(Error::not_found("source"))
            }
        });
        let count = |_| {
            seen += 1;
            Ok(())
        };
        assert_eq!(
            run_ordered(jobs, 64, Ok, count).unwrap_err().to_string(),
            "source"
        );
        assert_eq!(seen, 10);
        let refuse = |n: i32| {
            if n == 3 {
                Err(Error::no_space("sink"))
            } else {
                Ok(())
            }
        };
        assert_eq!(
            run_ordered((0..).map(Ok), 4, Ok, refuse)
                .unwrap_err()
                .to_string(),
            "sink"
        );
    }

    #[test]
    fn a_panic_comes_out_and_nothing_hangs() {
        let explode = |n: i32| if n == 20 { panic!("job twenty") } else { Ok(n) };
        for threads in [1, 2] {
            let run = || run_ordered((0..1000).map(Ok), 4, explode, |_| Ok(()));
            let payload =
                catch_unwind(AssertUnwindSafe(|| pool(threads).install(run))).unwrap_err();
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"job twenty"));
        }
        let run = || run_ordered((0..1000).map(Ok), 4, explode, |_| Ok(()));
        assert!(
            catch_unwind(AssertUnwindSafe(run)).is_err(),
            "from a thread outside of the pool"
        );
        let run = || {
            run_ordered((0..1000).map(Ok), 4, Ok, |n| {
                if n == 5 { panic!("sink") } else { Ok(()) }
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "in the sink");
    }

    #[test]
    fn spares_are_used_again() {
        let spares = Spares::default();
        assert_eq!(spares.take(), None);
        spares.give(2);
        assert_eq!((spares.take(), spares.take()), (Some(2), None));
    }
}
