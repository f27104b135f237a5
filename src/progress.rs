//! How long operations tell a caller how far they are, and how a caller ends them. The library reports; only the command
//! line draws.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::finding::Finding;

/// Receives the progress of one operation after another. All methods may be called from any thread.
pub trait Progress: Sync {
    /// A step begins: what it does ("writing out.qcow2") and its size in bytes (0: not known).
    fn start(&self, step: &str, total_bytes: u64);
    /// `bytes` more of the current step are done.
    fn advance(&self, bytes: u64);
    /// The current step is over.
    fn finish(&self);
    /// Something was found that does not stop the work.
    fn found(&self, finding: &Finding);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _step: &str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn found(&self, _finding: &Finding) {}
}

/// A flag by which whoever asked for some work ends it. Copies share it, and it cannot be taken back.
///
/// Work that reads inputs or disks looks at it with every piece it reads, stops with
/// [`crate::ErrorKind::Cancelled`], and leaves nothing behind.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the work that looks at this flag, soon.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error where the work is to end.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::cancelled())
        } else {
            Ok(())
        }
    }
}
