//! Progress of something that may begin anew: what was told once is not told again.

use crate::progress::Progress;

/// One step, told to its receiver from its start to its end.
pub(super) struct Step<'a> {
    progress: &'a dyn Progress,
    name: String,
    begun: bool,
    told: u64,
}

impl<'a> Step<'a> {
    pub fn new(progress: &'a dyn Progress, name: String) -> Self {
        Self {
            progress,
            name,
            begun: false,
            told: 0,
        }
    }

    /// It begins, where it has not; `total` is 0 where that is not known.
    pub fn begin(&mut self, total: u64) {
        if !self.begun {
            self.begun = true;
            self.progress.start(&self.name, total);
        }
    }

    /// So many bytes are there.
    pub fn reached(&mut self, bytes: u64) {
        if bytes > self.told {
            self.progress.advance(bytes - self.told);
            self.told = bytes;
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if self.begun {
            self.progress.finish();
        }
    }
}
