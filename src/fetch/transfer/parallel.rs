//! Several things at once.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;

use crate::finding::Finding;
use crate::lock::{even_if_poisoned, lock};
use crate::progress::Progress;

/// Does `work` with each of `items`, at most `at_once` at a time; the results are in the order of the items.
pub fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    at_once: NonZeroUsize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let count = items.len();
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let take = || lock(&waiting).next();
    let worker = || {
        while let Some((place, item)) = take() {
            let result = work(item);
            let mut done = lock(&done);
            done.push((place, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..at_once.get().min(count) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut done = even_if_poisoned(done.into_inner());
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Steps side by side, told as a part of one that their caller has begun.
#[derive(Clone, Copy)]
pub struct Together<'a>(pub &'a dyn Progress);

impl Progress for Together<'_> {
    fn start(&self, _: &str, _: u64) {}

    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn finish(&self) {}

    fn found(&self, finding: &Finding) {
        self.0.found(finding);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_are_in_order_and_so_many_run_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = in_parallel(
            (0..20).collect(),
            NonZeroUsize::new(3).unwrap(),
            |item: u64| {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20 - item));
                running.fetch_sub(1, Ordering::SeqCst);
                item * 2
            },
        );
        assert_eq!(results, (0..20).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(most.into_inner(), 3);
        let none: Vec<u8> = in_parallel(Vec::<u8>::new(), NonZeroUsize::MIN, |item| item);
        assert!(none.is_empty());
    }
}
