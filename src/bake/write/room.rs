//! Room in memory that several writers share.

use std::sync::{Condvar, Mutex};

use crate::lock::{even_if_poisoned, lock};

/// So many bytes, of which each writer takes what it needs while it works.
#[derive(Debug)]
pub(super) struct Room {
    total: u64,
    taken: Mutex<u64>,
    given_back: Condvar,
}

/// Bytes taken; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    pub(super) fn new(total: u64) -> Self {
        Self {
            total,
            taken: Mutex::new(0),
            given_back: Condvar::new(),
        }
    }

    /// Waits until there are `bytes`. Whoever wants more than there can be gets all of it, alone.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.total);
        let taken = lock(&self.taken);
        let full = |taken: &mut u64| *taken > self.total - bytes;
        let mut taken = even_if_poisoned(self.given_back.wait_while(taken, full));
        *taken += bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *lock(&self.room.taken) -= self.bytes;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn never_more_than_there_is_and_everybody_gets_a_turn() {
        let room = Room::new(10);
        let now = AtomicU64::new(0);
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for bytes in [1, 3, 4, 7, 10, 25, 5, 5] {
                let room = &room;
                let now = &now;
                let most = &most;
                scope.spawn(move || {
                    for _ in 0..50 {
                        let _taken = room.take(bytes);
                        let used = now.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10);
                        most.fetch_max(used, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(bytes.min(10), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 10);
    }
}
