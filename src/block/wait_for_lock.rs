//! Waiting for what another run holds.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::Duration;

use crate::progress::{Cancel, Progress};

/// Time between two looks at a lock that another run has.
const RETRY: Duration = Duration::from_millis(50);

/// Takes the lock of `file`, and tells that this is waited for, as `step`, where another run has it.
pub fn wait_for_lock(
    file: &File,
    step: &str,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Err(_) => {
            progress.start(step, 0);
            let result = keep_trying(file, cancel);
            progress.finish();
            result
        }
    }
}

/// Tries again and again, as waiting for a lock cannot be ended from within.
fn keep_trying(file: &File, cancel: &Cancel) -> io::Result<()> {
    loop {
        cancel.check()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(RETRY),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}
