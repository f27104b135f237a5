//! Writing the laid out filesystem: data first, then trees, then zeroes over everything else, superblocks last.

use super::super::key::object;
use super::super::superblock::{
    OnDisk, PADDING_LEN, RootBackup, SUPER_LEN, SUPER_OFFSETS, SUPER_ROOTS_LEN, SYS_CHUNK_ARRAY_LEN,
};
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
            rest = later;
            at += 1;
            skip = 0;
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
        let mut new = old.on_disk.clone();
        let generation = self.generation();
        new.set_bytenr(offset);
        new.set_generation(generation);
        new.set_bytes_used(layout.bytes_used);
        let (bytenr, level) = root(layout, object::ROOT_TREE)?;
        new.set_root(bytenr);
        new.set_root_level(level);
        let (bytenr, level) = root(layout, object::CHUNK_TREE)?;
        new.set_chunk_root(bytenr);
        new.set_chunk_root_level(level);
        new.set_chunk_root_generation(generation);
        new.set_log_root(0);
        new.set_log_root_transid(0);
        new.set_log_root_level(0);
        if old.compat_ro_flags & compat_ro::FREE_SPACE_TREE != 0 {
            new.set_compat_ro_flags(old.compat_ro_flags | compat_ro::FREE_SPACE_TREE_VALID);
        }
        // The free space cache v1 is not carried over; all bits set asks the kernel to make it anew.
        if old.cache_generation != 0 {
            new.set_cache_generation(u64::MAX);
        }
        let uuid_tree_is_valid = old.uuid_tree_generation == old.generation;
        new.set_uuid_tree_generation(if uuid_tree_is_valid { generation } else { 0 });
        new.set_dev_item(trees::device_item(old, &layout.space)?);
        set_system_chunks(&mut new, &trees::system_chunks(old, &layout.space))?;
        let mut super_roots = [0; SUPER_ROOTS_LEN];
        let backup = self.backup(layout)?;
        super_roots[..backup.len()].copy_from_slice(&backup);
        new.set_super_roots(super_roots);
        new.set_padding([0; PADDING_LEN]);
        new.seal(old.csum_type);
        Ok(new.into_inner())
    }

    /// The roots once more, as the kernel keeps them for repair.
    fn backup(&self, layout: &Layout) -> Result<Vec<u8>> {
        let generation = self.generation();
        let mut backup = RootBackup::zeroed();
        let (bytenr, level) = root(layout, object::ROOT_TREE)?;
        backup.set_tree_root(bytenr);
        backup.set_tree_root_gen(generation);
        backup.set_tree_root_level(level);
        let (bytenr, level) = root(layout, object::CHUNK_TREE)?;
        backup.set_chunk_root(bytenr);
        backup.set_chunk_root_gen(generation);
        backup.set_chunk_root_level(level);
        let (bytenr, level) = root(layout, object::EXTENT_TREE)?;
        backup.set_extent_root(bytenr);
        backup.set_extent_root_gen(generation);
        backup.set_extent_root_level(level);
        let (bytenr, level) = root(layout, object::FS_TREE)?;
        backup.set_fs_root(bytenr);
        backup.set_fs_root_gen(generation);
        backup.set_fs_root_level(level);
        let (bytenr, level) = root(layout, object::DEV_TREE)?;
        backup.set_dev_root(bytenr);
        backup.set_dev_root_gen(generation);
        backup.set_dev_root_level(level);
        let (bytenr, level) = root(layout, object::CSUM_TREE)?;
        backup.set_csum_root(bytenr);
        backup.set_csum_root_gen(generation);
        backup.set_csum_root_level(level);
        backup.set_total_bytes(self.store.volume.superblock.total_bytes);
        backup.set_bytes_used(layout.bytes_used);
        backup.set_num_devices(1);
        Ok(backup.into_inner())
    }
}

/// Where the root of a tree lies, with its level.
fn root(layout: &Layout, id: u64) -> Result<(u64, u8)> {
    layout
        .root(id)
        .ok_or_else(|| Error::internal(format!("tree {id} was not laid out")))
}

/// Stores the system chunks with zeroes behind them.
fn set_system_chunks(superblock: &mut OnDisk<Vec<u8>>, chunks: &[u8]) -> Result<()> {
    let too_many = || Error::internal("too many system chunks");
    let mut array = [0; SYS_CHUNK_ARRAY_LEN];
    let used = array.get_mut(..chunks.len()).ok_or_else(too_many)?;
    used.copy_from_slice(chunks);
    superblock.set_sys_chunk_array(array);
    superblock.set_sys_chunk_array_size(u32::try_from(chunks.len()).map_err(|_| too_many())?);
    Ok(())
}
