//! FAT12, FAT16 and FAT32: how entries of a table are stored and what they mean.

use std::fmt;

use crate::bytes::{Field, Order};

/// Most clusters of FAT12; one more is FAT16.
pub(super) const FAT12_MAX: u32 = 4084;
/// Most clusters of FAT16.
pub(super) const FAT16_MAX: u32 = 65_524;
/// Most clusters of FAT32: numbers from 0x0FFFFFF7 on have a meaning.
pub(super) const FAT32_MAX: u32 = 0x0FFF_FFF5;

/// How many bits an entry of the table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 12 bits, up to 4,084 clusters.
    Fat12,
    /// 16 bits, up to 65,524 clusters.
    Fat16,
    /// 28 bits of 32, up to 268,435,445 clusters.
    Fat32,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        })
    }
}

/// What an entry of the table says of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// It belongs to nothing.
    Free,
    /// Another one follows; whether there is such a one is not checked.
    Next(u32),
    /// It is the last one.
    End,
    /// It cannot be used.
    Bad,
}

impl Kind {
    /// The kind of a volume with so many clusters, in the layout of FAT32 or that of the others; `None` for numbers that
    /// none can have. A FAT32 may be small, as for Linux.
    pub(super) fn of(layout32: bool, clusters: u64) -> Option<Self> {
        let clusters = u32::try_from(clusters).ok()?;
        match (layout32, clusters) {
            (true, 1..=FAT32_MAX) => Some(Self::Fat32),
            (false, 1..=FAT12_MAX) => Some(Self::Fat12),
            (false, 1..=FAT16_MAX) => Some(Self::Fat16),
            _ => None,
        }
    }

    /// Where the entry of a cluster begins in a table.
    pub(super) fn entry_offset(self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        match self {
            Self::Fat12 => cluster * 3 / 2,
            Self::Fat16 => cluster * 2,
            Self::Fat32 => cluster * 4,
        }
    }

    /// Bytes in which an entry lies.
    pub(super) fn entry_len(self) -> u64 {
        match self {
            Self::Fat12 | Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }

    /// The bits of an entry that are a number.
    pub(super) fn mask(self) -> u32 {
        match self {
            Self::Fat12 => 0xFFF,
            Self::Fat16 => 0xFFFF,
            Self::Fat32 => 0x0FFF_FFFF,
        }
    }

    /// The entry of the last cluster of a chain: the lowest of eight, as `mkfs.vfat` writes it.
    pub(super) fn end(self) -> u32 {
        self.mask() - 7
    }

    /// The bit of entry 1 that is set while the volume is not mounted; FAT12 has none.
    pub(super) fn clean_bit(self) -> u32 {
        match self {
            Self::Fat12 => 0,
            Self::Fat16 => 0x8000,
            Self::Fat32 => 0x0800_0000,
        }
    }

    /// The entry of `cluster` from the bytes in which it lies.
    pub(super) fn decode(self, cluster: u32, bytes: &[u8]) -> u32 {
        match self {
            Self::Fat12 if cluster.is_multiple_of(2) => {
                u32::from(u16::get(bytes, Order::Little) & 0xFFF)
            }
            Self::Fat12 => u32::from(u16::get(bytes, Order::Little) >> 4),
            Self::Fat16 => u32::from(u16::get(bytes, Order::Little)),
            Self::Fat32 => u32::get(bytes, Order::Little) & self.mask(),
        }
    }

    /// Stores the entry of `cluster` in those bytes. Bits that are not its own stay: the neighbour's half byte, and the
    /// four that FAT32 reserves.
    pub(super) fn encode(self, cluster: u32, value: u32, bytes: &mut [u8]) {
        let shift = if self == Self::Fat12 && !cluster.is_multiple_of(2) {
            4
        } else {
            0
        };
        let mask = self.mask() << shift;
        let mut word = [0; 4];
        let len = bytes.len().min(word.len());
        word[..len].copy_from_slice(&bytes[..len]);
        let kept = u32::from_le_bytes(word) & !mask;
        let word = (kept | (value << shift) & mask).to_le_bytes();
        bytes[..len].copy_from_slice(&word[..len]);
    }

    /// What an entry means.
    pub(super) fn link(self, entry: u32) -> Link {
        match entry & self.mask() {
            0 => Link::Free,
            entry if entry > self.mask() - 8 => Link::End,
            entry if entry == self.mask() - 8 => Link::Bad,
            entry => Link::Next(entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_keep_their_bits() {
        let mut table = [0u8; 8];
        for (cluster, value) in [(2u32, 0xABC), (3, 0x123), (4, 0xFFF)] {
            let at = usize::try_from(Kind::Fat12.entry_offset(cluster)).unwrap();
            Kind::Fat12.encode(cluster, value, &mut table[at..at + 2]);
        }
        assert_eq!(table, [0, 0, 0, 0xBC, 0x3A, 0x12, 0xFF, 0x0F]);
        for (cluster, value) in [(2u32, 0xABC), (3, 0x123), (4, 0xFFF)] {
            let at = usize::try_from(Kind::Fat12.entry_offset(cluster)).unwrap();
            assert_eq!(Kind::Fat12.decode(cluster, &table[at..at + 2]), value);
        }
        let mut entry = [0xFF; 4];
        Kind::Fat32.encode(5, 6, &mut entry);
        assert_eq!((entry, Kind::Fat32.decode(5, &entry)), ([6, 0, 0, 0xF0], 6));
    }

    #[test]
    fn entries_have_a_meaning() {
        for (kind, bad) in [
            (Kind::Fat12, 0xFF7),
            (Kind::Fat16, 0xFFF7),
            (Kind::Fat32, 0x0FFF_FFF7),
        ] {
            assert_eq!(kind.link(bad), Link::Bad);
            assert_eq!(kind.link(bad + 1), Link::End);
            assert_eq!(kind.link(kind.end()), Link::End);
            assert_eq!((kind.link(0), kind.link(9)), (Link::Free, Link::Next(9)));
        }
    }

    #[test]
    fn the_number_of_clusters_makes_the_kind() {
        let kinds = [
            (4084, Kind::Fat12),
            (4085, Kind::Fat16),
            (65_524, Kind::Fat16),
        ];
        for (clusters, kind) in kinds {
            assert_eq!(Kind::of(false, clusters), Some(kind), "{clusters}");
        }
        assert_eq!(
            (
                Kind::of(false, 65_525),
                Kind::of(false, 0),
                Kind::of(true, 1)
            ),
            (None, None, Some(Kind::Fat32))
        );
        assert_eq!(Kind::of(true, 1 << 28), None);
    }
}
