//! A bounded cache in two generations: what is not asked for again while the young generation fills up is dropped.

use std::collections::HashMap;
use std::sync::Arc;

/// Values by their place on disk. Holds at most `budget` cost units (bytes), give or take one value.
#[derive(Debug)]
pub(in crate::fs) struct Cache<V: ?Sized> {
    young: HashMap<u64, (Arc<V>, usize)>,
    old: HashMap<u64, (Arc<V>, usize)>,
    young_cost: usize,
    budget: usize,
}

impl<V: ?Sized> Cache<V> {
    pub fn new(budget: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_cost: 0, budget }
    }

    pub fn get(&mut self, key: u64) -> Option<Arc<V>> {
        if let Some((value, _)) = self.young.get(&key) {
            return Some(value.clone());
        }
        let (value, cost) = self.old.remove(&key)?;
        self.insert(key, value.clone(), cost);
        Some(value)
    }

    pub fn insert(&mut self, key: u64, value: Arc<V>, cost: usize) {
        self.young_cost = self.young_cost.saturating_add(cost);
        self.young.insert(key, (value, cost));
        if self.young_cost > self.budget / 2 {
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
        let mut cache = Cache::new(100);
        cache.insert(0, Arc::new(0), 10);
        for key in 1..1000 {
            cache.insert(key, Arc::new(key), 10);
            assert_eq!(cache.get(0).as_deref(), Some(&0), "asked for all the time");
            assert!(cache.young.len() + cache.old.len() <= 12);
        }
        assert!(cache.get(1).is_none());
        assert!(cache.get(999).is_some());
    }
}
