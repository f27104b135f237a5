//! What the files of a staged tree hold, and where it lies.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::block::Inputs;
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Result, from_io};
use crate::fs::{FileContent, FileRead, Stretch, check_within};

/// Bytes moved at once, and the unit in which zeroes become holes.
const CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub(super) enum Content {
    /// In the spool: stored stretches with where each begins there.
    Spooled {
        size: u64,
        stored: Vec<(Stretch, u64)>,
    },
    /// A file of the host.
    Host(HostFile),
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Spooled { size, .. } => *size,
            Self::Host(file) => file.size,
        }
    }

    /// Memory that the list of its stretches takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Spooled { stored, .. } => size_of_val(stored.as_slice()),
            Self::Host(_) => 0,
        }
    }
}

/// A regular file of the host as it was when its folder was listed.
#[derive(Debug)]
pub(super) struct HostFile {
    pub path: PathBuf,
    pub size: u64,
    /// Device and inode.
    pub identity: (u64, u64),
    pub role: &'static str,
    pub inputs: Inputs,
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
struct OpenHostFile<'a> {
    file: File,
    listed: &'a HostFile,
}

impl HostFile {
    /// Opens it, if it is still the file that was listed.
    pub(super) fn open(&self) -> Result<Box<dyn FileRead + '_>> {
        use std::os::unix::fs::MetadataExt;

        let file = self.inputs.open(self.role, &self.path)?;
        let metadata = file.metadata();
        let metadata = metadata.map_err(|error| self.failed(error))?;
        if (metadata.dev(), metadata.ino()) != self.identity || metadata.len() != self.size {
            return Err(self.changed());
        }
        Ok(Box::new(OpenHostFile { file, listed: self }))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        from_io(
            format!("reading {}", crate::block::shown(&self.path)),
            error,
        )
    }

    fn changed(&self) -> Error {
        Error::invalid(format!(
            "{} changed while it was read",
            crate::block::shown(&self.path)
        ))
        .with_hint("run it again when nothing writes there any more")
    }
}

impl FileRead for OpenHostFile<'_> {
    fn size(&self) -> u64 {
        self.listed.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.listed.size, offset, buf)?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => self.listed.changed(),
                _ => self.listed.failed(error),
            })
    }
}
