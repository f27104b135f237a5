//! One sparse file that holds a decompressed disk: zero blocks are never written, so they stay holes.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::detect::Compression;
use crate::block::FileDevice;
use crate::bytes::{ByteSize, hex, is_zero, to_u64, to_usize};
use crate::codec::{Decoded, bzip2, gzip, xz, zstd};
use crate::error::{Error, Result};
use crate::progress::{Cancel, Progress};

/// The unit of holes: the block size of common filesystems.
const BLOCK: u64 = 4096;

/// The largest disk that is decompressed, so that a small file made to that end cannot keep a machine busy for days.
/// Flatcar's disks are below 10 GiB; the largest cloud disks that are copied as files are a few hundred GiB.
pub(super) const MAX_DISK: u64 = 1 << 40;

/// A compressed file that is read from its start several times.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    compression: Compression,
    path: PathBuf,
    stamp: Stamp,
    cancel: Cancel,
}

/// What changes when a file is written to: size and time.
type Stamp = (u64, i64, i64);

fn stamp(file: &File, path: &Path) -> Result<Stamp> {
    let metadata = file
        .metadata()
        .map_err(|error| Error::io(format!("reading the size of {}", path.display()), error))?;
    Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

impl Input {
    /// `file`, which is read no more once `cancel` is raised.
    pub(super) fn new(
        file: File,
        compression: Compression,
        path: &Path,
        cancel: Cancel,
    ) -> Result<Self> {
        let stamp = stamp(&file, path)?;
        Ok(Self {
            file,
            compression,
            path: path.to_owned(),
            stamp,
            cancel,
        })
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    pub(super) fn size(&self) -> u64 {
        self.stamp.0
    }

    /// A reader from the start that shares no position with any other.
    fn reader(&self) -> Result<Reader> {
        let file = self.file.try_clone();
        let file = file
            .map_err(|error| Error::io(format!("opening {} again", self.path.display()), error))?;
        Ok(Reader { file, offset: 0 })
    }

    /// The first `len` decoded bytes.
    pub(super) fn decoded_start(&self, len: u64) -> Result<Vec<u8>> {
        let reader = self.reader()?;
        match self.compression {
            Compression::Bzip2 => bzip2::decode_start(reader, len),
            Compression::Gzip => gzip::decode_start(reader, len),
            Compression::Xz => xz::decode_start(reader, len),
            Compression::Zstd => zstd::decode_start(reader, len),
            Compression::Zip => Err(zip_archive()),
        }
    }

    /// The SHA-256 of the compressed bytes in hexadecimal digits.
    pub(super) fn sha256(&self, progress: &dyn Progress) -> Result<String> {
        progress.start(&format!("reading {}", self.path.display()), self.size());
        let result = self.hash(progress);
        progress.finish();
        result
    }

    fn hash(&self, progress: &dyn Progress) -> Result<String> {
        let mut hasher = Sha256::new();
        let mut reader = self.reader()?;
        let mut buf = vec![0; 1 << 20];
        loop {
            self.cancel.check()?;
            let len = match io::Read::read(&mut reader, &mut buf) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::io(format!("reading {}", self.path.display()), error));
                }
            };
            hasher.update(&buf[..len]);
            progress.advance(to_u64(len));
        }
        Ok(hex(&hasher.finalize()))
    }

    /// Decodes everything into `output`, an empty file in `folder`.
    pub(super) fn decode_into(
        &self,
        output: &File,
        folder: &Path,
        threads: NonZeroUsize,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.start(
            &format!("decompressing {}", self.path.display()),
            self.size(),
        );
        let mut writer = SparseWriter::new(output, folder, "decompressed disk", MAX_DISK);
        let mut reported = 0;
        let sink = |piece: Decoded<'_>| {
            self.cancel.check()?;
            progress.advance(piece.compressed - reported);
            reported = piece.compressed;
            writer.write(piece.bytes)
        };
        let reader = self.reader()?;
        let result = match self.compression {
            Compression::Bzip2 => bzip2::decode_to(reader, threads, sink),
            Compression::Gzip => gzip::decode_to(reader, threads, sink),
            Compression::Xz => xz::decode_to(reader, threads, sink),
            Compression::Zstd => zstd::decode_to(reader, threads, sink),
            Compression::Zip => Err(zip_archive()),
        };
        // The end of the file is read after the last piece.
        progress.advance(if result.is_ok() {
            self.size().saturating_sub(reported)
        } else {
            0
        });
        progress.finish();
        result?;
        writer.finish()?;
        if stamp(&self.file, &self.path)? != self.stamp {
            return Err(Error::invalid("the file was changed while it was read")
                .with_hint("wait until it is complete, then try again"));
        }
        Ok(())
    }

    /// Decodes everything into a file without a name in `folder`.
    pub(super) fn decode_unnamed(
        &self,
        folder: &Path,
        threads: NonZeroUsize,
        progress: &dyn Progress,
    ) -> Result<FileDevice> {
        let file = tempfile::tempfile_in(folder).map_err(|error| {
            Error::io(
                format!("creating a temporary file in {}", folder.display()),
                error,
            )
            .with_hint("choose another temporary folder (TMPDIR)")
        })?;
        self.decode_into(&file, folder, threads, progress)?;
        FileDevice::from_file(file, &self.path)
    }
}

/// Reads a file from its start by position.
#[derive(Debug)]
struct Reader {
    file: File,
    offset: u64,
}

impl io::Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buf, self.offset)?;
        self.offset += to_u64(len);
        Ok(len)
    }
}

/// Writes a stream to an empty file and leaves out aligned blocks of zeroes.
#[derive(Debug)]
pub(super) struct SparseWriter<'a> {
    file: &'a File,
    /// For errors: what is written.
    what: &'static str,
    /// For errors: where the file lies.
    folder: &'a Path,
    offset: u64,
    limit: u64,
}

impl<'a> SparseWriter<'a> {
    /// A writer of at most `limit` bytes; errors say that `what` is written in `folder`.
    pub(super) fn new(file: &'a File, folder: &'a Path, what: &'static str, limit: u64) -> Self {
        Self {
            file,
            what,
            folder,
            offset: 0,
            limit,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if to_u64(bytes.len()) > self.limit - self.offset {
            let limit = ByteSize(self.limit);
            let message = format!("the {} is larger than {limit}, the most allowed", self.what);
            return Err(Error::unsupported(message)
                .with_hint("check that the file comes from where you think it does"));
        }
        // A zero part of a block may be left out as well: what else the block holds is written on its own.
        let mut rest = bytes;
        while !rest.is_empty() {
            let zero = self.run(rest, true)?;
            self.skip(&mut rest, zero);
            let data = self.run(rest, false)?;
            let written = self.file.write_all_at(&rest[..data], self.offset);
            written.map_err(|error| self.fails("writing", error))?;
            self.skip(&mut rest, data);
        }
        Ok(())
    }

    /// Moves on by `len` bytes.
    fn skip(&mut self, rest: &mut &[u8], len: usize) {
        self.offset += to_u64(len);
        *rest = &rest[len..];
    }

    /// How many bytes from the present offset lie in blocks that are all zero (or are not).
    fn run(&self, bytes: &[u8], zero: bool) -> Result<usize> {
        let first = to_usize(BLOCK - self.offset % BLOCK)?.min(bytes.len());
        let (head, rest) = bytes.split_at(first);
        if is_zero(head) != zero {
            return Ok(0);
        }
        let same = rest
            .chunks(to_usize(BLOCK)?)
            .take_while(|block| is_zero(block) == zero);
        Ok(first + same.map(<[u8]>::len).sum::<usize>())
    }

    /// Sets the size, which a hole at the end has not.
    pub(super) fn finish(&self) -> Result<()> {
        self.file
            .set_len(self.offset)
            .map_err(|error| self.fails("setting the size of", error))
    }

    fn fails(&self, what: &str, error: io::Error) -> Error {
        let folder = self.folder.display();
        Error::io(
            format!(
                "{what} the {} in {folder} at byte {}",
                self.what, self.offset
            ),
            error,
        )
        .with_hint(format!("free space in {folder}, or choose another folder"))
        .with_setting("cache-dir")
    }
}

fn zip_archive() -> Error {
    Error::unsupported("the image is packed in a zip archive")
        .with_hint("unpack it first: unzip FILE.zip")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&[u8]]) -> (Vec<u8>, u64) {
        let file = tempfile::tempfile().unwrap();
        let mut writer = SparseWriter::new(&file, Path::new("/tmp"), "disk", 1 << 30);
        pieces.iter().for_each(|piece| writer.write(piece).unwrap());
        writer.finish().unwrap();
        let metadata = file.metadata().unwrap();
        let mut bytes = vec![1; usize::try_from(metadata.len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (bytes, metadata.blocks() * 512)
    }

    #[test]
    fn any_cut_gives_the_same_bytes_and_holes() {
        let mut disk = vec![0; 1 << 20];
        disk[5000] = 1;
        disk[100_000..140_000].fill(2);
        disk[(1 << 20) - 5000] = 3;
        disk.truncate((1 << 20) - 100);
        for cut in [1 << 20, 1000, 4096, 4097, 333_333] {
            let (bytes, allocated) = written(&disk.chunks(cut).collect::<Vec<_>>());
            assert!(bytes == disk, "pieces of {cut}");
            // 2 blocks of one byte, 11 of the run; a filesystem may round up.
            assert!(
                allocated <= 128 << 10,
                "{allocated} bytes allocated with pieces of {cut}"
            );
        }
        assert_eq!(written(&[]), (Vec::new(), 0));
    }

    #[test]
    fn too_much_and_unwritable_are_errors() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = SparseWriter::new(&file, Path::new("/tmp"), "disk", 10_000);
        writer.write(&[0; 10_000]).unwrap();
        assert_eq!(
            writer.write(&[0]).unwrap_err().kind(),
            crate::ErrorKind::Unsupported
        );

        let read_only = File::open("/dev/null").unwrap();
        let mut writer = SparseWriter::new(&read_only, Path::new("/folder"), "disk", 10_000);
        let error = writer.write(&[1]).unwrap_err();
        assert!(
            error.to_string().contains("/folder") && error.hint().is_some(),
            "{error:?}"
        );
        // A device that is always full.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = SparseWriter::new(&full, Path::new("/folder"), "disk", 10_000);
        assert_eq!(
            writer.write(&[1]).unwrap_err().kind(),
            crate::ErrorKind::Environment
        );
    }
}
