//! Where a filesystem is made: an empty file, or the end of one that has something else before it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};

/// A file from some byte on, where it holds nothing yet.
#[derive(Debug, Clone, Copy)]
pub struct Blank<'a> {
    file: &'a File,
    start: u64,
}

impl<'a> Blank<'a> {
    /// The file from byte `start` on.
    pub(crate) fn behind(file: &'a File, start: u64) -> Self {
        Self { file, start }
    }

    pub(crate) fn file(&self) -> &'a File {
        self.file
    }

    /// Where it begins in the file.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Refuses one that holds something, as writers leave out zeroes; `what` it is for is told.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        let len = self
            .file
            .metadata()
            .map_err(|error| Error::io(format!("looking at the file for the {what}"), error))?
            .len();
        if len > self.start {
            return Err(Error::invalid(format!(
                "the file for the {what} already holds {} bytes: it must be empty",
                len - self.start
            )));
        }
        Ok(())
    }

    /// Writes all `bytes` at `offset`, counted from its own start.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.start + offset)
    }

    /// Ends the file behind `len` bytes of it.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(self.start + len)
    }
}

/// All of a file.
impl<'a> From<&'a File> for Blank<'a> {
    fn from(file: &'a File) -> Self {
        Self { file, start: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_before_stays_and_what_lies_within_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"before", 0).unwrap();
        let whole = Blank::from(&file).check("thing").unwrap_err();
        assert_eq!(
            whole.to_string(),
            "the file for the thing already holds 6 bytes: it must be empty"
        );
        let blank = Blank::behind(&file, 6);
        blank.check("thing").unwrap();
        blank.write_at(2, b"in").unwrap();
        blank.set_len(5).unwrap();
        assert!(blank.check("thing").is_err());
        let mut all = [9; 11];
        file.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(&all, b"before\0\0in\0");
        assert_eq!(file.metadata().unwrap().len(), 11);
        Blank::behind(&file, 20).check("a gap").unwrap();
    }
}
