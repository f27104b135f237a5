//! A bounded cache in two generations: what is not asked for again while the young generation fills up is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::lock::lock;

/// Values by their place on disk, shared by threads. Holds at most `budget` cost units (bytes), give or take one value.
#[derive(Debug)]
pub(in crate::fs) struct Cache<V: ?Sized> {
    generations: Mutex<Generations<V>>,
    budget: usize,
}

#[derive(Debug)]
struct Generations<V: ?Sized> {
    young: HashMap<u64, (Arc<V>, usize)>,
    old: HashMap<u64, (Arc<V>, usize)>,
    young_cost: usize,
}

impl<V: ?Sized> Cache<V> {
    pub fn new(budget: usize) -> Self {
        let generations = Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            young_cost: 0,
        };
        Self {
            generations: Mutex::new(generations),
            budget,
        }
    }

    pub fn get(&self, key: u64) -> Option<Arc<V>> {
        let mut generations = lock(&self.generations);
        if let Some((value, _)) = generations.young.get(&key) {
            return Some(value.clone());
        }
        let (value, cost) = generations.old.remove(&key)?;
        generations.insert(key, value.clone(), cost, self.budget);
        Some(value)
    }

    pub fn insert(&self, key: u64, value: Arc<V>, cost: usize) {
        let mut generations = lock(&self.generations);
        generations.insert(key, value, cost, self.budget);
    }
}

impl<V: ?Sized> Generations<V> {
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
    use super::*;

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
}
