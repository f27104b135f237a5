//! Writing: an archive is laid out as a device, whose bytes are then copied or compressed by whoever writes disks.
//!
//! ```text
//!   TarLayout ── file, device, sparse ──▶ Sections ──▶ image::raw::write       (holes stay holes)
//!                                                 └──▶ image::compress         (on all cores)
//! ```
//!
//! Headers are ustar. What that cannot tell is told as GNU tar does: sizes from 8 GiB on in base 256, names that do not
//! fit by an `L` entry in front, holes by entries of type `S` ("Basic Tar Format" and "The Sparse Format" in the GNU tar
//! manual). Everything belongs to root, times are those asked for.
//!
//! Entries are added one by one and not as a tree: bundles prescribe an order that names do not give (the `.ovf` comes
//! first), and what they hold are disks, which no tree has as files.

use std::ops::Range;

use super::header::{BLOCK, Block};
use super::sparse::SEGMENTS_MAX;
use crate::block::{BlockDevice, Piece, Sections};
use crate::bytes::{align_up, to_u64};
use crate::error::{Error, Result};

/// GNU tar fills archives up to whole records of this size.
const RECORD: u64 = 10_240;

/// The longest name of an entry, Linux' own for paths.
const MAX_NAME: usize = 4096;

/// Bytes of a header for the name, and of a ustar header for the directories in front of it.
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// The largest number in eleven octal digits: 8 GiB less one.
const MAX_OCTAL: u64 = (1 << 33) - 1;

/// Sparse segments in the header and in each block that continues it.
const SEGMENTS_IN_HEADER: usize = 4;
const SEGMENTS_IN_BLOCK: usize = 21;

/// An archive that is being laid out. Nothing is read from devices until it is written.
#[derive(Debug)]
pub struct TarLayout<'a> {
    sections: Sections<'a>,
    mtime: u64,
}

impl<'a> TarLayout<'a> {
    /// An empty archive whose entries were last changed `mtime` seconds after 1970.
    pub fn new(mtime: u64) -> Self {
        Self {
            sections: Sections::new(),
            mtime,
        }
    }

    /// Adds a directory. `path` is relative, with or without a slash at its end.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] for a path that is absolute, leads outside or is too long.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        let path = format!("{}/", path.strip_suffix('/').unwrap_or(path));
        self.entry(Entry {
            path: &path,
            mode,
            typeflag: b'5',
            size: 0,
            real_size: None,
            segments: &[],
            target: "",
        })
    }

    /// Adds a symbolic link to `target`. Errors as for [`directory`](Self::directory), and for a target of more than 100
    /// bytes.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        if target.is_empty() || target.len() > NAME_BYTES {
            return Err(Error::invalid(format!(
                "a link to a path of {} bytes: must be 1 to {NAME_BYTES}",
                target.len()
            )));
        }
        self.entry(Entry {
            path,
            mode: 0o777,
            typeflag: b'2',
            size: 0,
            real_size: None,
            segments: &[],
            target,
        })
    }

    /// Adds a file that holds `content`. Errors as for [`directory`](Self::directory).
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<()> {
        self.piece(path, mode, Piece::Bytes(content))
    }

    /// Adds a file that holds a piece. Errors as for [`directory`](Self::directory).
    pub fn piece(&mut self, path: &str, mode: u32, content: Piece<'a>) -> Result<()> {
        let size = content.size();
        self.entry(Entry {
            path,
            mode,
            typeflag: b'0',
            size,
            real_size: None,
            segments: &[],
            target: "",
        })?;
        self.sections.push_piece(content)?;
        self.fill(to_u64(BLOCK))
    }

    /// Adds a sparse file: of `device`, only the bytes in `data` are stored, everything else reads as zeroes.
    ///
    /// The stretches are in order, apart and within the device; each begins and ends at a multiple of 512 bytes or ends
    /// with the device.
    ///
    /// # Errors
    ///
    /// As for [`directory`](Self::directory), and where the stretches are not so or are more than a million.
    pub fn sparse(
        &mut self,
        path: &str,
        mode: u32,
        device: &'a dyn BlockDevice,
        data: &[Range<u64>],
    ) -> Result<()> {
        let real_size = device.size();
        let size = check_stretches(data, real_size)?;
        let mut segments: Vec<(u64, u64)> = data
            .iter()
            .map(|range| (range.start, range.end - range.start))
            .collect();
        // A segment of no bytes at the end of the file: that is how readers learn where a last hole ends.
        if data.last().is_none_or(|range| range.end < real_size) {
            segments.push((real_size, 0));
        }
        self.entry(Entry {
            path,
            mode,
            typeflag: b'S',
            size,
            real_size: Some(real_size),
            segments: &segments,
            target: "",
        })?;
        for range in data {
            self.sections
                .push_device(device, range.start, range.end - range.start)?;
        }
        self.fill(to_u64(BLOCK))
    }

    /// The whole archive with its end, as a device.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Unsupported`] for more than 64 bits of bytes.
    pub fn finish(mut self) -> Result<Sections<'a>> {
        self.sections.push_zeroes(2 * to_u64(BLOCK))?;
        self.fill(RECORD)?;
        Ok(self.sections)
    }

    fn fill(&mut self, unit: u64) -> Result<()> {
        let size = self.sections.size();
        let end =
            align_up(size, unit).ok_or_else(|| Error::unsupported("an archive of 2^64 bytes"))?;
        self.sections.push_zeroes(end - size)
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<()> {
        check_path(entry.path)?;
        let ustar = if entry.typeflag == b'S' || entry.size > MAX_OCTAL {
            None
        } else {
            split(entry.path)
        };
        let header = match ustar {
            Some((prefix, name)) => entry.header(prefix, name, false, self.mtime)?,
            None => {
                self.long_name(entry.path)?;
                entry.header("", entry.path, true, self.mtime)?
            }
        };
        self.sections.push_bytes(header.to_vec())?;
        for block in entry.continued()? {
            self.sections.push_bytes(block.to_vec())?;
        }
        Ok(())
    }

    /// The entry in front of one whose GNU header has no room for its name.
    fn long_name(&mut self, path: &str) -> Result<()> {
        if path.len() <= NAME_BYTES {
            return Ok(());
        }
        let name = [path.as_bytes(), &[0]].concat();
        let long = Entry {
            path,
            mode: 0,
            typeflag: b'L',
            size: to_u64(name.len()),
            real_size: None,
            segments: &[],
            target: "",
        };
        self.sections
            .push_bytes(long.header("", "././@LongLink", true, 0)?.to_vec())?;
        self.sections.push_bytes(name)?;
        self.fill(to_u64(BLOCK))
    }
}

/// What a header tells.
struct Entry<'a> {
    path: &'a str,
    mode: u32,
    typeflag: u8,
    /// Bytes that are stored behind it.
    size: u64,
    /// Of a sparse file, its size with its holes.
    real_size: Option<u64>,
    /// Of a sparse file, offset and length of its stored stretches.
    segments: &'a [(u64, u64)],
    /// Of a symbolic link, where it leads.
    target: &'a str,
}

impl Entry<'_> {
    /// The header block; a GNU header has no prefix and takes as much of the name as fits.
    fn header(&self, prefix: &str, name: &str, gnu: bool, mtime: u64) -> Result<Block> {
        let mut block = [0; BLOCK];
        let name = &name.as_bytes()[..name.len().min(NAME_BYTES)];
        block[..name.len()].copy_from_slice(name);
        number(&mut block[100..108], u64::from(self.mode & 0o7777))?;
        number(&mut block[108..116], 0)?;
        number(&mut block[116..124], 0)?;
        number(&mut block[124..136], self.size)?;
        number(&mut block[136..148], mtime)?;
        block[156] = self.typeflag;
        let target = self.target.as_bytes();
        block[157..157 + target.len()].copy_from_slice(target);
        block[257..265].copy_from_slice(if gnu { b"ustar  \0" } else { b"ustar\x0000" });
        for start in [265, 297] {
            block[start..start + 4].copy_from_slice(b"root");
        }
        if gnu {
            let (first, rest) = self
                .segments
                .split_at(self.segments.len().min(SEGMENTS_IN_HEADER));
            segments(&mut block[386..482], first)?;
            block[482] = u8::from(!rest.is_empty());
            if let Some(real_size) = self.real_size {
                number(&mut block[483..495], real_size)?;
            }
        } else {
            block[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
            number(&mut block[329..337], 0)?;
            number(&mut block[337..345], 0)?;
        }
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        number(&mut block[148..155], sum)?;
        Ok(block)
    }

    /// The blocks that hold the segments for which the header has no room.
    fn continued(&self) -> Result<Vec<Block>> {
        let rest = self.segments.get(SEGMENTS_IN_HEADER..).unwrap_or_default();
        let count = rest.len().div_ceil(SEGMENTS_IN_BLOCK);
        let blocks = rest
            .chunks(SEGMENTS_IN_BLOCK)
            .enumerate()
            .map(|(index, chunk)| {
                let mut block = [0; BLOCK];
                segments(&mut block[..504], chunk)?;
                block[504] = u8::from(index + 1 < count);
                Ok(block)
            });
        blocks.collect()
    }
}

fn segments(field: &mut [u8], segments: &[(u64, u64)]) -> Result<()> {
    for (field, &(offset, len)) in field.chunks_exact_mut(24).zip(segments) {
        number(&mut field[..12], offset)?;
        number(&mut field[12..], len)?;
    }
    Ok(())
}

/// Octal digits and a NUL, or in base 256 where those are too few.
fn number(field: &mut [u8], value: u64) -> Result<()> {
    let digits = field.len() - 1;
    let octal = format!("{value:0digits$o}");
    if octal.len() == digits {
        field[..digits].copy_from_slice(octal.as_bytes());
        field[digits] = 0;
        return Ok(());
    }
    if digits < 11 {
        return Err(Error::internal(format!(
            "{value} does not fit into {digits} octal digits of a tar header"
        )));
    }
    field.fill(0);
    field[0] = 0x80;
    field[digits - 7..].copy_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Prefix and name of a path as ustar keeps them, or `None` where it does not fit.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME_BYTES {
        return Some(("", path));
    }
    let slashes = path
        .match_indices('/')
        .map(|(at, _)| (&path[..at], &path[at + 1..]));
    slashes
        .rev()
        .find(|(prefix, _)| prefix.len() <= PREFIX_BYTES)
        .filter(|(prefix, name)| !prefix.is_empty() && !name.is_empty() && name.len() <= NAME_BYTES)
}

/// Refuses paths that would lead elsewhere when they are unpacked.
fn check_path(path: &str) -> Result<()> {
    let plain = path.strip_suffix('/').unwrap_or(path);
    let strange = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
    if path.len() > MAX_NAME || plain.split('/').any(strange) {
        return Err(Error::invalid(format!("'{}' cannot name an entry of an archive", path.escape_debug())).with_hint(
            format!(
                "use a relative path without '.' and '..', of at most {MAX_NAME} bytes, without control characters"
            ),
        ));
    }
    Ok(())
}

/// Checks the stretches of a sparse file, and returns how many bytes they have.
fn check_stretches(data: &[Range<u64>], size: u64) -> Result<u64> {
    if data.len() >= SEGMENTS_MAX {
        return Err(Error::unsupported(format!(
            "a sparse file of {} stretches, below {SEGMENTS_MAX} are",
            data.len()
        )));
    }
    let aligned = |offset: u64| offset.is_multiple_of(to_u64(BLOCK)) || offset == size;
    let mut end = 0;
    let mut total = 0;
    for (index, range) in data.iter().enumerate() {
        let apart = index == 0 || range.start > end;
        if !apart
            || range.start >= range.end
            || range.end > size
            || !aligned(range.start)
            || !aligned(range.end)
        {
            return Err(Error::invalid(format!(
                "a stretch of data from {} to {} of a file of {size} bytes, behind one that ends at {end}",
                range.start, range.end
            )));
        }
        end = range.end;
        total += range.end - range.start;
    }
    Ok(total)
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
