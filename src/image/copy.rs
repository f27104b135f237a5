//! Copies what a device holds: holes are not read, blocks of zeroes not written.

use super::identity::Fingerprint;
use super::ranges::{DataRange, data_ranges};
use crate::block::BlockDevice;
use crate::bytes::{is_zero, to_u64};
use crate::codec::{Spares, run_ordered};
use crate::error::Result;
use crate::progress::Progress;

/// Zeroes become holes in units of one filesystem block; smaller holes do not exist on common filesystems.
pub(super) const HOLE_BYTES: usize = 4096;

/// Read at once: large enough that system calls do not count, small enough for many in memory.
pub(super) const CHUNK_BYTES: usize = 512 << 10;

/// More chunks in flight than this gain nothing: copying is bound by memory, not by the number of threads.
const MAX_WINDOW: usize = 16;

/// Gives every run of blocks that are not all zero, with its offset, to `sink`, in order. A run begins at a multiple of
/// 4 KiB and has whole blocks of 4 KiB except at the end of the device.
///
/// Returns the fingerprint of the device where `fingerprint` asks for it.
pub(super) fn copy_data(
    device: &dyn BlockDevice,
    fingerprint: bool,
    progress: &dyn Progress,
    mut sink: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<Fingerprint> {
    let granules = to_u64(CHUNK_BYTES / HOLE_BYTES);
    let ranges = data_ranges(device, to_u64(HOLE_BYTES), granules);
    let window = (2 * rayon::current_num_threads()).min(MAX_WINDOW);
    let spares = Spares::default();
    let mut sum = Fingerprint::default();
    let mut done = 0;
    run_ordered(
        ranges,
        window,
        |range: DataRange| {
            let mut buffer: Vec<u8> = spares.take().unwrap_or_default();
            buffer.resize(range.len, 0);
            device.read_at(range.offset, &mut buffer)?;
            let runs = data_runs(&buffer);
            let print = if fingerprint {
                Fingerprint::of(range.offset, &buffer)
            } else {
                Fingerprint::default()
            };
            Ok((range, buffer, runs, print))
        },
        |(range, buffer, runs, print)| {
            for (start, end) in runs {
                sink(range.offset + to_u64(start), &buffer[start..end])?;
            }
            spares.give(buffer);
            sum = sum.and(print);
            progress.advance(range.end() - done);
            done = range.end();
            Ok(())
        },
    )?;
    progress.advance(device.size() - done);
    Ok(sum)
}

/// Start and end of every run of blocks that are not all zero.
fn data_runs(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    for block in bytes.chunks(HOLE_BYTES) {
        let end = start + block.len();
        if !is_zero(block) {
            match runs.last_mut() {
                Some(run) if run.1 == start => run.1 = end,
                _ => runs.push((start, end)),
            }
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;
    use crate::progress::NoProgress;

    #[test]
    fn runs_are_whole_blocks_without_zeroes() {
        let mut bytes = vec![0; 40 * HOLE_BYTES + 100];
        bytes[5 * HOLE_BYTES] = 1;
        bytes[7 * HOLE_BYTES - 1] = 1;
        bytes[40 * HOLE_BYTES + 99] = 1;
        assert_eq!(
            data_runs(&bytes),
            [
                (5 * HOLE_BYTES, 7 * HOLE_BYTES),
                (40 * HOLE_BYTES, bytes.len())
            ]
        );
        let mut seen = Vec::new();
        let sink = |offset, run: &[u8]| {
            seen.push((offset, run.len()));
            Ok(())
        };
        let print = copy_data(&MemoryDevice::new(bytes.clone()), true, &NoProgress, sink).unwrap();
        assert_eq!(seen, [(5 * 4096, 8192), (40 * 4096, 100)]);
        assert_eq!(print, Fingerprint::of(0, &bytes));
    }
}
