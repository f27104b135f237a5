//! Where the data of a disk lie, by what it holds and not by what is known of its holes.

use std::ops::Range;

use super::copy::copy_data;
use crate::block::BlockDevice;
use crate::bytes::to_u64;
use crate::error::Result;
use crate::progress::Progress;

/// Between two stretches of data lie at least this many zeroes: shorter runs cost less as data than as a hole.
const MIN_HOLE: u64 = 64 << 10;

/// More stretches than this are joined over longer and longer holes.
const MAX_STRETCHES: usize = 1 << 19;

/// The stretches of `device` that hold data, in order and apart, in units of 4 KiB (the last one may end with the
/// device). They depend on the bytes alone: zeroes that are stored and holes are the same.
///
/// # Errors
///
/// The device's read errors.
pub fn data_stretches(
    device: &dyn BlockDevice,
    progress: &dyn Progress,
) -> Result<Vec<Range<u64>>> {
    progress.start("looking for holes", device.size());
    let mut stretches = Stretches {
        found: Vec::new(),
        min_hole: MIN_HOLE,
        max: MAX_STRETCHES,
    };
    let result = copy_data(device, false, progress, |offset, run| {
        stretches.add(offset..offset + to_u64(run.len()));
        Ok(())
    });
    progress.finish();
    result.map(|_| stretches.found)
}

struct Stretches {
    found: Vec<Range<u64>>,
    min_hole: u64,
    max: usize,
}

impl Stretches {
    fn add(&mut self, next: Range<u64>) {
        self.join(next);
        while self.found.len() > self.max {
            self.min_hole *= 2;
            for stretch in std::mem::take(&mut self.found) {
                self.join(stretch);
            }
        }
    }

    fn join(&mut self, next: Range<u64>) {
        match self.found.last_mut() {
            Some(last) if next.start - last.end < self.min_hole => last.end = next.end,
            _ => self.found.push(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;
    use crate::progress::NoProgress;

    #[test]
    fn stored_zeroes_are_holes_and_short_holes_are_data() {
        let mut bytes = vec![0; 1 << 20];
        for at in [5000, 70_000, 300_000, (1 << 20) - 1] {
            bytes[at] = 1;
        }
        bytes.push(1);
        let stretches = data_stretches(&MemoryDevice::new(bytes), &NoProgress).unwrap();
        assert_eq!(
            stretches,
            [
                4096..73_728,
                299_008..303_104,
                (1 << 20) - 4096..(1 << 20) + 1
            ]
        );
        assert!(
            data_stretches(&MemoryDevice::new(vec![0; 100_000]), &NoProgress)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn too_many_stretches_are_joined() {
        let mut stretches = Stretches {
            found: Vec::new(),
            min_hole: 10,
            max: 4,
        };
        for start in (0..1000).step_by(20) {
            stretches.add(start..start + 5);
        }
        assert!(stretches.found.len() <= 4, "{:?}", stretches.found);
        assert_eq!(
            (
                stretches.found[0].start,
                stretches.found.last().unwrap().end
            ),
            (0, 985)
        );
        assert!(stretches.min_hole > 10);
    }
}
