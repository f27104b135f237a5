//! A read-only host file as a device; holes of a sparse file are known and never read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// A regular file opened for reading. Its size is taken once, when it is opened.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    path: PathBuf,
    size: u64,
}

impl FileDevice {
    /// Opens `path` for reading; anything but a regular file is refused.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_file(open_for_reading(path)?, path)
    }

    /// A device over an open file; `path` is its name in errors.
    pub fn from_file(file: File, path: &Path) -> Result<Self> {
        let metadata = file
            .metadata()
            .map_err(|error| Error::io(format!("reading the size of {}", path.display()), error))?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            size: metadata.len(),
        })
    }

    /// The next offset that `seek` finds, or the size where there is none.
    fn seek(&self, seek: SeekFrom) -> Result<u64> {
        match rustix::fs::seek(&self.file, seek) {
            Ok(offset) => Ok(offset.min(self.size)),
            Err(Errno::NXIO) => Ok(self.size),
            Err(error) => Err(Error::io(
                format!("looking for holes in {}", self.path.display()),
                error.into(),
            )),
        }
    }
}

impl BlockDevice for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size)?;
        self.file.read_exact_at(buf, offset).map_err(|error| {
            Error::io(
                format!(
                    "reading {} bytes at {offset} of {}",
                    buf.len(),
                    self.path.display()
                ),
                error,
            )
        })
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        let data = self.seek(SeekFrom::Data(offset))?;
        if data > offset {
            return Ok(Extent {
                kind: ExtentKind::Zero,
                len: data - offset,
            });
        }
        let hole = self.seek(SeekFrom::Hole(offset))?;
        Ok(Extent {
            kind: ExtentKind::Data,
            len: hole.max(offset + 1) - offset,
        })
    }
}

/// Opens a file for reading without waiting for a writer, should it be a pipe.
pub fn open_for_reading(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty());
    Ok(file
        .map_err(|error| Error::io(format!("opening {}", path.display()), error.into()))?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_found_without_reading() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(&[7; 4096], 1 << 20).unwrap();
        let device = FileDevice::from_file(file, Path::new("sparse")).unwrap();
        let mut offset = 0;
        let mut data = 0;
        while offset < device.size() {
            let extent = device.extent_at(offset).unwrap();
            if extent.kind == ExtentKind::Data {
                data += extent.len;
            }
            offset += extent.len;
        }
        assert_eq!(offset, 3 << 20);
        assert!((4096..1 << 20).contains(&data), "{data} bytes of data");
        assert!(device.read_at(3 << 20, &mut [0]).is_err());
        assert!(device.extent_at(3 << 20).is_err());
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(
            FileDevice::open(&pipe)
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
    }

    #[test]
    fn a_folder_is_not_an_image() {
        assert!(FileDevice::open(Path::new("/")).is_err());
        assert_eq!(
            FileDevice::open(Path::new("/does/not/exist"))
                .unwrap_err()
                .kind(),
            crate::ErrorKind::NotFound
        );
    }
}
