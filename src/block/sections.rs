//! A read-only device put together from pieces: an archive that is laid out before it is written.
//!
//! ```text
//!   [ header ][ a stretch of a disk ][ filling ][ header ][ a whole file ] …
//!     memory     window of a device    zeroes     memory     device
//! ```

use std::fmt;
use std::sync::Arc;

use super::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};

/// What a file of a volume or an archive holds: it stays where it is until somebody reads the whole.
#[derive(Debug, Clone)]
pub enum Piece<'a> {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// Bytes of a device.
    Device {
        /// What holds them.
        device: &'a dyn BlockDevice,
        /// Where on it they begin.
        start: u64,
        /// How many there are.
        len: u64,
    },
    /// All of a device that nobody else holds: a file of a tree.
    File(Arc<dyn BlockDevice + 'a>),
}

impl<'a> Piece<'a> {
    /// All of a device.
    pub fn whole(device: &'a dyn BlockDevice) -> Self {
        Self::Device {
            device,
            start: 0,
            len: device.size(),
        }
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => to_u64(bytes.len()),
            Self::Device { len, .. } => *len,
            Self::File(file) => file.size(),
        }
    }
}

/// Pieces one behind the other, read as one device. Holes of the pieces stay holes.
#[derive(Default)]
pub struct Sections<'a> {
    sections: Vec<Section<'a>>,
    size: u64,
}

struct Section<'a> {
    /// Where it begins in the whole.
    start: u64,
    len: u64,
    source: Source<'a>,
}

enum Source<'a> {
    Memory(Vec<u8>),
    Zeroes,
    /// A device and where on it the section begins.
    Device(&'a dyn BlockDevice, u64),
    File(Arc<dyn BlockDevice + 'a>),
}

impl<'a> Sections<'a> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece; an error where it does not lie on its device.
    pub fn push_piece(&mut self, piece: Piece<'a>) -> Result<()> {
        match piece {
            Piece::Bytes(bytes) => self.push_bytes(bytes),
            Piece::Device { device, start, len } => self.push_device(device, start, len),
            Piece::File(file) => self.push(file.size(), Source::File(file)),
        }
    }

    /// Adds bytes.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) -> Result<()> {
        let len = to_u64(bytes.len());
        // Small pieces of memory that follow each other are one.
        if let Some(Section {
            len: before,
            source: Source::Memory(memory),
            ..
        }) = self.sections.last_mut()
        {
            *before += len;
            self.size += len;
            memory.extend(bytes);
            return Ok(());
        }
        self.push(len, Source::Memory(bytes))
    }

    /// Adds `len` bytes of zeroes.
    pub fn push_zeroes(&mut self, len: u64) -> Result<()> {
        self.push(len, Source::Zeroes)
    }

    /// Adds `len` bytes of `device` from `start` on; an error where they do not lie on it.
    pub fn push_device(&mut self, device: &'a dyn BlockDevice, start: u64, len: u64) -> Result<()> {
        check_range(start, len, device.size())?;
        self.push(len, Source::Device(device, start))
    }

    fn push(&mut self, len: u64, source: Source<'a>) -> Result<()> {
        let end = self.size.checked_add(len).ok_or_else(|| {
            Error::unsupported(format!(
                "{len} bytes behind {} bytes are more than 64 bits can count",
                self.size
            ))
            .because(Reason::Limit)
        })?;
        if len > 0 {
            self.sections.push(Section {
                start: self.size,
                len,
                source,
            });
            self.size = end;
        }
        Ok(())
    }

    /// The section that holds `offset`, which is below the size, and where in it that is.
    fn locate(&self, offset: u64) -> Result<(usize, u64)> {
        let index = self
            .sections
            .partition_point(|section| section.start <= offset)
            .checked_sub(1);
        let found = index.and_then(|index| Some((index, offset - self.sections.get(index)?.start)));
        found.ok_or_else(|| Error::internal(format!("no section at {offset} of {}", self.size)))
    }
}

impl Section<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match &self.source {
            Source::Memory(bytes) => {
                let start = to_usize(offset)?;
                buf.copy_from_slice(&bytes[start..start + buf.len()]);
            }
            Source::Zeroes => buf.fill(0),
            Source::Device(device, start) => device.read_at(start + offset, buf)?,
            Source::File(file) => file.read_at(offset, buf)?,
        }
        Ok(())
    }
}

impl BlockDevice for Sections<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size)?;
        let mut offset = offset;
        let mut buf = buf;
        while !buf.is_empty() {
            let (index, inside) = self.locate(offset)?;
            let section = &self.sections[index];
            let len = buf
                .len()
                .min(usize::try_from(section.len - inside).unwrap_or(usize::MAX));
            let (piece, rest) = buf.split_at_mut(len);
            section.read_at(inside, piece)?;
            offset += to_u64(len);
            buf = rest;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size)?;
        let (index, inside) = self.locate(offset)?;
        let section = &self.sections[index];
        let rest = section.len - inside;
        let whole = |kind| Ok(Extent { kind, len: rest });
        let extent = match &section.source {
            Source::Memory(_) => return whole(ExtentKind::Data),
            Source::Zeroes => return whole(ExtentKind::Zero),
            Source::Device(device, start) => device.extent_at(start + inside)?,
            Source::File(file) => file.extent_at(inside)?,
        };
        Ok(Extent {
            len: extent.len.min(rest),
            ..extent
        })
    }
}

impl fmt::Debug for Sections<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sections({} of {} bytes)",
            self.sections.len(),
            self.size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryDevice;
    use super::*;

    fn whole() -> Vec<u8> {
        [&b"head"[..], &[0; 5], &[12, 13, 14], b"of a file", b"tail"].concat()
    }

    fn sections(disk: &MemoryDevice) -> Sections<'_> {
        let mut sections = Sections::new();
        sections.push_bytes(b"he".to_vec()).unwrap();
        sections.push_bytes(b"ad".to_vec()).unwrap();
        sections.push_bytes(Vec::new()).unwrap();
        sections.push_zeroes(5).unwrap();
        sections.push_zeroes(0).unwrap();
        sections.push_device(disk, 12, 3).unwrap();
        let file = MemoryDevice::new(b"of a file".to_vec());
        sections.push_piece(Piece::File(Arc::new(file))).unwrap();
        sections.push_bytes(b"tail".to_vec()).unwrap();
        sections
    }

    #[test]
    fn every_range_reads_as_the_whole_does() {
        let disk = MemoryDevice::new((0..20).collect());
        let sections = sections(&disk);
        let whole = whole();
        assert_eq!(sections.size(), to_u64(whole.len()));
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut buf = vec![9; end - start];
                sections.read_at(to_u64(start), &mut buf).unwrap();
                assert_eq!(buf, whole[start..end], "{start} to {end}");
            }
        }
        for (offset, len) in [(0, whole.len() + 1), (whole.len(), 1), (usize::MAX, 2)] {
            assert!(sections.read_at(to_u64(offset), &mut vec![0; len]).is_err());
        }
    }

    #[test]
    fn extents_end_with_their_section() {
        let disk = MemoryDevice::new((0..20).collect());
        let sections = sections(&disk);
        let extents = [
            (0, true, 4),
            (3, true, 1),
            (4, false, 5),
            (8, false, 1),
            (9, true, 3),
            (12, true, 9),
            (21, true, 4),
        ];
        for (offset, data, len) in extents {
            let kind = if data {
                ExtentKind::Data
            } else {
                ExtentKind::Zero
            };
            assert_eq!(
                sections.extent_at(offset).unwrap(),
                Extent { kind, len },
                "{offset}"
            );
        }
        assert!(sections.extent_at(25).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let disk = MemoryDevice::new(vec![0; 20]);
        let mut sections = Sections::new();
        assert!(sections.push_device(&disk, 19, 2).is_err());
        sections.push_zeroes(u64::MAX).unwrap();
        assert!(sections.push_zeroes(1).is_err());
        assert_eq!(sections.size(), u64::MAX);
        assert!(Sections::new().extent_at(0).is_err());
        Sections::new().read_at(0, &mut []).unwrap();
    }
}
