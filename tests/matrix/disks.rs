//! Kinds of disks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::common::noise;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but zeroes.
    Empty,
    /// One sector.
    Tiny,
    /// Not a multiple of any sector.
    Odd,
    /// 8 GiB, most of which were never written.
    Sparse,
    /// Nothing in it packs.
    Noise,
}

impl Kind {
    pub fn size(self) -> u64 {
        match self {
            Self::Empty => 3 << 20,
            Self::Tiny => 512,
            Self::Odd => (5 << 20) + 700,
            Self::Sparse => 8 << 30,
            Self::Noise => (2 << 20) + 512,
        }
    }

    /// The size where all bytes have to pass through a decompressor, zeroes too.
    pub fn packed_size(self) -> u64 {
        if self == Self::Sparse && crate::common::longer(1) == 1 {
            192 << 20
        } else {
            self.size()
        }
    }

    /// Writes it as a raw disk of `size` bytes: its own, or the packed one.
    pub fn write(self, path: &Path, size: u64) {
        let file = File::create_new(path).unwrap();
        file.set_len(size).unwrap();
        let put = |offset: u64, bytes: &[u8]| file.write_all_at(bytes, offset).unwrap();
        match self {
            Self::Empty => {}
            Self::Tiny => put(0, &noise(1, 512)),
            Self::Odd => {
                put(1000, &text(1 << 20));
                // The last byte, and both sides of the bounds of clusters.
                put((3 << 20) - 777, &noise(2, 70_000));
                put(size - 300, &[0x5a; 300]);
            }
            Self::Sparse => {
                put(0, &text(5000));
                put(size / 4 + 12_345, &noise(3, 100_000));
                put(size / 2 - 3000, &text(6000));
                put(size - 4608, &noise(4, 4608));
            }
            Self::Noise => put(0, &noise(5, usize::try_from(size).unwrap())),
        }
    }
}

fn text(len: usize) -> Vec<u8> {
    b"flatbake converts every disk into every other 0123456789\n"
        .iter()
        .copied()
        .cycle()
        .take(len)
        .collect()
}
