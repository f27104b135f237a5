//! Chunks: stretches of the logical address space and where they lie on the device (`struct btrfs_chunk`).
//!
//! ```text
//!   logical   ──┬─ SYSTEM ──┬──── DATA|METADATA ────┬──   addresses in trees
//!               │           │                       │
//!   device    ──┴───────────┴── (one copy, or two for DUP) ──
//! ```

use std::collections::BTreeMap;

use super::key::{KEY_LEN, Key, kind, object};
use super::superblock::Superblock;
use crate::bytes::{Field, Fields, Order, structure};
use crate::error::{Error, Reason, Result, ResultExt};

structure! {
    /// A chunk item before its stripes (`struct btrfs_chunk`); its key's offset is the logical address.
    struct ChunkItem: "btrfs chunk item", Little, 48 {
        /// Bytes of logical address space.
        0 => length / set_length: u64,
        /// [`object::EXTENT_TREE`].
        8 => owner / set_owner: u64,
        /// Bytes on one device before the next one's turn.
        16 => stripe_len / set_stripe_len: u64,
        /// `type`: types and profile, see [`group`].
        24 => flags / set_flags: u64,
        /// Alignment that is best for the device.
        32 => io_align / set_io_align: u32,
        /// Width that is best for the device.
        36 => io_width / set_io_width: u32,
        /// The device's smallest unit.
        40 => sector_size / set_sector_size: u32,
        /// Stripes that follow: here the number of copies.
        44 => num_stripes / set_num_stripes: u16,
        /// Of RAID10 only; 1 elsewhere.
        46 => sub_stripes / set_sub_stripes: u16,
    }
}

structure! {
    /// Where one copy of a chunk lies (`struct btrfs_stripe`).
    struct Stripe: "btrfs stripe", Little, 32 {
        /// The device.
        0 => devid / set_devid: u64,
        /// Byte of the device.
        8 => offset / set_offset: u64,
        /// The device's UUID.
        16 => dev_uuid / set_dev_uuid: [u8; 16],
    }
}

/// Bytes of a chunk item before its stripes.
const CHUNK_LEN: usize = ChunkItem::<&[u8]>::SIZE;
/// Bytes of a stripe.
const STRIPE_LEN: usize = Stripe::<&[u8]>::SIZE;
/// Chunks of one filesystem; 64 TiB in the smallest chunks that Linux makes on large devices, 256 MiB.
const CHUNKS_MAX: usize = 1 << 18;

/// Block group types and profiles (`BTRFS_BLOCK_GROUP_*`).
pub(super) mod group {
    pub const DATA: u64 = 1 << 0;
    pub const SYSTEM: u64 = 1 << 1;
    pub const METADATA: u64 = 1 << 2;
    pub const DUP: u64 = 1 << 5;
    pub const TYPES: u64 = DATA | SYSTEM | METADATA;
    /// Profiles that need several devices, by name.
    pub const REFUSED: [(u64, &str); 7] = [
        (1 << 3, "RAID0"),
        (1 << 4, "RAID1"),
        (1 << 6, "RAID10"),
        (1 << 7, "RAID5"),
        (1 << 8, "RAID6"),
        (1 << 9, "RAID1C3"),
        (1 << 10, "RAID1C4"),
    ];
}

/// One chunk with its one or two copies.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Bytes of logical address space.
    pub length: u64,
    /// Types and profile, see [`group`].
    pub flags: u64,
    /// Where each copy begins on the device.
    pub copies: Vec<u64>,
}

impl Chunk {
    /// Parses the chunk item of `logical` and checks that it lies on the one device of `superblock`.
    /// Also returns the bytes it takes.
    fn parse(item: &[u8], logical: u64, superblock: &Superblock) -> Result<(Self, usize)> {
        let on_disk = ChunkItem::over(item)?;
        let length = on_disk.length();
        let flags = on_disk.flags();
        if let Some((_, name)) = group::REFUSED.iter().find(|(bit, _)| flags & bit != 0) {
            return Err(Error::unsupported(format!(
                "a btrfs filesystem with the profile {name}"
            )));
        }
        if flags & !(group::TYPES | group::DUP) != 0 || flags & group::TYPES == 0 {
            return Err(Error::unsupported(format!(
                "a btrfs filesystem with chunks of the unknown type {flags:#x}"
            )));
        }
        let count = if flags & group::DUP != 0 { 2 } else { 1 };
        if on_disk.num_stripes() != count {
            return Err(Error::corrupt(format!(
                "{} stripes, {count} are needed",
                on_disk.num_stripes()
            )));
        }
        let sector = u64::from(superblock.sectorsize);
        if length == 0
            || !length.is_multiple_of(sector)
            || !logical.is_multiple_of(sector)
            || logical.checked_add(length).is_none()
        {
            return Err(Error::corrupt(format!("length {length} does not fit")));
        }
        let mut copies = Vec::new();
        let mut at = CHUNK_LEN;
        for _ in 0..count {
            let stripe = Stripe::at(item, at)?;
            let devid = stripe.devid();
            let physical = stripe.offset();
            if devid != superblock.dev_item.devid {
                return Err(Error::unsupported(format!(
                    "a btrfs filesystem with a chunk on another device (id {devid})"
                )));
            }
            if physical
                .checked_add(length)
                .is_none_or(|end| end > superblock.dev_item.total_bytes)
            {
                return Err(Error::corrupt(format!(
                    "bytes {physical} to {physical} + {length} are not on the device"
                )));
            }
            copies.push(physical);
            at += STRIPE_LEN;
        }
        Ok((
            Self {
                length,
                flags,
                copies,
            },
            at,
        ))
    }

    /// The chunk item on the device of `superblock`.
    pub(super) fn to_disk(&self, superblock: &Superblock) -> Vec<u8> {
        // The length of stripes means nothing with one device; Linux writes the same constant.
        const STRIPE_LENGTH: u32 = 64 << 10;
        let copies: u16 = if self.copies.len() == 2 { 2 } else { 1 };
        let mut item = Vec::with_capacity(CHUNK_LEN + self.copies.len() * STRIPE_LEN);
        let mut on_disk = ChunkItem::blank();
        on_disk.set_length(self.length);
        on_disk.set_owner(object::EXTENT_TREE);
        on_disk.set_stripe_len(STRIPE_LENGTH.into());
        on_disk.set_flags(self.flags);
        on_disk.set_io_align(STRIPE_LENGTH);
        on_disk.set_io_width(STRIPE_LENGTH);
        on_disk.set_sector_size(superblock.sectorsize);
        on_disk.set_num_stripes(copies);
        on_disk.set_sub_stripes(1);
        item.extend(on_disk.into_inner());
        for &physical in &self.copies {
            let mut stripe = Stripe::blank();
            stripe.set_devid(superblock.dev_item.devid);
            stripe.set_offset(physical);
            stripe.set_dev_uuid(superblock.dev_item.uuid);
            item.extend(stripe.into_inner());
        }
        item
    }
}

/// All chunks known so far, by logical address.
#[derive(Debug, Default)]
pub(super) struct ChunkMap(BTreeMap<u64, Chunk>);

impl ChunkMap {
    /// The system chunks of the superblock, which hold the chunk tree.
    pub(super) fn from_superblock(superblock: &Superblock) -> Result<Self> {
        let mut map = Self::default();
        let mut rest = &superblock.sys_chunk_array[..];
        while !rest.is_empty() {
            let key = Fields::new("sys_chunk_array", rest).slice(0, KEY_LEN)?;
            let key = Key::get(key, Order::Little);
            let used = map
                .add(key, &rest[KEY_LEN..], superblock)
                .at(|| "sys_chunk_array".to_owned())?;
            rest = &rest[KEY_LEN + used..];
        }
        Ok(map)
    }

    /// Adds the chunk item of `key`, which may be there already, and returns the bytes it takes.
    pub(super) fn add(&mut self, key: Key, item: &[u8], superblock: &Superblock) -> Result<usize> {
        if !key.is(object::FIRST_CHUNK_TREE, kind::CHUNK_ITEM) {
            return Err(Error::corrupt(format!(
                "item {key} where a chunk item belongs"
            )));
        }
        let logical = key.offset;
        let (chunk, used) =
            Chunk::parse(item, logical, superblock).at(|| format!("chunk {logical}"))?;
        let end = logical + chunk.length;
        if let Some((&start, other)) = self.0.range(..end).next_back() {
            if start == logical && other.copies == chunk.copies && other.length == chunk.length {
                return Ok(used);
            }
            if start + other.length > logical {
                return Err(Error::corrupt(format!(
                    "chunks {start} and {logical} overlap"
                )));
            }
        }
        if self.0.len() == CHUNKS_MAX {
            return Err(Error::unsupported(format!(
                "a btrfs filesystem with more than {CHUNKS_MAX} chunks"
            ))
            .because(Reason::Limit));
        }
        self.0.insert(logical, chunk);
        Ok(used)
    }

    /// All chunks in the order of their addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Chunk)> {
        self.0.iter().map(|(&logical, chunk)| (logical, chunk))
    }

    /// Where the copies of `len` bytes at `logical` begin on the device.
    pub(super) fn locate(
        &self,
        logical: u64,
        len: u64,
    ) -> Result<impl ExactSizeIterator<Item = u64> + use<'_>> {
        let (start, chunk) = self
            .0
            .range(..=logical)
            .next_back()
            .map(|(&start, chunk)| (start, chunk))
            .filter(|(start, chunk)| {
                logical
                    .checked_add(len)
                    .is_some_and(|end| end <= start + chunk.length)
            })
            .ok_or_else(|| {
                Error::corrupt(format!(
                    "{len} bytes at the logical address {logical} are in no chunk"
                ))
            })?;
        Ok(chunk
            .copies
            .iter()
            .map(move |physical| physical + (logical - start)))
    }
}
