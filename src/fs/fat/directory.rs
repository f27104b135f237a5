//! A directory in memory: its names, its short names and its free slots, each found at once.

use std::collections::{BTreeMap, BTreeSet};

use super::SLOT_LEN;
use super::device::{damaged, read_vec};
use super::entry::{DELETED, Entry, Slot};
use super::geometry::{Geometry, Root, SLOT};
use super::long::Assembler;
use super::names::{self, NewName};
use super::slots::FreeSlots;
use super::table::Table;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// Most slots of a directory (the specification's 2 MiB).
pub(super) const SLOTS_MAX: u32 = 65_536;

/// An entry in a directory.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its name as it is shown.
    pub name: String,
    /// The slot of its entry; its long name lies before.
    pub slot: u32,
    /// The first slot of its long name, or of itself.
    pub first_slot: u32,
    pub short: [u8; 11],
    pub is_directory: bool,
}

/// Where a new entry goes.
#[derive(Debug)]
pub(super) struct Room {
    /// The first of its slots.
    pub start: u32,
    /// Clusters by which the directory has to grow before.
    pub growth: u64,
    /// Its short name.
    pub short: [u8; 11],
}

/// The entries of a directory and where they lie.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    /// Its first cluster, 0 for the fixed root directory.
    pub start: u32,
    /// Where its clusters, or the fixed root directory, begin on the device.
    parts: Vec<u64>,
    /// Slots of each part.
    part_slots: u32,
    last_cluster: u32,
    /// By slot.
    items: BTreeMap<u32, Item>,
    /// Long and short names, folded, with their slots: the first slot counts.
    names: BTreeSet<(Vec<u16>, u32)>,
    shorts: BTreeSet<([u8; 11], u32)>,
    free: FreeSlots,
    /// The first slot behind all that were ever used.
    end: u32,
    /// Whether there is something behind the end, which must not come to light.
    untidy: bool,
    label: Option<[u8; 11]>,
}

impl Directory {
    /// Reads the directory that begins at cluster `start`, 0 for the root.
    pub(super) fn read(
        device: &dyn BlockDevice,
        geometry: &Geometry,
        table: &Table,
        start: u32,
    ) -> Result<Self> {
        let mut directory = Self::place(device, geometry, table, start)?;
        let mut slots = Vec::new();
        for part in &directory.parts {
            slots.extend(read_vec(
                device,
                *part,
                to_usize(u64::from(directory.part_slots) * SLOT)?,
            )?);
        }
        directory.parse(&slots)?;
        Ok(directory)
    }

    /// Where it lies, without its entries.
    fn place(
        device: &dyn BlockDevice,
        geometry: &Geometry,
        table: &Table,
        start: u32,
    ) -> Result<Self> {
        let mut directory = Self {
            start,
            parts: Vec::new(),
            part_slots: geometry.slots_per_cluster(),
            last_cluster: 0,
            items: BTreeMap::new(),
            names: BTreeSet::new(),
            shorts: BTreeSet::new(),
            free: FreeSlots::default(),
            end: 0,
            untidy: false,
            label: None,
        };
        if let (0, Root::Fixed { start, len }) = (start, geometry.root) {
            directory.parts.push(start);
            directory.part_slots = u32::try_from(len / SLOT).unwrap_or(0);
            return Ok(directory);
        }
        let limit = u64::from(SLOTS_MAX.div_ceil(directory.part_slots));
        let (extents, rest) = table.extents(device, start, limit)?;
        if rest.is_some() {
            return Err(damaged(format!(
                "the directory at cluster {start} has more than {SLOTS_MAX} entries"
            )));
        }
        for extent in extents {
            for cluster in extent.clusters() {
                directory.append(geometry, cluster);
            }
        }
        Ok(directory)
    }

    fn append(&mut self, geometry: &Geometry, cluster: u32) {
        self.parts.push(geometry.cluster_start(cluster));
        self.last_cluster = cluster;
    }

    fn parse(&mut self, slots: &[u8]) -> Result<()> {
        let mut long = Assembler::default();
        self.end = self.capacity();
        for (slot, bytes) in (0u32..).zip(slots.chunks_exact(SLOT_LEN)) {
            match Slot::parse(bytes)? {
                Slot::End => {
                    self.end = slot;
                    self.untidy = slots[to_usize(u64::from(slot) * SLOT)?..]
                        .iter()
                        .any(|byte| *byte != 0);
                    break;
                }
                Slot::Free => {
                    self.free.add(slot, 1);
                    long.reset();
                }
                Slot::Long(part) => long.push(&part),
                Slot::Entry(entry) => {
                    let name = long.finish(&entry.name());
                    self.note(slot, &entry, name);
                }
            }
        }
        self.free.add(self.end, self.capacity() - self.end);
        Ok(())
    }

    /// Takes an entry into account, with the units of its long name and the slots of that.
    fn note(&mut self, slot: u32, entry: &Entry, long: Option<(Vec<u16>, usize)>) {
        let short = entry.name();
        if entry.is_label() {
            self.label.get_or_insert(short);
            return;
        }
        self.shorts.insert((short, slot));
        if !entry.is_visible() {
            return;
        }
        let shown = names::shown(&short, entry.nt_res());
        let long = long.map(|(units, slots)| (String::from_utf16_lossy(&units), slots));
        let (name, long_slots) = match long {
            Some((name, slots)) if !name.is_empty() => (name, u32::try_from(slots).unwrap_or(0)),
            Some((_, slots)) => (shown, u32::try_from(slots).unwrap_or(0)),
            None => (shown, 0),
        };
        self.insert(Item {
            first_slot: slot - long_slots,
            name,
            slot,
            short,
            is_directory: entry.is_directory(),
        });
    }

    /// The names by which an entry is found.
    fn keys(item: &Item) -> [(Vec<u16>, u32); 2] {
        [
            names::folded(&item.name),
            names::folded(&names::shown(&item.short, 0)),
        ]
        .map(|name| (name, item.slot))
    }

    fn insert(&mut self, item: Item) {
        self.names.extend(Self::keys(&item));
        self.shorts.insert((item.short, item.slot));
        self.items.insert(item.slot, item);
    }

    /// Slots it has.
    pub(super) fn capacity(&self) -> u32 {
        let parts = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        parts.saturating_mul(self.part_slots)
    }

    /// Entries it holds.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.values()
    }

    /// Whether it holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The label that lies in it.
    pub(super) fn label(&self) -> Option<[u8; 11]> {
        self.label
    }

    /// The entry with this name in any case, or with this short name.
    pub(super) fn find(&self, name: &str) -> Option<&Item> {
        let from = (names::folded(name), 0);
        let (found, slot) = self.names.range(from.clone()..).next()?;
        self.items.get(slot).filter(|_| *found == from.0)
    }

    /// Whether the entry at `slot` has this very name.
    pub(super) fn has_exactly(&self, slot: u32, name: &str) -> bool {
        self.items.get(&slot).is_some_and(|item| item.name == name)
    }

    /// Where a slot lies on the device.
    pub(super) fn offset(&self, slot: u32) -> Result<u64> {
        let part = self.parts.get(to_usize(u64::from(slot / self.part_slots))?);
        let part =
            part.ok_or_else(|| Error::internal(format!("slot {slot} of {}", self.capacity())))?;
        Ok(part + u64::from(slot % self.part_slots) * SLOT)
    }

    /// Where an entry of this name goes, which is not there yet. The short name of the entry at slot `moved` counts as free.
    pub(super) fn room(&self, name: &NewName, moved: Option<u32>) -> Result<Room> {
        let slots = name.slots();
        let short = self.short_name(name, moved)?;
        if let Some(start) = self.free.first_fit(slots) {
            return Ok(Room {
                start,
                growth: 0,
                short,
            });
        }
        let tail = self.free.before(self.capacity());
        let start = self.capacity() - tail;
        if self.start == 0 || start + slots > SLOTS_MAX {
            return Err(Error::no_space(format!(
                "a directory of {} entries is full",
                self.capacity()
            ))
            .with_hint("remove files from it, or put this one into another directory"));
        }
        Ok(Room {
            start,
            growth: u64::from((slots - tail).div_ceil(self.part_slots)),
            short,
        })
    }

    fn short_name(&self, name: &NewName, moved: Option<u32>) -> Result<[u8; 11]> {
        let taken = |short: &[u8; 11]| {
            let entries = self.shorts.range((*short, 0)..=(*short, u32::MAX));
            entries.into_iter().any(|(_, slot)| Some(*slot) != moved)
        };
        match name.lossless.filter(|short| !taken(short)) {
            Some(short) => Ok(short),
            None => name.tailed().find(|short| !taken(short)).ok_or_else(|| {
                Error::no_space(format!(
                    "no short name is left for '{}' in its directory",
                    name.text.escape_debug()
                ))
            }),
        }
    }

    /// Adds a cluster of zeroes at its end.
    pub(super) fn grow(&mut self, geometry: &Geometry, cluster: u32) {
        let before = self.capacity();
        self.append(geometry, cluster);
        self.free.add(before, self.capacity() - before);
    }

    /// The cluster it ends with.
    pub(super) fn last_cluster(&self) -> u32 {
        self.last_cluster
    }

    /// Writes an entry under a new name; it gets the room that was found for it.
    pub(super) fn write(
        &mut self,
        device: &dyn BlockDeviceMut,
        name: &NewName,
        room: &Room,
        mut entry: Entry,
    ) -> Result<()> {
        let is_directory = entry.is_directory();
        entry.set_name(room.short);
        entry.set_nt_res(name.short_only.unwrap_or(0));
        let slot = room.start + name.slots() - 1;
        self.free.take(room.start, name.slots());
        self.write_slots(
            device,
            room.start,
            &name.encode(&entry.into_inner(), &room.short)?,
        )?;
        self.move_end(device, slot + 1)?;
        self.insert(Item {
            name: name.text.clone(),
            slot,
            first_slot: room.start,
            short: room.short,
            is_directory,
        });
        Ok(())
    }

    /// Sees to it that nothing is found behind the slots that are in use.
    fn move_end(&mut self, device: &dyn BlockDeviceMut, used: u32) -> Result<()> {
        if used <= self.end {
            return Ok(());
        }
        self.end = used;
        if self.untidy && used < self.capacity() {
            self.write_slots(device, used, &[0; SLOT_LEN])?;
        }
        Ok(())
    }

    /// Writes neighbouring slots, part by part.
    fn write_slots(&self, device: &dyn BlockDeviceMut, start: u32, mut bytes: &[u8]) -> Result<()> {
        let mut slot = start;
        while !bytes.is_empty() {
            let left = u64::from(self.part_slots - slot % self.part_slots) * SLOT;
            let (now, later) = bytes.split_at(to_usize(left.min(to_u64(bytes.len())))?);
            device.write_at(self.offset(slot)?, now)?;
            slot += u32::try_from(now.len() / SLOT_LEN).unwrap_or(u32::MAX);
            bytes = later;
        }
        Ok(())
    }

    /// Takes the entry at `slot` out of memory; its slots are still to be cleared.
    pub(super) fn remove(&mut self, slot: u32) -> Result<Item> {
        let item = self
            .items
            .remove(&slot)
            .ok_or_else(|| Error::internal("an entry that was found"))?;
        for key in Self::keys(&item) {
            self.names.remove(&key);
        }
        self.shorts.remove(&(item.short, slot));
        self.free.add(item.first_slot, slot + 1 - item.first_slot);
        Ok(item)
    }

    /// Marks the slots of an entry that was removed as free.
    pub(super) fn clear(&self, device: &dyn BlockDeviceMut, item: &Item) -> Result<()> {
        for slot in item.first_slot..=item.slot {
            device.write_at(self.offset(slot)?, &[DELETED])?;
        }
        Ok(())
    }
}
