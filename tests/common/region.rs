//! A file, or one partition of a disk image, as a place to judge. Copies keep holes.

use super::judges::partitions;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// `len` bytes at `offset` of a file.
#[derive(Clone, Debug)]
pub struct Region {
    pub path: PathBuf,
    pub offset: u64,
    pub len: u64,
}

impl Region {
    /// The whole file.
    pub fn whole(path: &Path) -> Self {
        let len = path
            .metadata()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .len();
        Self {
            path: path.to_owned(),
            offset: 0,
            len,
        }
    }

    /// Partition `number` of a raw disk image, as `sfdisk` sees it. `None` when there is no `sfdisk`.
    pub fn partition(image: &Path, number: u32) -> Option<Self> {
        let partitions = partitions(image)?;
        let found = partitions
            .iter()
            .find(|partition| partition.number == number);
        let found =
            found.unwrap_or_else(|| panic!("{} has no partition {number}", image.display()));
        Some(Self {
            path: image.to_owned(),
            offset: found.start * 512,
            len: found.sectors * 512,
        })
    }

    /// The bytes at `offset` from the start of the region.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        File::open(&self.path)
            .unwrap()
            .read_exact_at(&mut bytes, self.offset + offset)
            .unwrap();
        bytes
    }

    /// Inverts the byte at `offset` from the start of the region.
    pub fn break_byte(&self, offset: u64) {
        self.write(offset, &[!self.read(offset, 1)[0]]);
    }

    /// Overwrites the bytes at `offset` from the start of the region.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(
            offset + bytes.len() as u64 <= self.len,
            "a write outside the region"
        );
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, self.offset + offset).unwrap();
    }

    /// The first offset, from the start of the region, at which `needle` lies in allocated data.
    pub fn find(&self, needle: &[u8]) -> Option<u64> {
        const CHUNK: usize = 1 << 20;
        let file = File::open(&self.path).unwrap();
        for (start, end) in data_extents(&file, self.offset, self.offset + self.len) {
            let mut at = start;
            while at < end {
                // Neighbouring chunks overlap, so that a needle across their border is seen.
                let len = usize::try_from(end - at)
                    .unwrap()
                    .min(CHUNK + needle.len() - 1);
                let mut chunk = vec![0; len];
                file.read_exact_at(&mut chunk, at).unwrap();
                if let Some(hit) = chunk
                    .windows(needle.len())
                    .position(|window| window == needle)
                {
                    return Some(at + hit as u64 - self.offset);
                }
                at += CHUNK as u64;
            }
        }
        None
    }

    /// Calls `judge` with a file that holds exactly this region: the file itself, or a sparse temporary copy.
    pub fn with_file<R>(&self, judge: impl FnOnce(&Path) -> R) -> R {
        if self.offset == 0 && self.len == self.path.metadata().unwrap().len() {
            return judge(&self.path);
        }
        let dir = super::scratch_dir();
        let cut = dir.path().join("partition");
        let file = File::create(&cut).unwrap();
        file.set_len(self.len).unwrap();
        copy_sparse(
            &File::open(&self.path).unwrap(),
            self.offset,
            self.len,
            &file,
            0,
        )
        .unwrap();
        drop(file);
        judge(&cut)
    }
}

/// The allocated ranges of `file` between `from` and `to`.
pub fn data_extents(file: &File, from: u64, to: u64) -> Vec<(u64, u64)> {
    let mut extents = Vec::new();
    let mut at = from;
    while at < to {
        let start = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            start => start.unwrap().min(to),
        };
        let end = seek(file, SeekFrom::Hole(start)).unwrap().min(to);
        if start < end {
            extents.push((start, end));
        }
        at = end.max(start);
    }
    extents
}

/// Copies `len` bytes from `offset` of one file to `target_offset` of another, data only.
/// The target must be long enough and read as zeroes there.
pub fn copy_sparse(
    source: &File,
    offset: u64,
    len: u64,
    target: &File,
    target_offset: u64,
) -> io::Result<()> {
    for (start, end) in data_extents(source, offset, offset + len) {
        let mut reader = source;
        let mut writer = target;
        reader.seek(io::SeekFrom::Start(start))?;
        writer.seek(io::SeekFrom::Start(target_offset + (start - offset)))?;
        let mut writer = BufWriter::with_capacity(1 << 20, writer);
        io::copy(
            &mut BufReader::with_capacity(1 << 20, reader.take(end - start)),
            &mut writer,
        )?;
        writer.flush()?;
    }
    Ok(())
}

/// A sparse, writable copy of a whole file.
pub fn copy_file(source: &Path, target: &Path) {
    let from = File::open(source).unwrap();
    let len = from.metadata().unwrap().len();
    let to = File::create(target).unwrap();
    to.set_len(len).unwrap();
    copy_sparse(&from, 0, len, &to, 0).unwrap();
}
