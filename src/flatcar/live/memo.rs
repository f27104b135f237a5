//! What live images of one run share: each thing is made once, by whoever wants it first.
//!
//! ```text
//!   pxe ──┐                                     the others wait for the one who makes it, unless they are on one of
//!         ├──▶ usr.squashfs ──▶ cpio.gz         rayon's threads, which that one may need: there they make their own
//!   iso ──┘
//! ```

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::error::Result;
use crate::lock::{even_if_poisoned, lock};

/// So many things are kept once they are made, the latest ones.
const KEPT: usize = 4;

/// Things by what they were made from.
#[derive(Debug)]
pub(super) struct Memo<K, V> {
    entries: Mutex<Vec<Entry<K, V>>>,
    ended: Condvar,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    /// `None` while somebody makes it.
    made: Option<Arc<V>>,
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            ended: Condvar::new(),
        }
    }
}

impl<K: PartialEq + Clone, V> Memo<K, V> {
    /// The thing of `key`, from `make` where nobody has made it. Where somebody who makes it fails, the next one tries.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(super) fn get_or_make(&self, key: &K, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let mut entries = self.lock();
        while let Some(entry) = entries.iter().find(|entry| entry.key == *key) {
            if let Some(made) = &entry.made {
                return Ok(Arc::clone(made));
            }
            if rayon::current_thread_index().is_some() {
                drop(entries);
                return make().map(Arc::new);
            }
            entries = even_if_poisoned(self.ended.wait(entries));
        }
        entries.push(Entry {
            key: key.clone(),
            made: None,
        });
        drop(entries);
        let making = Making { memo: self, key };
        let made = Arc::new(make()?);
        making.end(Arc::clone(&made));
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry<K, V>>> {
        lock(&self.entries)
    }
}

/// Takes the entry out again where making it fails or panics.
struct Making<'a, K: PartialEq, V> {
    memo: &'a Memo<K, V>,
    key: &'a K,
}

impl<K: PartialEq + Clone, V> Making<'_, K, V> {
    /// Notes what was made, as the latest thing.
    fn end(self, made: Arc<V>) {
        let mut entries = self.memo.lock();
        entries.retain(|entry| entry.key != *self.key);
        entries.push(Entry {
            key: self.key.clone(),
            made: Some(made),
        });
        let kept = entries.iter().filter(|entry| entry.made.is_some()).count();
        if let Some(oldest) = entries
            .iter()
            .position(|entry| entry.made.is_some())
            .filter(|_| kept > KEPT)
        {
            entries.remove(oldest);
        }
    }
}

impl<K: PartialEq, V> Drop for Making<'_, K, V> {
    fn drop(&mut self) {
        let mut entries = lock(&self.memo.entries);
        entries.retain(|entry| entry.key != *self.key || entry.made.is_some());
        drop(entries);
        self.memo.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    #[test]
    fn made_once_while_others_wait() {
        let memo = Memo::<u8, usize>::default();
        let made = AtomicUsize::new(0);
        let get = |key: u8| {
            *memo
                .get_or_make(&key, || Ok(made.fetch_add(1, Ordering::SeqCst)))
                .unwrap()
        };
        let begun = Barrier::new(2);
        let release = Barrier::new(2);
        let slow = || {
            begun.wait();
            release.wait();
            Ok(100)
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| *memo.get_or_make(&1, slow).unwrap());
            begun.wait();
            let others: Vec<_> = (0..3).map(|_| scope.spawn(|| get(1))).collect();
            assert_eq!(get(2), 0, "another thing needs no waiting");
            release.wait();
            assert_eq!(first.join().unwrap(), 100);
            assert!(others.into_iter().all(|other| other.join().unwrap() == 100));
        });
        assert_eq!((get(1), get(2), made.load(Ordering::SeqCst)), (100, 0, 1));
    }

    #[test]
    fn a_failure_or_panic_leaves_it_to_the_next() {
        let memo = Memo::<u8, u8>::default();
        assert!(
            memo.get_or_make(&1, || Err(Error::not_found("gone")))
                .is_err()
        );
        let panics = || memo.get_or_make(&1, || panic!("in the middle"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(*memo.get_or_make(&1, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn one_of_rayons_threads_never_waits() {
        let memo = Memo::<u8, u8>::default();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let outer = memo.get_or_make(&1, || {
            let inner = pool.install(|| memo.get_or_make(&1, || Ok(8)))?;
            Ok(*inner + 1)
        });
        assert_eq!(*outer.unwrap(), 9);
        assert_eq!(*memo.get_or_make(&1, || Ok(0)).unwrap(), 9);
    }

    #[test]
    fn the_latest_are_kept() {
        let memo = Memo::<usize, usize>::default();
        for key in 0..KEPT + 2 {
            memo.get_or_make(&key, || Ok(key)).unwrap();
        }
        assert_eq!(memo.lock().len(), KEPT);
        assert_eq!(*memo.get_or_make(&0, || Ok(50)).unwrap(), 50);
        assert_eq!(*memo.get_or_make(&(KEPT + 1), || Ok(50)).unwrap(), KEPT + 1);
    }
}
