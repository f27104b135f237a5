//! A small cache of units (decompressed clusters, tables) that several threads read at the same time.
//!
//! Each unit has a lock of its own: threads that want the same unit wait for the one that makes it, threads that want
//! different ones work side by side. What has not been asked for longest is dropped first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::error::Result;
use crate::lock::lock;

/// Units by their number.
#[derive(Debug)]
pub(super) struct Units<V> {
    slots: Mutex<Slots<V>>,
    capacity: usize,
}

type Shared<V> = Arc<Mutex<Option<Arc<V>>>>;

#[derive(Debug)]
struct Slots<V> {
    /// A unit and when it was last asked for.
    by_key: HashMap<u64, (Shared<V>, u64)>,
    clock: u64,
}

/// More units than this make looking for the oldest one slow, and gain nothing.
const MAX_UNITS: usize = 512;
/// Fewer than this make threads throw out each other's units.
const MIN_UNITS: usize = 16;

impl<V> Units<V> {
    /// A cache of about `budget` bytes for units of `unit_bytes`.
    pub fn new(budget: usize, unit_bytes: usize) -> Self {
        let capacity = (budget / unit_bytes.max(1)).clamp(MIN_UNITS, MAX_UNITS);
        Self {
            slots: Mutex::new(Slots {
                by_key: HashMap::new(),
                clock: 0,
            }),
            capacity,
        }
    }

    /// The unit `key`, made by `make` where it is not there. An error is not kept: the next call tries again.
    pub fn get(&self, key: u64, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let slot = self.slot(key);
        let mut value = lock(&slot);
        if let Some(value) = &*value {
            return Ok(Arc::clone(value));
        }
        let made = Arc::new(make()?);
        *value = Some(Arc::clone(&made));
        Ok(made)
    }

    fn slot(&self, key: u64) -> Shared<V> {
        let mut slots = lock(&self.slots);
        slots.clock += 1;
        let now = slots.clock;
        if let Some((slot, used)) = slots.by_key.get_mut(&key) {
            *used = now;
            return Arc::clone(slot);
        }
        if slots.by_key.len() >= self.capacity
            && let Some(oldest) = slots
                .by_key
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(&key, _)| key)
        {
            slots.by_key.remove(&oldest);
        }
        let slot = Shared::default();
        slots.by_key.insert(key, (Arc::clone(&slot), now));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    #[test]
    fn bounded_and_keeps_what_is_used() {
        let units = Units::new(20, 1);
        let made = AtomicUsize::new(0);
        let get = |key: u64| {
            let make = || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(key * 2)
            };
            assert_eq!(*units.get(key, make).unwrap(), key * 2);
        };
        for key in 0..1000 {
            get(key);
            get(0);
            assert!(lock(&units.slots).by_key.len() <= 20);
        }
        assert_eq!(
            made.load(Ordering::Relaxed),
            1000,
            "the unit that is used all the time is made once"
        );
        get(1);
        assert_eq!(made.load(Ordering::Relaxed), 1001);
    }

    #[test]
    fn threads_make_a_unit_once_and_errors_are_not_kept() {
        let units = Units::new(100, 1);
        assert!(units.get(1, || Err(Error::corrupt("no"))).is_err());
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..50 {
                        let make = || Ok(made.fetch_add(1, Ordering::Relaxed));
                        units.get(key, make).unwrap();
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 50);
    }
}
