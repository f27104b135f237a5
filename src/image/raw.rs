//! Raw disk images: the bytes of the device as they are, sparse.

use std::fs::File;

use super::copy::copy_data;
use super::format::{Format, OutputFormat, OutputRow, Row, Writer};
use super::{check_empty, set_size, write_out};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::Result;
use crate::progress::Progress;

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Raw,
    word: "raw",
    qemu_name: "raw",
    probes: &[],
    open: |file, _| Ok(file),
    outputs: &[OutputRow {
        format: OutputFormat::Raw,
        word: "raw",
        aliases: &[],
        extensions: &["raw"],
        open_extensions: &["bin", "img"],
        options: &[],
        holds_any_sectors: true,
        packs_pieces: false,
        writer: Writer::File(|job, out| write(job.disk, out, job.progress).map(drop)),
    }],
};

/// Zeroes that a stream gets at once.
const ZEROES_BYTES: usize = 64 << 10;

/// Writes `device` into `out`, an empty file, and returns how many bytes of data that took (the rest are holes).
///
/// Holes of the device are not read, and blocks of 4 KiB that hold only zeroes are not written. `out` gets exactly
/// the size of the device. It is neither synced nor renamed, and left unfinished on failure.
///
/// # Errors
///
/// The device's read errors; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] where `out` is not empty.
pub fn write(device: &dyn BlockDevice, out: &File, progress: &dyn Progress) -> Result<u64> {
    check_empty(out)?;
    write_over(device, out, progress)
}

/// The same into a file that holds something: that stays where the device has holes.
///
/// # Errors
///
/// Those of [`write`], but for a file that is not empty.
pub fn write_over(device: &dyn BlockDevice, out: &File, progress: &dyn Progress) -> Result<u64> {
    progress.start("writing the raw image", device.size());
    let result = copy(device, out, progress);
    progress.finish();
    result
}

fn copy(device: &dyn BlockDevice, out: &File, progress: &dyn Progress) -> Result<u64> {
    set_size(out, device.size())?;
    let mut written = 0;
    copy_data(device, false, progress, |offset, run| {
        written += to_u64(run.len());
        write_out(out, offset, run)
    })?;
    Ok(written)
}

/// Gives all bytes of `device` to `sink`, front to back, holes as zeroes.
///
/// # Errors
///
/// The device's read errors, and those of `sink`.
pub fn stream(
    device: &dyn BlockDevice,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    progress.start("streaming the bytes of the image", device.size());
    let result = put_all(device, progress, sink);
    progress.finish();
    result
}

fn put_all(
    device: &dyn BlockDevice,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut end = 0;
    copy_data(device, false, progress, |offset, run| {
        put_zeroes(offset - end, sink)?;
        end = offset + to_u64(run.len());
        sink(run)
    })?;
    put_zeroes(device.size() - end, sink)
}

fn put_zeroes(mut len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];
    while len > 0 {
        let piece = len.min(to_u64(ZEROES.len()));
        sink(&ZEROES[..to_usize(piece)?])?;
        len -= piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::Path;

    use super::*;
    use crate::block::{FileDevice, MemoryDevice};
    use crate::error::ErrorKind;
    use crate::image::copy::{CHUNK_BYTES, HOLE_BYTES};
    use crate::progress::NoProgress;

    fn written(bytes: &[u8]) -> (Vec<u8>, u64) {
        let out = tempfile::tempfile().unwrap();
        let data = write(&MemoryDevice::new(bytes.to_vec()), &out, &NoProgress).unwrap();
        let mut copy = Vec::new();
        (&out).read_to_end(&mut copy).unwrap();
        (copy, data)
    }

    fn streamed(bytes: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut sink = |piece: &[u8]| {
            all.extend_from_slice(piece);
            Ok(())
        };
        stream(&MemoryDevice::new(bytes.to_vec()), &NoProgress, &mut sink).unwrap();
        all
    }

    #[test]
    fn any_size_is_copied_exactly() {
        for size in [0, 1, 511, 4096, 4097, CHUNK_BYTES - 1, 3 * CHUNK_BYTES + 5] {
            let bytes: Vec<u8> = (0..size)
                .map(|n| {
                    if n % 10_000 < 5000 {
                        0
                    } else {
                        n.to_le_bytes()[0] | 1
                    }
                })
                .collect();
            assert!(written(&bytes).0 == bytes, "{size} bytes");
            assert!(streamed(&bytes) == bytes, "{size} bytes streamed");
        }
    }

    #[test]
    fn zeroes_are_not_written() {
        let mut bytes = vec![0; 40 * HOLE_BYTES + 100];
        bytes[5 * HOLE_BYTES] = 1;
        bytes[7 * HOLE_BYTES - 1] = 1;
        bytes[40 * HOLE_BYTES + 99] = 1;
        let (copy, data) = written(&bytes);
        assert!(copy == bytes);
        assert_eq!(data, 2 * 4096 + 100);
    }

    #[test]
    fn a_sparse_file_stays_sparse() {
        let source = tempfile::tempfile().unwrap();
        source.set_len(8 << 30).unwrap();
        source
            .write_all_at(&[7; 70_000], (5 << 30) + 12_345)
            .unwrap();
        let device = FileDevice::from_file(source, Path::new("source")).unwrap();
        let out = tempfile::tempfile().unwrap();
        write(&device, &out, &NoProgress).unwrap();
        let metadata = out.metadata().unwrap();
        assert_eq!(metadata.len(), 8 << 30);
        assert!(
            metadata.blocks() * 512 < 1 << 20,
            "{} blocks",
            metadata.blocks()
        );
        let mut middle = vec![0; 70_002];
        out.read_exact_at(&mut middle, (5 << 30) + 12_344).unwrap();
        assert!(
            middle[0] == 0
                && middle[70_001] == 0
                && middle[1..70_001].iter().all(|&byte| byte == 7)
        );
    }

    #[test]
    fn a_file_that_holds_something_is_refused() {
        let out = tempfile::tempfile().unwrap();
        out.write_all_at(b"old", 0).unwrap();
        let error = write(&MemoryDevice::new(vec![0; 512]), &out, &NoProgress).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
