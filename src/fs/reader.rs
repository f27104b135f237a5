//! A file of a filesystem, read from its start to its end.

use std::io::{self, Read};

use super::FileRead;
use crate::bytes::to_u64;

/// Reads an open file as a stream.
pub struct FileReader<'a> {
    file: Box<dyn FileRead + 'a>,
    position: u64,
}

impl<'a> FileReader<'a> {
    /// A reader at the start of `file`.
    pub fn new(file: Box<dyn FileRead + 'a>) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.file.size() - self.position;
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        self.file.read_at(self.position, &mut buf[..len])?;
        self.position += to_u64(len);
        Ok(len)
    }
}
