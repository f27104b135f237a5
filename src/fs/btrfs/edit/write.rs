//! Writing the laid out filesystem: data first, then trees, then zeroes over everything else, superblocks last.

use super::super::checksum::CSUM_ROOM;
use super::super::key::object;
use super::super::superblock::{SUPER_LEN, SUPER_OFFSETS, SYS_CHUNK_ARRAY_LEN};
use super::BtrfsEditor;
use super::layout::{Layout, Planned};
use super::pack::{self, Header};
use super::source::compat_ro;
use super::store::Origin;
use super::trees;
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Result, ResultExt};

/// Data is copied in pieces of this size.
const PIECE: u64 = 1 << 20;
/// Bytes at the beginning that belong to boot loaders; they are taken over.
const BOOT: u64 = 64 << 10;
/// Bytes of one set of backup roots (`struct btrfs_root_backup`), and where the first begins.
const BACKUP_LEN: usize = 168;
const BACKUPS_AT: usize = 0xb2b;

impl BtrfsEditor {
    /// Writes the filesystem as it is now to the target.
    pub(super) fn write(&self) -> Result<()> {
        let superblock = &self.store.volume.superblock;
        if self.target.size() < superblock.total_bytes {
            return Err(Error::invalid(format!(
                "a btrfs filesystem of {} bytes cannot be written to {} bytes",
                superblock.total_bytes,
                self.target.size()
            )));
        }
        let mut layout = self.layout()?;
        let mut written = Vec::new();
        self.write_data(&mut layout, &mut written)?;
        self.write_trees(&layout, &mut written)
            .at(|| "writing btrfs trees".to_owned())?;
        let supers = SUPER_OFFSETS
            .iter()
            .copied()
            .filter(|at| at + to_u64(SUPER_LEN) <= superblock.total_bytes);
        written.extend(supers.clone().map(|at| (at, to_u64(SUPER_LEN))));
        self.write_boot_area()?;
        self.clear_rest(written)?;
        for offset in supers {
            self.target
                .write_at(offset, &self.superblock(&layout, offset)?)?;
        }
        Ok(())
    }

    /// Copies the data of all extents and fills in their checksums.
    fn write_data(&self, layout: &mut Layout, written: &mut Vec<(u64, u64)>) -> Result<()> {
        let csum_tree = layout
            .trees
            .iter_mut()
            .find(|planned| planned.id == object::CSUM_TREE);
        let csum_tree = csum_tree.ok_or_else(|| Error::internal("no checksum tree"))?;
        let mut buf = vec![0; to_usize(PIECE)?];
        for &(address, number) in &layout.extents {
            let extent = self.store.extent(number)?;
            if extent.origin == Origin::Nothing {
                continue;
            }
            let mut from = 0;
            while from < extent.disk_bytes {
                let len = (extent.disk_bytes - from).min(PIECE);
                let piece = &mut buf[..to_usize(len)?];
                let known = self.store.read_disk(extent, from, piece)?;
                if extent.checksums {
                    let csums = known.unwrap_or_else(|| self.checksums(piece));
                    self.fill_checksums(csum_tree, address + from, &csums)?;
                }
                for place in layout.space.places(address + from)? {
                    self.target.write_at(place, piece)?;
                    written.push((place, len));
                }
                from += len;
            }
        }
        Ok(())
    }

    fn checksums(&self, data: &[u8]) -> Vec<u8> {
        let csum_type = self.store.volume.superblock.csum_type;
        let sectorsize = to_usize(self.store.sectorsize().into()).unwrap_or(4096);
        data.chunks(sectorsize)
            .flat_map(|sector| csum_type.compute(sector).into_iter().take(csum_type.len()))
            .collect()
    }

    /// Puts the checksums of the sectors from `address` where the layout has room for them.
    fn fill_checksums(&self, csum_tree: &mut Planned, address: u64, csums: &[u8]) -> Result<()> {
        let missing = || Error::internal(format!("no room for the checksum of block {address}"));
        let csum_len = self.store.volume.superblock.csum_type.len();
        let mut at = csum_tree
            .items
            .partition_point(|item| item.key.offset <= address)
            .checked_sub(1)
            .ok_or_else(missing)?;
        let first = csum_tree.items.get(at).ok_or_else(missing)?.key.offset;
        let mut skip = to_usize((address - first) / u64::from(self.store.sectorsize()))? * csum_len;
        let mut rest = csums;
        while !rest.is_empty() {
            let room = csum_tree
                .items
                .get_mut(at)
                .and_then(|item| item.data.get_mut(skip..))
                .ok_or_else(missing)?;
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            (rest, at, skip) = (later, at + 1, 0);
        }
        Ok(())
    }

    fn write_trees(&self, layout: &Layout, written: &mut Vec<(u64, u64)>) -> Result<()> {
        let superblock = &self.store.volume.superblock;
        for planned in &layout.trees {
            let header = Header {
                fsid: superblock.block_uuid(),
                chunk_tree_uuid: self.carried.chunk_tree_uuid,
                generation: self.generation(),
                owner: planned.id,
                nodesize: to_usize(superblock.nodesize.into())?,
                csum_type: superblock.csum_type,
            };
            pack::write(
                &header,
                &planned.shape,
                &planned.items,
                &planned.blocks,
                |bytenr, block| {
                    for place in layout.space.places(bytenr)? {
                        self.target.write_at(place, block)?;
                        written.push((place, to_u64(block.len())));
                    }
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    fn write_boot_area(&self) -> Result<()> {
        let mut boot = vec![0; to_usize(BOOT)?];
        self.store.volume.device.read_at(0, &mut boot)?;
        if is_zero(&boot) {
            self.target.write_zeroes(0, BOOT)
        } else {
            self.target.write_at(0, &boot)
        }
    }

    /// Makes everything that was not written read as zeroes.
    fn clear_rest(&self, mut written: Vec<(u64, u64)>) -> Result<()> {
        written.sort_unstable();
        let mut at = BOOT;
        let end = self.store.volume.superblock.total_bytes;
        for (start, len) in written.into_iter().chain([(end, 0)]) {
            if at < start {
                self.target.write_zeroes(at, start - at)?;
            }
            at = start + len;
        }
        Ok(())
    }

    /// The superblock that belongs at `offset`.
    fn superblock(&self, layout: &Layout, offset: u64) -> Result<Vec<u8>> {
        let old = &self.store.volume.superblock;
        let mut bytes = old.bytes.clone();
        let generation = self.generation();
        let root = |id| {
            layout
                .root(id)
                .ok_or_else(|| Error::internal(format!("tree {id} was not laid out")))
        };
        let root_tree = root(object::ROOT_TREE)?;
        let chunk_tree = root(object::CHUNK_TREE)?;
        let mut compat_ro_flags = old.compat_ro_flags;
        if compat_ro_flags & compat_ro::FREE_SPACE_TREE != 0 {
            compat_ro_flags |= compat_ro::FREE_SPACE_TREE_VALID;
        }
        // The free space cache v1 is not carried over; all bits set asks the kernel to make it anew.
        let cache_generation = if old.cache_generation == 0 {
            0
        } else {
            u64::MAX
        };
        let uuid_tree_generation = if old.uuid_tree_generation == old.generation {
            generation
        } else {
            0
        };
        let array = trees::system_chunks(old, &layout.space);
        if array.len() > SYS_CHUNK_ARRAY_LEN {
            return Err(Error::internal("too many system chunks"));
        }
        for (at, value) in [
            (0x30, offset),
            (0x48, generation),
            (0x50, root_tree.0),
            (0x58, chunk_tree.0),
            (0x60, 0),
            (0x68, 0),
            (0x78, layout.bytes_used),
            (0xa4, generation),
            (0xb4, compat_ro_flags),
            (0x22b, cache_generation),
            (0x233, uuid_tree_generation),
        ] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[0xa0..0xa4].copy_from_slice(&to_u64(array.len()).to_le_bytes()[..4]);
        (bytes[0xc6], bytes[0xc7], bytes[0xc8]) = (root_tree.1, chunk_tree.1, 0);
        let device = trees::device_item(old, &layout.space)?;
        bytes[0xc9..0xc9 + device.len()].copy_from_slice(&device);
        bytes[0x32b..0x32b + SYS_CHUNK_ARRAY_LEN].fill(0);
        bytes[0x32b..0x32b + array.len()].copy_from_slice(&array);
        bytes[BACKUPS_AT..].fill(0);
        let backup = self.backup(layout)?;
        bytes[BACKUPS_AT..BACKUPS_AT + BACKUP_LEN].copy_from_slice(&backup);
        let csum = old.csum_type.compute(&bytes[CSUM_ROOM..]);
        bytes[..CSUM_ROOM].copy_from_slice(&csum);
        Ok(bytes)
    }

    /// The roots once more, as the kernel keeps them for repair.
    fn backup(&self, layout: &Layout) -> Result<[u8; BACKUP_LEN]> {
        let mut bytes = [0; BACKUP_LEN];
        let ids = [
            object::ROOT_TREE,
            object::CHUNK_TREE,
            object::EXTENT_TREE,
            object::FS_TREE,
            object::DEV_TREE,
            object::CSUM_TREE,
        ];
        for (nth, id) in ids.into_iter().enumerate() {
            let (bytenr, level) = layout
                .root(id)
                .ok_or_else(|| Error::internal(format!("tree {id} was not laid out")))?;
            bytes[nth * 16..nth * 16 + 8].copy_from_slice(&bytenr.to_le_bytes());
            bytes[nth * 16 + 8..nth * 16 + 16].copy_from_slice(&self.generation().to_le_bytes());
            bytes[152 + nth] = level;
        }
        let totals = [
            self.store.volume.superblock.total_bytes,
            layout.bytes_used,
            1,
        ];
        for (nth, value) in totals.into_iter().enumerate() {
            bytes[96 + nth * 8..104 + nth * 8].copy_from_slice(&value.to_le_bytes());
        }
        Ok(bytes)
    }
}
