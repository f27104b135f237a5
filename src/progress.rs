//! How long operations tell a caller how far they are. The library reports; only the command line draws.

/// Receives the progress of one operation after another. All methods may be called from any thread.
pub trait Progress: Sync {
    /// A step begins: what it does ("writing out.qcow2") and its size in bytes (0: not known).
    fn start(&self, step: &str, total_bytes: u64);
    /// `bytes` more of the current step are done.
    fn advance(&self, bytes: u64);
    /// The current step is over.
    fn finish(&self);
    /// Something a person should know that does not stop the work.
    fn warn(&self, message: &str);
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _step: &str, _total_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn finish(&self) {}
    fn warn(&self, _message: &str) {}
}
