//! A bounded cache in two generations: what is not asked for again while the young generation fills up is dropped.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex};

use crate::error::Result;
use crate::lock::{even_if_poisoned, lock};

/// Values by their place on disk, shared by threads. Holds at most `budget` cost units (bytes), give or take one value.
#[derive(Debug)]
pub(in crate::fs) struct Cache<V: ?Sized> {
    generations: Mutex<Generations<V>>,
    /// Woken when a value was made, or could not be.
    made: Condvar,
    budget: usize,
}

#[derive(Debug)]
struct Generations<V: ?Sized> {
    young: HashMap<u64, (Arc<V>, usize)>,
    old: HashMap<u64, (Arc<V>, usize)>,
    young_cost: usize,
    /// What threads are making now.
    making: HashSet<u64>,
}

impl<V: ?Sized> Cache<V> {
    pub fn new(budget: usize) -> Self {
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            young_cost: 0,
            making: HashSet::new(),
        };
        Self {
            generations: Mutex::new(generations),
            made: Condvar::new(),
            budget,
        }
    }

    pub fn get(&self, key: u64) -> Option<Arc<V>> {
        lock(&self.generations).get(key, self.budget)
    }

    /// The value at `key`; where it is not kept, what `make` returns, with its cost. While one thread makes a value, others
    /// that want the same one wait for it. `make` must not ask this cache.
    pub fn get_or_make(
        &self,
        key: u64,
        make: impl FnOnce() -> Result<(Arc<V>, usize)>,
    ) -> Result<Arc<V>> {
        let mut generations = lock(&self.generations);
        loop {
            if let Some(value) = generations.get(key, self.budget) {
                return Ok(value);
            }
            if generations.making.insert(key) {
                break;
            }
            generations = even_if_poisoned(self.made.wait(generations));
        }
        drop(generations);
        let _making = Making { cache: self, key };
        let (value, cost) = make()?;
        self.insert(key, value.clone(), cost);
        Ok(value)
    }

    pub fn insert(&self, key: u64, value: Arc<V>, cost: usize) {
        let mut generations = lock(&self.generations);
        generations.insert(key, value, cost, self.budget);
    }
}

/// Lets others try when a thread is done with a value, whatever came of it.
struct Making<'a, V: ?Sized> {
    cache: &'a Cache<V>,
    key: u64,
}

impl<V: ?Sized> Drop for Making<'_, V> {
    fn drop(&mut self) {
        lock(&self.cache.generations).making.remove(&self.key);
        self.cache.made.notify_all();
    }
}

impl<V: ?Sized> Generations<V> {
    fn get(&mut self, key: u64, budget: usize) -> Option<Arc<V>> {
        if let Some((value, _)) = self.young.get(&key) {
            return Some(value.clone());
        }
        let (value, cost) = self.old.remove(&key)?;
        self.insert(key, value.clone(), cost, budget);
        Some(value)
    }

    fn insert(&mut self, key: u64, value: Arc<V>, cost: usize, budget: usize) {
        self.young_cost = self.young_cost.saturating_add(cost);
        self.young.insert(key, (value, cost));
        if self.young_cost > budget / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_cost = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    #[test]
    fn stays_within_its_budget_and_keeps_what_is_used() {
        let cache = Cache::new(100);
        cache.insert(0, Arc::new(0), 10);
        for key in 1..1000 {
            cache.insert(key, Arc::new(key), 10);
            assert_eq!(cache.get(0).as_deref(), Some(&0), "asked for all the time");
            let generations = cache.generations.lock().unwrap();
            assert!(generations.young.len() + generations.old.len() <= 12);
        }
        assert!(cache.get(1).is_none());
        assert!(cache.get(999).is_some());
    }

    #[test]
    fn threads_wait_for_a_value_that_another_one_makes() {
        let cache = Cache::new(100);
        let calls = AtomicUsize::new(0);
        let make = || {
            std::thread::sleep(Duration::from_millis(50));
            // The first attempt fails: one of those who wait makes the value instead.
            match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Error::internal("not this time")),
                call => Ok((Arc::new(call), 1)),
            }
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| cache.get_or_make(7, make).ok()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1);
        assert!(results.iter().flatten().all(|value| **value == 1));
        assert_eq!(calls.into_inner(), 2);
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let cache: Cache<u8> = Cache::new(100);
        let panicked = std::thread::scope(|scope| {
            let makes = scope.spawn(|| cache.get_or_make(7, || panic!("on purpose")));
            makes.join().is_err()
        });
        assert!(panicked);
        let value = cache.get_or_make(7, || Ok((Arc::new(3), 1))).unwrap();
        assert_eq!(*value, 3);
    }
}
