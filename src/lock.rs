//! Locks that a panic elsewhere does not take away.
//!
//! A poisoned lock only means that another thread panicked while it held it. All that this crate keeps behind locks is
//! changed in single steps, one whole value after the other, so that it can be used all the same.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// The content of a mutex.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    even_if_poisoned(mutex.lock())
}

/// What a lock of any kind, or waiting with one, gives.
pub(crate) fn even_if_poisoned<T>(result: LockResult<T>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_left_behind_can_be_used() {
        let numbers = Mutex::new(vec![1]);
        let panicked = std::thread::scope(|scope| {
            let pushes = scope.spawn(|| {
                let mut numbers = lock(&numbers);
                numbers.push(2);
                panic!("on purpose");
            });
            pushes.join().is_err()
        });
        assert!(panicked && numbers.is_poisoned());
        lock(&numbers).push(3);
        assert_eq!(even_if_poisoned(numbers.into_inner()), [1, 2, 3]);
    }
}
