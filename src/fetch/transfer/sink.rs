//! Where what is received goes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use crate::bytes::{hex, to_u64};
use crate::error::{Error, Result};

/// Takes the bytes of a file, in order.
pub trait Sink {
    /// What came so far was nothing: the file begins anew.
    fn restart(&mut self) -> Result<()>;
    /// The next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Into memory; the limit of the request holds.
impl Sink for Vec<u8> {
    fn restart(&mut self) -> Result<()> {
        self.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its length in bytes.
    pub len: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Into a file.
pub struct InFile<'a>(pub &'a mut File);

impl Sink for InFile<'_> {
    fn restart(&mut self) -> Result<()> {
        self.0
            .set_len(0)
            .and_then(|()| self.0.seek(SeekFrom::Start(0)))
            .map_err(|error| Error::io("emptying the file that is fetched into", error))?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0
            .write_all(bytes)
            .map_err(|error| Error::io("writing the file that is fetched into", error))
    }
}

/// Into a file, summed up on the way.
pub(super) struct FileSink<'a> {
    file: InFile<'a>,
    sum: Sha256,
    len: u64,
}

impl<'a> FileSink<'a> {
    pub fn new(file: &'a mut File) -> Self {
        Self {
            file: InFile(file),
            sum: Sha256::new(),
            len: 0,
        }
    }

    /// What arrived.
    pub fn finish(self) -> Received {
        Received {
            len: self.len,
            sha256: hex(&self.sum.finalize()),
        }
    }
}

impl Sink for FileSink<'_> {
    fn restart(&mut self) -> Result<()> {
        self.sum = Sha256::new();
        self.len = 0;
        self.file.restart()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)?;
        self.sum.update(bytes);
        self.len += to_u64(bytes.len());
        Ok(())
    }
}
