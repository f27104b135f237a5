//! Waits that end soon after the work is cancelled.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::progress::Cancel;

/// How often a wait looks up.
pub(super) const SLICE: Duration = Duration::from_millis(100);

/// Waits for `time`, or until the work is cancelled, which is an error.
pub(super) fn pause(time: Duration, cancel: &Cancel) -> Result<()> {
    let start = Instant::now();
    loop {
        cancel.check()?;
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(SLICE));
    }
}
