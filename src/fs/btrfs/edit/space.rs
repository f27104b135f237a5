//! Where things go on the device: block groups first, then extents and tree blocks inside them, lowest address first.
//!
//! ```text
//!   0        1 MiB      5 MiB                          64 MiB
//!   │ …super │ SYSTEM   │ DATA|METADATA  (or METADATA, then DATA) │mirror│ …   unallocated
//! ```
//!
//! Block groups are a little larger than needed, and the rest of the device is left unallocated for the kernel. Only when
//! that does not fit do they take all of it.

use super::super::chunk::{Chunk, group};
use super::super::superblock::{SUPER_OFFSETS, Superblock, incompat};
use super::source::Profiles;
use crate::bytes::ByteSize;
use crate::error::{Error, Result};

/// Where the first block group begins (`BTRFS_DEVICE_RANGE_RESERVED`).
const FIRST: u64 = 1 << 20;
/// Block groups begin and end at multiples of this, the stripe length; superblock mirrors take as much out of them.
const STRIPE: u64 = 64 << 10;
/// The system block group: room for the items of ten thousand others.
const SYSTEM: u64 = 4 << 20;
/// Block groups grow in these steps, and are at most this large (`BTRFS_MAX_DATA_CHUNK_SIZE` is 10 GiB, Linux makes 1).
const STEP: u64 = 8 << 20;
const GROUP_MAX: u64 = 1 << 30;
/// Besides as much as the trees take, the kernel needs this many tree blocks for its own changes: it sets aside 352 of them
/// (measured on Linux 6.18), and with less than as many again it refuses to create files.
const RESERVE_BLOCKS: u64 = 1024;
/// The reserve is at most this part of a small filesystem with large tree blocks.
const RESERVE_PART: u64 = 16;

/// Bytes to be stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs {
    pub data: u64,
    pub metadata: u64,
    /// Bytes that the kernel needs free to work with.
    pub reserve: u64,
}

impl Needs {
    /// What `data` bytes of extents and `metadata` bytes of tree blocks need in this filesystem.
    pub(super) fn new(data: u64, metadata: u64, superblock: &Superblock) -> Self {
        let blocks = (RESERVE_BLOCKS * u64::from(superblock.nodesize))
            .min(superblock.total_bytes / RESERVE_PART);
        Self {
            data,
            metadata,
            reserve: metadata.saturating_add(blocks),
        }
    }

    fn metadata_with_reserve(&self) -> u64 {
        self.metadata.saturating_add(self.reserve)
    }
}

/// A stretch of a block group that can be given out; below `next` it is.
#[derive(Debug)]
struct Region {
    flags: u64,
    start: u64,
    next: u64,
    end: u64,
}

/// All block groups and what is given out of them.
#[derive(Debug)]
pub(super) struct Space {
    /// Block groups by ascending logical address.
    pub groups: Vec<(u64, Chunk)>,
    regions: Vec<Region>,
    /// The first region with room, for data and for metadata.
    first: [usize; 2],
    /// Bytes of the device in no block group.
    pub unallocated: u64,
    sectorsize: u64,
    needs: Needs,
}

impl Space {
    /// Plans block groups for `needs`: generous ones, or with `all` the whole device.
    pub(super) fn plan(
        superblock: &Superblock,
        profiles: Profiles,
        needs: Needs,
        all: bool,
    ) -> Result<Self> {
        let end = superblock.dev_item.total_bytes / STRIPE * STRIPE;
        let mut planner = Planner {
            logical: FIRST,
            physical: FIRST,
            end,
            groups: Vec::new(),
        };
        let full = || no_space(needs, end);
        planner
            .add(group::SYSTEM | profiles.system, SYSTEM)
            .ok_or_else(full)?;
        let metadata = needs.metadata_with_reserve();
        if superblock.has(incompat::MIXED_GROUPS) {
            let flags = group::DATA | group::METADATA | profiles.data;
            let wanted = metadata.saturating_add(needs.data);
            planner
                .add(
                    flags,
                    planner.length(flags, wanted, 0, all).ok_or_else(full)?,
                )
                .ok_or_else(full)?;
        } else {
            let flags = group::METADATA | profiles.metadata;
            // Metadata first; data gets what is left.
            let length = if all {
                metadata.next_multiple_of(1 << 20)
            } else {
                generous(metadata)
            };
            planner.add(flags, length).ok_or_else(full)?;
            let flags = group::DATA | profiles.data;
            planner
                .add(
                    flags,
                    planner
                        .length(flags, needs.data, STEP, all)
                        .ok_or_else(full)?,
                )
                .ok_or_else(full)?;
        }
        let regions = planner
            .groups
            .iter()
            .flat_map(|(logical, chunk)| regions(*logical, chunk))
            .collect();
        Ok(Self {
            groups: planner.groups,
            regions,
            first: [0, 0],
            unallocated: end - planner.physical,
            sectorsize: superblock.sectorsize.into(),
            needs,
        })
    }

    /// The logical address for `len` bytes (whole sectors) in a block group of type `kind`.
    pub(super) fn allocate(&mut self, kind: u64, len: u64) -> Result<u64> {
        let first = &mut self.first[usize::from(kind != group::DATA)];
        let full = |region: &Region| region.end - region.next < self.sectorsize;
        // System blocks are few and lie in the first region of all.
        if kind != group::SYSTEM {
            while self
                .regions
                .get(*first)
                .is_some_and(|region| region.flags & kind == 0 || full(region))
            {
                *first += 1;
            }
        }
        let from = if kind == group::SYSTEM { 0 } else { *first };
        let fits =
            |region: &&mut Region| region.flags & kind != 0 && region.end - region.next >= len;
        let region = self.regions[from..].iter_mut().find(fits);
        let region = region.ok_or_else(|| {
            no_space(
                self.needs,
                self.groups.iter().map(|(_, chunk)| chunk.length).sum(),
            )
        })?;
        region.next += len;
        Ok(region.next - len)
    }

    /// Whether enough is left for the kernel to work with.
    pub(super) fn has_reserve(&self) -> bool {
        let free = self.free(group::METADATA);
        free.saturating_add(self.unallocated / 2) >= self.needs.reserve
    }

    /// Bytes not given out in block groups of type `kind`.
    pub(super) fn free(&self, kind: u64) -> u64 {
        self.regions
            .iter()
            .filter(|region| region.flags & kind != 0)
            .map(|region| region.end - region.next)
            .sum()
    }

    /// The refusal of what does not fit.
    pub(super) fn no_space(&self) -> Error {
        no_space(
            self.needs,
            self.groups.iter().map(|(_, chunk)| chunk.length).sum(),
        )
    }

    /// What content could still be added.
    pub(super) fn free_for_content(&self, profiles: Profiles) -> u64 {
        let copies = if profiles.data & group::DUP != 0 {
            2
        } else {
            1
        };
        let mixed = self
            .groups
            .iter()
            .any(|(_, chunk)| chunk.flags & group::DATA != 0 && chunk.flags & group::METADATA != 0);
        let reserve = if mixed {
            self.needs.metadata_with_reserve()
        } else {
            0
        };
        let free = (self.free(group::DATA) + self.unallocated / copies).saturating_sub(reserve);
        // Checksums, extents and the tails of block groups.
        free - free / 64
    }

    /// The stretches given out, by ascending address, neighbours not joined.
    pub(super) fn given_out(&self) -> impl Iterator<Item = (u64, u64)> {
        self.regions
            .iter()
            .map(|region| (region.start, region.next))
            .filter(|(start, next)| start < next)
    }

    /// The block group that `logical` lies in.
    pub(super) fn group_of(&self, logical: u64) -> Result<(u64, &Chunk)> {
        let at = self.groups.partition_point(|(start, _)| *start <= logical);
        let found = at.checked_sub(1).and_then(|at| self.groups.get(at));
        found
            .map(|(start, chunk)| (*start, chunk))
            .ok_or_else(|| Error::internal(format!("no block group for {logical}")))
    }

    /// Where the copies of the byte at `logical` lie on the device.
    pub(super) fn places(&self, logical: u64) -> Result<impl Iterator<Item = u64> + use<>> {
        let (start, chunk) = self.group_of(logical)?;
        Ok(chunk
            .copies
            .clone()
            .into_iter()
            .map(move |copy| copy + (logical - start)))
    }
}

/// Lays block groups behind one another.
struct Planner {
    logical: u64,
    physical: u64,
    end: u64,
    groups: Vec<(u64, Chunk)>,
}

impl Planner {
    /// How long the last type of block group shall be in all; `None` where `wanted` does not fit.
    fn length(&self, flags: u64, wanted: u64, least: u64, all: bool) -> Option<u64> {
        let room = (self.end - self.physical) / copies(flags) / STRIPE * STRIPE;
        if all {
            return (wanted <= room).then_some(room);
        }
        Some(generous(wanted).max(least)).filter(|&length| length <= room)
    }

    /// Adds block groups of `length` bytes in all; `None` where they do not fit.
    fn add(&mut self, flags: u64, length: u64) -> Option<()> {
        let mut left = length;
        while left > 0 {
            let length = left.min(GROUP_MAX);
            let copies = (0..copies(flags))
                .map(|copy| self.physical + copy * length)
                .collect();
            let end = length
                .checked_mul(self::copies(flags))?
                .checked_add(self.physical)?;
            if end > self.end {
                return None;
            }
            self.groups.push((
                self.logical,
                Chunk {
                    length,
                    flags,
                    copies,
                },
            ));
            self.logical += length;
            self.physical = end;
            left -= length;
        }
        Some(())
    }
}

fn copies(flags: u64) -> u64 {
    if flags & group::DUP != 0 { 2 } else { 1 }
}

/// A quarter more than `wanted`, in whole steps.
fn generous(wanted: u64) -> u64 {
    wanted
        .saturating_add(wanted / 4)
        .min(u64::MAX / 2)
        .next_multiple_of(STEP)
}

/// The parts of a block group between superblock mirrors.
fn regions(logical: u64, chunk: &Chunk) -> Vec<Region> {
    let mut mirrors: Vec<u64> = chunk
        .copies
        .iter()
        .flat_map(|&copy| {
            SUPER_OFFSETS
                .iter()
                .filter(move |&&mirror| mirror >= copy && mirror - copy < chunk.length)
                .map(move |mirror| mirror - copy)
        })
        .collect();
    mirrors.sort_unstable();
    let mut regions = Vec::new();
    let mut start = 0;
    for mirror in mirrors.into_iter().chain([chunk.length]) {
        if mirror > start {
            let start = logical + start;
            let end = logical + mirror;
            regions.push(Region {
                flags: chunk.flags,
                start,
                next: start,
                end,
            });
        }
        start = mirror + STRIPE;
    }
    regions
}

fn no_space(needs: Needs, room: u64) -> Error {
    Error::no_space(format!(
        "the btrfs filesystem is too small: {} of data, {} of metadata and {} in reserve are needed, its block groups can have {} ({room} bytes)",
        ByteSize(needs.data),
        ByteSize(needs.metadata),
        ByteSize(needs.reserve),
        ByteSize(room)
    ))
    .with_hint("put system extensions on the ROOT partition instead of OEM, or remove files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_copies_keep_off_superblock_mirrors() {
        let chunk = Chunk {
            length: 40 << 20,
            flags: group::DATA | group::DUP,
            copies: vec![30 << 20, 70 << 20],
        };
        let found: Vec<_> = regions(1 << 20, &chunk)
            .iter()
            .map(|region| (region.start, region.end))
            .collect();
        let mirror = (1 << 20) + (34 << 20);
        assert_eq!(found, [(1 << 20, mirror), (mirror + STRIPE, 41 << 20)]);
        let second = Chunk {
            copies: vec![20 << 20, 60 << 20],
            ..chunk
        };
        let found: Vec<_> = regions(0, &second)
            .iter()
            .map(|region| (region.start, region.end))
            .collect();
        assert_eq!(found, [(0, 4 << 20), ((4 << 20) + STRIPE, 40 << 20)]);
        let first = Chunk {
            length: STRIPE,
            flags: group::DATA,
            copies: vec![64 << 20],
        };
        assert!(regions(0, &first).is_empty());
    }
}
