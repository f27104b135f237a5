//! What a new file holds: bytes that are read from front to back, and holes that are not read at all.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result, from_io};

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it lies in the file, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub len: u64,
}

impl Stretch {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// The content of a new file, taken from front to back.
///
/// ```text
///   0 ──hole── [stored] ──hole── [stored][stored] ──hole── size
///       skip      fill              fill
/// ```
pub struct FileContent<'a> {
    size: u64,
    stored: Cow<'a, [Stretch]>,
    /// The bytes of the stored stretches, one after the other.
    bytes: &'a mut dyn Read,
    position: u64,
    /// The stretch that is current or comes next.
    next: usize,
}

impl std::fmt::Debug for FileContent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileContent")
            .field("size", &self.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<'a> FileContent<'a> {
    /// `size` bytes without holes.
    pub fn whole(size: u64, bytes: &'a mut dyn Read) -> Self {
        let stored = if size > 0 {
            vec![Stretch {
                offset: 0,
                len: size,
            }]
        } else {
            Vec::new()
        };
        Self {
            size,
            stored: Cow::Owned(stored),
            bytes,
            position: 0,
            next: 0,
        }
    }

    /// A file of `size` bytes of which `bytes` gives the `stored` stretches one after the other; the rest are holes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for stretches that are not in order, overlap, or go beyond the size.
    pub fn sparse(size: u64, stored: &'a [Stretch], bytes: &'a mut dyn Read) -> Result<Self> {
        let mut end = 0;
        for stretch in stored {
            if stretch.offset < end || stretch.end() > size {
                return Err(Error::invalid(format!(
                    "stored bytes at {}, {} of them, in a file of {size} bytes of which {end} came before",
                    stretch.offset, stretch.len
                )));
            }
            end = stretch.end();
        }
        Ok(Self {
            size,
            stored: Cow::Borrowed(stored),
            bytes,
            position: 0,
            next: 0,
        })
    }

    /// Length of the file with its holes, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Stored stretches.
    pub fn stretches(&self) -> u64 {
        to_u64(self.stored.len())
    }

    /// Blocks of `block_bytes`, at least 1, that hold stored bytes.
    pub fn blocks(&self, block_bytes: u64) -> u64 {
        let mut count = 0;
        let mut end = 0;
        for stretch in self.stored.iter().filter(|stretch| stretch.len > 0) {
            let first = stretch.offset / block_bytes;
            let last = stretch.end().div_ceil(block_bytes);
            count += last - first.max(end);
            end = last;
        }
        count
    }

    /// Bytes before the next one that was neither given out nor skipped.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes from here to the next stored one, or to the end.
    pub fn hole(&mut self) -> u64 {
        while let Some(stretch) = self.stored.get(self.next) {
            if self.position < stretch.end() {
                return stretch.offset.saturating_sub(self.position);
            }
            self.next += 1;
        }
        self.size - self.position
    }

    /// Passes over as many whole blocks of `block_bytes` as are left of the [`hole`](Self::hole), and returns their bytes.
    pub fn skip(&mut self, block_bytes: u64) -> u64 {
        let len = self.hole() / block_bytes * block_bytes;
        self.position += len;
        len
    }

    /// The next bytes, holes as zeroes.
    ///
    /// # Errors
    /// Those of the reader, and [`crate::ErrorKind::InvalidInput`] where it, or the file, ends before `buf` is full.
    pub fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        let mut rest = buf;
        while !rest.is_empty() {
            let hole = self.hole();
            let room = to_u64(rest.len());
            let end = self.stored.get(self.next).map_or(0, Stretch::end);
            let len = if hole > 0 {
                hole.min(room)
            } else {
                end.saturating_sub(self.position).min(room)
            };
            if len == 0 {
                return Err(Error::invalid(format!(
                    "{room} bytes behind the end of a file of {} bytes",
                    self.size
                )));
            }
            let (now, later) = std::mem::take(&mut rest).split_at_mut(to_usize(len)?);
            if hole > 0 {
                now.fill(0);
            } else {
                self.bytes
                    .read_exact(now)
                    .map_err(|error| match error.kind() {
                        ErrorKind::UnexpectedEof if error.get_ref().is_none() => self.too_short(),
                        _ => from_io("reading the content", error),
                    })?;
            }
            self.position += len;
            rest = later;
        }
        Ok(())
    }

    /// The rest of the file, for one that is small.
    ///
    /// # Errors
    /// Those of [`fill`](Self::fill).
    pub fn rest(&mut self) -> Result<Vec<u8>> {
        let mut rest = vec![0; to_usize(self.size - self.position)?];
        self.fill(&mut rest)?;
        Ok(rest)
    }

    /// Ends it: the reader must have nothing more.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] where it has, and those of the reader.
    pub fn finish(self) -> Result<()> {
        match self.bytes.read_exact(&mut [0]) {
            Ok(()) => Err(Error::invalid(format!(
                "the content is longer than the {} bytes announced",
                self.size
            ))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && error.get_ref().is_none() => {
                Ok(())
            }
            Err(error) => Err(from_io("reading the content", error)),
        }
    }

    fn too_short(&self) -> Error {
        Error::invalid(format!(
            "the content is shorter than the {} bytes announced",
            self.size
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stretch(offset: u64, len: u64) -> Stretch {
        Stretch { offset, len }
    }

    #[test]
    fn holes_are_zeroes_that_are_not_read() {
        let stored = [stretch(3, 2), stretch(5, 0), stretch(9, 1)];
        let mut bytes = &b"abc"[..];
        let mut content = FileContent::sparse(12, &stored, &mut bytes).unwrap();
        assert_eq!(
            (content.blocks(4), content.blocks(1), content.blocks(100)),
            (3, 3, 1)
        );
        assert_eq!(
            (content.hole(), content.skip(2), content.position()),
            (3, 2, 2)
        );
        assert_eq!(content.rest().unwrap(), b"\0ab\0\0\0\0c\0\0");
        assert_eq!(content.skip(1), 0);
        assert!(
            content
                .fill(&mut [0])
                .unwrap_err()
                .to_string()
                .contains("behind the end")
        );
        content.finish().unwrap();
    }

    #[test]
    fn a_file_that_is_nothing_but_a_hole_reads_nothing() {
        let mut none = std::io::empty();
        let mut content = FileContent::sparse(u64::MAX, &[], &mut none).unwrap();
        assert_eq!((content.blocks(4096), content.hole()), (0, u64::MAX));
        assert_eq!(content.skip(4096), u64::MAX / 4096 * 4096);
        assert_eq!(content.rest().unwrap(), [0; 4095]);
    }

    #[test]
    fn too_few_and_too_many_bytes_are_told() {
        let mut short = &b"ab"[..];
        let mut long = &b"abcd"[..];
        let error = FileContent::whole(3, &mut short).rest().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the content is shorter than the 3 bytes announced"
        );
        let mut content = FileContent::whole(3, &mut long);
        assert_eq!(content.rest().unwrap(), b"abc");
        assert_eq!(
            content.finish().unwrap_err().to_string(),
            "the content is longer than the 3 bytes announced"
        );
        let mut none = std::io::empty();
        for bad in [
            [stretch(4, 2), stretch(5, 1)],
            [stretch(0, 1), stretch(9, 2)],
            [stretch(0, 1), stretch(9, u64::MAX)],
        ] {
            assert!(FileContent::sparse(10, &bad, &mut none).is_err(), "{bad:?}");
        }
    }
}
