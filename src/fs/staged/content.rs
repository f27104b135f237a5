//! What the files of a staged tree hold, and where it lies.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::block::Inputs;
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Result, from_io};
use crate::fs::{FileContent, FileRead, HostFile, Stretch, check_within};

/// Bytes moved at once, and the unit in which zeroes become holes.
const CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub(super) enum Content {
    /// In the spool: stored stretches with where each begins there.
    Spooled {
        size: u64,
        stored: Vec<(Stretch, u64)>,
    },
    /// A file of the host, registered in these inputs as what it is to the run.
    Host {
        file: HostFile,
        role: &'static str,
        inputs: Inputs,
    },
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Spooled { size, .. } => *size,
            Self::Host { file, .. } => file.size(),
        }
    }

    /// Memory that the list of its stretches takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Spooled { stored, .. } => size_of_val(stored.as_slice()),
            Self::Host { .. } => 0,
        }
    }
}

/// One file without a name that takes the content of all that is written into a tree.
#[derive(Debug)]
pub(super) struct Spool {
    temp_dir: PathBuf,
    file: Option<File>,
    end: u64,
}

impl Spool {
    pub(super) fn new(temp_dir: &Path) -> Self {
        Self {
            temp_dir: temp_dir.to_owned(),
            file: None,
            end: 0,
        }
    }

    /// Bytes that it holds.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// Takes the whole of `content`; holes, and zeroes as long as a chunk, take no room.
    pub(super) fn add(&mut self, mut content: FileContent<'_>) -> Result<Content> {
        let size = content.size();
        let mut stored: Vec<(Stretch, u64)> = Vec::new();
        let mut chunk = vec![0; CHUNK];
        while content.position() < size {
            if content.skip(1) > 0 {
                continue;
            }
            let offset = content.position();
            let len = to_usize((size - offset).min(to_u64(CHUNK)))?;
            let bytes = &mut chunk[..len];
            content.fill(bytes)?;
            if is_zero(bytes) {
                continue;
            }
            let position = self.append(bytes)?;
            let len = to_u64(len);
            match stored.last_mut() {
                Some((last, at))
                    if last.offset + last.len == offset && *at + last.len == position =>
                {
                    last.len += len;
                }
                _ => stored.push((Stretch { offset, len }, position)),
            }
        }
        content.finish()?;
        Ok(Content::Spooled { size, stored })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        if self.file.is_none() {
            let made = tempfile::tempfile_in(&self.temp_dir);
            let what = || format!("making a temporary file in {}", self.temp_dir.display());
            self.file = Some(made.map_err(|error| from_io(what(), error))?);
        }
        let file = self.file.as_mut();
        let file = file.ok_or_else(|| Error::internal("the temporary file was just made"))?;
        let written = file.write_all(bytes);
        written.map_err(|error| {
            let what = format!("writing a temporary file in {}", self.temp_dir.display());
            from_io(what, error)
        })?;
        let position = self.end;
        self.end += to_u64(bytes.len());
        Ok(position)
    }

    fn read(&self, position: u64, buf: &mut [u8]) -> Result<()> {
        let file = self.file.as_ref();
        let file = file.ok_or_else(|| Error::internal("nothing was written into the tree"))?;
        let read = file.read_exact_at(buf, position);
        read.map_err(|error| from_io("reading a temporary file", error))
    }
}

/// An open file of the spool.
pub(super) struct SpooledFile<'a> {
    pub spool: &'a Spool,
    pub size: u64,
    pub stored: &'a [(Stretch, u64)],
}

impl FileRead for SpooledFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        buf.fill(0);
        let end = offset + to_u64(buf.len());
        let first = self
            .stored
            .partition_point(|(stretch, _)| stretch.offset + stretch.len <= offset);
        for (stretch, position) in &self.stored[first..] {
            if stretch.offset >= end {
                break;
            }
            let from = stretch.offset.max(offset);
            let to = (stretch.offset + stretch.len).min(end);
            let part = &mut buf[to_usize(from - offset)?..to_usize(to - offset)?];
            self.spool.read(position + (from - stretch.offset), part)?;
        }
        Ok(())
    }
}

/// An open file of the host.
pub(super) struct OpenHostFile<'a> {
    listed: &'a HostFile,
    file: File,
}

impl<'a> OpenHostFile<'a> {
    /// Opens it, if it is still the file that was listed.
    pub(super) fn new(listed: &'a HostFile, role: &'static str, inputs: &Inputs) -> Result<Self> {
        let file = listed.open(role, inputs)?;
        Ok(Self { listed, file })
    }
}

impl FileRead for OpenHostFile<'_> {
    fn size(&self) -> u64 {
        self.listed.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.listed.size(), offset, buf)?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => self.listed.changed(),
                _ => self.listed.failed(error),
            })
    }
}
