//! The part that formats with a table of blocks share: blocks that hold anything get places in the file one after the
//! other; what is zero in them stays a hole of the file.
//!
//! ```text
//!   guest   │ block 0 │ block 1 │ block 2 │ block 3 │        table: 1, none, none, 0 …
//!                  └────────────────────┐      │
//!   file    │ head, table │ place 0 ◀───┼──────┘  (in the order in which they first hold data)
//!                         │ place 1 ◀───┘ │
//! ```

use std::fs::File;

use super::copy::{HOLE_BYTES, copy_data};
use super::identity::Fingerprint;
use super::{check_empty, write_out};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::progress::Progress;

/// The unit in which most formats count.
pub(super) const SECTOR: u64 = 512;

/// The size of the disk that a guest sees: `device`'s, rounded up with zeroes to whole sectors, and at least one:
/// formats cannot tell a disk of no size from something else.
pub(super) fn disk_size(device: &dyn BlockDevice, format: &str, most: u64) -> Result<u64> {
    let size = device
        .size()
        .max(1)
        .checked_next_multiple_of(SECTOR)
        .filter(|&size| size <= most);
    size.ok_or_else(|| {
        Error::unsupported(format!(
            "a disk of {} bytes is too large for {format}: {most} are allowed",
            device.size()
        ))
        .because(Reason::Limit)
    })
}

/// Which blocks hold data, and their places.
#[derive(Debug)]
pub(super) struct Blocks {
    /// For each block of the guest: its place, or `None`.
    pub places: Vec<Option<u32>>,
    /// How many places are taken.
    pub taken: u32,
    /// Of what the disk holds.
    pub fingerprint: Fingerprint,
}

impl Blocks {
    /// The table, with `entry` for the place of a block that has one, and else `none`, as little-endian numbers.
    pub fn le32_table(&self, none: u32, entry: impl Fn(u32) -> Result<u32>) -> Result<Vec<u8>> {
        let mut table = Vec::with_capacity(4 * self.places.len());
        for place in &self.places {
            table.extend_from_slice(&place.map_or(Ok(none), &entry)?.to_le_bytes());
        }
        Ok(table)
    }
}

/// How a disk is cut into blocks, and where they go.
#[derive(Debug)]
pub(super) struct BlockPlan<A> {
    /// Bytes that the disk has to its guest.
    pub disk_bytes: u64,
    /// Bytes of a block, a multiple of 4 KiB.
    pub block_bytes: u64,
    /// Where in the file the block with a place begins.
    pub address: A,
}

/// Writes the data of `device` block by block to `out`, an empty file.
pub(super) fn write_blocks(
    device: &dyn BlockDevice,
    out: &File,
    plan: &BlockPlan<impl Fn(u32) -> u64>,
    progress: &dyn Progress,
) -> Result<Blocks> {
    let block_bytes = plan.block_bytes;
    debug_assert!(block_bytes.is_multiple_of(to_u64(HOLE_BYTES)));
    check_empty(out)?;
    let mut places = vec![None; to_usize(plan.disk_bytes.div_ceil(block_bytes))?];
    let mut taken = 0;
    let fingerprint = copy_data(device, true, progress, |mut offset, mut run| {
        while !run.is_empty() {
            let within = offset % block_bytes;
            let (piece, rest) = run.split_at(run.len().min(to_usize(block_bytes - within)?));
            let place = places[to_usize(offset / block_bytes)?].get_or_insert_with(|| {
                taken += 1;
                taken - 1
            });
            write_out(out, (plan.address)(*place) + within, piece)?;
            offset += to_u64(piece.len());
            run = rest;
        }
        Ok(())
    })?;
    Ok(Blocks {
        places,
        taken,
        fingerprint,
    })
}
