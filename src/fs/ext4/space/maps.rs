//! Bitmaps read, checked and written, and the descriptors with them.

use super::Space;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::to_u64;
use crate::error::Result;
use crate::fs::ext4::bitmap::Bitmap;
use crate::fs::ext4::group::{BLOCK_UNINIT, INODE_UNINIT};
use crate::fs::ext4::superblock::{Superblock, ensure};
use crate::fs::ext4::{checksum, layout};

impl Space {
    /// The block bitmap of a group, read and checked when first asked for.
    pub(in super::super) fn block_map(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        group: u32,
    ) -> Result<&mut Bitmap> {
        let map = match self.block_maps[group as usize].take() {
            Some(map) => map,
            None => self.load_block_map(device, superblock, group)?,
        };
        Ok(self.block_maps[group as usize].insert(map))
    }

    fn load_block_map(
        &self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        group: u32,
    ) -> Result<Bitmap> {
        let descriptor = &self.groups[group as usize];
        let start = layout::group_start(superblock, group);
        let len = layout::group_len(superblock, group);
        let bits = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let zones =
            layout::clip(&self.zones, start, u64::from(len)).map(|(at, len)| (bits(at), bits(len)));
        let map = if descriptor.flags & BLOCK_UNINIT != 0 {
            let mut map = Bitmap::clear_with_padding(superblock.block_bytes(), len);
            zones.for_each(|(at, len)| map.put(at, len, true));
            map
        } else {
            let raw = self.read_map(device, superblock, descriptor.block_bitmap)?;
            let stored = descriptor.block_bitmap_csum;
            check_map(
                superblock,
                &raw,
                superblock.blocks_per_group,
                stored,
                || format!("block bitmap of group {group}"),
            )?;
            let map = Bitmap::from_bytes(&raw);
            let free = zones
                .into_iter()
                .find(|(at, len)| !map.all(*at, *len, true));
            ensure(free.is_none(), || {
                format!("the block bitmap of group {group} calls metadata free")
            })?;
            map
        };
        let clear = map.count_clear(len);
        ensure(clear == descriptor.free_blocks, || {
            format!(
                "group {group} has {clear} free blocks, its descriptor says {}",
                descriptor.free_blocks
            )
        })?;
        Ok(map)
    }

    /// The inode bitmap of a group, read and checked when first asked for.
    pub(super) fn inode_map(
        &mut self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        group: u32,
    ) -> Result<&mut Bitmap> {
        let map = match self.inode_maps[group as usize].take() {
            Some(map) => map,
            None => self.load_inode_map(device, superblock, group)?,
        };
        Ok(self.inode_maps[group as usize].insert(map))
    }

    fn load_inode_map(
        &self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        group: u32,
    ) -> Result<Bitmap> {
        let descriptor = &self.groups[group as usize];
        let len = superblock.inodes_per_group;
        let map = if descriptor.flags & INODE_UNINIT != 0 {
            Bitmap::clear_with_padding(superblock.block_bytes(), len)
        } else {
            let raw = self.read_map(device, superblock, descriptor.inode_bitmap)?;
            let stored = descriptor.inode_bitmap_csum;
            check_map(superblock, &raw, len, stored, || {
                format!("inode bitmap of group {group}")
            })?;
            Bitmap::from_bytes(&raw)
        };
        let clear = map.count_clear(len);
        ensure(clear == descriptor.free_inodes, || {
            format!(
                "group {group} has {clear} free inodes, its descriptor says {}",
                descriptor.free_inodes
            )
        })?;
        let used = len - descriptor.itable_unused;
        ensure(map.all(used, len - used, false), || {
            format!("group {group} uses inodes it calls never used")
        })?;
        Ok(map)
    }

    fn read_map(
        &self,
        device: &dyn BlockDevice,
        superblock: &Superblock,
        block: u64,
    ) -> Result<Vec<u8>> {
        let mut raw = vec![0; superblock.block_bytes()];
        device.read_at(block * u64::from(superblock.block_size), &mut raw)?;
        Ok(raw)
    }

    /// Writes the bitmaps that changed, then the descriptors.
    pub(in super::super) fn store(
        &mut self,
        device: &dyn BlockDeviceMut,
        superblock: &Superblock,
    ) -> Result<()> {
        let size = u64::from(superblock.block_size);
        for &group in &self.dirty {
            let at = group as usize;
            let descriptor = &mut self.groups[at];
            if let Some(map) = self.block_maps[at]
                .as_mut()
                .filter(|map| map.dirty && descriptor.flags & BLOCK_UNINIT == 0)
            {
                let raw = map.to_bytes();
                device.write_at(descriptor.block_bitmap * size, &raw)?;
                descriptor.block_bitmap_csum =
                    map_checksum(superblock, &raw, superblock.blocks_per_group);
                map.dirty = false;
            }
            if let Some(map) = self.inode_maps[at]
                .as_mut()
                .filter(|map| map.dirty && descriptor.flags & INODE_UNINIT == 0)
            {
                let raw = map.to_bytes();
                device.write_at(descriptor.inode_bitmap * size, &raw)?;
                descriptor.inode_bitmap_csum =
                    map_checksum(superblock, &raw, superblock.inodes_per_group);
                map.dirty = false;
            }
        }
        self.store_descriptors(device, superblock)
    }

    fn store_descriptors(
        &mut self,
        device: &dyn BlockDeviceMut,
        superblock: &Superblock,
    ) -> Result<()> {
        let per_block = layout::descriptors_per_block(superblock);
        let dirty = std::mem::take(&mut self.dirty);
        let mut blocks: Vec<u32> = dirty.iter().map(|group| group / per_block).collect();
        blocks.dedup();
        let mut raw = vec![0; superblock.block_bytes()];
        for index in blocks {
            let offset = layout::descriptor_block(superblock, index, false)
                * u64::from(superblock.block_size);
            device.read_at(offset, &mut raw)?;
            for &group in dirty.range(index * per_block..(index + 1) * per_block) {
                let size = usize::from(superblock.desc_size);
                let at = (group % per_block) as usize * size;
                self.groups[group as usize].store(superblock, group, &mut raw[at..at + size]);
            }
            device.write_at(offset, &raw)?;
        }
        Ok(())
    }
}

/// The checksum of a bitmap of `bits` bits; its high half is kept where descriptors have room for it.
fn map_checksum(superblock: &Superblock, raw: &[u8], bits: u32) -> u32 {
    let len = raw.len().min((bits / 8) as usize);
    let crc = superblock
        .seed()
        .map_or(0, |seed| checksum::crc32c(seed, &raw[..len]));
    if superblock.desc_size == 64 {
        crc
    } else {
        crc & 0xFFFF
    }
}

fn check_map(
    superblock: &Superblock,
    raw: &[u8],
    bits: u32,
    stored: u32,
    what: impl Fn() -> String,
) -> Result<()> {
    ensure(to_u64(raw.len()) * 8 >= u64::from(bits), || {
        format!("the {} is too short", what())
    })?;
    let right = !superblock.has_checksums() || map_checksum(superblock, raw, bits) == stored;
    ensure(right, || {
        format!("the checksum of the {} does not match", what())
    })
}
